//! The shared libraries that a machine's own programs need besides the system's most basic ones.
//!
//! A runtime that was copied from a machine brings them along, so that it runs on a stack that has
//! none of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What every root file system with a C library and a package manager has: glibc's own, and the
/// compilers' run-time libraries.
const BASIC: [&str; 17] = [
    "ld-linux",
    "libBrokenLocale.so",
    "libanl.so",
    "libc.so",
    "libdl.so",
    "libgcc_s.so",
    "libm.so",
    "libmvec.so",
    "libnsl.so",
    "libnss_",
    "libpthread.so",
    "libresolv.so",
    "librt.so",
    "libstdc++.so",
    "libthread_db.so",
    "libutil.so",
    "linux-vdso",
];

/// The libraries that the programs and libraries of a tree need and that the tree has not, by name.
///
/// # Errors
/// `ldd` cannot be run.
pub fn needed(tree: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut binaries = Vec::new();
    collect(tree, &mut binaries)?;
    let mut needed = BTreeMap::new();
    // A command line has its limits.
    for some in binaries.chunks(200) {
        let output = Command::new("ldd")
            .args(some)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some((name, rest)) = line.trim().split_once(" => ") else {
                continue;
            };
            let path = Path::new(rest.split(" (").next().unwrap_or_default().trim());
            let is_basic = BASIC.iter().any(|basic| name.starts_with(basic));
            if !is_basic && path.is_absolute() && !path.starts_with(tree) {
                needed.insert(name.to_owned(), path.to_owned());
            }
        }
    }
    Ok(needed)
}

/// The files below a directory that begin as ELF does.
fn collect(dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            collect(&path, found)?;
        } else if kind.is_file() {
            let mut magic = [0; 4];
            let mut file = File::open(&path)?;
            if file.read(&mut magic)? == magic.len() && &magic == b"\x7fELF" {
                found.push(path);
            }
        }
    }
    Ok(())
}
