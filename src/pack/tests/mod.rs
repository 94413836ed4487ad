//! Trees on the disk for the tests of this stage, and what is read back of them.

mod delta;
mod golden;
mod hostile;
mod limits;
mod reuse;
mod round_trip;
mod unprivileged;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Packed, manifest_of, pack, verify};

/// What is at a path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    File { mode: u32, content: Vec<u8> },
    Directory { mode: u32 },
    Symlink { target: Vec<u8> },
    HardLink { to: Vec<u8> },
}

/// Nodes by their paths; parents need not be named.
pub type Tree = BTreeMap<Vec<u8>, Node>;

pub fn file(path: impl AsRef<[u8]>, mode: u32, content: impl AsRef<[u8]>) -> (Vec<u8>, Node) {
    let content = content.as_ref().to_vec();
    (path.as_ref().to_vec(), Node::File { mode, content })
}

pub fn directory(path: impl AsRef<[u8]>, mode: u32) -> (Vec<u8>, Node) {
    (path.as_ref().to_vec(), Node::Directory { mode })
}

pub fn link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> (Vec<u8>, Node) {
    let target = target.as_ref().to_vec();
    (path.as_ref().to_vec(), Node::Symlink { target })
}

pub fn hard_link(path: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> (Vec<u8>, Node) {
    let to = to.as_ref().to_vec();
    (path.as_ref().to_vec(), Node::HardLink { to })
}

/// Makes nodes below `dir` in the order that they come in, hard links and modes at the end.
pub fn make<'a>(dir: &Path, nodes: impl IntoIterator<Item = (&'a Vec<u8>, &'a Node)>) {
    let mut hard_links = Vec::new();
    let mut modes = Vec::new();
    for (path, node) in nodes {
        let full = at(dir, path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        match node {
            Node::File { mode, content } => {
                fs::write(&full, content).unwrap();
                modes.push((full, *mode));
            }
            Node::Directory { mode } => {
                fs::create_dir_all(&full).unwrap();
                modes.push((full, *mode));
            }
            Node::Symlink { target } => symlink(OsStr::from_bytes(target), full).unwrap(),
            Node::HardLink { to } => hard_links.push((at(dir, to), full)),
        }
    }
    for (to, full) in hard_links {
        fs::hard_link(to, full).unwrap();
    }
    // Children first: a plain user reaches nothing in a directory that is closed already.
    modes.sort();
    for (path, mode) in modes.into_iter().rev() {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
}

/// Reads back all that is below `dir`, modes as they are.
pub fn read_back(dir: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.permissions().mode() & 0o7777;
            let node = if metadata.is_symlink() {
                let target = fs::read_link(&path).unwrap().into_os_string().into_vec();
                Node::Symlink { target }
            } else if metadata.is_dir() {
                todo.push(path.clone());
                Node::Directory { mode }
            } else {
                let content = fs::read(&path).unwrap();
                Node::File { mode, content }
            };
            let relative = path.strip_prefix(dir).unwrap().as_os_str().as_bytes();
            tree.insert(relative.to_vec(), node);
        }
    }
    tree
}

/// The tree that a slug holds: parents named, modes reduced, hard links apart.
pub fn normalised(tree: &Tree) -> Tree {
    let mut normal = Tree::new();
    for (path, node) in tree {
        for (slash, _) in path.iter().enumerate().filter(|(_, c)| **c == b'/') {
            let parent = Node::Directory { mode: 0o755 };
            normal.insert(path[..slash].to_vec(), parent);
        }
        let node = match node {
            Node::HardLink { to } => &tree[to],
            node => node,
        };
        let node = match node.clone() {
            Node::File { mode, content } => Node::File {
                mode: if mode & 0o111 == 0 { 0o644 } else { 0o755 },
                content,
            },
            Node::Directory { .. } => Node::Directory { mode: 0o755 },
            node => node,
        };
        normal.insert(path.clone(), node);
    }
    normal
}

/// Packs a tree, made in the order of its paths, and checks the slug against its manifest.
pub fn packed(tree: &Tree) -> Packed<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), tree);
    let packed = pack(dir.path(), Vec::new()).unwrap();
    verify(&packed.out[..], &packed.manifest).unwrap();
    assert_eq!(manifest_of(&packed.out[..]).unwrap(), packed.manifest);
    packed
}

/// Runs a command to its end, feeds it `input`, and gives back what it printed.
pub fn run(command: &mut Command, input: &[u8], install: &str) -> Vec<u8> {
    use std::process::Stdio;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; install it: {install}"));
    // GNU tar may stop reading at the end of the archive, before the end of its input.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    output.stdout
}

/// Checks that a run of tests found all that it was to run.
pub fn assert_ran(tests: usize, printed: &[u8]) {
    let printed = String::from_utf8_lossy(printed);
    assert!(printed.contains(&format!(" {tests} passed;")), "{printed}");
}

pub fn at(dir: &Path, path: &[u8]) -> PathBuf {
    dir.join(OsStr::from_bytes(path))
}

/// Bytes that do not compress away and are the same everywhere.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 & 0x3f
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// Bytes that do not compress at all and are the same everywhere.
pub fn random(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}
