//! Deleting refs from `packed-refs`: the file is written anew without them.
//!
//! gix does it ref by ref and takes several times as long as git where there are many.
//!
//! Source: gitrepository-layout(5) and git-pack-refs(1); the lock is the one that git takes.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use gix::bstr::ByteSlice as _;

use super::super::{Error, io_error, sync_dir};

/// Removes these refs from `packed-refs`, durably.
///
/// # Errors
/// The machine's fault, or a git is at work on the file.
pub(super) fn remove(repo_dir: &Path, names: &[&str]) -> Result<(), Error> {
    let path = repo_dir.join("packed-refs");
    let content = match fs::read(&path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(io_error("reading", &path)(source)),
    };
    let (kept, found) = without(&content, names);
    if found.is_empty() {
        return Ok(());
    }
    let lock = repo_dir.join("packed-refs.lock");
    let mut file = File::create_new(&lock).map_err(io_error("locking", &lock))?;
    let written = file
        .write_all(&kept)
        .and_then(|()| file.sync_all())
        .map_err(io_error("writing", &lock))
        .and_then(|()| fs::rename(&lock, &path).map_err(io_error("writing", &path)));
    if written.is_err() {
        // Nobody else could go on.
        let _ = fs::remove_file(&lock);
    }
    written?;
    sync_dir(repo_dir)
}

/// The content without some refs and the lines that tell what these peel to.
fn without<'a>(content: &[u8], names: &[&'a str]) -> (Vec<u8>, Vec<&'a str>) {
    let wanted: HashSet<&str> = names.iter().copied().collect();
    let mut kept = Vec::with_capacity(content.len());
    let mut found = Vec::new();
    let mut dropping = false;
    for line in content.lines_with_terminator() {
        if !line.starts_with(b"^") {
            let name = line.split_once_str(" ").map(|(_, name)| name.trim_end());
            let name = name.and_then(|name| std::str::from_utf8(name).ok());
            let name = name.and_then(|name| wanted.get(name));
            dropping = !line.starts_with(b"#") && name.is_some();
            found.extend(name.filter(|_| dropping));
        }
        if !dropping {
            kept.extend_from_slice(line);
        }
    }
    (kept, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_goes_with_what_it_peels_to() {
        let content = b"# pack-refs with: peeled fully-peeled sorted \n1 refs/heads/a\n2 refs/tags/a\n^3\n4 refs/tags/ab\n";
        let (kept, found) = without(content, &["refs/tags/a", "refs/tags/x"]);
        assert_eq!(found, ["refs/tags/a"]);
        let expected =
            b"# pack-refs with: peeled fully-peeled sorted \n1 refs/heads/a\n4 refs/tags/ab\n";
        assert_eq!(kept.as_bstr(), expected.as_bstr());
        let (kept, found) = without(content, &["refs/tags"]);
        assert!(found.is_empty() && kept == content);
    }
}
