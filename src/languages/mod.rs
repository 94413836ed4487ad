//! What buildpacks ask of the binary: version requests, package managers, lockfiles, and what a
//! package manager's own words mean. A directory a language; the command line alone imports it.
//!
//! In: an app's directory, or a log. Out: [`Facts`] that a shell can read, and [`Notice`]s for the
//! person who pushed. Everything that is read is a stranger's: any bytes give facts or a notice.

pub mod node;
pub mod python;
mod report;
mod text;
mod versions;

pub use report::{name_recorded, report};
pub use text::{Facts, Notice};
pub use versions::{Candidate, Dotted, Pick};

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

/// Largest file of an app that is read as a whole, in bytes.
const FILE_LIMIT_BYTES: u64 = 64 << 20;

/// What a language's reading gives: what was found, and what the pusher should know of it.
pub type Outcome<T> = Result<T, Notice>;

/// A small file of the app; none where there is no such file. Links are not followed.
fn read(dir: &Path, name: &str) -> Outcome<Option<Vec<u8>>> {
    let path = dir.join(name);
    let meta = match fs::symlink_metadata(&path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(name, &error.to_string())),
    };
    // A link may lead to another file of the app, never to one that blocks the reader.
    let meta = if meta.is_symlink() {
        match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(error) => return Err(unreadable(name, &error.to_string())),
        }
    } else {
        meta
    };
    if !meta.is_file() {
        return Err(unreadable(name, "it is no file"));
    }
    let mut bytes = Vec::new();
    let read = fs::File::open(&path)
        .and_then(|file| file.take(FILE_LIMIT_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(unreadable(name, &error.to_string())),
        Ok(_) if bytes.len() as u64 > FILE_LIMIT_BYTES => Err(unreadable(
            name,
            &format!("it has more than {FILE_LIMIT_BYTES} bytes"),
        )),
        Ok(_) => Ok(Some(bytes)),
    }
}

/// The same as UTF-8 without a byte order mark.
fn read_text(dir: &Path, name: &str) -> Outcome<Option<String>> {
    let Some(bytes) = read(dir, name)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|_| unreadable(name, "it is not UTF-8"))?;
    Ok(Some(text.trim_start_matches('\u{feff}').to_owned()))
}

fn unreadable(name: &str, reason: &str) -> Notice {
    Notice::new(format!("Error: Unable to read {name}."))
        .gap()
        .line(format!("Found: {reason}."))
        .gap()
        .line(format!("Commit {name} as a plain text file in UTF-8."))
}

/// The names at the app's root, sorted; directories end in a slash.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names = entries
        .map(|entry| {
            let slash = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let name = entry.file_name().to_string_lossy().into_owned();
            if slash { name + "/" } else { name }
        })
        .collect::<Vec<_>>();
    names.sort();
    names
}

/// Most names that a notice lists.
const LISTED: usize = 20;

/// Names with commas between them, the first few of many.
fn list<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names = names.into_iter().collect::<Vec<_>>();
    let first = names.iter().take(LISTED).map(AsRef::as_ref);
    let text = first.collect::<Vec<_>>().join(", ");
    match names.len() {
        0..=LISTED => text,
        count => format!("{text} and {} more", count - LISTED),
    }
}
