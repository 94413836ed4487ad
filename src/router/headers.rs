//! Headers on their way through: what is for us goes, what tells of us is added.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::{
    CONNECTION, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE, VIA,
};
use hyper::{Request, Uri};

use super::client::Client;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

const OURS: HeaderValue = HeaderValue::from_static("1.1 slugline");
const HTTP: HeaderValue = HeaderValue::from_static("http");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

/// Why a request leads to no app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHost {
    Missing,
    Several,
    Malformed,
}

/// The host that a request names, in lower case and without its port. The request line's wins over
/// the header. Source: RFC 9112, section 3.2.
pub(super) fn host(uri: &Uri, headers: &HeaderMap) -> Result<String, BadHost> {
    let mut named = headers.get_all(HOST).iter();
    let first = named.next();
    if named.next().is_some() {
        return Err(BadHost::Several);
    }
    let text = match (uri.authority(), first) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(value)) => value.to_str().map_err(|_| BadHost::Malformed)?,
        (None, None) => return Err(BadHost::Missing),
    };
    let name = match text.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => text,
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    // An address in brackets is no app's name, and no mistake either.
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let is_sound = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(is_plain),
    };
    if is_sound && name.len() <= 253 {
        Ok(name.to_ascii_lowercase())
    } else {
        Err(BadHost::Malformed)
    }
}

/// The id of a request: the client's where it is a plain one, else a new one.
/// Source: Heroku's rule for `X-Request-Id`, 20 to 200 characters.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |id: &&HeaderValue| {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=+/".contains(byte);
        (20..=200).contains(&id.len()) && id.as_bytes().iter().all(is_plain)
    };
    if let Some(given) = headers.get(X_REQUEST_ID).filter(is_plain) {
        return given.clone();
    }
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = uuid::Builder::from_random_bytes(random_bytes()).into_uuid();
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

/// Random bytes, of which the system is asked for many at once.
fn random_bytes() -> [u8; 16] {
    thread_local! {
        static AHEAD: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
    }
    AHEAD.with_borrow_mut(|ahead| {
        ahead.pop().unwrap_or_else(|| {
            let mut bytes = [[0; 16]; 64];
            // Without it ids would repeat; nothing else depends on them.
            if let Err(error) = getrandom::fill(bytes.as_flattened_mut()) {
                tracing::error!(%error, "there are no random bytes");
            }
            ahead.extend_from_slice(&bytes[1..]);
            bytes[0]
        })
    })
}

/// Whom a request came by, as it says itself, and its client.
pub(super) fn forwarded_for(headers: &HeaderMap, client: &Client) -> HeaderValue {
    if !headers.contains_key(X_FORWARDED_FOR) {
        return client.shown.clone();
    }
    let mut chain = String::new();
    for before in headers.get_all(X_FORWARDED_FOR) {
        if let Ok(before) = before.to_str() {
            chain.push_str(before);
            chain.push_str(", ");
        }
    }
    chain.push_str(client.shown.to_str().unwrap_or_default());
    HeaderValue::try_from(chain).unwrap_or_else(|_| client.shown.clone())
}

/// The same for a log: without blanks, and the client alone where the others are no addresses.
pub(super) fn logged_chain(chain: &HeaderValue) -> Cow<'_, str> {
    let chain = chain.to_str().unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:, ".contains(&byte);
    if chain.len() > 500 || !chain.bytes().all(is_plain) {
        return chain.rsplit(", ").next().unwrap_or_default().into();
    }
    if chain.contains(' ') {
        return chain.replace(' ', "").into();
    }
    chain.into()
}

/// What a request asks its connection to become.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| asks).cloned()
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Takes out what is about one connection alone. Source: RFC 9110, section 7.6.1.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named = tokens(headers, &CONNECTION)
            .filter_map(|token| HeaderName::try_from(token).ok())
            // What the body's length or the app's choice depends on is not a client's to remove.
            .filter(|name| *name != HOST && *name != hyper::header::CONTENT_LENGTH)
            .collect::<Vec<_>>();
        for name in named {
            headers.remove(name);
        }
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// Makes a client's request one for a dyno.
pub(super) fn to_dyno<B>(
    request: &mut Request<B>,
    host: &str,
    id: &HeaderValue,
    chain: &HeaderValue,
    client: &Client,
) {
    let upgrade = upgrade(request.headers());
    let authority = request.uri().authority().map(ToString::to_string);
    let path = request.uri().path_and_query().cloned();
    let origin = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    *request.uri_mut() = origin;
    *request.version_mut() = hyper::Version::HTTP_11;
    let headers = request.headers_mut();
    remove_hop_by_hop(headers);
    // hyper has told the client to go on when the body was first read.
    headers.remove(EXPECT);
    if let Some(authority) = authority {
        let value = HeaderValue::from_str(&authority);
        let plain = HeaderValue::from_str(host);
        if let Ok(value) = value.or(plain) {
            headers.insert(HOST, value);
        }
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    join_cookies(headers);
    headers.insert(X_FORWARDED_FOR, chain.clone());
    headers.insert(X_FORWARDED_PROTO, if client.is_tls { HTTPS } else { HTTP });
    headers.insert(X_FORWARDED_PORT, client.port.clone());
    headers.insert(X_REQUEST_ID, id.clone());
    headers.insert(X_REQUEST_START, HeaderValue::from(now_ms()));
    headers.append(VIA, OURS);
}

/// Makes a dyno's answer one for the client; one that switches protocols keeps what says so.
pub(super) fn to_client(headers: &mut HeaderMap, switches: bool) {
    let protocol = headers.get(UPGRADE).cloned().filter(|_| switches);
    remove_hop_by_hop(headers);
    if let Some(protocol) = protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    headers.append(VIA, OURS);
}

/// HTTP/2 may send cookies one by one. Source: RFC 9113, section 8.2.3.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let all = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let joined = all.collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, joined);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a request's start is a time of the clock"
)]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = name.parse::<HeaderName>().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_host_is_read_with_care() {
        let of = |uri: &str, hosts: &[&str]| {
            let hosts = hosts.iter().map(|host| ("host", *host));
            host(&uri.parse().unwrap(), &headers(&hosts.collect::<Vec<_>>()))
        };
        assert_eq!(
            of("/", &["Hello.localhost:7080"]).unwrap(),
            "hello.localhost"
        );
        assert_eq!(of("/", &["hello.localhost"]).unwrap(), "hello.localhost");
        assert_eq!(of("http://a.b/x", &["c.d"]).unwrap(), "a.b");
        assert_eq!(of("/", &["[::1]:80"]).unwrap(), "[::1]");
        assert_eq!(of("/", &[]), Err(BadHost::Missing));
        assert_eq!(of("/", &["a.b", "a.b"]), Err(BadHost::Several));
        for bad in [
            "", " ", "a b", "a/b", "a.b:x", "user@a.b", "[::1", "a,b", "a\u{e9}",
        ] {
            assert_eq!(of("/", &[bad]), Err(BadHost::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn ids_are_kept_where_they_are_plain() {
        let given = "0123456789abcdefABCD-_=+/";
        assert_eq!(request_id(&headers(&[("x-request-id", given)])), given);
        for bad in ["short", "0123456789 0123456789", &"x".repeat(201)] {
            let made = request_id(&headers(&[("x-request-id", bad)]));
            assert_eq!(made.len(), 36, "{bad}");
        }
    }

    #[test]
    fn the_log_has_the_chain_where_it_is_one_of_addresses() {
        let logged_chain =
            |text: &str| logged_chain(&HeaderValue::from_str(text).unwrap()).into_owned();
        assert_eq!(logged_chain("1.2.3.4, ::1"), "1.2.3.4,::1");
        assert_eq!(logged_chain("a\" dyno=web.9, ::1"), "::1");
        assert_eq!(
            logged_chain(&format!("{}, ::1", "1.2.3.4, ".repeat(99))),
            "::1"
        );
    }

    #[test]
    fn a_request_for_a_dyno() {
        let mut request = Request::builder()
            .uri("http://hello.localhost/a?b")
            .header("host", "other")
            .header("connection", "keep-alive, X-Own, Host")
            .header("keep-alive", "5")
            .header("x-own", "1")
            .header("x-forwarded-for", "1.2.3.4")
            .header("via", "1.0 before")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("te", "trailers")
            .header("expect", "100-continue")
            .body(())
            .unwrap();
        let client = Client::of_test("10.0.0.1", false);
        let chain = forwarded_for(request.headers(), &client);
        let id = HeaderValue::from_static("id");
        to_dyno(&mut request, "hello.localhost", &id, &chain, &client);
        request.headers_mut().remove("x-request-start").unwrap();
        let mut shown = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect::<Vec<_>>();
        shown.sort();
        assert_eq!(request.uri(), "/a?b");
        assert_eq!(
            shown,
            [
                "cookie: a=1; b=2",
                "host: hello.localhost",
                "via: 1.0 before",
                "via: 1.1 slugline",
                "x-forwarded-for: 1.2.3.4, 10.0.0.1",
                "x-forwarded-port: 7080",
                "x-forwarded-proto: http",
                "x-request-id: id",
            ]
        );
    }

    #[test]
    fn an_upgrade_stays_one() {
        let asked = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(upgrade(&asked).unwrap(), "websocket");
        assert_eq!(upgrade(&headers(&[("upgrade", "h2c")])), None);
        let mut answer = headers(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        to_client(&mut answer, true);
        assert_eq!(answer["upgrade"], "websocket");
        let mut answer = headers(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        to_client(&mut answer, false);
        assert!(answer.get("upgrade").is_none());
    }
}
