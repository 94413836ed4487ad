//! Paths inside, written as the host's, for commands that have no root directory of their own.

use std::path::Path;

use super::Spec;
use super::root::WRITABLE;

/// What may stand before a path and after a directory's name where a shell or a tool reads it.
const BEFORE: [char; 6] = [' ', '=', ':', '\n', '\'', '"'];
const AFTER: [char; 6] = ['/', ' ', ':', '\n', '\'', '"'];

/// The same command with the host's names of the directories of `root`.
pub(super) fn translate(spec: &Spec, root: &Path) -> Spec {
    let root = root.to_string_lossy();
    let mut env = spec
        .env
        .iter()
        .map(|(name, value)| (name.clone(), paths(value, &root)))
        .collect::<Vec<_>>();
    // The host's own /tmp is not for it.
    if !env.iter().any(|(name, _)| name == "TMPDIR") {
        env.push(("TMPDIR".to_owned(), format!("{root}/tmp")));
    }
    let cwd = match spec.cwd.as_str() {
        "/" => root.clone().into_owned(),
        cwd => paths(cwd, &root),
    };
    Spec {
        argv: spec.argv.iter().map(|text| paths(text, &root)).collect(),
        env,
        cwd,
        profile: spec.profile,
    }
}

fn paths(text: &str, root: &str) -> String {
    let mut done = String::with_capacity(text.len());
    for (at, letter) in text.char_indices() {
        let starts = letter == '/' && text[..at].chars().next_back().is_none_or(before);
        if starts && WRITABLE.iter().any(|name| is_below(&text[at + 1..], name)) {
            done.push_str(root);
        }
        done.push(letter);
    }
    done
}

fn before(letter: char) -> bool {
    BEFORE.contains(&letter)
}

fn is_below(path: &str, name: &str) -> bool {
    let after = path.strip_prefix(name).map(|rest| rest.chars().next());
    after.is_some_and(|letter| letter.is_none_or(|letter| AFTER.contains(&letter)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_are_written_anew_and_nothing_else() {
        let cases = [
            ("/app", "/r/app"),
            ("/app/bin:/usr/bin:/app", "/r/app/bin:/usr/bin:/r/app"),
            (
                ". /buildpacks/0-x/export\nexec \"$0\"",
                ". /r/buildpacks/0-x/export\nexec \"$0\"",
            ),
            ("--prefix=/app/vendor", "--prefix=/r/app/vendor"),
            (
                "/usr/bin/env /apple /usr/app",
                "/usr/bin/env /apple /usr/app",
            ),
            ("http://x/app", "http://x/app"),
        ];
        for (text, written) in cases {
            assert_eq!(paths(text, "/r"), written);
        }
    }
}
