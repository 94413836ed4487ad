//! Makes the file systems of the sandbox and turns the root directory into `/`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{Gid, Uid, chdir, pivot_root};

use super::command::c_string;
use super::{Step, at};
use crate::sandbox::root::Order;
use crate::sandbox::user::INNER_ID;

pub(super) fn make_root(order: &Order) -> Step<()> {
    let none = None::<&str>;
    let root = &order.root;
    make_private()?;
    bind(root, root)?;
    set_attributes(root, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV, 0)?;
    // What is shown read-only later must not hide what is mounted below it: parents come first.
    for (host, inside) in &order.read_only {
        bind(host, inside)?;
    }
    for (_, inside) in &order.read_only {
        make_read_only(inside)?;
    }
    if let Some(layer) = &order.layer {
        bind(layer, &root.join(LAYER))?;
    }
    chdir(root).map_err(at("enter the root"))?;
    // New file systems belong to the namespace, where the server's own uid may not exist.
    nix::unistd::setfsgid(Gid::from_raw(INNER_ID));
    nix::unistd::setfsuid(Uid::from_raw(INNER_ID));
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "proc", Some("proc"), plain, none).map_err(at("mount /proc"))?;
    make_dev(Path::new("dev"))?;
    if order.layer.is_some() {
        lay_over(Path::new("app"))?;
    }
    pivot_root(".", ".").map_err(at("make the directory the root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(at("leave the host's root"))?;
    chdir("/").map_err(at("enter the root"))
}

/// Keeps the mounts of this namespace from the host's, and the host's later ones from this.
pub(super) fn make_private() -> Step<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(at("make the mounts private"))
}

/// Where the two parts of a layered `/app` are shown while it is made. Its base is shown there
/// read-only, by the order's list.
pub(in crate::sandbox) const BASE: &str = "mnt/slug";
pub(in crate::sandbox) const LAYER: &str = "mnt/layer";

/// Shows trees, the uppermost first, over them a writable one where it is given with its directory
/// for the kernel's work. In a user namespace this takes `userxattr`, and what is written belongs to
/// the namespace's user, as whom files have to be made.
pub(in crate::sandbox) fn overlay(
    below: &[&str],
    layer: Option<(&str, &str)>,
    to: &Path,
    flags: MsFlags,
) -> nix::Result<()> {
    let layer = layer.map(|(upper, work)| format!(",upperdir={upper},workdir={work}"));
    let below = below.join(":");
    let options = format!("lowerdir={below},userxattr{}", layer.unwrap_or_default());
    let kind = Some("overlay");
    let flags = flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(kind, to, kind, flags, Some(options.as_str()))
}

/// Shows the base with a writable layer over it.
fn lay_over(app: &Path) -> Step<()> {
    let (upper, work) = (format!("{LAYER}/upper"), format!("{LAYER}/work"));
    overlay(&[BASE], Some((&upper, &work)), app, MsFlags::empty()).map_err(at(LAY_OVER))?;
    for part in [BASE, LAYER] {
        umount2(part, MntFlags::MNT_DETACH).map_err(at("hide the parts of /app"))?;
    }
    Ok(())
}

/// The step that a kernel without overlays for plain users refuses.
pub(in crate::sandbox) const LAY_OVER: &str = "lay a writable layer over /app";

pub(super) fn bind(from: &Path, to: &Path) -> Step<()> {
    mount(
        Some(from),
        to,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .map_err(at(format!("show {}", from.display())))
}

/// Makes a mount and all below it read-only, keeping the flags that the host has locked.
pub(super) fn make_read_only(path: &Path) -> Step<()> {
    let read_only = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
    set_attributes(path, read_only, libc::AT_RECURSIVE)
}

fn set_attributes(path: &Path, attributes: u64, how: libc::c_int) -> Step<()> {
    let step = || format!("restrict the mount {}", path.display());
    let path_c = c_string(path.as_os_str()).map_err(at(step()))?;
    let attributes = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: both pointers are valid for the call, and the size is that of what is pointed at.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path_c.as_ptr(),
            how,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(done).map(drop).map_err(at(step()))
}

fn make_dev(dev: &Path) -> Step<()> {
    let none = None::<&str>;
    mount(
        Some("tmpfs"),
        dev,
        Some("tmpfs"),
        MsFlags::MS_NOSUID,
        Some("mode=755,size=64m"),
    )
    .map_err(at("mount /dev"))?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let inside = dev.join(name);
        fs::write(&inside, "").map_err(at("make /dev"))?;
        bind(&Path::new("/dev").join(name), &inside)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, dev.join(name)).map_err(at("make /dev"))?;
    }
    let shm = dev.join("shm");
    fs::create_dir(&shm).map_err(at("make /dev/shm"))?;
    mount(
        Some("tmpfs"),
        &shm,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=1777,size=64m"),
    )
    .map_err(at("mount /dev/shm"))?;
    let pts = dev.join("pts");
    fs::create_dir(&pts).map_err(at("make /dev/pts"))?;
    mount(
        Some("devpts"),
        &pts,
        Some("devpts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some("newinstance,ptmxmode=0666,mode=620"),
    )
    .map_err(at("mount /dev/pts"))?;
    mount(
        none,
        dev,
        none,
        MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID,
        none,
    )
    .map_err(at("make /dev read-only"))
}
