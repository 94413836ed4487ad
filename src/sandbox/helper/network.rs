//! The sandbox's own network: `lo`, and where builds may reach out, a listener on it.
//!
//! A socket stays in the network namespace in which it was made, whoever holds it. So the listener
//! is made inside and handed to the host's side over a socket pair, where the proxy accepts from
//! it: no process inside forwards anything, and no socket has a name in a file system.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socket,
};
use nix::unistd::dup2_stdin;

use super::{Step, at};
use crate::sandbox::network::{Network, PROXY_PORT};

/// Sets the network up, in a network namespace just made. With [`Network::Proxy`], standard input
/// is the socket over which the listener goes out; it becomes empty after that.
pub(super) fn set_up(network: Network) -> Step<()> {
    match network {
        Network::Host => Ok(()),
        Network::Off => raise_loopback(),
        Network::Proxy => {
            raise_loopback()?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PROXY_PORT))
                .map_err(at("listen for the proxy"))?;
            hand_out(&listener).map_err(at("hand the proxy's listener out"))
        }
    }
}

/// Brings `lo` up, which a new network namespace has down.
fn raise_loopback() -> Step<()> {
    let step = "bring the loopback interface up";
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(at(step))?;
    let mut name = [0; libc::IFNAMSIZ];
    for (slot, byte) in name.iter_mut().zip(b"lo") {
        *slot = (*byte).cast_signed();
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    let request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: libc::c_short::try_from(flags).map_err(at(step))?,
        },
    };
    // SAFETY: the request is a whole ifreq, which SIOCSIFFLAGS only reads.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    Errno::result(done).map(drop).map_err(at(step))
}

fn hand_out(listener: &TcpListener) -> io::Result<()> {
    let descriptors = [listener.as_raw_fd()];
    sendmsg::<()>(
        libc::STDIN_FILENO,
        &[IoSlice::new(b"l")],
        &[ControlMessage::ScmRights(&descriptors)],
        MsgFlags::empty(),
        None,
    )?;
    Ok(dup2_stdin(std::fs::File::open("/dev/null")?)?)
}

/// The host's side: waits for the listener; none comes where the helper ends before.
pub(in crate::sandbox) fn receive_listener(from: &UnixStream) -> io::Result<Option<TcpListener>> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!(RawFd);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let descriptor = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    let owned = descriptor.map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(owned.map(TcpListener::from))
}
