//! Runtimes that this machine itself has, or an imported stack: found by a recipe's paths, asked for
//! their versions.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::recipe::Recipe;

/// How long a program may take to print its version.
const PATIENCE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(5);
/// Most that is read of what it prints.
const ANSWER_BYTES: u64 = 4096;

/// A runtime of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub program: PathBuf,
    /// The same as people read it.
    pub shown: String,
    pub version: String,
}

impl Found {
    /// The directory above `bin`, or whatever the program stands in.
    pub fn prefix(&self) -> &Path {
        let dir = self.program.parent().unwrap_or(Path::new("/"));
        dir.parent().unwrap_or(dir)
    }
}

/// What tells whether a program is still the one that was asked: device, inode, size and change.
pub type Identity = (u64, u64, u64, i64, i64);

/// The identity of a program's file.
pub fn identity(program: &Path) -> Option<Identity> {
    let meta = fs::metadata(program).ok()?;
    Some((
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.ctime(),
        meta.ctime_nsec(),
    ))
}

/// The programs that a recipe's paths lead to below `root`, in their order; those of one directory by
/// name.
pub fn programs(recipe: &Recipe, root: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for pattern in &recipe.host.programs {
        let (start, rest) = match (pattern.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => (home, rest),
            (Some(_), None) => continue,
            (None, _) => (root, pattern.trim_start_matches('/')),
        };
        let mut paths = vec![start.to_owned()];
        for name in rest.split('/') {
            let named = |dir: &PathBuf| entries(recipe, dir, name);
            paths = paths.iter().flat_map(named).collect();
        }
        // Of a stack no link is followed: an absolute one would lead to this machine's files.
        let is_file = |path: &PathBuf| {
            let meta = match root.parent() {
                None => fs::metadata(path),
                Some(_) => fs::symlink_metadata(path),
            };
            meta.is_ok_and(|meta| meta.is_file())
        };
        found.extend(paths.into_iter().filter(is_file));
    }
    let mut seen = Vec::new();
    found.retain(|path| {
        let new = !seen.contains(path);
        seen.push(path.clone());
        new
    });
    found
}

/// The entries of a directory that a name with `*` or `{line}` stands for.
fn entries(recipe: &Recipe, dir: &Path, name: &str) -> Vec<PathBuf> {
    if !name.contains('*') && !name.contains("{line}") {
        return vec![dir.join(name)];
    }
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names = names
        .filter(|found| stands_for(name, found, recipe.line_numbers))
        .collect::<Vec<_>>();
    names.sort();
    names.into_iter().map(|name| dir.join(name)).collect()
}

fn stands_for(pattern: &str, name: &str, line_numbers: usize) -> bool {
    let (mark, numbers) = if pattern.contains("{line}") {
        ("{line}", true)
    } else {
        ("*", false)
    };
    let Some((before, after)) = pattern.split_once(mark) else {
        return pattern == name;
    };
    let between = name.strip_prefix(before);
    between
        .and_then(|rest| rest.strip_suffix(after))
        .is_some_and(|between| {
            let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            let is_line =
                || between.split('.').count() == line_numbers && between.split('.').all(number);
            !between.is_empty() && (!numbers || is_line())
        })
}

/// Asks a program for its version; none where it does not run or prints none.
pub fn version(recipe: &Recipe, program: &Path) -> Option<String> {
    let mut child = Command::new(program)
        .args(&recipe.host.version)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let since = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if since.elapsed() < PATIENCE => std::thread::sleep(TICK),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    let mut text = String::new();
    let out = child.stdout.take()?;
    out.take(ANSWER_BYTES).read_to_string(&mut text).ok()?;
    status.success().then(|| read_version(&text)).flatten()
}

/// The version that a program has printed.
pub fn read_version(text: &str) -> Option<String> {
    let text = text.trim().trim_start_matches('v');
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_what_is_there() {
        for (pattern, name, holds) in [
            ("lang{line}", "lang3.13", true),
            ("lang{line}", "lang3.13-config", false),
            ("lang{line}", "lang", false),
            ("lang{line}", "lang3", false),
            ("*", "3.13.0", true),
            ("lang", "lang", true),
            ("lang", "lang3", false),
        ] {
            assert_eq!(stands_for(pattern, name, 2), holds, "{pattern} {name}");
        }
    }
}
