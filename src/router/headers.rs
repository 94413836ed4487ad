//! Headers on their way through: what is for us goes, what tells of us is added.

use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::{
    CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
    VIA,
};
use hyper::{Request, Uri};

use super::Client;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

const OURS: HeaderValue = HeaderValue::from_static("1.1 slugline");
const HTTP: HeaderValue = HeaderValue::from_static("http");

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
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
    let is_plain = |id: &&str| {
        (20..=200).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_=+/".contains(&byte))
    };
    given
        .filter(is_plain)
        .map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
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
pub(super) fn to_dyno<B>(request: &mut Request<B>, host: &str, id: &str, client: Client) {
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
    let from = client.address.ip().to_canonical().to_string();
    let before = headers.get_all(X_FORWARDED_FOR).iter();
    let before = before.filter_map(|value| value.to_str().ok());
    let chain = before.chain([from.as_str()]).collect::<Vec<_>>().join(", ");
    set(headers, X_FORWARDED_FOR, &chain);
    headers.insert(X_FORWARDED_PROTO, HTTP);
    headers.insert(X_FORWARDED_PORT, HeaderValue::from(client.port));
    set(headers, X_REQUEST_ID, id);
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

fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
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
    fn a_request_for_a_dyno() {
        let mut request = Request::builder()
            .uri("http://hello.localhost/a?b")
            .header("host", "other")
            .header("connection", "keep-alive, X-Own, Host")
            .header("keep-alive", "5")
            .header("x-own", "1")
            .header("x-forwarded-for", "1.2.3.4")
            .header("via", "1.0 before")
            .header("te", "trailers")
            .header("expect", "100-continue")
            .body(())
            .unwrap();
        let client = Client {
            address: "[::ffff:10.0.0.1]:1".parse().unwrap(),
            port: 7080,
        };
        to_dyno(&mut request, "hello.localhost", "id", client);
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
