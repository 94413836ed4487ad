//! Makes a file a block device. It goes with the last that uses it, however that ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::libc;

/// Source: linux/loop.h.
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// How often a device that another process has taken first is let go for the next.
const TRIES: usize = 100;

/// `struct loop_config` with `struct loop_info64` in it. Source: linux/loop.h.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    /// Device, inode, rdevice, offset and size limit.
    places: [u64; 5],
    /// Number, encryption type and the key's size.
    numbers: [u32; 3],
    flags: u32,
    /// File name, encryption name and key.
    names: [u8; 64 + 64 + 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// Takes a free loop device for `file`; it is given back when the device's file and all mounts of
/// it are closed.
pub(in crate::sandbox) fn attach(file: &File) -> io::Result<(File, PathBuf)> {
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    let backing = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
    let config = Config {
        fd: backing,
        block_size: 0,
        places: [0; 5],
        numbers: [0; 3],
        flags: LO_FLAGS_AUTOCLEAR,
        names: [0; 160],
        init: [0; 2],
        reserved: [0; 8],
    };
    for _ in 0..TRIES {
        let number = free_number(control.as_raw_fd())?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = OpenOptions::new().read(true).write(true).open(&path)?;
        // SAFETY: the kernel reads a structure of this layout, which lives through the call.
        let done = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
        match Errno::result(done) {
            Ok(_) => return Ok((device, path)),
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::EBUSY.into())
}

fn free_number(control: RawFd) -> io::Result<i32> {
    // SAFETY: takes no argument.
    let number = unsafe { libc::ioctl(control, LOOP_CTL_GET_FREE) };
    Ok(Errno::result(number)?)
}
