//! A connection to a dyno. Nobody but its user drives it: request and answer of one client are one
//! task's work, so that no other has to be woken on the way.

use std::future::Future as _;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::RequestBody;
use crate::platform::dynos::{Backend, Place};

/// What drives a connection, upgrades included.
type Drive = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Bytes that are read of a dyno's answer before they are passed on.
const BUFFER_BYTES: usize = 64 << 10;

/// An open connection to a dyno.
pub(super) struct Link {
    sender: SendRequest<RequestBody>,
    /// None once it has ended.
    drive: Option<Drive>,
}

impl Link {
    /// Connects to a dyno.
    pub async fn open(backend: &Backend) -> io::Result<Self> {
        let stream = match &backend.place {
            Place::Door(door) => door.connect(backend.port).await?,
            Place::Host => TcpStream::connect(("127.0.0.1", backend.port)).await?,
        };
        // Small requests should not wait for acknowledgements.
        let _ = stream.set_nodelay(true);
        let (sender, connection): (_, Connection<_, _>) = Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        Ok(Self {
            sender,
            drive: Some(Box::pin(connection.with_upgrades())),
        })
    }

    /// Lets the connection do what it can.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(drive) = &mut self.drive
            && drive.as_mut().poll(cx).is_ready()
        {
            // How it has ended, whoever waits for something of it is told.
            self.drive = None;
        }
    }

    /// Lets the connection do what it can while nobody waits for it; says whether it can take a
    /// request.
    pub fn is_ready(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.drive.is_some() && self.sender.is_ready()
    }

    /// Sends a request, and waits for the head of its answer.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            if let Some(drive) = &mut self.drive
                && drive.as_mut().poll(cx).is_ready()
            {
                self.drive = None;
            }
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Drives the connection until it has ended, as it does when it becomes something else.
    pub async fn ended(&mut self) {
        poll_fn(|cx| {
            self.drive(cx);
            if self.drive.is_none() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}
