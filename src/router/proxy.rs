//! One request: to its app, to one of its dynos, and the answer back.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::body::{Answer, RequestBody, ResponseBody};
use super::headers::{self, BadHost};
use super::pages::{Fault, page};
use super::pool::{Pool, Sender, connect};
use super::record::Record;
use super::{Client, Router, upgrade};
use crate::platform::dynos::{Backend, Condition, Route, Serving};

/// Dynos that are tried at most before the request counts as refused.
const ATTEMPTS: usize = 10;

type Reply = Response<ResponseBody>;

/// Answers a request.
pub(super) async fn answer(router: &Router, request: Request<Incoming>, client: Client) -> Reply {
    if request.method() == Method::CONNECT || request.method() == Method::TRACE {
        let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
        let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        reply.headers_mut().insert(ALLOW, allowed);
        return reply;
    }
    let host = match headers::host(request.uri(), request.headers()) {
        Ok(host) => host,
        Err(BadHost::Missing) if request.version() == hyper::Version::HTTP_10 => {
            return unknown_app();
        }
        Err(_) => {
            return plain(
                StatusCode::BAD_REQUEST,
                "Bad request: its Host is missing or wrong",
            );
        }
    };
    let Some(route) = router.routes.find(&host) else {
        return unknown_app();
    };
    let id = headers::request_id(request.headers());
    let mut record = Record {
        log: router.streams.of(&route.app_id),
        method: request.method().to_string(),
        path: request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned(),
        host: host.clone(),
        id,
        from: client.address.ip().to_canonical().to_string(),
        dyno: None,
        connect: None,
        started: Instant::now(),
        status: None,
        bytes: 0,
        fault: None,
        is_done: false,
    };
    if route.maintenance() {
        return failed(record, Fault::Maintenance);
    }
    let chosen = choose(router, &route, &mut record).await;
    let chosen = match chosen {
        Ok(chosen) => chosen,
        Err(fault) => return failed(record, fault),
    };
    forward(router, request, &host, client, chosen, record).await
}

/// A dyno, and a connection to it.
struct Chosen {
    sender: Sender,
    /// Whether it has served before.
    is_reused: bool,
    backend: Arc<Backend>,
    pool: Arc<Pool>,
    serving: Serving,
}

/// Chooses a dyno at random, passing over those that refuse the connection.
async fn choose(router: &Router, route: &Route, record: &mut Record) -> Result<Chosen, Fault> {
    let mut refused = HashSet::new();
    let limits = &router.limits;
    let mut upstreams = route.now();
    for _ in 0..ATTEMPTS {
        if upstreams.backends.is_empty() {
            upstreams = wait_for_dyno(router, route).await?;
        }
        let left = upstreams
            .backends
            .iter()
            .filter(|backend| !refused.contains(&backend.id));
        let left = left.collect::<Vec<_>>();
        if left.is_empty() {
            break;
        }
        let backend = left[random(left.len())].clone();
        record.dyno = Some(backend.dyno.clone());
        let serving = backend.enter();
        let pool = router.pools.of(&backend);
        if let Some(sender) = pool.take() {
            record.connect = Some(std::time::Duration::ZERO);
            return Ok(Chosen {
                sender,
                is_reused: true,
                backend,
                pool,
                serving,
            });
        }
        let began = Instant::now();
        if let Ok(Ok(sender)) = timeout(limits.connect_time, connect(&backend)).await {
            record.connect = Some(began.elapsed());
            return Ok(Chosen {
                sender,
                is_reused: false,
                backend,
                pool,
                serving,
            });
        }
        refused.insert(backend.id);
        // It may be on its way out, with others in its place already.
        upstreams = route.now();
    }
    Err(Fault::Refused)
}

async fn wait_for_dyno(
    router: &Router,
    route: &Route,
) -> Result<Arc<crate::platform::dynos::Upstreams>, Fault> {
    let mut upstreams = route.upstreams();
    let there = upstreams.wait_for(|now| now.condition != Condition::Starting);
    let there = match timeout(router.limits.boot_time, there).await {
        Ok(Ok(there)) => there.clone(),
        Ok(Err(_)) | Err(_) => return Err(Fault::Boot),
    };
    match there.condition {
        Condition::Up => Ok(there),
        Condition::Crashed => Err(Fault::Crashed),
        Condition::Starting => Err(Fault::Boot),
        Condition::NoWeb => Err(Fault::NoWeb),
        Condition::Blank => Err(Fault::Blank),
    }
}

async fn forward(
    router: &Router,
    mut request: Request<Incoming>,
    host: &str,
    client: Client,
    mut chosen: Chosen,
    mut record: Record,
) -> Reply {
    let limits = &router.limits;
    headers::to_dyno(&mut request, host, &record.id, client);
    let switches = headers::upgrade(request.headers()).is_some();
    let of_client = switches.then(|| hyper::upgrade::on(&mut request));
    let idle = Arc::new(AtomicBool::new(false));
    let is_empty = request.body().is_end_stream();
    // A connection that has served before may be closed by the dyno at this very moment.
    let again = (chosen.is_reused && is_empty && request.method().is_idempotent() && !switches)
        .then(|| copy(&request));
    let body = |body| RequestBody::new(body, limits.silence, idle.clone());
    let mut outgoing = Some(request.map(body));
    let mut again = again;
    let end = Instant::now() + limits.first_byte;
    let response = loop {
        let Some(request) = outgoing.take() else {
            return failed(record, Fault::NoAnswer);
        };
        let sending = async {
            chosen.sender.ready().await.map_err(|error| (error, None))?;
            let sent = chosen.sender.try_send_request(request).await;
            sent.map_err(|mut error| {
                let request = error.take_message();
                (error.into_error(), request)
            })
        };
        match tokio::time::timeout_at(end.into(), sending).await {
            Ok(Ok(response)) => break response,
            Err(_elapsed) => return failed(record, Fault::FirstByte),
            Ok(Err((error, unsent))) => {
                tracing::debug!(%error, dyno = chosen.backend.dyno, "a dyno did not answer");
                if idle.load(Ordering::SeqCst) {
                    return failed(record, Fault::ClientIdle);
                }
                // What was not sent can be sent again; so can what changes nothing.
                outgoing = unsent.filter(|_| chosen.is_reused).or_else(|| again.take());
                if outgoing.is_none() {
                    return failed(record, Fault::NoAnswer);
                }
                let began = Instant::now();
                match timeout(limits.connect_time, connect(&chosen.backend)).await {
                    Ok(Ok(sender)) => {
                        chosen.sender = sender;
                        chosen.is_reused = false;
                        record.connect = Some(began.elapsed());
                    }
                    _ => return failed(record, Fault::Refused),
                }
            }
        }
    };
    pass_back(router, response, of_client, chosen, record)
}

fn pass_back(
    router: &Router,
    mut response: Response<Incoming>,
    of_client: Option<hyper::upgrade::OnUpgrade>,
    chosen: Chosen,
    mut record: Record,
) -> Reply {
    let silence = router.limits.silence;
    let status = response.status();
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    record.status = Some(status.as_u16());
    let of_dyno = switches.then(|| hyper::upgrade::on(&mut response));
    headers::to_client(response.headers_mut(), switches);
    match (of_client, of_dyno) {
        (Some(of_client), Some(of_dyno)) => {
            upgrade::splice(of_client, of_dyno, silence, record, chosen.serving);
            response.map(|_| ResponseBody::Page(Full::default()))
        }
        // Nobody has asked for that.
        (None, Some(_)) => failed(record, Fault::NoAnswer),
        _ => response.map(|body| {
            let answer = Answer::new(
                body,
                silence,
                record,
                chosen.sender,
                chosen.pool,
                chosen.serving,
            );
            ResponseBody::Dyno(Box::new(answer))
        }),
    }
}

/// The same request, without a body, for another attempt.
fn copy(request: &Request<Incoming>) -> Request<RequestBody> {
    let mut again = Request::new(RequestBody::empty());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    *again.headers_mut() = request.headers().clone();
    again
}

fn failed(mut record: Record, fault: Fault) -> Reply {
    let status = fault.status();
    record.fault = Some(fault);
    record.status = Some(status.as_u16());
    record.is_done = true;
    html(status, fault.page())
}

fn unknown_app() -> Reply {
    html(
        StatusCode::NOT_FOUND,
        page("No such app", "There is no app at this address."),
    )
}

fn html(status: StatusCode, text: String) -> Reply {
    let mut reply = Response::new(ResponseBody::Page(Full::new(Bytes::from(text))));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store"),
    );
    reply
}

fn plain(status: StatusCode, text: &str) -> Reply {
    html(
        status,
        page(text, "The router cannot pass this request on."),
    )
}

/// A number below `count`, evenly spread. Nobody's secret depends on it.
fn random(count: usize) -> usize {
    static STATE: AtomicU64 = AtomicU64::new(0x9E37_79B9_7F4A_7C15);
    // The steps and mixing constants of splitmix64.
    let mut z = STATE.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    let count = u64::try_from(count.max(1)).unwrap_or(1);
    usize::try_from(z % count).unwrap_or(0)
}
