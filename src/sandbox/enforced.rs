//! What is enforced on this machine and by what, as a table for people.

use super::cgroup::Tree;
use super::network::direct;
use super::{Level, Network, Sandbox};

impl Sandbox {
    /// What builds are bound by here: the subject, and what binds it or that nothing does.
    pub fn enforced(&self) -> Vec<(&'static str, String)> {
        let policy = self.policy();
        let level = self.level().unwrap_or(Level::Off);
        let root = level == Level::Root;
        let tree = if root { self.tree() } else { None };
        let groups = match tree {
            Some(Tree::V2(_)) => Some("control group (version 2)"),
            Some(Tree::V1(_)) => Some("control group (version 1)"),
            None => None,
        };
        let (limits, in_all) = (&policy.limits, "of all processes together");
        let memory = groups.map_or_else(
            || format!("ten looks a second {in_all}; twice as much for one process by RLIMIT_DATA"),
            |group| format!("{group}, {in_all}"),
        );
        let cpu = match (limits.cpu_percent, groups) {
            (None, _) => "all cores (build_cpu_percent is not set)".to_owned(),
            (Some(percent), Some(group)) => format!("{percent} % of a core, by {group}"),
            (Some(percent), None) => format!(
                "{} cores, by affinity; a finer share takes root and control groups",
                percent.div_ceil(100)
            ),
        };
        let network = match policy.network {
            Network::Off => "none, in a network namespace".to_owned(),
            Network::Proxy => {
                "a network namespace whose only way out is our proxy; no loopback, private, link-local or metadata address".to_owned()
            }
            Network::Direct => {
                let without = if root { direct::missing() } else { Some("it takes root".to_owned()) };
                without.map_or_else(
                    || "an interface of its own behind address translation; no address of this machine or of builds, no loopback, private, link-local or metadata address".to_owned(),
                    |reason| format!("MISSING for network: direct: {reason}"),
                )
            }
            Network::Host => {
                "not enforced: the host's network, with its loopback services (network: host)".to_owned()
            }
        };
        let user = if root {
            "a uid of the machine for each build, from a range that no account has"
        } else {
            "the server's own user outside; 1000 inside, without capabilities"
        };
        vec![
            (
                "files",
                "an own root; system directories read-only".to_owned(),
            ),
            (
                "processes",
                "an own pid namespace, which ends with the build".to_owned(),
            ),
            ("user", user.to_owned()),
            (
                "kernel",
                "system call filter, no capabilities, no new privileges, no nested namespaces"
                    .to_owned(),
            ),
            ("network", network),
            ("memory", format!("{} bytes: {memory}", limits.memory_bytes)),
            (
                "tasks",
                format!("{}: {}", limits.processes, groups.unwrap_or("RLIMIT_NPROC")),
            ),
            ("cpu", cpu),
            (
                "open files",
                format!("{}: RLIMIT_NOFILE", limits.open_files),
            ),
            (
                "disk",
                format!(
                    "{} bytes, {} files: {}",
                    limits.disk_bytes,
                    limits.disk_files,
                    self.disk_by()
                ),
            ),
        ]
    }

    fn disk_by(&self) -> String {
        let without = match self.image.get() {
            Some(Ok(_)) => return "a file system of the build's own".to_owned(),
            Some(Err(reason)) => reason,
            None => "it takes root",
        };
        format!(
            "looked at each second, so exceeded by what is written in one; no single file exceeds it (a file system of the build's own is not to be had: {without})"
        )
    }
}
