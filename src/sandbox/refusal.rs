//! Why a machine refuses namespaces, found out from what the kernel shows.

use std::fs;
use std::path::Path;

/// The likeliest cause of a refusal; the failure's remedy depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// AppArmor lets only profiled programs make user namespaces (Ubuntu 23.10 and later).
    AppArmor,
    /// `kernel.unprivileged_userns_clone` is 0 (Debian, Arch hardened kernels).
    UnprivilegedCloneOff,
    /// `user.max_user_namespaces` is 0, or all of them are used.
    NoNamespacesLeft,
    /// Inside a container whose own rules forbid it.
    Container,
    Unknown,
}

/// Looks for the cause of a refusal.
pub fn cause_of_refusal() -> Cause {
    cause_in(Path::new("/"), nix::unistd::geteuid().is_root())
}

fn cause_in(root: &Path, privileged: bool) -> Cause {
    let value = |path: &str| {
        let text = fs::read_to_string(root.join(path)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    if value("proc/sys/user/max_user_namespaces") == Some(0) {
        Cause::NoNamespacesLeft
    } else if !privileged
        && value("proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1)
    {
        Cause::AppArmor
    } else if !privileged && value("proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        Cause::UnprivilegedCloneOff
    } else if root.join(".dockerenv").exists() || root.join("run/.containerenv").exists() {
        Cause::Container
    } else {
        Cause::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn the_kernel_s_switches_are_read() {
        let cases = [
            (
                vec![(
                    "proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                    "1\n",
                )],
                false,
                Cause::AppArmor,
            ),
            (
                vec![(
                    "proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                    "1\n",
                )],
                true,
                Cause::Unknown,
            ),
            (
                vec![("proc/sys/kernel/unprivileged_userns_clone", "0\n")],
                false,
                Cause::UnprivilegedCloneOff,
            ),
            (
                vec![("proc/sys/user/max_user_namespaces", "0\n")],
                true,
                Cause::NoNamespacesLeft,
            ),
            (vec![(".dockerenv", "")], true, Cause::Container),
            (
                vec![("proc/sys/user/max_user_namespaces", "95000\n")],
                false,
                Cause::Unknown,
            ),
        ];
        for (files, privileged, cause) in cases {
            assert_eq!(
                cause_in(machine(&files).path(), privileged),
                cause,
                "{files:?}"
            );
        }
    }
}
