//! One request in its app's log, in Heroku's form.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::platform::log_stream::{LogStream, Source};

use super::pages::Fault;

/// What is known of a request; dropping it writes its line.
#[derive(Debug)]
pub(super) struct Record {
    pub log: Arc<LogStream>,
    pub method: String,
    pub path: String,
    pub host: String,
    pub id: String,
    pub from: String,
    pub dyno: Option<String>,
    pub connect: Option<Duration>,
    pub started: Instant,
    /// Of the answer, once there is one.
    pub status: Option<u16>,
    pub bytes: u64,
    pub fault: Option<Fault>,
    /// The answer has been sent to its end, or its end is known.
    pub is_done: bool,
}

/// Longest path that is logged whole.
const PATH_BYTES: usize = 2000;

impl Record {
    fn line(&self) -> String {
        let fault = match (self.fault, self.is_done) {
            (Some(fault), _) => Some(fault),
            // Nobody has said how it ended: whoever asked has gone.
            (None, false) => Some(Fault::ClientLeft),
            (None, true) => None,
        };
        let mut line = String::with_capacity(256);
        match fault {
            None => line.push_str("at=info"),
            Some(fault) => {
                let (level, code) = (fault.level(), fault.code());
                let _ = write!(
                    line,
                    "at={level} code={code} desc=\"{}\"",
                    fault.description()
                );
            }
        }
        let path = self.path.get(..PATH_BYTES).unwrap_or(&self.path);
        let path = if path.contains(['"', '\\']) {
            path.replace('\\', "\\\\").replace('"', "\\\"")
        } else {
            path.to_owned()
        };
        let ms = |time: Duration| format!("{}ms", time.as_millis());
        let status = match (fault, self.status) {
            (Some(fault @ (Fault::ClientLeft | Fault::ClientIdle)), _) | (Some(fault), None) => {
                fault.status().as_u16()
            }
            (_, status) => status.unwrap_or(0),
        };
        // Writing to a text cannot fail.
        let _ = write!(
            line,
            " method={} path=\"{path}\" host={} request_id={} fwd=\"{}\" dyno={} connect={} service={} status={status} bytes={} protocol=http",
            self.method,
            self.host,
            self.id,
            self.from,
            self.dyno.as_deref().unwrap_or_default(),
            self.connect.map(ms).unwrap_or_default(),
            ms(self.started.elapsed()),
            self.bytes,
        );
        line
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.log.write(Source::Heroku, "router", &self.line());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::log_stream::{Filter, LogStreams};

    #[test]
    fn the_form_is_heroku_s() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogStreams::new(dir.path().to_owned()).of("app");
        let record = || Record {
            log: log.clone(),
            method: "GET".into(),
            path: "/a?b=\"c\"".into(),
            host: "hello.localhost".into(),
            id: "an-id".into(),
            from: "10.0.0.1".into(),
            dyno: Some("web.1".into()),
            connect: Some(Duration::from_millis(1)),
            started: Instant::now(),
            status: Some(200),
            bytes: 20,
            fault: None,
            is_done: true,
        };
        drop(record());
        let mut left = record();
        left.is_done = false;
        drop(left);
        let mut failed = record();
        failed.fault = Some(Fault::NoWeb);
        (failed.status, failed.dyno, failed.connect) = (None, None, None);
        drop(failed);
        let lines = log.read(9, Filter::default()).take_first();
        let lines = lines.iter().map(|line| {
            let (before, after) = line.message().split_once("service=").unwrap();
            format!("{before}service=… {}", after.split_once(' ').unwrap().1)
        });
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [
                r#"at=info method=GET path="/a?b=\"c\"" host=hello.localhost request_id=an-id fwd="10.0.0.1" dyno=web.1 connect=1ms service=… status=200 bytes=20 protocol=http"#,
                r#"at=warning code=H27 desc="Client Request Interrupted" method=GET path="/a?b=\"c\"" host=hello.localhost request_id=an-id fwd="10.0.0.1" dyno=web.1 connect=1ms service=… status=499 bytes=20 protocol=http"#,
                r#"at=error code=H14 desc="No web processes running" method=GET path="/a?b=\"c\"" host=hello.localhost request_id=an-id fwd="10.0.0.1" dyno= connect= service=… status=503 bytes=20 protocol=http"#,
            ]
        );
    }
}
