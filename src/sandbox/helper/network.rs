//! The sandbox's own network: `lo`, where it may reach out a listener on it, and where it is to be
//! reached a door into it.
//!
//! A socket stays in the network namespace in which it was made, whoever holds it. So the listener
//! is made inside and handed to the host's side over a socket pair, where the proxy accepts from
//! it; and the [`Porter`] hands out sockets of this namespace, which the host's side connects to
//! what listens inside. No process inside forwards anything, and no socket has a name in a file
//! system.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv,
    recvmsg, sendmsg, socket,
};
use nix::unistd::dup2_stdin;

use super::{Step, at};
use crate::sandbox::Profile;
use crate::sandbox::network::{Network, PROXY_PORT};
use crate::sandbox::root::Order;

/// Sets the network up, in a network namespace just made, and standard input.
///
/// For a dyno, for a build, and with [`Network::Proxy`], standard input is a socket, over which
/// descriptors go out: the proxy's listener, then for a dyno with a network of its own the door. After
/// that it is the descriptor that came in by it, where one was promised, else empty; for a build
/// the socket goes on as that by which overlays are asked for.
pub(super) fn set_up(order: &Order) -> Step<Sockets> {
    let network = order.network;
    if network != Network::Host {
        raise_loopback()?;
    }
    let (mut out, mut sockets) = (Vec::<OwnedFd>::new(), Sockets::default());
    if network == Network::Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PROXY_PORT));
        out.push(listener.map_err(at("listen for the proxy"))?.into());
    }
    let is_dyno = order.spec.profile == Profile::Dyno;
    if is_dyno && network != Network::Host {
        let (ours, theirs) = UnixStream::pair().map_err(at("make the door"))?;
        out.push(theirs.into());
        sockets.porter = Some(Porter(ours));
    }
    if !out.is_empty() {
        hand_out(&out).map_err(at("hand the network's sockets out"))?;
    }
    if order.spec.profile == Profile::Build {
        let kept = io::stdin().as_fd().try_clone_to_owned();
        sockets.overlays = Some(kept.map_err(at("keep the socket"))?.into());
    }
    if order.has_socket {
        let input = if order.has_input {
            let come = receive(io::stdin().as_fd()).map_err(at("take standard input"))?;
            let come = come.into_iter().next();
            come.ok_or_else(|| at("take standard input")("none came"))?
        } else {
            let null = std::fs::File::open("/dev/null").map_err(at("open /dev/null"))?;
            null.into()
        };
        dup2_stdin(input).map_err(at("set standard input"))?;
    }
    Ok(sockets)
}

/// What the helper's processes are asked by.
#[derive(Default)]
pub(super) struct Sockets {
    /// For the outer one.
    pub porter: Option<Porter>,
    /// For pid 1.
    pub overlays: Option<UnixStream>,
}

/// Makes a socket of this network namespace for each byte that comes in.
pub(super) struct Porter(UnixStream);

impl Porter {
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Serves what has come; says whether more can come.
    pub fn serve(&self) -> bool {
        let mut asked = [0; 64];
        let Ok(count) = recv(self.0.as_raw_fd(), &mut asked, MsgFlags::MSG_DONTWAIT) else {
            return true;
        };
        (0..count).all(|_| self.hand_out_socket().is_ok()) && count > 0
    }

    fn hand_out_socket(&self) -> nix::Result<()> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let made = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        send_descriptors(self.0.as_raw_fd(), &[made.as_raw_fd()])
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

fn hand_out(descriptors: &[OwnedFd]) -> nix::Result<()> {
    let raw = descriptors.iter().map(AsRawFd::as_raw_fd);
    send_descriptors(libc::STDIN_FILENO, &raw.collect::<Vec<_>>())
}

/// Sends descriptors with one byte.
pub(in crate::sandbox) fn send_descriptors(to: RawFd, descriptors: &[RawFd]) -> nix::Result<()> {
    sendmsg::<()>(
        to,
        &[IoSlice::new(b"d")],
        &[ControlMessage::ScmRights(descriptors)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(drop)
}

/// Takes the descriptors of one message, at most two; none come where the other side has ended.
pub(in crate::sandbox) fn receive(from: BorrowedFd<'_>) -> nix::Result<Vec<OwnedFd>> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 2]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut owned = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = part {
            for descriptor in descriptors {
                // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
                owned.push(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
    }
    Ok(owned)
}
