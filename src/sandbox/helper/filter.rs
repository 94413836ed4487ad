//! The system calls that a build may not make.
//!
//! A list of what is denied, not of what is allowed: package managers and runtimes use nearly all
//! of the rest, and new ones appear with every kernel. Denied is what opens the kernel to attack,
//! reaches other processes, or makes new namespaces in which one would be privileged again.
//! A program learns of it by `EPERM`; by `ENOSYS` where it is known to have another way.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter, sock_filter,
};

use super::{Step, at};
use crate::sandbox::Level;
use crate::sandbox::root::Order;

/// Denied with any arguments.
const DENIED: &[libc::c_long] = &[
    // Keys of the kernel's keyrings belong to no namespace.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // Large interfaces that most kernel exploits of the last years began with.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // Other processes' memory and descriptors.
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    // Mounts and namespaces.
    libc::SYS_chroot,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_umount2,
    // The machine itself.
    libc::SYS_acct,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    // Files by other ways than their names.
    libc::SYS_fanotify_init,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
];

/// Besides, where there are no namespaces and Landlock has no word on it: sockets of any kind, what
/// the machine's processes share without names in a file system, and what changes a file or another
/// process of the same user by its name alone.
const DENIED_OUTSIDE: &[libc::c_long] = &[
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchownat,
    libc::SYS_inotify_add_watch,
    libc::SYS_ioprio_set,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_mq_open,
    libc::SYS_msgget,
    libc::SYS_removexattr,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_semget,
    libc::SYS_setpriority,
    libc::SYS_setxattr,
    libc::SYS_shmget,
    libc::SYS_socket,
    libc::SYS_truncate,
    libc::SYS_utimensat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
];

/// Answered as by a kernel that does not have them; their callers then take another way.
const ABSENT: &[libc::c_long] = &[
    // Its flags are in memory, where no filter can look; the C library then uses clone.
    libc::SYS_clone3,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
];

/// The address families that programs of builds need. All others (`AF_ALG`, `AF_VSOCK`,
/// `AF_PACKET` …) are code of the kernel that no build has a use for.
const FAMILIES: [libc::c_int; 5] = [
    libc::AF_UNSPEC,
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];

/// Puts characters into the input of the terminal, for the shell outside to read.
const TERMINAL_REQUESTS: [libc::Ioctl; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// Where x32's numbers begin: the same calls, by numbers that a list for x86-64 does not have.
#[cfg(target_arch = "x86_64")]
const X32_BIT: u32 = 0x4000_0000;

/// The compiled filters, in the order in which they are applied.
pub(super) struct Filter(Vec<BpfProgram>);

impl Filter {
    pub(super) fn compile(order: &Order) -> Step<Self> {
        let level = order.level;
        if level == Level::Off {
            return Ok(Self(Vec::new()));
        }
        let programs = || -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
            let absent = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
            let mut programs = vec![
                program(denied(order)?, libc::EPERM)?,
                program(absent, libc::ENOSYS)?,
            ];
            #[cfg(target_arch = "x86_64")]
            programs.push(other_numbers());
            Ok(programs)
        };
        programs()
            .map(Self)
            .map_err(at("compile the system call filter"))
    }

    /// From here on this process and all that it starts are bound by it.
    pub(super) fn apply(&self) -> Step<()> {
        self.0
            .iter()
            .try_for_each(|program| apply_filter(program))
            .map_err(at("apply the system call filter"))
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn program(rules: Rules, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let answer = SeccompAction::Errno(errno.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, answer, arch)?.try_into()
}

fn denied(order: &Order) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let user_namespace = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
    for call in [libc::SYS_clone, libc::SYS_unshare] {
        let asked = SeccompCmpOp::MaskedEq(user_namespace);
        rules.insert(call, vec![when(&[(0, asked, user_namespace)])?]);
    }
    let number = |value: libc::c_int| u64::from(value.unsigned_abs());
    let others = FAMILIES.map(|family| (0, SeccompCmpOp::Ne, number(family)));
    // Netlink is how programs list the network's interfaces; its other protocols are not for them.
    let netlink = [
        (0, SeccompCmpOp::Eq, number(libc::AF_NETLINK)),
        (2, SeccompCmpOp::Ne, number(libc::NETLINK_ROUTE)),
    ];
    rules.insert(libc::SYS_socket, vec![when(&others)?, when(&netlink)?]);
    rules.insert(libc::SYS_socketpair, vec![when(&others)?]);
    let requests = TERMINAL_REQUESTS.map(|request| when(&[(1, SeccompCmpOp::Eq, request)]));
    rules.insert(
        libc::SYS_ioctl,
        requests.into_iter().collect::<Result<_, _>>()?,
    );
    if order.limits.cores.is_some() {
        rules.insert(libc::SYS_sched_setaffinity, Vec::new());
    }
    if !order.level.has_namespaces() {
        // Another process's limits and processors: only one's own are named by 0.
        let other = || when(&[(0, SeccompCmpOp::Ne, 0)]);
        for call in [libc::SYS_prlimit64, libc::SYS_sched_setaffinity] {
            rules.entry(call).or_insert(vec![other()?]);
        }
        rules.extend(DENIED_OUTSIDE.iter().map(|call| (*call, Vec::new())));
    }
    Ok(rules)
}

/// A rule that holds where all of its comparisons of 32-bit arguments do.
fn when(comparisons: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = comparisons.iter().map(|(index, operator, value)| {
        SeccompCondition::new(*index, SeccompCmpArgLen::Dword, operator.clone(), *value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// A filter against x32, whose calls arrive under x86-64's architecture.
#[cfg(target_arch = "x86_64")]
fn other_numbers() -> BpfProgram {
    let step = |code: u32, jump_true: u8, value: u32| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: jump_true,
        jf: 0,
        k: value,
    };
    vec![
        // The number stands first in seccomp_data. Source: seccomp(2).
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, X32_BIT),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        step(
            libc::BPF_RET | libc::BPF_K,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
        ),
    ]
}
