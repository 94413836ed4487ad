//! What the processes below one have in memory, as `/proc` tells it.

use std::fs;
use std::path::Path;

/// The number of this process's pid namespace: in which a process id means what it means to us.
pub(super) fn pid_namespace() -> u64 {
    let meta = fs::metadata("/proc/self/ns/pid");
    meta.map_or(0, |meta| std::os::unix::fs::MetadataExt::ino(&meta))
}

/// Sums over a process's descendants.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Processes and threads.
    pub tasks: u64,
    /// What is not of files; pages that a fork shares count for each.
    pub private_bytes: u64,
    /// The ancestor first.
    pub ids: Vec<i32>,
}

impl Usage {
    /// Adds up all descendants of `ancestor`; those that end meanwhile are left out.
    pub fn of(proc: &Path, ancestor: i32) -> Self {
        let mut usage = Self::default();
        let mut open = vec![ancestor];
        while let Some(id) = open.pop() {
            let dir = proc.join(id.to_string());
            for task in fs::read_dir(dir.join("task"))
                .into_iter()
                .flatten()
                .flatten()
            {
                usage.tasks += 1;
                let children = fs::read_to_string(task.path().join("children"));
                let children = children.unwrap_or_default();
                open.extend(children.split(' ').filter_map(|id| id.parse::<i32>().ok()));
            }
            usage.private_bytes += private_bytes(&dir);
            usage.ids.push(id);
        }
        usage
    }

    /// The same processes, each page counted once however many share it.
    pub fn proportional_bytes(&self, proc: &Path) -> u64 {
        let of = |id: &i32| {
            let text = fs::read_to_string(proc.join(id.to_string()).join("smaps_rollup"));
            let text = text.unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        self.ids.iter().filter_map(of).sum::<u64>() << 10
    }
}

/// Processes and threads of a user, as far as they are seen.
pub(super) fn tasks_of_user(proc: &Path, uid: u32) -> u64 {
    let of = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path().join("status")).ok()?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        (value("Uid:")? == u64::from(uid)).then(|| value("Threads:"))?
    };
    let all = fs::read_dir(proc).into_iter().flatten().flatten();
    all.filter_map(of).sum()
}

/// Resident pages that are no file's. Source: proc_pid_statm(5).
fn private_bytes(dir: &Path) -> u64 {
    let text = fs::read_to_string(dir.join("statm")).unwrap_or_default();
    let mut numbers = text
        .split(' ')
        .map(|n| n.trim().parse::<u64>().unwrap_or(0));
    let (resident, shared) = (numbers.nth(1).unwrap_or(0), numbers.next().unwrap_or(0));
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    let page = page.ok().flatten().and_then(|n| u64::try_from(n).ok());
    resident.saturating_sub(shared) * page.unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_processes_is_added_up() {
        let proc = tempfile::tempdir().unwrap();
        for (id, tasks, statm) in [
            (1, vec![("1", "2 3 "), ("9", "4 ")], "100 10 4 1 0 5 0"),
            (2, vec![("2", "")], "100 20 0 1 0 5 0"),
            (4, vec![("4", "")], "100 5 5 1 0 5 0"),
        ] {
            let dir = proc.path().join(id.to_string());
            for (task, children) in tasks {
                fs::create_dir_all(dir.join("task").join(task)).unwrap();
                fs::write(dir.join("task").join(task).join("children"), children).unwrap();
            }
            fs::write(dir.join("statm"), statm).unwrap();
            fs::write(
                dir.join("smaps_rollup"),
                "x\nPss:      8 kB\nPss_Anon: 1 kB\n",
            )
            .unwrap();
        }
        let usage = Usage::of(proc.path(), 1);
        assert_eq!(usage.tasks, 4);
        assert_eq!(usage.private_bytes % 26, 0);
        for (id, uid, threads) in [(1, 7, 3), (2, 8, 5), (4, 7, 1)] {
            let status = format!("Name:\tx\nUid:\t{uid}\t9\t9\t9\nThreads:\t{threads}\n");
            fs::write(proc.path().join(format!("{id}/status")), status).unwrap();
        }
        assert_eq!(tasks_of_user(proc.path(), 7), 4);
        // The third process has ended meanwhile.
        assert_eq!(usage.proportional_bytes(proc.path()), 3 * 8192);
    }
}
