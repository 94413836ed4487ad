//! The way into a sandbox's network: connections to what listens on its loopback interface.
//!
//! The helper makes sockets in the sandbox's network namespace and hands them out, where they are
//! connected: no process inside forwards a byte.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::Mutex;

use super::helper::receive;

/// A door. It opens for as long as its sandbox lives.
#[derive(Debug)]
pub struct Door(Mutex<State>);

#[derive(Debug)]
enum State {
    /// Not yet known to a runtime, since it is made where there is none.
    New(Option<StdUnixStream>),
    Open(UnixStream),
}

impl Door {
    pub(super) fn new(socket: StdUnixStream) -> Self {
        Self(Mutex::new(State::New(Some(socket))))
    }

    /// Connects to 127.0.0.1 inside.
    ///
    /// # Errors
    /// Nothing listens on that port, or the sandbox has ended.
    pub async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let socket = self.socket().await?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpSocket::from_std_stream(socket).connect(address).await
    }

    /// A socket of the sandbox's network.
    async fn socket(&self) -> io::Result<StdTcpStream> {
        // One at a time, so that an answer goes to who has asked. One who leaves in between would
        // leave his answer to the next, which is as good as the next one's own.
        let mut state = self.0.lock().await;
        if let State::New(socket) = &mut *state {
            let socket = socket.take().ok_or(io::ErrorKind::NotConnected)?;
            socket.set_nonblocking(true)?;
            *state = State::Open(UnixStream::from_std(socket)?);
        }
        let State::Open(door) = &*state else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        door.writable().await?;
        door.try_write(b"s")?;
        loop {
            door.readable().await?;
            let received = door.try_io(Interest::READABLE, || Ok(receive(door.as_fd())?));
            match received {
                Ok(mut descriptors) => {
                    let ended = || io::Error::from(io::ErrorKind::NotConnected);
                    return Ok(descriptors.pop().ok_or_else(ended)?.into());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}
