//! What a failed installation means, from the package manager's own words.

use super::Manager;
use crate::languages::Notice;

/// Explains the log of an installation that failed. `python` is a version such as `3.13.2`.
pub fn explain(manager: Manager, log: &str, python: &str) -> Notice {
    let notice = Notice::new(format!(
        "Error: Unable to install dependencies using {}.",
        manager.title()
    ));
    let notice = match said(log) {
        Some(said) => notice.gap().line(format!("It says: {said}")),
        None => notice,
    };
    notice.gap().lines(advice(manager, log, python))
}

/// The line that tells the cause, in the package manager's own words.
fn said(log: &str) -> Option<String> {
    let lines = || log.lines().map(str::trim);
    let marks = ["ERROR: ", "cause: ", "╰─▶ ", "error: ", "× "];
    // What stands deepest tells most.
    let line = marks
        .iter()
        .find_map(|mark| lines().find(|line| line.starts_with(mark)))?;
    let bare = marks
        .iter()
        .fold(line, |line, mark| line.strip_prefix(mark).unwrap_or(line));
    let bare = bare.split(" (from versions: ").next().unwrap_or_default();
    Some(bare.chars().take(300).collect())
}

/// Words of a log in lower case, and what they mean; the first that is found counts. `{file}`,
/// `{python}` and `{title}` stand for the lockfile, the Python's version and the package manager.
const CAUSES: [(&[&str], &[&str]); 16] = [
    (
        &["pg_config", "libpq-fe.h"],
        &[
            "psycopg2 was to be compiled, without the headers of PostgreSQL. Use",
            "the compiled one, psycopg2-binary, or install libpq-dev where builds run.",
        ],
    ),
    (
        &["gdal-config", "gdal api version"],
        &[
            "GDAL was to be compiled, without its library. Add a buildpack that",
            "installs it before this one, or install libgdal-dev where builds run.",
        ],
    ),
    (
        &["sqlite3.h"],
        &[
            "A package was to be compiled, without the headers of SQLite. Add a",
            "buildpack that installs them, or install libsqlite3-dev where builds run.",
        ],
    ),
    (
        &[
            "hashes are required",
            "hash mismatch",
            "do not match the hashes",
        ],
        &[
            "A package is not the one that the hashes were made of: it was changed",
            "since, or {file} was edited by hand. Write {file} anew.",
        ],
    ),
    (
        &[
            "the lockfile at `uv.lock` needs to be updated",
            "failed to parse `uv.lock`",
        ],
        &[
            "uv.lock does not fit pyproject.toml. Write it anew and commit it:",
            "uv lock && git add uv.lock",
        ],
    ),
    (
        &[
            "invalid requirement",
            "couldn't parse requirement",
            "expected one of `@`",
        ],
        &[
            "A line of requirements.txt is not valid. Each line names one package,",
            "such as Flask==3.1.3; the output above names the line.",
        ],
    ),
    (
        &[
            "could not open requirements file",
            "file not found: `",
            "error parsing included file",
        ],
        &[
            "A file that requirements.txt includes is not in the repository.",
            "Commit it, or remove the line that includes it.",
        ],
    ),
    (
        &[
            "permission denied (publickey)",
            "host key verification failed",
        ],
        &[
            "A package comes by git over SSH, and builds have no key. Use an HTTPS",
            "address, with a token from a config var where it is private.",
        ],
    ),
    (
        &[
            "git operation failed",
            "failed to clone",
            "did not run successfully: git",
        ],
        &[
            "A package comes from a git repository that could not be read. Check",
            "its address and its branch, tag or commit.",
        ],
    ),
    (
        &[
            "401 unauthorized",
            "403 forbidden",
            "status code: 401",
            "status code: 403",
            "client error (401",
            "client error (403",
        ],
        &[
            "The package index refused access. Check the name and password in",
            "the config var PIP_EXTRA_INDEX_URL.",
        ],
    ),
    (
        &[
            "temporary failure in name resolution",
            "failed to connect",
            "connection refused",
            "connection reset",
            "dns error",
            "timed out",
            "network connectivity is disabled",
            "tunnel error",
            "unsuccessful tunnel",
            "tunnel connection failed",
        ],
        &[
            "The package index could not be reached. Push again, and if that",
            "does not help, check the network of the build machine.",
        ],
    ),
    (
        &[
            "failed to build",
            "failed building wheel",
            "subprocess-exited-with-error",
            "build backend returned an error",
        ],
        &[
            "A package had to be compiled from source, and that failed. Choose a",
            "version that has a wheel for Python {python}, or install the compiler",
            "and headers that the output above misses where builds run.",
        ],
    ),
    (
        &["invalid metadata", "metadata field"],
        &[
            "A package has broken metadata. Choose another version of the package",
            "that the output above names.",
        ],
    ),
    (
        &[
            "no matching distribution found",
            "was not found in the package registry",
            "there is no version of",
            "there are no versions of",
        ],
        &[
            "The package index has no such package or version for Python {python}.",
            "Check the spelling and the version in {file}.",
        ],
    ),
    (
        &[
            "resolutionimpossible",
            "conflicting dependencies",
            "unsatisfiable",
            "are incompatible",
        ],
        &[
            "Some of the versions in {file} exclude each other, or do not run",
            "on Python {python}. Loosen one of those that the output above names.",
        ],
    ),
    (
        &[""],
        &[
            "The output above is that of {title}. Try the same on your",
            "machine, in a new virtual environment.",
        ],
    ),
];

fn advice(manager: Manager, log: &str, python: &str) -> Vec<String> {
    let lower = log.to_lowercase();
    let found = CAUSES
        .iter()
        .find(|(words, _)| words.iter().any(|word| lower.contains(word)));
    let lines = found.map_or(&[][..], |(_, lines)| lines);
    let fill = |line: &&str| {
        line.replace("{file}", manager.lockfile())
            .replace("{python}", python)
            .replace("{title}", manager.title())
    };
    lines.iter().map(fill).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_apart() {
        for (log, words) in [
            (
                "ERROR: No matching distribution found for nope==1",
                "no such package or version",
            ),
            (
                "  × No solution found when resolving dependencies:\n  ╰─▶ Because there is no version of flask==99 and you require flask==99, we can conclude that your requirements are unsatisfiable.",
                "no such package or version",
            ),
            (
                "  ╰─▶ Because a==1 depends on b<1 and you require b>1, we can conclude that your requirements are unsatisfiable.",
                "exclude each other",
            ),
            (
                "error: Couldn't parse requirement in `requirements.txt` at position 0",
                "is not valid",
            ),
            (
                "error: File not found: `more.txt`",
                "is not in the repository",
            ),
            ("Error: pg_config executable not found.", "psycopg2-binary"),
            ("gdal-config: not found", "libgdal-dev"),
            ("fatal error: sqlite3.h: No such file", "libsqlite3-dev"),
            (
                "ERROR: x has invalid metadata: bad version",
                "broken metadata",
            ),
            ("  × Failed to build `x==1`", "compiled from source"),
            ("error: Failed to fetch: dns error", "could not be reached"),
            ("something else", "virtual environment"),
        ] {
            let text = explain(Manager::Pip, log, "3.13.2").to_string();
            assert!(text.contains(words), "{log}: {text}");
            assert!(text.contains("Error: Unable to install dependencies using pip."));
        }
        let text = explain(
            Manager::Uv,
            "The lockfile at `uv.lock` needs to be updated",
            "3",
        )
        .to_string();
        assert!(
            text.contains("using uv.") && text.contains("uv lock"),
            "{text}"
        );
    }

    #[test]
    fn the_cause_is_quoted() {
        let log =
            "Collecting x\nERROR: No matching distribution found for x (from versions: 1, 2)\n";
        assert_eq!(said(log).unwrap(), "No matching distribution found for x");
        let uv = "error: No solution\n  cause: Because a\n         and b\n";
        assert_eq!(said(uv).unwrap(), "Because a");
        assert_eq!(said("nothing"), None);
    }
}
