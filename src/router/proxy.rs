//! One request: to its app, to one of its dynos, and the answer back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::body::{Answer, RequestBody, ResponseBody, Upload};
use super::client::Client;
use super::headers::{self, BadHost};
use super::link::Link;
use super::pages::{Fault, page};
use super::pool::Pool;
use super::record::Record;
use super::worker::Worker;
use super::{Router, upgrade};
use crate::platform::dynos::{Backend, Condition, Route, Serving, Upstreams};

/// Dynos that are tried at most before the request counts as refused.
const ATTEMPTS: usize = 10;

type Reply = Response<ResponseBody>;

/// Answers a request.
pub(super) async fn answer(
    worker: &Worker,
    request: Request<Incoming>,
    client: Arc<Client>,
) -> Reply {
    let router = &*worker.router;
    let (host, route) = match find(router, &request) {
        Ok(found) => found,
        Err(why) => {
            router.metrics.unrouted.fetch_add(1, Ordering::Relaxed);
            return why.page();
        }
    };
    let chain = headers::forwarded_for(request.headers(), &client);
    route.begin_request();
    client.begin_request();
    let mut record = Record {
        log: router.streams.of(&route.app_id),
        client,
        method: request.method().clone(),
        path: request.uri().path_and_query().cloned(),
        host,
        id: headers::request_id(request.headers()),
        forwarded_for: chain,
        backend: None,
        connect: None,
        served_since: None,
        status: None,
        bytes: 0,
        fault: None,
        is_done: false,
        route,
    };
    if record.route.maintenance() {
        return failed(record, Fault::Maintenance);
    }
    // What is told beforehand need not be sent.
    if request.body().size_hint().lower() > router.limits.body_bytes {
        return failed(record, Fault::TooLarge);
    }
    match choose(worker, &mut record).await {
        Ok(chosen) => forward(router, request, chosen, record).await,
        Err(fault) => failed(record, fault),
    }
}

/// Why a request leads to no app.
enum Unrouted {
    Method,
    BadHost,
    Unknown,
}

/// The host that a request names, and the way to its app.
fn find(router: &Router, request: &Request<Incoming>) -> Result<(String, Arc<Route>), Unrouted> {
    if request.method() == Method::CONNECT || request.method() == Method::TRACE {
        return Err(Unrouted::Method);
    }
    let host = headers::host(request.uri(), request.headers());
    let host = host.map_err(|why| match why {
        BadHost::Missing if request.version() == hyper::Version::HTTP_10 => Unrouted::Unknown,
        _ => Unrouted::BadHost,
    })?;
    let route = router.routes.find(&host).ok_or(Unrouted::Unknown)?;
    Ok((host, route))
}

impl Unrouted {
    fn page(self) -> Reply {
        match self {
            Self::Method => {
                let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
                let allowed =
                    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
                reply.headers_mut().insert(ALLOW, allowed);
                reply
            }
            Self::BadHost => plain(
                StatusCode::BAD_REQUEST,
                "Bad request: its Host is missing or wrong",
            ),
            Self::Unknown => html(
                StatusCode::NOT_FOUND,
                page("No such app", "There is no app at this address."),
            ),
        }
    }
}

/// A dyno, and a connection to it.
struct Chosen {
    link: Link,
    /// Whether it has served before.
    is_reused: bool,
    backend: Arc<Backend>,
    pool: Arc<Pool>,
    serving: Serving,
}

/// Chooses a dyno at random, passing over those that refuse the connection.
async fn choose(worker: &Worker, record: &mut Record) -> Result<Chosen, Fault> {
    let mut refused = Vec::new();
    let limits = &worker.router.limits;
    let mut upstreams = record.route.now();
    for _ in 0..ATTEMPTS {
        if upstreams.backends.is_empty() {
            upstreams = wait_for_dyno(&worker.router, &record.route).await?;
        }
        let Some(backend) = one_of(&upstreams, &refused) else {
            break;
        };
        record.backend = Some(backend.clone());
        let serving = backend.enter();
        let pool = worker.pools.of(&backend);
        let (link, is_reused) = match pool.take() {
            Some(link) => (Some(link), true),
            None => (connect(&backend, limits.connect_time, record).await, false),
        };
        if let Some(link) = link {
            if is_reused {
                record.connect = Some(Duration::ZERO);
            }
            record.served_since = Some(Instant::now());
            return Ok(Chosen {
                link,
                is_reused,
                backend,
                pool,
                serving,
            });
        }
        refused.push(backend.id);
        // It may be on its way out, with others in its place already.
        upstreams = record.route.now();
    }
    Err(Fault::Refused)
}

fn one_of(upstreams: &Upstreams, refused: &[u64]) -> Option<Arc<Backend>> {
    let all = &upstreams.backends;
    if refused.is_empty() {
        return all.get(random(all.len())).cloned();
    }
    let left = all.iter().filter(|backend| !refused.contains(&backend.id));
    let left = left.collect::<Vec<_>>();
    left.get(random(left.len())).copied().cloned()
}

/// Connects to a dyno; none where it refuses or takes too long.
async fn connect(backend: &Backend, longest: Duration, record: &mut Record) -> Option<Link> {
    let began = Instant::now();
    let link = timeout(longest, Link::open(backend)).await;
    record.connect = Some(began.elapsed());
    link.ok()?.ok()
}

async fn wait_for_dyno(router: &Router, route: &Route) -> Result<Arc<Upstreams>, Fault> {
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
    mut chosen: Chosen,
    mut record: Record,
) -> Reply {
    let limits = &router.limits;
    let client = record.client.clone();
    let chain = &record.forwarded_for;
    headers::to_dyno(&mut request, &record.host, &record.id, chain, &client);
    let switches = headers::upgrade(request.headers()).is_some();
    let of_client = switches.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let (body, upload) = RequestBody::new(body, limits, &client);
    let request = Request::from_parts(parts, body);
    // A connection that has served before may be closed by the dyno at this very moment.
    let may_repeat = upload.is_none() && request.method().is_idempotent() && !switches;
    let mut again = (chosen.is_reused && may_repeat).then(|| copy(&request));
    let mut outgoing = request;
    let response = loop {
        let sending = chosen.link.send(outgoing);
        let overdue = overdue(
            Instant::now() + limits.first_byte,
            upload.as_deref(),
            router,
        );
        let sent = tokio::select! {
            biased;
            sent = sending => sent,
            () = overdue => return failed(record, Fault::FirstByte),
        };
        let mut error = match sent {
            Ok(response) => break response,
            Err(error) => error,
        };
        tracing::debug!(error = %error.error(), dyno = chosen.backend.dyno, "a dyno did not answer");
        if let Some(fault) = upload.as_ref().and_then(|upload| upload.fault()) {
            return failed(record, fault);
        }
        // What was not sent can be sent again; so can what changes nothing.
        let unsent = error.take_message().filter(|_| chosen.is_reused);
        let Some(next) = unsent.or_else(|| again.take()) else {
            return failed(record, Fault::NoAnswer);
        };
        outgoing = next;
        match connect(&chosen.backend, limits.connect_time, &mut record).await {
            Some(link) => (chosen.link, chosen.is_reused) = (link, false),
            None => return failed(record, Fault::Refused),
        }
    };
    client.moves();
    pass_back(router, response, of_client, chosen, record)
}

/// Returns when the dyno has had its time.
async fn overdue(end: Instant, upload: Option<&Upload>, router: &Router) {
    let limits = &router.limits;
    let Some(upload) = upload else {
        return tokio::time::sleep_until(end.into()).await;
    };
    // Its time begins when the body has been sent.
    loop {
        let end = upload.deadline(limits.first_byte, limits.silence);
        if end <= tokio::time::Instant::now() {
            return;
        }
        tokio::time::sleep_until(end).await;
    }
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
    let Chosen {
        link,
        pool,
        serving,
        ..
    } = chosen;
    match (of_client, of_dyno) {
        (Some(of_client), Some(of_dyno)) => {
            upgrade::splice(of_client, of_dyno, link, silence, record, serving);
            response.map(|_| ResponseBody::Page(Full::default()))
        }
        // Nobody has asked for that.
        (None, Some(_)) => {
            record.status = None;
            failed(record, Fault::NoAnswer)
        }
        _ => response.map(|body| {
            let answer = Answer::new(body, silence, record, link, pool, serving);
            ResponseBody::Dyno(Box::new(answer))
        }),
    }
}

/// The same request, without a body, for another attempt.
fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
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
