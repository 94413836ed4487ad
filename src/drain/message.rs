//! A line of a log as a syslog message, RFC 5424, behind its length, RFC 6587.

use crate::platform::log_stream::{Line, Source};

/// Facility and level, as Heroku's log router gives them: local7.info of the app, local3.info of the
/// router, syslog.notice of the platform.
fn priority(line: &Line) -> u8 {
    match (line.source(), line.process()) {
        (Source::App, _) => 190,
        (Source::Heroku, "router") => 158,
        (Source::Heroku, _) => 45,
    }
}

/// `<190>1 TIME HOST app web.1 - - TEXT` for syslog; Heroku's requests have no structured data, which
/// their readers know.
pub(super) fn frame(line: &Line, host: &str, structured: bool, into: &mut Vec<u8>) {
    let (priority, time, source) = (priority(line), line.time(), line.source());
    let (process, text) = (line.process(), line.message());
    let data = if structured { "- " } else { "" };
    let end = if structured { "" } else { "\n" };
    let message = format!("<{priority}>1 {time} {host} {source} {process} - {data}{text}{end}");
    into.extend_from_slice(format!("{} ", message.len()).as_bytes());
    into.extend_from_slice(message.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::log_stream::LogStreams;

    #[test]
    fn messages_have_their_length_in_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogStreams::new(dir.path().to_owned()).of("app");
        for (source, process) in [
            (Source::App, "web.1"),
            (Source::Heroku, "router"),
            (Source::Heroku, "web.1"),
        ] {
            log.write(source, process, "grüße");
        }
        let lines = log.read(3, crate::platform::log_stream::Filter::default());
        let lines = { lines }.take_first();
        let of = |structured| {
            let mut bytes = Vec::new();
            for line in &lines {
                frame(line, "d.1", structured, &mut bytes);
            }
            let text = String::from_utf8(bytes).unwrap();
            let times = lines.iter().map(|line| line.time().to_owned());
            times.fold(text, |text, time| text.replace(&time, "TIME"))
        };
        assert_eq!(
            of(true),
            "65 <190>1 TIME d.1 app web.1 - - grüße69 <158>1 TIME d.1 heroku router - - grüße67 <45>1 TIME d.1 heroku web.1 - - grüße"
        );
        assert!(of(false).starts_with("64 <190>1 TIME d.1 app web.1 - grüße\n68 <158>1 "));
    }
}
