//! What a package manager's failure means, from its own words. Source of the headlines: facts on
//! Heroku's builds, §4.2.

use super::Manager;
use crate::languages::Notice;

/// What was under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Dependencies were being installed or pruned.
    Install,
    /// This script of package.json was running.
    Script(String),
}

/// Words of a log, and what they mean: a headline, what was found, what to do; the first that is
/// found counts. An empty headline is the general one. `{file}`, `{program}`, `{title}` and
/// `{install}` stand for the lockfile and for the package manager's own words.
type Cause = (
    &'static [&'static str],
    &'static str,
    &'static [&'static str],
);

const CAUSES: [Cause; 11] = [
    (
        &[
            "can only install packages when your package.json",
            "can only install with an existing package-lock",
            "Your lockfile needs to be updated",
            "The lockfile would have been modified by this install",
            "ERR_PNPM_OUTDATED_LOCKFILE",
            "ERR_PNPM_LOCKFILE_BREAKING_CHANGE",
            "lockfile had changes, but lockfile is frozen",
        ],
        "{title} lockfile is not in sync",
        &[
            "{file} does not fit package.json; the output above says where.",
            "",
            "Write it anew and commit it:",
            "{program} install && git add {file} && git commit",
        ],
    ),
    (
        &[
            "Permission denied (publickey)",
            "Host key verification failed",
            "ssh://git@",
        ],
        "Unable to install a git dependency over SSH",
        &[
            "Builds have no SSH key; the output above names the repository.",
            "",
            "Use its HTTPS address in package.json, such as git+https://…, with a",
            "token from a config var where it is private.",
        ],
    ),
    (
        &[
            "code E401",
            "code E403",
            "401 Unauthorized",
            "403 Forbidden",
            "ERR_PNPM_FETCH_401",
            "ERR_PNPM_FETCH_403",
            "YN0041",
        ],
        "",
        &[
            "The registry refused access; the output above names the package.",
            "",
            "Check the token: .npmrc takes it from a config var with ${NAME}, and",
            "`slugline config` shows whether the app has that config var.",
        ],
    ),
    (
        &[
            "code ERESOLVE",
            "ERR_PNPM_PEER_DEP_ISSUES",
            "code EPEERINVALID",
        ],
        "Conflict detected in requested npm dependencies",
        &[
            "Two packages want versions of a third that exclude each other;",
            "the output above names them.",
            "",
            "Change one of the versions in package.json, then:  {program} install",
        ],
    ),
    (
        &["ECONNRESET", "socket hang up"],
        "A network connection was reset while dependencies were installed (ECONNRESET)",
        &NETWORK,
    ),
    (
        &[
            "ECONNREFUSED",
            "ENOTFOUND",
            "ETIMEDOUT",
            "EAI_AGAIN",
            "ERR_SOCKET_TIMEOUT",
            "ConnectionRefused",
            "ENOTCACHED",
            "ERR_PNPM_META_FETCH_FAIL",
            "RequestError",
            "UnableToResolveHost",
            "ConnectTimeout",
        ],
        "A network connection was lost while dependencies were installed",
        &NETWORK,
    ),
    (
        &[
            "code ETARGET",
            "code E404",
            "ERR_PNPM_NO_MATCHING_VERSION",
            "ERR_PNPM_FETCH_404",
            "Couldn't find any versions for",
            "Couldn't find package",
            "YN0035",
            "YN0082",
            "No version matching",
            "- 404",
        ],
        "",
        &[
            "The registry has no such package or version; the output above names it.",
            "",
            "Check the spelling and the version in package.json, then:  {program} install",
        ],
    ),
    (
        &[
            "EINTEGRITY",
            "ERR_PNPM_TARBALL_INTEGRITY",
            "Integrity check failed",
            "YN0018",
            "IntegrityCheckFailed",
        ],
        "",
        &[
            "A package is not the one that the lockfile was made of: it was changed",
            "since, or the lockfile was edited by hand; the output above names it.",
            "",
            "Write {file} anew and commit it.",
        ],
    ),
    (
        &["gyp ERR!", "node-gyp", "prebuild-install", "make: *** "],
        "",
        &[
            "A native module had to be compiled, and that failed; see above.",
            "",
            "Choose a version that has a binary for this Node.js, or install the",
            "compiler and headers that it misses where builds run.",
        ],
    ),
    (
        &[
            "EBADENGINE",
            "ERR_PNPM_UNSUPPORTED_ENGINE",
            "The engine \"node\" is incompatible",
        ],
        "",
        &[
            "A package does not run on this Node.js; the output above names it.",
            "",
            "Change engines.node in package.json, or the version of that package.",
        ],
    ),
    (
        &[""],
        "",
        &[
            "The output above is that of {title}. Try the same on your machine,",
            "in a fresh clone:  {install}",
        ],
    ),
];

const NETWORK: [&str; 2] = [
    "The registry could not be reached. Push again, and if that does not",
    "help, check the network of the build machine.",
];

/// Explains the log of a step that failed.
pub fn explain(manager: Manager, step: &Step, lockfile: &str, log: &str) -> Notice {
    let has = |words: &[&str]| words.iter().any(|word| log.contains(word));
    if has(&["heap out of memory", "Reached heap limit"]) {
        return Notice::new("Node.js ran out of memory")
            .gap()
            .line("A process of the build reached the limit of its heap; see above.")
            .gap()
            .line("Raise it with the config var NODE_OPTIONS=--max_old_space_size=3500,")
            .line("or have the build do less at once.");
    }
    if let Step::Script(script) = step {
        return script_failed(manager, script, log);
    }
    if has(&["flatmap-stream"]) && has(&["E404", "404", "ETARGET", "No matching version"]) {
        return Notice::new("The flatmap-stream module has been removed from the registry.")
            .gap()
            .line("It held malicious code; a package of yours still asks for it.")
            .gap()
            .line("Update event-stream and what depends on it, then write the lockfile anew.");
    }
    let fill = |line: &str| {
        line.replace(
            "{file}",
            if lockfile.is_empty() {
                "the lockfile"
            } else {
                lockfile
            },
        )
        .replace("{program}", manager.program())
        .replace("{title}", manager.title())
        .replace("{install}", install_command(manager))
    };
    let found = CAUSES.iter().find(|(words, ..)| has(words));
    let (_, headline, lines) = found.copied().unwrap_or((&[], "", &[]));
    let notice = if headline.is_empty() {
        Notice::new(fill("Unable to install dependencies using {title}"))
    } else {
        Notice::new(fill(headline))
    };
    notice.gap().lines(lines.iter().map(|line| fill(line)))
}

fn install_command(manager: Manager) -> &'static str {
    match manager {
        Manager::Npm => "npm ci",
        Manager::Yarn => "yarn install --frozen-lockfile",
        Manager::Berry => "yarn install --immutable",
        Manager::Pnpm => "pnpm install --frozen-lockfile",
        Manager::Bun => "bun install --frozen-lockfile",
    }
}

fn script_failed(manager: Manager, script: &str, log: &str) -> Notice {
    let notice = Notice::new("A build script exited with a non-zero exit code.")
        .gap()
        .line(format!(
            "The script \"{script}\" of package.json failed; the output above is its own."
        ));
    let missing = log.lines().find(|line| {
        line.contains("Cannot find module") || (line.contains("not found") && line.contains("sh: "))
    });
    let notice = match missing {
        Some(line) => notice
            .line(format!("It misses something: {}", line.trim()))
            .line("Is that package in dependencies or devDependencies?"),
        None => notice,
    };
    notice
        .gap()
        .line("Run it on your machine in a fresh clone:")
        .line(format!(
            "{} && NODE_ENV=production {} run {script}",
            install_command(manager),
            manager.program()
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_apart() {
        use Manager::{Berry, Bun, Npm, Pnpm, Yarn};
        for (manager, log, first) in [
            (
                Npm,
                "npm error `npm ci` can only install packages when your package.json and package-lock.json are in sync.",
                "npm lockfile is not in sync",
            ),
            (
                Pnpm,
                "ERR_PNPM_OUTDATED_LOCKFILE  Cannot install",
                "pnpm lockfile is not in sync",
            ),
            (
                Yarn,
                "error Your lockfile needs to be updated, but yarn was run with `--frozen-lockfile`.",
                "Yarn lockfile is not in sync",
            ),
            (
                Berry,
                "➤ YN0028: │ The lockfile would have been modified by this install, which is explicitly forbidden.",
                "Yarn lockfile is not in sync",
            ),
            (
                Bun,
                "error: lockfile had changes, but lockfile is frozen",
                "bun lockfile is not in sync",
            ),
            (
                Npm,
                "npm error code ERESOLVE",
                "Conflict detected in requested npm dependencies",
            ),
            (
                Npm,
                "npm error code ETARGET",
                "Unable to install dependencies using npm",
            ),
            (
                Npm,
                "npm error code ECONNRESET",
                "A network connection was reset while dependencies were installed (ECONNRESET)",
            ),
            (
                Npm,
                "git@github.com: Permission denied (publickey).",
                "Unable to install a git dependency over SSH",
            ),
            (
                Yarn,
                "whatever",
                "Unable to install dependencies using Yarn",
            ),
        ] {
            let notice = explain(manager, &Step::Install, "the-lock", log);
            assert_eq!(notice.headline(), first, "{log}");
        }
        let script = explain(
            Npm,
            &Step::Script("build".into()),
            "",
            "sh: 1: tsc: not found",
        );
        assert_eq!(
            script.headline(),
            "A build script exited with a non-zero exit code."
        );
        assert!(script.to_string().contains("tsc: not found"), "{script}");
    }
}
