//! One request in its app's log, in Heroku's form.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Method;
use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;

use super::client::Client;
use super::headers::logged_chain;
use super::pages::Fault;
use crate::platform::dynos::{Backend, Route};
use crate::platform::log_stream::{LogStream, Source};

/// What is known of a request; dropping it writes its line and counts it.
#[derive(Debug)]
pub(super) struct Record {
    pub route: Arc<Route>,
    pub log: Arc<LogStream>,
    pub client: Arc<Client>,
    pub method: Method,
    pub path: Option<PathAndQuery>,
    pub host: String,
    pub id: HeaderValue,
    /// Whom the request came by, the client last.
    pub forwarded_for: HeaderValue,
    pub backend: Option<Arc<Backend>>,
    pub connect: Option<Duration>,
    /// Since when the dyno has been at it; none before there was a connection.
    pub served_since: Option<Instant>,
    /// Of the answer, once there is one.
    pub status: Option<u16>,
    /// Of the answer's body.
    pub bytes: u64,
    pub fault: Option<Fault>,
    /// The answer has been sent to its end, or its end is known.
    pub is_done: bool,
}

/// Longest path that is logged whole.
const PATH_BYTES: usize = 2000;

impl Record {
    /// Lets go of the buffer that the request was read into, of which some of it is a part.
    pub fn detach(&mut self) {
        let copy = |path: &PathAndQuery| path.as_str().parse().ok();
        self.path = self.path.as_ref().and_then(copy);
        for value in [&mut self.id, &mut self.forwarded_for] {
            if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
                *value = copy;
            }
        }
    }

    /// What went wrong, if anything did.
    fn fault(&self) -> Option<Fault> {
        match self.fault {
            Some(fault) => Some(fault),
            None if self.is_done => None,
            // Nobody has said how it ended.
            None if self.client.is_stalled() => Some(Fault::Idle),
            None => Some(Fault::ClientLeft),
        }
    }

    fn status(&self, fault: Option<Fault>) -> u16 {
        match (fault, self.status) {
            (
                Some(fault @ (Fault::ClientLeft | Fault::ClientIdle | Fault::Cut | Fault::Idle)),
                _,
            )
            | (Some(fault), None) => fault.status().as_u16(),
            (_, status) => status.unwrap_or(0),
        }
    }

    /// Writes the line. Writing to a text cannot fail.
    fn line(&self, line: &mut String, fault: Option<Fault>, status: u16) {
        match fault {
            None => line.push_str("at=info"),
            Some(fault) => {
                if let Some(socket) = fault.socket() {
                    let _ = write!(line, "sock={socket} ");
                }
                let (level, code, text) = (fault.level(), fault.code(), fault.description());
                let _ = write!(line, "at={level} code={code} desc=\"{text}\"");
            }
        }
        line.push_str(" method=");
        line.push_str(self.method.as_str());
        line.push_str(" path=\"");
        let path = self.path.as_ref().map_or("/", PathAndQuery::as_str);
        let path = path.get(..PATH_BYTES).unwrap_or(path);
        for part in path.split_inclusive(['"', '\\']) {
            let bare = part.strip_suffix(['"', '\\']);
            line.push_str(bare.unwrap_or(part));
            if bare.is_some() {
                line.push('\\');
                line.extend(part.chars().next_back());
            }
        }
        let dyno = self.backend.as_ref().map_or("", |backend| &backend.dyno);
        let id = self.id.to_str().unwrap_or_default();
        let host = &self.host;
        let forwarded_for = logged_chain(&self.forwarded_for);
        let _ = write!(
            line,
            "\" host={host} request_id={id} fwd=\"{forwarded_for}\" dyno={dyno} connect="
        );
        if let Some(time) = self.connect {
            let _ = write!(line, "{}ms", time.as_millis());
        }
        line.push_str(" service=");
        if let Some(since) = self.served_since {
            let _ = write!(line, "{}ms", since.elapsed().as_millis());
        }
        let _ = write!(line, " status={status} bytes=");
        // Where nothing was sent and nobody has answered, Heroku's lines have no number.
        let is_known = match fault {
            Some(Fault::ClientLeft) => self.status.is_some(),
            Some(_) => self.served_since.is_some(),
            None => true,
        };
        if is_known {
            let _ = write!(line, "{}", self.bytes);
        }
        let protocol = if self.client.is_tls { "https" } else { "http" };
        let _ = write!(line, " protocol={protocol}");
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let fault = self.fault();
        let status = self.status(fault);
        let service = self
            .served_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        let code = fault.map(Fault::code);
        self.route.end_request(status, code, self.bytes, service);
        self.client.end_request();
        let write = |line: &mut String| self.line(line, fault, status);
        self.log.write_with(Source::Heroku, "router", write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::dynos::Routes;
    use crate::platform::log_stream::{Filter, LogStreams};

    /// All that can be said of a request, as the log has it.
    #[test]
    fn the_form_is_heroku_s() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogStreams::new(dir.path().to_owned()).of("app");
        let route = Routes::new("localhost").of("app", "hello");
        let client = |is_tls| Arc::new(Client::of_test("10.0.0.1", is_tls));
        let backend = route.backend_of_test("web.1");
        let record = |is_tls| {
            let client: Arc<Client> = client(is_tls);
            client.begin_request();
            route.begin_request();
            Record {
                route: route.clone(),
                log: log.clone(),
                client,
                method: Method::GET,
                path: r#"/a"b?c=d"#.try_into().ok(),
                host: "hello.localhost".into(),
                id: HeaderValue::from_static("0123456789abcdefghij"),
                forwarded_for: HeaderValue::from_static("1.2.3.4, 10.0.0.1"),
                backend: Some(backend.clone()),
                connect: Some(Duration::from_millis(1)),
                served_since: Some(Instant::now()),
                status: Some(200),
                bytes: 20,
                fault: None,
                is_done: true,
            }
        };
        drop(record(false));
        drop(record(true));
        // The client has gone: before the answer's head, and after it.
        for status in [None, Some(200)] {
            let mut left = record(false);
            (left.is_done, left.status) = (false, status);
            drop(left);
        }
        // With a dyno that was connected.
        for fault in [
            Fault::FirstByte,
            Fault::NoAnswer,
            Fault::Idle,
            Fault::Cut,
            Fault::ClientIdle,
        ] {
            let mut failed = record(false);
            (failed.fault, failed.status) = (Some(fault), None);
            drop(failed);
        }
        let mut refused = record(false);
        (refused.fault, refused.status, refused.served_since) = (Some(Fault::Refused), None, None);
        drop(refused);
        // Without one.
        for fault in [
            Fault::Crashed,
            Fault::NoWeb,
            Fault::Boot,
            Fault::TooLarge,
            Fault::Maintenance,
            Fault::Blank,
        ] {
            let mut failed = record(false);
            (failed.fault, failed.status) = (Some(fault), None);
            (failed.backend, failed.connect, failed.served_since) = (None, None, None);
            drop(failed);
        }
        let lines = log.read(99, Filter::default()).take_first();
        let lines = lines.iter().map(|line| {
            let (before, after) = line.message().split_once("service=").unwrap();
            let (service, after) = after.split_once(' ').unwrap();
            let shown = if service.is_empty() { "" } else { "…ms" };
            format!(
                "{}[{}]: {before}service={shown} {after}",
                line.source(),
                line.process()
            )
        });
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
        let counts = route.counts();
        assert_eq!(counts.under_way, 0);
        assert_eq!(counts.statuses[&200], 2);
        assert_eq!(counts.codes["H27"], 2);
    }
}
