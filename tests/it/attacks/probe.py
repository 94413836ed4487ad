"""Tries every attack of doctor's table that is over in a moment, and prints "denied NAME" or
"REACHED NAME: WHAT". The file named by the argument says what there is to reach."""

import ctypes
import errno
import json
import os
import socket
import sys

TARGETS = json.load(open(sys.argv[1]))
C = ctypes.CDLL(None, use_errno=True)
DENIALS = (errno.EPERM, errno.EACCES, errno.ENOSYS)
ARM = os.uname().machine == "aarch64"
NUMBERS = {  # x86-64, aarch64
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
}


def read(path):
    if os.path.isdir(path):
        os.listdir(path)
    else:
        with open(path, "rb") as file:
            file.read(1)
    return True


def write(path):
    with open(path, "wb") as file:
        file.write(b"x")
    return True


def call(name, *arguments, also=()):
    """A call that is not denied has reached the kernel's code, whatever it made of the arguments."""
    if name in NUMBERS:
        done = C.syscall(NUMBERS[name][ARM], *arguments)
    else:
        done = getattr(C, name)(*arguments)
    return done >= 0 or ctypes.get_errno() not in DENIALS + also


def open_socket(family, kind, protocol=0):
    socket.socket(family, kind, protocol).close()
    return True


def connect(host, port):
    with socket.create_connection((host, port), timeout=3):
        return True


def by_proxy(host, port):
    with socket.create_connection(("127.0.0.1", 3128), timeout=3) as proxy:
        proxy.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return b" 200 " in proxy.recv(100)


def connect_abstract(name):
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.connect("\0" + name)
    return True


VICTIM = TARGETS["victim"]
ROWS = {
    "read a home directory": [lambda p=p: read(p) for p in TARGETS["homes"]],
    "read /etc/shadow": [lambda: read("/etc/shadow")],
    "read the data directory": [lambda: read(TARGETS["data"])],
    "read another build's directory": [lambda: read(TARGETS["other"])],
    "read /proc/1/environ": [
        lambda p=p: read(p)
        for p in ["/proc/1/environ", "/proc/1/maps", f"/proc/{VICTIM}/environ"]
    ],
    "use the caller's descriptors": [lambda: os.pread(9, 1, 0) is not None],
    "write outside of its own directories": [
        lambda p=p: write(p)
        for p in ["/usr/x", "/etc/x", "/dev/x", "/proc/sys/kernel/core_pattern", TARGETS["file"]]
    ],
    "change the mode of files outside": [lambda: os.chmod(TARGETS["file"], 0o777) is None],
    "trace another process": [lambda: call("ptrace", 16, VICTIM, 0, 0)],
    "signal another process": [lambda: os.kill(VICTIM, 0) is None],
    "mount, unmount, chroot, pivot_root": [
        lambda: call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, 0),
        lambda: call("umount2", b"/usr", 2),
        lambda: call("chroot", b"/"),
        lambda: call("pivot_root", b".", b"."),
    ],
    "become another user": [lambda: call("setuid", 4242, also=(errno.EINVAL,))],
    "make a user namespace": [lambda: call("unshare", 0x10000000)],
    "open raw, packet, AF_ALG and AF_VSOCK sockets": [
        lambda: open_socket(socket.AF_INET, socket.SOCK_RAW, 1),
        lambda: open_socket(socket.AF_PACKET, socket.SOCK_RAW),
        lambda: open_socket(38, socket.SOCK_SEQPACKET),
        lambda: call("socket", 38, socket.SOCK_SEQPACKET, 0),
        lambda: call("socket", 40, socket.SOCK_STREAM, 0),
    ],
    "io_uring, keyctl, bpf, userfaultfd, perf": [
        lambda: call("io_uring_setup", 1, 0),
        lambda: call("keyctl", 0, -3, 1),
        lambda: call("bpf", 0, 0, 0),
        lambda: call("userfaultfd", 0),
        lambda: call("perf_event_open", 0, 0, 0, 0, 0),
    ],
    "type into the caller's terminal": [
        lambda: call("ioctl", 0, 0x5412, b"x"),
        lambda: read("/dev/tty"),
    ],
    "connect to an abstract unix socket": [lambda: connect_abstract(TARGETS["abstract"])],
    "see the host's processes": [lambda: read(f"/proc/{VICTIM}/cmdline")],
    "connect to the server's port": [
        lambda to=to, host=host: to(host, TARGETS["server"])
        for to in (connect, by_proxy)
        for host in ("127.0.0.1", "localhost", "0.0.0.0")
    ],
    "connect to a listener on loopback": [
        lambda to=to, host=host: to(host, TARGETS["listener"])
        for to in (connect, by_proxy)
        for host in ("127.0.0.1", "::1", socket.gethostname())
    ],
    "connect to 169.254.169.254": [
        lambda to=to: to("169.254.169.254", 80) for to in (connect, by_proxy)
    ],
}

for name, attempts in ROWS.items():
    reached = []
    for number, attempt in enumerate(attempts):
        try:
            if attempt():
                reached.append(str(number))
        except OSError:
            pass
    said = f"REACHED {name}: {','.join(reached)}" if reached else f"denied {name}"
    print(said, file=sys.stderr, flush=True)
