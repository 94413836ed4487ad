//! Control groups: the kernel's limits on all processes of a build together.
//!
//! In version 2 a build's group stands beside the server's own, in version 1 below it, so that what
//! holds for the server holds for its builds. Where neither can be written to, there is none, and
//! the [`guard`](super::guard) watches alone. A group is removed with its build; those of a server
//! that was killed are swept by the next one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::processes::pid_namespace;

/// The directory of all builds' groups.
const PARENT: &str = "slugline-builds";
const V1_CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// Long after a group was made, its processes are in it, or have been.
const OLD: Duration = Duration::from_secs(600);
/// The kernel's default, in microseconds.
const CPU_PERIOD: u64 = 100_000;

/// Which groups this machine lets us make, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree {
    /// The directory below which groups are made.
    V2(PathBuf),
    /// The same for each of [`V1_CONTROLLERS`].
    V1([PathBuf; 3]),
}

impl Tree {
    /// Looks below `root`, usually `/sys/fs/cgroup`, with the text of `/proc/self/cgroup`; makes
    /// the parent directories.
    pub fn find(root: &Path, own: &str) -> Option<Self> {
        Self::find_v2(root, own).or_else(|| Self::find_v1(root, own))
    }

    fn find_v2(root: &Path, own: &str) -> Option<Self> {
        let place = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let place = Path::new(place.trim_start_matches('/'));
        // A group with processes in it cannot have groups with limits: hence beside, not below.
        let above = root.join(place.parent().unwrap_or(place));
        let has = |name: &str| {
            let text = fs::read_to_string(above.join(name)).unwrap_or_default();
            let words = text.split_whitespace().collect::<Vec<_>>();
            V1_CONTROLLERS.iter().all(|want| words.contains(want))
        };
        if !has("cgroup.controllers") {
            return None;
        }
        let parent = above.join(PARENT);
        make(&parent).ok()?;
        for dir in [&above, &parent] {
            write(dir, "cgroup.subtree_control", "+memory +pids +cpu").ok()?;
        }
        Some(Self::V2(parent))
    }

    fn find_v1(root: &Path, own: &str) -> Option<Self> {
        let parent = |controller: &str| {
            let place = own.lines().find_map(|line| {
                let (controllers, place) = line.split_once(':')?.1.split_once(':')?;
                controllers
                    .split(',')
                    .any(|name| name == controller)
                    .then_some(place)
            })?;
            let below = root.join(controller).join(place.trim_start_matches('/'));
            // Inside of a container the tree may begin at our own group.
            let below = if below.is_dir() {
                below
            } else {
                root.join(controller)
            };
            let parent = below.join(PARENT);
            make(&parent).ok()?;
            Some(parent)
        };
        let [memory, pids, cpu] = V1_CONTROLLERS.map(parent);
        Some(Self::V1([memory?, pids?, cpu?]))
    }

    /// Makes a build's group with its limits.
    pub fn group(&self, limits: &Limits) -> io::Result<Group> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.{count}.{}", std::process::id(), pid_namespace());
        // Each takes its time; the last one is for the cpu alone.
        let wanted = if limits.cpu_percent.is_some() { 3 } else { 2 };
        let parents = self.parents().iter().take(wanted);
        let group = Group {
            dirs: parents.map(|dir| dir.join(&name)).collect(),
            is_v2: matches!(self, Self::V2(_)),
        };
        for dir in &group.dirs {
            make(dir)?;
        }
        let memory = limits.memory_bytes.to_string();
        let processes = limits.processes.to_string();
        let quota = limits.cpu_percent.map(|percent| percent * CPU_PERIOD / 100);
        match self {
            Self::V2(_) => {
                let dir = &group.dirs[0];
                write(dir, "memory.max", &memory)?;
                // A kernel without swap accounting has no such file.
                let _ = write(dir, "memory.swap.max", "0");
                write(dir, "memory.oom.group", "1")?;
                write(dir, "pids.max", &processes)?;
                if let Some(quota) = quota {
                    write(dir, "cpu.max", &format!("{quota} {CPU_PERIOD}"))?;
                }
            }
            Self::V1(_) => {
                write(&group.dirs[0], "memory.limit_in_bytes", &memory)?;
                // As above.
                let _ = write(&group.dirs[0], "memory.memsw.limit_in_bytes", &memory);
                write(&group.dirs[1], "pids.max", &processes)?;
                if let Some(quota) = quota {
                    write(&group.dirs[2], "cpu.cfs_quota_us", &quota.to_string())?;
                }
            }
        }
        Ok(group)
    }

    /// Ends what is left in the groups of servers that are no more, and removes the groups.
    pub fn sweep(&self) {
        let ours = pid_namespace().to_string();
        for parent in self.parents() {
            for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let mut parts = name.to_str().unwrap_or_default().split('.');
                let (pid, namespace) = (parts.next().unwrap_or_default(), parts.nth(1));
                let Some(namespace) = namespace else { continue };
                let path = entry.path();
                if namespace != ours {
                    // Whether its server lives we cannot say; a build joins its group at once, and a
                    // group with processes in it stays.
                    if is_old(&path) {
                        let _ = fs::remove_dir(&path);
                    }
                } else if !Path::new("/proc").join(pid).exists() {
                    end_all(&path);
                    remove(&path);
                }
            }
        }
    }

    fn parents(&self) -> &[PathBuf] {
        match self {
            Self::V2(parent) => std::slice::from_ref(parent),
            Self::V1(parents) => parents,
        }
    }
}

/// The group of one command, removed when it is dropped.
#[derive(Debug)]
pub(super) struct Group {
    /// One in version 2; of memory, pids and, if it is limited, cpu in version 1.
    dirs: Vec<PathBuf>,
    is_v2: bool,
}

/// How a process comes into a group without waiting, as a move of all threads of one does, until
/// every processor has taken notice: ten milliseconds and more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Entrance {
    /// In version 1: by writing `0` to these files, which moves the thread that writes.
    Doors(Vec<PathBuf>),
    /// In version 2, where there are no such files: by being started in this group.
    Birth(PathBuf),
}

impl Group {
    /// How processes come into it.
    pub fn entrance(&self) -> Entrance {
        if self.is_v2 {
            return Entrance::Birth(self.dirs.first().cloned().unwrap_or_default());
        }
        let doors = self.dirs.iter().map(|dir| dir.join("tasks"));
        Entrance::Doors(doors.collect())
    }

    /// Whether the kernel has killed a process because the group's memory was used up.
    pub fn ran_out_of_memory(&self) -> bool {
        ["memory.events", "memory.oom_control"]
            .iter()
            .any(|name| self.count(name, "oom_kill"))
    }

    /// Whether a process could not be started because of the limit.
    pub fn ran_out_of_processes(&self) -> bool {
        self.count("pids.events", "max")
    }

    fn count(&self, file: &str, key: &str) -> bool {
        self.dirs.iter().any(|dir| {
            let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
            text.lines()
                .filter_map(|line| line.split_once(' '))
                .any(|(name, count)| name == key && count.trim() != "0")
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.dirs.iter().for_each(|dir| remove(dir));
    }
}

/// Removes a group whose processes are being killed: the kernel keeps it until the last has ended.
fn remove(dir: &Path) {
    for _ in 0..200 {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                thread::sleep(Duration::from_millis(5));
            }
            _ => break,
        }
    }
}

/// Kills the processes of a group. All of a build end with its server; this is for what the kernel
/// has not come to yet.
fn end_all(dir: &Path) {
    let ids = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for id in ids.lines().filter_map(|id| id.parse().ok()) {
        // Zero is one that is outside of this pid namespace, and for kill all of our own group.
        if id > 0 {
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// Whether a group was made long before now.
fn is_old(dir: &Path) -> bool {
    let made = fs::metadata(dir).and_then(|meta| meta.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > OLD))
}

fn make(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

fn write(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    // Never creates: a file that the kernel does not show is a limit that it does not have.
    fs::File::options()
        .write(true)
        .open(dir.join(name))
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_makes_groups_beside_the_server_s_own() {
        let root = tempfile::tempdir().unwrap();
        let slice = root.path().join("system.slice");
        let group =
            slice
                .join(PARENT)
                .join(format!("{}.0.{}", std::process::id(), pid_namespace()));
        fs::create_dir_all(&group).unwrap();
        fs::write(
            slice.join("cgroup.controllers"),
            "cpuset cpu io memory pids\n",
        )
        .unwrap();
        for file in [
            slice.join("cgroup.subtree_control"),
            slice.join(PARENT).join("cgroup.subtree_control"),
            group.join("memory.max"),
            group.join("memory.oom.group"),
            group.join("pids.max"),
            group.join("cpu.max"),
        ] {
            fs::write(file, "").unwrap();
        }
        let tree = Tree::find(root.path(), "0::/system.slice/slugline.service\n").unwrap();
        assert_eq!(tree, Tree::V2(slice.join(PARENT)));
        let limits = Limits {
            memory_bytes: 1000,
            processes: 20,
            cpu_percent: Some(150),
            ..Limits::default()
        };
        // Whatever number this is, its directory has to exist with its files: a fake tree has no kernel.
        let made = tree.group(&limits).unwrap();
        let read = |name: &str| fs::read_to_string(group.join(name)).unwrap();
        assert_eq!(read("memory.max"), "1000");
        assert_eq!(read("pids.max"), "20");
        assert_eq!(read("cpu.max"), "150000 100000");
        assert!(!made.ran_out_of_memory() && !made.ran_out_of_processes());
        fs::write(group.join("memory.events"), "low 0\noom 1\noom_kill 1\n").unwrap();
        fs::write(group.join("pids.events"), "max 3\n").unwrap();
        assert!(made.ran_out_of_memory() && made.ran_out_of_processes());
        assert!(matches!(made.entrance(), Entrance::Birth(dir) if dir == group));
        std::mem::forget(made);
    }

    #[test]
    fn version_1_is_found_below_the_server_s_own_group() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["memory/box", "pids", "cpu"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let own = "4:memory:/box\n8:pids:/\n2:cpuacct:/\n1:cpu:/\n0::/\n";
        let parents = ["memory/box", "pids", "cpu"].map(|dir| root.path().join(dir).join(PARENT));
        assert_eq!(Tree::find(root.path(), own), Some(Tree::V1(parents)));
        assert_eq!(Tree::find(root.path(), "0::/\n"), None);
    }

    #[test]
    fn groups_of_the_dead_are_swept() {
        let root = tempfile::tempdir().unwrap();
        let parent = root.path().to_owned();
        let ours = pid_namespace();
        // No process has such a number: they end at 2^22.
        let dead = format!("99999999.0.{ours}");
        let kept = [
            format!("{}.7.{ours}", std::process::id()),
            format!("99999999.0.{}", ours + 1),
            "other".to_owned(),
        ];
        for name in kept.iter().chain([&dead]) {
            fs::create_dir(parent.join(name)).unwrap();
        }
        let abandoned = parent.join(format!("99999999.1.{}", ours + 1));
        fs::create_dir(&abandoned).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        let times = fs::FileTimes::new().set_modified(long_ago);
        let opened = fs::File::open(&abandoned).unwrap();
        opened.set_times(times).unwrap();
        Tree::V2(parent.clone()).sweep();
        assert!(!parent.join(dead).exists() && !abandoned.exists());
        assert!(kept.iter().all(|name| parent.join(name).exists()));
    }
}
