//! How a bucket's server is spoken to: by the HTTP client that the rest of the program has, so that
//! the bucket brings no second client and no second TLS.
//!
//! Requests and answers are held in memory whole; they are parts of blobs and lists of names.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use ureq::Agent;
use ureq::http::Request;
use ureq::tls::{RootCerts, TlsConfig};

/// Largest answer: a part of a blob, and then some.
const ANSWER_LIMIT_BYTES: u64 = 2 * super::PART_BYTES;

const CONNECT_TIME_LIMIT: Duration = Duration::from_secs(10);

/// Longest time for one request and its answer; 8 MiB take this long at 70 KB/s.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Connects by ureq, on the runtime's threads for blocking work.
#[derive(Debug)]
pub struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A bucket elsewhere is an error that a person must see.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIME_LIMIT))
            .timeout_global(Some(TIME_LIMIT))
            .tls_config(tls)
            .build();
        Ok(HttpClient::new(Service {
            agent: Agent::new_with_config(config),
        }))
    }
}

#[derive(Debug)]
struct Service {
    agent: Agent,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let agent = self.agent.clone();
        let called = tokio::task::spawn_blocking(move || {
            let response = if body.is_empty() && parts.method != "PUT" && parts.method != "POST" {
                agent.run(Request::from_parts(parts, ()))
            } else {
                agent.run(Request::from_parts(parts, &body[..]))
            };
            let (parts, mut body) = response?.into_parts();
            let body = body.with_config().limit(ANSWER_LIMIT_BYTES).read_to_vec()?;
            Ok(HttpResponse::from_parts(
                parts,
                HttpResponseBody::from(body),
            ))
        });
        match called.await {
            Ok(answer) => answer.map_err(failed),
            Err(panic) => Err(HttpError::new(HttpErrorKind::Unknown, panic)),
        }
    }
}

/// Says whether a request is worth another try.
fn failed(error: ureq::Error) -> HttpError {
    use ureq::Error as E;
    let kind = match &error {
        E::HostNotFound | E::ConnectionFailed => HttpErrorKind::Connect,
        E::Timeout(_) => HttpErrorKind::Timeout,
        E::Io(io) => match io.kind() {
            std::io::ErrorKind::ConnectionRefused => HttpErrorKind::Connect,
            _ => HttpErrorKind::Interrupted,
        },
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
