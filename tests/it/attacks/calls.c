/* Makes system calls that no build needs, and prints each one's errno: "name errno". */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void said(const char *name, long result) {
	printf("%s %s\n", name, result < 0 ? strerrorname_np(errno) : "REACHED");
	fflush(stdout);
}

static int child(void *nothing) {
	(void)nothing;
	return 0;
}

int main(void) {
	static char stack[65536];
	said("ptrace", syscall(SYS_ptrace, 16, 1, 0, 0));
	said("process_vm_readv", syscall(SYS_process_vm_readv, 1, 0, 0, 0, 0, 0));
	said("mount", syscall(SYS_mount, "tmpfs", "/tmp", "tmpfs", 0, 0));
	said("umount2", syscall(SYS_umount2, "/usr", 2));
	said("open_tree", syscall(SYS_open_tree, -100, "/", 1));
	said("chroot", syscall(SYS_chroot, "/tmp"));
	said("setns", syscall(SYS_setns, 0, 0));
	said("unshare-user", unshare(CLONE_NEWUSER));
	said("unshare-net", unshare(CLONE_NEWNET));
	said("clone-user", clone(child, stack + sizeof stack, CLONE_NEWUSER | SIGCHLD, 0));
	said("clone3", syscall(SYS_clone3, 0, 0));
	said("io_uring", syscall(SYS_io_uring_setup, 1, 0));
	said("bpf", syscall(SYS_bpf, 0, 0, 0));
	said("perf", syscall(SYS_perf_event_open, 0, 0, 0, 0, 0));
	said("userfaultfd", syscall(SYS_userfaultfd, 0));
	said("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -3, 1));
	said("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -3));
	said("kexec", syscall(SYS_kexec_load, 0, 0, 0, 0));
	said("module", syscall(SYS_init_module, 0, 0, ""));
	said("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
	said("by-handle", syscall(SYS_open_by_handle_at, -100, 0, 0));
	said("socket-alg", socket(38, SOCK_SEQPACKET, 0));
	said("socket-vsock", socket(40, SOCK_STREAM, 0));
	said("socket-packet", socket(AF_PACKET, SOCK_RAW, 0));
	said("socket-raw", socket(AF_INET, SOCK_RAW, 1));
	said("socket-audit", socket(AF_NETLINK, SOCK_RAW, 9));
	said("terminal-input", ioctl(0, TIOCSTI, "x"));
	said("setuid", setuid(0));
	said("setgroups", syscall(SYS_setgroups, 0, 0));
#ifdef __x86_64__
	said("x32", syscall(0x40000000 + SYS_getpid));
#endif
	return 0;
}
