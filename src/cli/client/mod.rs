//! Calls a server's Platform API: blocking, JSON in and out.
//!
//! In: a server's address, a token, a path. Out: the server's JSON, or a [`ClientError`] that says
//! whether nobody answered, something else did, or the server said no. The token goes to that
//! server alone: redirects are not followed, and streams are read without it.

mod error;
mod explain;
#[cfg(test)]
mod tests;
mod token;

use std::io::Read;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RANGE};
use ureq::http::{Method, Request, Response};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

pub use error::ClientError;
pub use explain::{explain, sentence};
pub use token::Token;

use super::environment::Environment;
use super::server_url::ServerUrl;

/// Source: the Platform API, "Clients": the version is asked for by this header.
const MEDIA_TYPE: &str = "application/vnd.heroku+json; version=3";

/// Longest time to reach the server.
const CONNECT_TIME_LIMIT: Duration = Duration::from_secs(10);

/// Longest time until the server's answer begins.
const ANSWER_TIME_LIMIT: Duration = Duration::from_secs(60);

/// Largest JSON document of an answer.
const ANSWER_LIMIT_BYTES: u64 = 64 << 20;

/// Most pages of a list; more would be a server that never ends it.
const PAGE_LIMIT: usize = 1000;

/// One server, called with one token.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    server: ServerUrl,
    token: Token,
}

impl Client {
    /// A client of the environment's server. Nothing is sent yet.
    ///
    /// # Errors
    /// The caller's: no address or no token.
    pub fn new(environment: &Environment) -> Result<Self, ClientError> {
        let server = environment.server()?;
        let token = environment.token(&server)?;
        Ok(Self {
            agent: agent(&server),
            server,
            token,
        })
    }

    /// The server's address.
    pub fn server(&self) -> &ServerUrl {
        &self.server
    }

    /// Gets a resource.
    ///
    /// # Errors
    /// [`ClientError`], as for all calls.
    pub fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.call(&Method::GET, path, None)
    }

    /// Makes a resource.
    ///
    /// # Errors
    /// [`ClientError`], as for all calls.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.call(&Method::POST, path, Some(body))
    }

    /// Changes a resource.
    ///
    /// # Errors
    /// [`ClientError`], as for all calls.
    pub fn patch(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.call(&Method::PATCH, path, Some(body))
    }

    /// Replaces a resource.
    ///
    /// # Errors
    /// [`ClientError`], as for all calls.
    pub fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.call(&Method::PUT, path, Some(body))
    }

    /// Removes a resource.
    ///
    /// # Errors
    /// [`ClientError`], as for all calls.
    pub fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.call(&Method::DELETE, path, None)
    }

    /// Gets the whole list at `path`, page by page. `range` orders it, where the server can:
    /// `version ..; order=desc, max=15`; with `at_most` elements it is enough.
    ///
    /// # Errors
    /// [`ClientError`], as for all calls.
    pub fn list(
        &self,
        path: &str,
        range: Option<&str>,
        at_most: usize,
    ) -> Result<Vec<Value>, ClientError> {
        let mut all = Vec::new();
        let mut range = range.map(str::to_owned);
        for _ in 0..PAGE_LIMIT {
            let mut request = self.request(&Method::GET, path);
            if let Some(range) = &range {
                request = request.header(RANGE, range);
            }
            let response = self.send(request, None)?;
            let next = response.headers().get("next-range");
            let next = next.and_then(|next| next.to_str().ok()).map(str::to_owned);
            let page: Vec<Value> = of(&self.answer(response)?)?;
            all.extend(page);
            if next.is_none() || next == range || all.len() >= at_most {
                break;
            }
            range = next;
        }
        Ok(all)
    }

    /// Opens a stream that the server gave the whole address of, such as a build's output.
    ///
    /// # Errors
    /// [`ClientError`], as for all calls.
    pub fn open(&self, url: &str) -> Result<impl Read + use<>, ClientError> {
        let request = Request::get(url).body(());
        let no_server = || ClientError::NotAServer {
            url: without_query(url).to_owned(),
            status: None,
        };
        let request = request.map_err(|_| no_server())?;
        let sent = self.agent.run(request);
        let response = sent.map_err(|error| sending_error(url, error))?;
        if response.status().is_success() {
            return Ok(response.into_body().into_reader());
        }
        let status = response.status().as_u16();
        let text = read_text(url, response)?;
        Err(
            refusal(status, &text).unwrap_or_else(|| ClientError::Refused {
                status,
                id: "stream_refused".to_owned(),
                message: text.trim().chars().take(1000).collect(),
                url: None,
            }),
        )
    }

    fn call(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let response = self.send(self.request(method, path), body)?;
        self.answer(response)
    }

    fn request(&self, method: &Method, path: &str) -> ureq::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server))
            .header(ACCEPT, MEDIA_TYPE)
            .header(AUTHORIZATION, format!("Bearer {}", self.token.expose()))
    }

    fn send(
        &self,
        request: ureq::http::request::Builder,
        body: Option<&Value>,
    ) -> Result<Response<Body>, ClientError> {
        let url = self.server.as_str();
        let http_error = |error: ureq::http::Error| sending_error(url, error.into());
        let sent = match body {
            Some(body) => {
                let request = request.header(CONTENT_TYPE, "application/json");
                let request = request.body(body.to_string()).map_err(http_error)?;
                self.agent.run(request)
            }
            None => self.agent.run(request.body(()).map_err(http_error)?),
        };
        sent.map_err(|error| sending_error(url, error))
    }

    /// The document of an answer, or the error that it tells of.
    fn answer(&self, response: Response<Body>) -> Result<Value, ClientError> {
        let url = self.server.as_str();
        let status = response.status();
        let text = read_text(url, response)?;
        let no_server = || ClientError::NotAServer {
            url: url.to_owned(),
            status: Some(status.as_u16()),
        };
        if status.is_success() {
            if text.trim().is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_str(&text).map_err(|_| no_server());
        }
        let refused = refusal(status.as_u16(), &text).ok_or_else(no_server)?;
        if status.as_u16() == 401 {
            return Err(ClientError::Unauthorized {
                server: url.to_owned(),
                origin: self.token.origin().to_owned(),
            });
        }
        Err(refused)
    }
}

/// Reads a document as one of the shapes of [`answers`](super::answers).
///
/// # Errors
/// The platform's: the document has another form.
pub(super) fn of<T: DeserializeOwned>(document: &Value) -> Result<T, ClientError> {
    T::deserialize(document).map_err(|source| ClientError::Form { source })
}

/// Writes a text as one segment of a path. Source: RFC 3986, section 2.3, unreserved characters.
pub(super) fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut path, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            write!(path, "%{byte:02X}").expect("a String takes all that is written");
        }
        path
    })
}

fn agent(server: &ServerUrl) -> Agent {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT_TIME_LIMIT))
        .timeout_recv_response(Some(ANSWER_TIME_LIMIT))
        .user_agent(concat!("slugline/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls);
    // A proxy cannot reach this machine's own server, whatever the environment says.
    let config = if server.is_loopback() {
        config.proxy(None)
    } else {
        config
    };
    Agent::new_with_config(config.build())
}

fn read_text(url: &str, mut response: Response<Body>) -> Result<String, ClientError> {
    let mut bytes = Vec::new();
    let mut body = response.body_mut().as_reader().take(ANSWER_LIMIT_BYTES);
    body.read_to_end(&mut bytes)
        .map_err(|source| ClientError::Interrupted {
            url: without_query(url).to_owned(),
            source,
        })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The error that an answer's text is, if it is of the Platform API's form.
fn refusal(status: u16, text: &str) -> Option<ClientError> {
    #[derive(serde::Deserialize)]
    struct Refusal {
        id: String,
        message: String,
        url: Option<String>,
    }
    let refusal: Refusal = serde_json::from_str(text).ok()?;
    Some(ClientError::Refused {
        status,
        id: refusal.id,
        message: refusal.message,
        url: refusal.url,
    })
}

/// Sorts what went wrong before an answer began.
fn sending_error(url: &str, error: ureq::Error) -> ClientError {
    use std::io::ErrorKind as Kind;
    use ureq::{Error, Timeout};
    let url = without_query(url).to_owned();
    match error {
        Error::Protocol(_) | Error::Http(_) | Error::BadUri(_) => {
            ClientError::NotAServer { url, status: None }
        }
        Error::Timeout(limit) if !matches!(limit, Timeout::Connect | Timeout::Resolve) => {
            ClientError::Interrupted {
                url,
                source: Error::Timeout(limit).into_io(),
            }
        }
        Error::Io(source)
            if matches!(
                source.kind(),
                Kind::UnexpectedEof | Kind::ConnectionReset | Kind::BrokenPipe
            ) =>
        {
            ClientError::Interrupted { url, source }
        }
        other => ClientError::Connect {
            url,
            source: other.into_io(),
        },
    }
}

/// A URL may carry a signature in its query: messages do not show it.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}
