//! What is taken out of an app's files before a buildpack sees them: what `.slugignore` names, and
//! what desktops leave behind.
//!
//! `.slugignore` has a pattern a line. `#` starts a comment line; there is no negation. A pattern
//! with a `/` in it is matched from the root, any other one at each depth; a `/` at its end means
//! directories alone. `*` and `?` match no `/` and no `.` at the start of a name, `**` matches any
//! number of directories, `[…]` one of some characters, and `\` takes the next one as it is. What a
//! pattern matches goes with all that is below it. Symlinks are never followed, so nothing outside of
//! the tree is reached; the file itself stays.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::libc;

use super::{Error, io_error};

/// The file that names what is left out.
const FILE: &str = ".slugignore";

/// Most bytes of that file.
const LIMIT_BYTES: u64 = 1 << 20;

/// How much was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Paths that `.slugignore` matched; what is below one of them is not counted again.
    pub ignored: usize,
    /// Files called `.DS_Store`.
    pub desktop_files: usize,
}

/// Removes what does not belong into a build from the tree below `dir`.
///
/// # Errors
/// [`Error::Ignore`], the app's fault: `.slugignore` is no file or too long. Others: the file system
/// said no.
pub fn prune(dir: &Path) -> Result<Pruned, Error> {
    let patterns = read(&dir.join(FILE))?;
    let mut pruned = Pruned::default();
    let mut directories = vec![Vec::new()];
    while let Some(directory) = directories.pop() {
        let full = dir.join(OsStr::from_bytes(&directory));
        let error = |source| io_error("listing", &full)(source);
        for entry in fs::read_dir(&full).map_err(error)? {
            let entry = entry.map_err(error)?;
            let kind = entry.file_type().map_err(error)?;
            let name = entry.file_name();
            let path = match &directory[..] {
                b"" => name.as_bytes().to_vec(),
                directory => [directory, b"/", name.as_bytes()].concat(),
            };
            let full = entry.path();
            let desktop = name == ".DS_Store" && !kind.is_dir();
            let ignored = path != FILE.as_bytes()
                && patterns
                    .iter()
                    .any(|pattern| pattern.matches(&path, kind.is_dir()));
            if desktop || ignored {
                if kind.is_dir() {
                    fs::remove_dir_all(&full).map_err(io_error("removing", &full))?;
                } else {
                    fs::remove_file(&full).map_err(io_error("removing", &full))?;
                }
                pruned.desktop_files += usize::from(desktop);
                pruned.ignored += usize::from(ignored && !desktop);
            } else if kind.is_dir() {
                directories.push(path);
            }
        }
    }
    Ok(pruned)
}

fn read(path: &Path) -> Result<Vec<Pattern>, Error> {
    let open = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        // What `O_NOFOLLOW` gives for a link.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(Error::Ignore {
                what: "a symbolic link",
            });
        }
        Err(error) => return Err(io_error("opening", path)(error)),
    };
    if !file
        .metadata()
        .map_err(io_error("reading", path))?
        .is_file()
    {
        return Err(Error::Ignore { what: "no file" });
    }
    let mut text = Vec::new();
    file.take(LIMIT_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(io_error("reading", path))?;
    if text.len() as u64 > LIMIT_BYTES {
        return Err(Error::Ignore {
            what: "longer than 1 MiB",
        });
    }
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter_map(Pattern::parse)
        .collect())
}

/// A line of `.slugignore`.
#[derive(Debug, PartialEq, Eq)]
struct Pattern {
    /// The first is `**` where the pattern is not bound to the root.
    components: Vec<Vec<u8>>,
    directories_alone: bool,
}

impl Pattern {
    fn parse(line: &[u8]) -> Option<Self> {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            return None;
        }
        let components = line
            .split(|byte| *byte == b'/')
            .filter(|component| !matches!(*component, b"" | b"."))
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>();
        let anchored = line.starts_with(b"/") || line.starts_with(b"./") || components.len() > 1;
        let anywhere = (!anchored).then(|| b"**".to_vec());
        (!components.is_empty()).then(|| Self {
            directories_alone: line.ends_with(b"/"),
            components: anywhere.into_iter().chain(components).collect(),
        })
    }

    fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        let names = path.split(|byte| *byte == b'/').collect::<Vec<_>>();
        (is_directory || !self.directories_alone) && all_match(&self.components, &names)
    }
}

/// Whether the components of a pattern match the names of a path.
fn all_match(components: &[Vec<u8>], names: &[&[u8]]) -> bool {
    // Which names may come after the components so far: no steps back, whatever the pattern.
    let mut ends = vec![false; names.len() + 1];
    ends[0] = true;
    let (first, rest) = match components.split_first() {
        Some((first, rest)) if first == b"**" => (true, rest),
        _ => (false, components),
    };
    if first {
        // A pattern that is not bound to the root is looked for in directories of any name.
        ends.fill(true);
        ends[names.len()] = rest.is_empty();
    }
    for component in rest {
        let mut next = vec![false; names.len() + 1];
        if component == b"**" {
            let mut open = false;
            for at in 0..=names.len() {
                open |= ends[at];
                next[at] = open;
                // It goes through no hidden directory.
                open &= names.get(at).is_some_and(|name| !name.starts_with(b"."));
            }
        } else {
            for at in 0..names.len() {
                next[at + 1] = ends[at] && name_matches(component, names[at]);
            }
        }
        ends = next;
    }
    ends[names.len()]
}

fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    let hidden = name.starts_with(b".");
    if hidden && matches!(pattern.first(), Some(b'*' | b'?' | b'[')) {
        return false;
    }
    // Where to go on after the last `*`, and with how much of the name behind it.
    let mut back: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            back = Some((p + 1, n));
            p += 1;
        } else if let Some(after) = one_matches(&pattern[p..], name[n]) {
            p += after;
            n += 1;
        } else if let Some((star, taken)) = back {
            back = Some((star, taken + 1));
            (p, n) = (star, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// How many bytes of the pattern match one byte of the name, if they do.
fn one_matches(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', set @ ..] => {
            // A `]` right at the start is one of the set.
            let end = set.iter().skip(1).position(|byte| *byte == b']');
            let Some(end) = end.map(|end| end + 1) else {
                return (byte == b'[').then_some(1);
            };
            let (negated, chars) = match &set[..end] {
                [b'!' | b'^', chars @ ..] if !chars.is_empty() => (true, chars),
                chars => (false, chars),
            };
            (in_set(chars, byte) != negated).then_some(end + 2)
        }
        [same, ..] => (*same == byte).then_some(1),
    }
}

fn in_set(mut set: &[u8], byte: u8) -> bool {
    loop {
        set = match set {
            [] => return false,
            [from, b'-', to, ..] if (*from..=*to).contains(&byte) => return true,
            [_, b'-', _, rest @ ..] => rest,
            [one, ..] if *one == byte => return true,
            [_, rest @ ..] => rest,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn matches(pattern: &str, path: &str, is_directory: bool) -> bool {
        Pattern::parse(pattern.as_bytes())
            .is_some_and(|pattern| pattern.matches(path.as_bytes(), is_directory))
    }

    #[test]
    fn patterns() {
        for (pattern, path, expected) in [
            ("*.psd", "a.psd", true),
            ("*.psd", "deep/er/a.psd", true),
            ("*.psd", ".hidden/a.psd", true),
            ("*.psd", "a.psd.txt", false),
            ("*.psd", ".psd", false),
            (".psd", ".psd", true),
            ("/*.psd", "deep/a.psd", false),
            ("/spec", "spec", true),
            ("spec", "lib/spec", true),
            ("lib/spec", "lib/spec", true),
            ("lib/spec", "other/lib/spec", false),
            ("./lib", "other/lib", false),
            ("lib/*", "lib/x", true),
            ("lib/*", "lib/.x", false),
            ("lib/*", "lib", false),
            ("lib/**/x", "lib/x", true),
            ("lib/**/x", "lib/a/b/x", true),
            ("lib/**/x", "lib/.a/x", false),
            ("**/x", "a/x", true),
            ("lib/**", "lib/a", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("[]]x", "]x", true),
            ("[x", "[x", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("a b", "a b", true),
            ("!keep", "keep", false),
            ("# spec", "spec", false),
            ("  spec\r", "spec", true),
            ("../x", "x", false),
            ("/", "x", false),
            ("*a*b*c*", "xaxbxcx", true),
            ("*a*b*c*", "xaxcxbx", false),
        ] {
            assert_eq!(matches(pattern, path, false), expected, "{pattern} {path}");
        }
        assert!(matches("log/", "log", true) && !matches("log/", "log", false));
        // Patterns that would take others forever.
        let pattern = ["**/"; 200].concat() + &"*a".repeat(200) + "b";
        assert!(!matches(&pattern, &"a/".repeat(500), false));
        assert!(!matches(&"*a".repeat(500), &"a".repeat(250), false));
    }

    #[test]
    fn what_matches_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "").unwrap();
        let app = dir.path();
        for path in [
            "spec/a_spec.rb",
            "spec/deep/b_spec.rb",
            "lib/spec/c.rb",
            "lib/d.psd",
            "lib/.DS_Store",
            ".DS_Store",
            "kept",
        ] {
            let path = app.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        symlink(outside.path(), app.join("link")).unwrap();
        symlink(outside.path(), app.join("other")).unwrap();
        assert_eq!(
            prune(app).unwrap(),
            Pruned {
                ignored: 0,
                desktop_files: 2
            }
        );
        fs::write(
            app.join(FILE),
            "# tests\nspec\n*.psd\n\nlink\nother/kept\n../*\n.slugignore\n",
        )
        .unwrap();
        assert_eq!(
            prune(app).unwrap(),
            Pruned {
                ignored: 4,
                desktop_files: 0
            }
        );
        let mut left = fs::read_dir(app)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>();
        left.sort();
        assert_eq!(left, [FILE, "kept", "lib", "other"]);
        assert!(outside.path().join("kept").exists());
    }

    #[test]
    fn what_is_no_file_is_said() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/etc/passwd", dir.path().join(FILE)).unwrap();
        let error = prune(dir.path()).unwrap_err();
        assert!(matches!(
            error,
            Error::Ignore {
                what: "a symbolic link"
            }
        ));
        fs::remove_file(dir.path().join(FILE)).unwrap();
        fs::create_dir(dir.path().join(FILE)).unwrap();
        assert!(matches!(
            prune(dir.path()),
            Err(Error::Ignore { what: "no file" })
        ));
    }
}
