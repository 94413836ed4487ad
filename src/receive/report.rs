//! The last part of the answer: what became of the pack and of each command.

use std::io::{self, Write};

use gix_packetline::Channel;
use gix_packetline::blocking_io::encode;

use super::{ReportStatus, Request, Status, side_band};

/// Longest reason that is sent, in bytes.
const REASON_BYTES: usize = 1_000;

/// Writes the report that the client asked for and the end of the answer.
///
/// `unpack` is what became of the pack, `statuses` of each command by the ref's name. Reasons are
/// brought into one line each.
///
/// Source: gitprotocol-pack(5), "Report Status".
///
/// # Errors
/// Nobody reads any more.
pub fn report(
    out: &mut dyn Write,
    request: &Request,
    unpack: Result<(), &str>,
    statuses: &[(&str, Status)],
) -> io::Result<()> {
    let mut lines = Vec::new();
    if request.report != ReportStatus::Silent {
        match unpack {
            Ok(()) => encode::text_to_write(b"unpack ok", &mut lines)?,
            Err(reason) => {
                let line = format!("unpack {}", one_line(reason));
                encode::text_to_write(line.as_bytes(), &mut lines)?
            }
        };
        for (name, status) in statuses {
            let line = match status {
                Ok(()) => format!("ok {name}"),
                Err(reason) => format!("ng {name} {}", one_line(reason)),
            };
            encode::text_to_write(line.as_bytes(), &mut lines)?;
        }
        encode::flush_to_write(&mut lines)?;
    }
    if request.side_band {
        side_band::send(out, Channel::Data, &lines)?;
        encode::flush_to_write(&mut *out)?;
    } else {
        out.write_all(&lines)?;
    }
    out.flush()
}

/// Makes one line of at most [`REASON_BYTES`] of a text; control characters become blanks.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if line.is_empty() {
        line.push_str("refused");
    }
    let mut end = line.len().min(REASON_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(report: ReportStatus, side_band: bool) -> Request {
        Request {
            report,
            side_band,
            ..Request::default()
        }
    }

    fn written(request: &Request, unpack: Result<(), &str>) -> String {
        let mut out = Vec::new();
        let statuses = [
            ("refs/heads/main", Ok(())),
            (
                "refs/heads/a",
                Err("pre-receive hook\n\tdeclined\u{1b}[1m".to_owned()),
            ),
        ];
        report(&mut out, request, unpack, &statuses).unwrap();
        String::from_utf8(out).unwrap().replace('\u{1}', "\\1")
    }

    #[test]
    fn the_form_follows_the_request() {
        insta::assert_snapshot!(written(&request(ReportStatus::V2, true), Ok(())), @r"
        0060\1000eunpack ok
        0017ok refs/heads/main
        0032ng refs/heads/a pre-receive hook declined [1m
        00000000
        ");
        insta::assert_snapshot!(written(&request(ReportStatus::V1, false), Err("junk\nat end")), @r"
        0017unpack junk at end
        0017ok refs/heads/main
        0032ng refs/heads/a pre-receive hook declined [1m
        0000
        ");
        assert_eq!(
            written(&request(ReportStatus::Silent, true), Ok(())),
            "0000"
        );
        assert_eq!(written(&request(ReportStatus::Silent, false), Ok(())), "");
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(one_line(" a\r\n b\0c "), "a b c");
        assert_eq!(one_line("\n"), "refused");
        assert_eq!(one_line(&"ä".repeat(600)).len(), REASON_BYTES);
    }
}
