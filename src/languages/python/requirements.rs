//! Reads requirements files as pip does: joined lines, comments, options, includes.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr as _;

use pep440_rs::{Operator, VersionSpecifiers};

use crate::languages::{Outcome, list, read};

/// Most files that one requirements file may include, itself counted.
const FILES_LIMIT: usize = 200;

/// One line's meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// `-r FILE`.
    Include(String),
    /// `-c FILE`.
    Constrain(String),
    /// `name[extra] ==1.0 ; marker`, without the marker.
    Package { name: String, rest: String },
    /// `name @ URL` or a URL alone.
    Url(String),
    /// A URL after `-e`.
    EditableUrl(String),
    /// A path, also one after `-e` or `--find-links`.
    Local(String),
    /// An option for an index and the like.
    Option,
}

/// The lines of a requirements file.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let lines = joined.lines().map(without_comment);
    lines.filter(|line| !line.is_empty()).map(line).collect()
}

fn without_comment(line: &str) -> &str {
    let mut end = line.len();
    for (at, _) in line.match_indices('#') {
        if at == 0 || line[..at].ends_with([' ', '\t']) {
            end = at;
            break;
        }
    }
    line[..end].trim()
}

fn option<'a>(line: &'a str, short: &str, long: &str) -> Option<&'a str> {
    let rest = if let Some(rest) = line.strip_prefix(long) {
        rest.starts_with(['=', ' ', '\t']).then_some(rest)
    } else if !short.is_empty() && !line.starts_with("--") {
        line.strip_prefix(short)
    } else {
        None
    }?;
    Some(
        rest.trim_start_matches(['=', ' ', '\t'])
            .trim_matches(['"', '\'']),
    )
}

fn line(text: &str) -> Line {
    if let Some(file) = option(text, "-r", "--requirement") {
        return Line::Include(file.to_owned());
    }
    if let Some(file) = option(text, "-c", "--constraint") {
        return Line::Constrain(file.to_owned());
    }
    if let Some(source) = option(text, "-e", "--editable") {
        return match place(source) {
            Line::Url(url) => Line::EditableUrl(url),
            other => other,
        };
    }
    if let Some(source) = option(text, "-f", "--find-links") {
        return place(source);
    }
    if text.starts_with('-') {
        return Line::Option;
    }
    // Options of the requirement itself, such as --hash.
    let text = text.split(" --").next().unwrap_or_default().trim();
    if let Some((_, url)) = text.split_once('@').filter(|(name, _)| is_name(name)) {
        return place(url.split(" ;").next().unwrap_or_default().trim());
    }
    let bare = text.split(';').next().unwrap_or_default().trim();
    if bare.contains("://") || bare.starts_with('.') || bare.contains('/') || is_archive(bare) {
        return place(bare);
    }
    let end = bare.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)));
    let (name, rest) = bare.split_at(end.unwrap_or(bare.len()));
    let rest = match rest.trim_start().strip_prefix('[') {
        Some(extras) => extras.split_once(']').map_or("", |(_, rest)| rest),
        None => rest,
    };
    let rest = rest.trim().trim_matches(['(', ')']);
    Line::Package {
        name: normal(name),
        rest: rest.trim().to_owned(),
    }
}

fn place(text: &str) -> Line {
    if text.contains("://") && !text.starts_with("file:") && !text.contains("+file:") {
        Line::Url(text.to_owned())
    } else {
        Line::Local(text.to_owned())
    }
}

fn is_name(text: &str) -> bool {
    let name = text.split('[').next().unwrap_or_default().trim();
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_archive(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    [
        ".whl", ".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz",
    ]
    .iter()
    .any(|end| lower.ends_with(end))
}

/// A name as PyPI compares it.
pub(super) fn normal(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for c in name.chars() {
        if "._-".contains(c) {
            if !normal.ends_with('-') {
                normal.push('-');
            }
        } else {
            normal.push(c.to_ascii_lowercase());
        }
    }
    normal
}

/// A requirements file with all that it includes.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// The bytes of each file, in the order in which pip reads them.
    pub contents: Vec<Vec<u8>>,
    pub packages: Vec<(String, String)>,
    /// Names that constraints pin.
    pub constrained: BTreeSet<String>,
    /// Why what is installed depends on more than these files.
    pub local: Option<String>,
    pub has_editable_url: bool,
}

/// Reads `requirements.txt` and what it includes. A file that is missing is pip's to complain of.
pub(super) fn read_all(dir: &Path) -> Outcome<Read> {
    let mut found = Read::default();
    let mut seen = BTreeSet::new();
    add(dir, "requirements.txt", false, &mut seen, &mut found)?;
    Ok(found)
}

fn add(
    dir: &Path,
    name: &str,
    constraints: bool,
    seen: &mut BTreeSet<String>,
    found: &mut Read,
) -> Outcome<()> {
    if seen.len() >= FILES_LIMIT || !seen.insert(name.to_owned()) {
        return Ok(());
    }
    let Some(bytes) = read(dir, name)? else {
        found.local = Some(format!("{name} cannot be read"));
        return Ok(());
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    found.contents.push(bytes);
    for line in lines(&text) {
        match line {
            Line::Include(file) | Line::Constrain(file) if file.contains("://") => {
                found.local = Some(format!("{name} includes a file by URL"));
            }
            Line::Include(file) => match beside(name, &file) {
                Some(path) => add(dir, &path, constraints, seen, found)?,
                None => found.local = Some(format!("{name} includes a file outside of the app")),
            },
            Line::Constrain(file) => match beside(name, &file) {
                Some(path) => add(dir, &path, true, seen, found)?,
                None => found.local = Some(format!("{name} includes a file outside of the app")),
            },
            Line::Package { name, rest } if constraints => {
                if is_pinned(&rest) {
                    found.constrained.insert(name);
                }
            }
            Line::Package { name, rest } => found.packages.push((name, rest)),
            Line::Local(path) => {
                found.local = Some(format!("{name} names local files: {path}"));
            }
            Line::EditableUrl(_) => found.has_editable_url = true,
            Line::Url(_) | Line::Option => {}
        }
    }
    Ok(())
}

/// The path of a file that another includes, within the app.
fn beside(of: &str, name: &str) -> Option<String> {
    let mut path = PathBuf::from(of);
    path.pop();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    path.to_str().map(str::to_owned)
}

fn is_pinned(specifiers: &str) -> bool {
    VersionSpecifiers::from_str(specifiers).is_ok_and(|all| {
        all.iter()
            .any(|one| matches!(one.operator(), Operator::Equal | Operator::ExactEqual))
    })
}

/// Whether a requirement has hashes, so that all must have some.
pub(super) fn has_hashes(dir: &Path) -> Outcome<bool> {
    let contents = read_all(dir)?.contents;
    let names_some = |text: &Vec<u8>| text.windows(7).any(|part| part == b"--hash=");
    Ok(contents.iter().any(names_some))
}

/// Whether a package is to be editable that comes from a repository.
pub(super) fn has_editable_url(dir: &Path) -> Outcome<bool> {
    Ok(read_all(dir)?.has_editable_url)
}

/// One line on the requirements that take the newest version there is.
pub(super) fn unpinned(dir: &Path) -> Outcome<Option<String>> {
    let read = read_all(dir)?;
    let mut names = read
        .packages
        .iter()
        .filter(|(name, rest)| !is_pinned(rest) && !read.constrained.contains(name))
        .map(|(name, _)| name.as_str())
        .collect::<Vec<_>>();
    names.dedup();
    Ok(match names[..] {
        [] => None,
        [one] => Some(format!(
            "{one} is not pinned: each build with changed requirements takes the newest that fits."
        )),
        _ => Some(format!(
            "Not pinned: {}. Each build with changed requirements takes the newest that fit.",
            list(names.iter().take(5))
                + &match names.len() {
                    0..=5 => String::new(),
                    more => format!(" and {} more", more - 5),
                }
        )),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn package(name: &str, rest: &str) -> Line {
        Line::Package {
            name: name.into(),
            rest: rest.into(),
        }
    }

    #[test]
    fn lines_are_pips() {
        let text = "# comment\nFlask==3.1.3 # why\nDjango [bcrypt] >=4 ; python_version>'3'\n\
            a.b_c==1 \\\n  --hash=sha256:00\n-r more.txt\n--constraint=limits.txt\n-e ./lib\n-e git+https://h/x.git@v1#egg=x\n\
            x @ https://h/x.whl\ny @ file:///y\n./z\nw.whl\n--index-url https://h\n-i https://h\nurl#1\n";
        assert_eq!(
            lines(text),
            [
                package("flask", "==3.1.3"),
                package("django", ">=4"),
                package("a-b-c", "==1"),
                Line::Include("more.txt".into()),
                Line::Constrain("limits.txt".into()),
                Line::Local("./lib".into()),
                Line::EditableUrl("git+https://h/x.git@v1#egg=x".into()),
                Line::Url("https://h/x.whl".into()),
                Line::Local("file:///y".into()),
                Line::Local("./z".into()),
                Line::Local("w.whl".into()),
                Line::Option,
                Line::Option,
                package("url", "#1"),
            ]
        );
    }

    fn app(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn includes_are_read_once_and_stay_inside() {
        let dir = app(&[
            ("requirements.txt", "-r reqs/base.txt\nflask\n"),
            (
                "reqs/base.txt",
                "-r ../requirements.txt\n-c limits.txt\ndjango==5\n",
            ),
            ("reqs/limits.txt", "flask==3\n"),
        ]);
        let read = read_all(dir.path()).unwrap();
        assert_eq!(read.contents.len(), 3);
        assert_eq!(read.local, None);
        assert_eq!(unpinned(dir.path()).unwrap(), None);
        for outside in [
            "-r ../../x",
            "-r /etc/passwd",
            "-r https://h/x",
            "-e .",
            "-r gone.txt",
        ] {
            let dir = app(&[("requirements.txt", outside)]);
            assert!(read_all(dir.path()).unwrap().local.is_some(), "{outside}");
        }
    }

    #[test]
    fn what_is_not_pinned_is_named() {
        let text = "flask\nrequests>=2\ndjango==5.0\nx===1\ngunicorn==23.*\n";
        let dir = app(&[("requirements.txt", text)]);
        let line = unpinned(dir.path()).unwrap().unwrap();
        assert!(
            line.starts_with("Not pinned: flask, requests, gunicorn."),
            "{line}"
        );
    }

    proptest! {
        #[test]
        fn any_text_has_lines(text in "[-a-z#@=:/. \\\\\\n\\[\\];]{0,60}") {
            lines(&text);
        }
    }
}
