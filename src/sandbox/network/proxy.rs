//! The proxy itself: CONNECT and absolute-form, HTTP/1.1, for one command.
//!
//! It runs on a thread of its own with a runtime of its own and ends with the command.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::rules::Rules;
use super::traffic::{Counted, Traffic};
use super::upstream::ProxyUrl;

/// Connections of one build at once; more wait.
const CONNECTIONS: usize = 256;
const CONNECT_TIME: Duration = Duration::from_secs(30);

/// Headers for us and not for the other end. Source: RFC 9110, section 7.6.1.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub(in crate::sandbox) struct Proxy {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Serves a listener on another thread.
    pub fn serve(listener: TcpListener, rules: Arc<Rules>, traffic: Traffic) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let state = Arc::new(State { rules, traffic });
            if let Err(error) = serve(listener, state, stopped) {
                tracing::error!(%error, "the build's proxy");
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It ends at once: either the stop or the end of its socket wakes it.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct State {
    rules: Arc<Rules>,
    traffic: Traffic,
}

/// Why a host was not reached.
enum Unreached {
    /// By a rule; the build's log says so, too.
    Refused(String),
    Failed(io::Error),
}

type Body = BoxBody<Bytes, hyper::Error>;
type Reached = Counted<TcpStream>;

fn serve(
    listener: std::net::TcpListener,
    state: Arc<State>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::select! {
            // Both when it is told to stop and when the teller is gone.
            _ = stopped => Ok(()),
            ended = accept(listener, state) => ended,
        }
    })?;
    // A name that is still being looked up need not hold the build up.
    runtime.shutdown_background();
    Ok(())
}

async fn accept(listener: tokio::net::TcpListener, state: Arc<State>) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = room
            .clone()
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let (stream, _) = listener.accept().await?;
        let state = state.clone();
        tokio::spawn(async move {
            let permit = Arc::new(permit);
            let service = service_fn(|request| {
                let (state, permit) = (state.clone(), permit.clone());
                async move { Ok::<_, Infallible>(answer(request, &state, permit).await) }
            });
            // How a connection ends is between the build and the other side.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .preserve_header_case(true)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

async fn answer<P: Send + 'static>(
    request: Request<Incoming>,
    state: &State,
    permit: P,
) -> Response<Body> {
    let done = if request.method() == Method::CONNECT {
        tunnel(request, state, permit).await
    } else {
        forward(request, state).await
    };
    done.unwrap_or_else(|unreached| match unreached {
        Unreached::Refused(reason) => {
            let text = format!("Slugline's build proxy refuses this host: {reason}.\n");
            reply(StatusCode::FORBIDDEN, text)
        }
        Unreached::Failed(error) => reply(StatusCode::BAD_GATEWAY, format!("{error}\n")),
    })
}

fn reply(status: StatusCode, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn bad(text: &str) -> Unreached {
    Unreached::Failed(io::Error::new(io::ErrorKind::InvalidInput, text.to_owned()))
}

/// Host without brackets, and port.
fn target(uri: &Uri, default_port: Option<u16>) -> Result<(String, u16), Unreached> {
    let host = uri.host().ok_or_else(|| bad("the request names no host"))?;
    let port = uri.port_u16().or(default_port);
    let port = port.ok_or_else(|| bad("the request names no port"))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

async fn tunnel<P: Send + 'static>(
    request: Request<Incoming>,
    state: &State,
    permit: P,
) -> Result<Response<Body>, Unreached> {
    let (host, port) = target(request.uri(), None)?;
    let (stream, upstream) = reach(state, &host, port, true).await?;
    match upstream {
        None => splice(request, stream, permit),
        Some(proxy) => splice(
            request,
            ask_upstream(stream, proxy, &host, port).await?,
            permit,
        ),
    }
    Ok(Response::new(
        Empty::new().map_err(|never| match never {}).boxed(),
    ))
}

/// Joins both ends once the answer to CONNECT is out.
fn splice<P: Send + 'static>(
    request: Request<Incoming>,
    mut other: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    permit: P,
) {
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let _ = copy_bidirectional(&mut TokioIo::new(upgraded), &mut other).await;
        }
        drop(permit);
    });
}

/// Asks the server's own proxy for a tunnel.
async fn ask_upstream(
    stream: Reached,
    proxy: &ProxyUrl,
    host: &str,
    port: u16,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, Unreached> {
    let failed = |error: hyper::Error| Unreached::Failed(io::Error::other(error));
    let place = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::connect(&place);
    request = request.header(header::HOST, &place);
    if let Some(value) = &proxy.authorization {
        request = request.header(header::PROXY_AUTHORIZATION, value);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|_| bad("the request names no host"))?;
    let answer = sender.send_request(request).await.map_err(failed)?;
    if !answer.status().is_success() {
        let text = format!("the server's own proxy answers {}", answer.status());
        return Err(Unreached::Failed(io::Error::other(text)));
    }
    hyper::upgrade::on(answer)
        .await
        .map(TokioIo::new)
        .map_err(failed)
}

/// Passes a plain request on.
async fn forward(
    mut request: Request<Incoming>,
    state: &State,
) -> Result<Response<Body>, Unreached> {
    if request.uri().scheme_str() != Some("http") {
        return Err(bad("this is a proxy: ask it for http://HOST/… or CONNECT"));
    }
    let (host, port) = target(request.uri(), Some(80))?;
    let (stream, upstream) = reach(state, &host, port, false).await?;
    drop_hop_by_hop(request.headers_mut());
    if let Some(proxy) = upstream {
        // It wants the whole URL.
        if let Some(value) = proxy.authorization.as_deref().map(HeaderValue::from_str) {
            let value = value.map_err(|_| bad("the proxy's password is no text"))?;
            let headers = request.headers_mut();
            headers.insert(header::PROXY_AUTHORIZATION, value);
        }
    } else {
        let authority = request.uri().authority().map(|a| a.as_str().to_owned());
        let own = HeaderValue::from_str(authority.as_deref().unwrap_or_default());
        let own = own.map_err(|_| bad("the request names no host"))?;
        request.headers_mut().insert(header::HOST, own);
        let path = request.uri().path_and_query();
        let path = path.map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|_| bad("the path is none"))?;
    }
    let failed = |error: hyper::Error| Unreached::Failed(io::Error::other(error));
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    tokio::spawn(connection);
    let mut response = sender.send_request(request).await.map_err(failed)?;
    drop_hop_by_hop(response.headers_mut());
    Ok(response.map(BodyExt::boxed))
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    // What `Connection` lists is for this hop, too.
    let listed = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse::<HeaderName>().ok())
        .collect::<Vec<_>>();
    for name in listed {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Connects to a host, or to the server's own proxy for it.
async fn reach<'a>(
    state: &'a State,
    host: &str,
    port: u16,
    tunnel: bool,
) -> Result<(Reached, Option<&'a ProxyUrl>), Unreached> {
    let counters = state.traffic.of(host, port);
    let refuse = |reason: String| {
        counters.refused(&reason);
        Unreached::Refused(reason)
    };
    if let Some(reason) = state.rules.refuse_host(host, port) {
        return Err(refuse(reason));
    }
    let upstream = state.rules.upstream.of(host, port, tunnel);
    let addresses = match timeout(CONNECT_TIME, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
        // Behind a proxy many a machine cannot look outer names up; the proxy can.
        _ if upstream.is_some() => Vec::new(),
        Ok(Err(error)) => return Err(Unreached::Failed(error)),
        Err(_) => return Err(Unreached::Failed(io::ErrorKind::TimedOut.into())),
    };
    let own = own_addresses();
    let mut reason = None;
    let allowed = addresses.iter().copied().filter(|address| {
        let refused = state.rules.refuse_address(host, address.ip(), port, &own);
        let is_allowed = refused.is_none();
        reason = refused.or(reason.take());
        is_allowed
    });
    let mut allowed = allowed.collect::<Vec<_>>();
    match (upstream, reason) {
        // Which of its addresses the proxy would take is not ours to say.
        (Some(_), Some(reason)) => return Err(refuse(reason)),
        (None, Some(reason)) if allowed.is_empty() => return Err(refuse(reason)),
        _ => {}
    }
    if let Some(proxy) = upstream {
        let found = lookup_host((proxy.host.as_str(), proxy.port)).await;
        allowed = found.map_err(Unreached::Failed)?.collect();
    }
    let inner = connect(&allowed).await.map_err(Unreached::Failed)?;
    counters.connected();
    Ok((Counted { inner, counters }, upstream))
}

async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match timeout(CONNECT_TIME, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// The addresses of the machine's interfaces: the platform may listen on any of them.
pub(super) fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let address = |storage: nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    interfaces
        .filter_map(|interface| interface.address.and_then(address))
        .collect()
}
