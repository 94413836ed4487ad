//! One receiver: how it is connected to and how lines are handed to it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::message::frame;
use crate::http::tls;
use crate::platform::drains::{DrainUrl, Kind};
use crate::platform::log_stream::Line;
use crate::sandbox::Rules;

/// Longest time to connect, to hand one piece over, and to answer it.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Most of an answer that is read for the connection's sake.
const ANSWER_BYTES: usize = 64 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Sync {}

impl<S: AsyncRead + AsyncWrite + Send + Sync> Stream for S {}

type Connection = Pin<Box<dyn Stream>>;

enum Open {
    Syslog(Connection),
    Http(SendRequest<Full<Bytes>>),
}

/// What became of lines.
pub(super) enum Sent {
    Taken,
    /// By this status: they need not be sent again.
    Refused(u16),
}

pub(super) struct Receiver {
    url: DrainUrl,
    /// Names the drain to it.
    token: String,
    rules: Arc<Rules>,
    open: Option<Open>,
}

impl Receiver {
    pub fn new(url: DrainUrl, token: String, rules: Arc<Rules>) -> Self {
        Self {
            url,
            token,
            rules,
            open: None,
        }
    }

    /// Hands lines over.
    ///
    /// # Errors
    /// It cannot be reached, or takes too long: the lines are to be sent again.
    pub async fn send(&mut self, lines: &[Arc<Line>]) -> Result<Sent> {
        // Taken out: what was cut in between is not used again.
        let mut open = self.open.take();
        if let Some(one) = &mut open
            && !one.is_alive().await
        {
            open = None;
        }
        let open = if let Some(open) = open {
            open
        } else {
            let opened = timeout(TIME_LIMIT, self.connect()).await;
            opened.map_err(|_| anyhow!("connecting takes too long"))??
        };
        let handed = timeout(TIME_LIMIT, self.hand(open, lines)).await;
        let (open, sent) = handed.map_err(|_| anyhow!("takes nothing for too long"))??;
        self.open = open;
        Ok(sent)
    }

    async fn connect(&self) -> Result<Open> {
        let DrainUrl { host, port, .. } = &self.url;
        let (rules, name, at) = (self.rules.clone(), host.clone(), *port);
        let found = tokio::task::spawn_blocking(move || rules.addresses(&name, at));
        let addresses = found
            .await?
            .map_err(|reason| anyhow!("is refused: {reason}"))?;
        // The very addresses that were looked at.
        let stream = TcpStream::connect(&addresses[..]).await;
        let stream = stream.with_context(|| format!("cannot be reached at {host}:{port}"))?;
        stream.set_nodelay(true)?;
        let connection: Connection = if self.url.is_tls {
            let name = ServerName::try_from(host.clone()).context("has no name for TLS")?;
            let connector = TlsConnector::from(trust()?);
            let stream = connector.connect(name, stream).await;
            Box::pin(stream.with_context(|| format!("does not speak TLS as {host}"))?)
        } else {
            Box::pin(stream)
        };
        if self.url.kind == Kind::Syslog {
            return Ok(Open::Syslog(connection));
        }
        let (sender, connection) = http1::handshake(TokioIo::new(connection)).await?;
        tokio::spawn(async move {
            // How it ends, whoever sends by it is told.
            let _ = connection.await;
        });
        Ok(Open::Http(sender))
    }

    async fn hand(&self, open: Open, lines: &[Arc<Line>]) -> Result<(Option<Open>, Sent)> {
        let mut bytes = Vec::new();
        match open {
            Open::Syslog(mut connection) => {
                for line in lines {
                    frame(line, &self.token, true, &mut bytes);
                }
                connection.write_all(&bytes).await?;
                connection.flush().await?;
                Ok((Some(Open::Syslog(connection)), Sent::Taken))
            }
            Open::Http(mut sender) => {
                for line in lines {
                    frame(line, "host", false, &mut bytes);
                }
                sender.ready().await?;
                let response = sender
                    .send_request(self.request(lines.len(), bytes)?)
                    .await?;
                let status = response.status();
                let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES);
                // One that has more to say is connected to anew.
                let open = body.collect().await.is_ok().then_some(Open::Http(sender));
                if status.is_success() {
                    return Ok((open, Sent::Taken));
                }
                if status.is_client_error() && !matches!(status.as_u16(), 408 | 425 | 429) {
                    return Ok((open, Sent::Refused(status.as_u16())));
                }
                bail!("answers {}", status.as_u16())
            }
        }
    }

    /// A request as Heroku's log router makes one.
    fn request(&self, count: usize, body: Vec<u8>) -> Result<Request<Full<Bytes>>> {
        let DrainUrl { host, port, .. } = &self.url;
        let host = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        let mut request = Request::post(&self.url.path)
            .header(HOST, host)
            .header(USER_AGENT, concat!("slugline/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/logplex-1")
            .header("Logplex-Msg-Count", count)
            .header("Logplex-Frame-Id", uuid::Uuid::new_v4().to_string())
            .header("Logplex-Drain-Token", &self.token);
        if let Some(user) = &self.url.user {
            let user = percent_decode_str(user).collect::<Vec<_>>();
            request = request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(user)));
        }
        Ok(request.body(Full::from(body))?)
    }
}

impl Open {
    /// Whether the other side still listens; what it says is nothing to a log.
    async fn is_alive(&mut self) -> bool {
        match self {
            Self::Http(sender) => !sender.is_closed(),
            Self::Syslog(connection) => {
                let mut heard = [0; 1024];
                loop {
                    match timeout(Duration::ZERO, connection.read(&mut heard)).await {
                        Err(_elapsed) => return true,
                        Ok(Ok(1..)) => {}
                        Ok(Ok(0) | Err(_)) => return false,
                    }
                }
            }
        }
    }
}

/// Whom this machine trusts, read once.
fn trust() -> Result<Arc<ClientConfig>> {
    static TRUST: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = TRUST.get() {
        return Ok(config.clone());
    }
    let config = Arc::new(tls::client_config().map_err(io::Error::other)?);
    Ok(TRUST.get_or_init(|| config).clone())
}
