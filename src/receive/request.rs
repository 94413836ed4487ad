//! What the client asks for: the commands, each with a ref's old and new value, and the
//! capabilities that it uses. All of it is foreign; what [`Request::read`] gives has been checked.

use std::collections::HashSet;
use std::io::{self, BufRead};

use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use gix_packetline::PacketLineRef;
use gix_packetline::blocking_io::StreamingPeekableIter;

use super::{Certificate, Error, Limits, PushOptions};

/// Longest part of a ref's name between slashes: a file's name is at most 255 bytes, and the lock
/// beside a ref is called `<name>.lock`.
const COMPONENT_BYTES: usize = 250;

/// One wish: to create, move or delete a ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The full name, valid, starting with `refs/`.
    pub name: String,
    /// What the client believes the ref names; `None`: that it is not there.
    pub old: Option<ObjectId>,
    /// What the ref is to name; `None`: delete it.
    pub new: Option<ObjectId>,
}

/// How the client wants to hear what became of the commands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReportStatus {
    /// Not at all.
    #[default]
    Silent,
    /// `report-status`.
    V1,
    /// `report-status-v2`, which may carry more, and with us carries the same.
    V2,
}

/// The first part of a push: all before the pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// At least one, each for another ref, in the client's order.
    pub commands: Vec<Command>,
    /// The borders of the client's history, where that is shallow.
    pub shallow: Vec<ObjectId>,
    pub report: ReportStatus,
    /// Whether the answer is sent in bands, so that progress can be shown.
    pub side_band: bool,
    /// Whether the client asked for no progress.
    pub quiet: bool,
    /// Whether all commands are to fail when one does.
    pub atomic: bool,
    /// What the client calls itself, such as `git/2.47.3`.
    pub agent: Option<String>,
    pub options: PushOptions,
    /// Where the push is signed.
    pub certificate: Option<Certificate>,
}

/// A push that is refused at its commands.
#[derive(Debug)]
pub struct Rejected {
    pub error: Error,
    /// What was understood before: how the client wants to hear of it, and the commands so far.
    pub request: Request,
}

impl Request {
    /// Reads the commands up to their end and leaves `reader` at the first byte of the pack.
    ///
    /// All ids are of the repository's hash function, `hash`. `None` is the probe that git sends before a large push: no command and nothing after.
    ///
    /// Source: gitprotocol-pack(5), "Reference Update Request and Packfile Transfer".
    ///
    /// # Errors
    /// The caller's fault: not the protocol, a name that no ref may have, two commands for a ref,
    /// or over a limit.
    pub fn read(
        reader: &mut dyn BufRead,
        hash: gix::hash::Kind,
        limits: &Limits,
    ) -> Result<Option<Self>, Box<Rejected>> {
        let mut request = Self::default();
        match request.fill(reader, hash, limits) {
            Ok(()) => Ok((!request.commands.is_empty()).then_some(request)),
            Err(error) => Err(Box::new(Rejected { error, request })),
        }
    }

    fn fill(
        &mut self,
        reader: &mut dyn BufRead,
        hash: gix::hash::Kind,
        limits: &Limits,
    ) -> Result<(), Error> {
        let mut names = HashSet::new();
        let mut has_options = false;
        let mut lines = StreamingPeekableIter::new(&mut *reader, &[PacketLineRef::Flush], false);
        while let Some(line) = lines.read_line() {
            let line = line
                .map_err(read_error)?
                .map_err(|source| Error::PacketLine { source })?;
            let line = line.as_slice().ok_or_else(|| malformed(b""))?;
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            if let Some(id) = line.strip_prefix(b"shallow ") {
                self.add_shallow(id, hash, limits)?;
                continue;
            }
            if let Some(capabilities) = line.strip_prefix(b"push-cert\0")
                && self.commands.is_empty()
            {
                has_options = self.use_capabilities(capabilities, hash)?;
                let certificate = Certificate::read(&mut lines, limits)?;
                for line in &certificate.commands {
                    self.add(line.as_bytes(), hash, limits, &mut names)?;
                }
                self.certificate = Some(certificate);
                continue;
            }
            let command = if self.commands.is_empty() {
                let (command, capabilities) = line.split_once_str("\0").unwrap_or((line, b""));
                has_options = self.use_capabilities(capabilities, hash)?;
                command
            } else {
                line
            };
            if self.certificate.is_some() {
                // What is not signed cannot stand beside what is.
                return Err(malformed(line));
            }
            self.add(command, hash, limits, &mut names)?;
        }
        drop(lines);
        if self.commands.is_empty()
            && !(self.shallow.is_empty() && reader.fill_buf().map_err(read_error)?.is_empty())
        {
            return Err(malformed(b""));
        }
        if has_options {
            self.options = PushOptions::read(reader, limits)?;
        }
        if let Some(certificate) = &self.certificate {
            let mut signed = PushOptions::default();
            for option in &certificate.options {
                signed.take(option.as_bytes())?;
            }
            if signed != self.options {
                return Err(Error::Certificate {
                    reason: "it names other push options than the push".to_owned(),
                });
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        line: &[u8],
        hash: gix::hash::Kind,
        limits: &Limits,
        names: &mut HashSet<String>,
    ) -> Result<(), Error> {
        let command = Command::parse(line, hash, limits)?;
        if self.commands.len() == limits.commands {
            return Err(Error::Commands {
                limit: limits.commands,
            });
        }
        if !names.insert(command.name.clone()) {
            return Err(Error::Repeated { name: command.name });
        }
        self.commands.push(command);
        Ok(())
    }

    /// Whether a pack follows: a push that only deletes has none.
    #[must_use]
    pub fn has_pack(&self) -> bool {
        self.commands.iter().any(|command| command.new.is_some())
    }

    fn add_shallow(
        &mut self,
        id: &[u8],
        hash: gix::hash::Kind,
        limits: &Limits,
    ) -> Result<(), Error> {
        if self.shallow.len() == limits.shallow_lines {
            return Err(Error::ShallowLines {
                limit: limits.shallow_lines,
            });
        }
        self.shallow
            .push(parse_id(id, hash).ok_or_else(|| malformed(id))?);
        Ok(())
    }

    /// Takes the capabilities that matter and passes over those that it does not know, as git does.
    /// Says whether push options follow the commands.
    fn use_capabilities(
        &mut self,
        capabilities: &[u8],
        hash: gix::hash::Kind,
    ) -> Result<bool, Error> {
        let (mut has_options, mut format) = (false, shown(b"sha1"));
        for capability in capabilities.split_str(" ") {
            let (name, value) = capability.split_once_str("=").unwrap_or((capability, b""));
            match name {
                b"report-status" if self.report == ReportStatus::Silent => {
                    self.report = ReportStatus::V1;
                }
                b"report-status-v2" => self.report = ReportStatus::V2,
                b"side-band-64k" => self.side_band = true,
                b"quiet" => self.quiet = true,
                b"atomic" => self.atomic = true,
                b"agent" => self.agent = Some(shown(value)),
                b"object-format" => format = shown(value),
                b"push-options" => has_options = true,
                // It changes the form of the commands, so that going on would misread them.
                b"push-cert" => {
                    return Err(Error::Capability { name: shown(name) });
                }
                _ => {}
            }
        }
        // Clients that name none know of one alone.
        if format != hash.to_string() {
            let expected = hash.to_string();
            return Err(Error::ObjectFormat {
                got: format,
                expected,
            });
        }
        Ok(has_options)
    }

    /// The hash function of all ids.
    #[must_use]
    pub fn hash(&self) -> gix::hash::Kind {
        let ids = self.commands.iter().find_map(|one| one.new.or(one.old));
        ids.map_or(gix::hash::Kind::Sha1, |id| id.kind())
    }
}

impl Command {
    fn parse(line: &[u8], hash: gix::hash::Kind, limits: &Limits) -> Result<Self, Error> {
        let mut words = line.splitn_str(3, " ");
        let mut id = || parse_id(words.next()?, hash);
        let (Some(old), Some(new)) = (id(), id()) else {
            return Err(malformed(line));
        };
        let name = check_name(words.next().ok_or_else(|| malformed(line))?, limits)?;
        let known = |id: ObjectId| (!id.is_null()).then_some(id);
        Ok(Self {
            name,
            old: known(old),
            new: known(new),
        })
    }
}

fn check_name(name: &[u8], limits: &Limits) -> Result<String, Error> {
    let refuse = |reason: String| {
        Err(Error::RefName {
            name: shown(name),
            reason,
        })
    };
    if name.len() > limits.ref_name_bytes {
        let (got, limit) = (name.len(), limits.ref_name_bytes);
        return refuse(format!("it has {got} bytes, the limit is {limit}"));
    }
    let Ok(text) = std::str::from_utf8(name) else {
        return refuse("it is not UTF-8".to_owned());
    };
    if !text.starts_with("refs/") {
        return refuse("it does not start with refs/".to_owned());
    }
    if let Some(part) = text.split('/').find(|part| part.len() > COMPONENT_BYTES) {
        let got = part.len();
        return refuse(format!(
            "a part has {got} bytes, the limit is {COMPONENT_BYTES}"
        ));
    }
    if let Err(error) = gix::validate::reference::name(name.as_bstr()) {
        return refuse(error.to_string());
    }
    Ok(text.to_owned())
}

fn parse_id(hex: &[u8], hash: gix::hash::Kind) -> Option<ObjectId> {
    // The length decides the hash function, and only one was offered.
    (hex.len() == hash.len_in_hex()).then(|| ObjectId::from_hex(hex).ok())?
}

fn malformed(line: &[u8]) -> Error {
    Error::Malformed { line: shown(line) }
}

/// A foreign text, short enough to be shown.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

pub(super) fn read_error(source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => Error::Cut,
        _ => Error::Read { source },
    }
}

#[cfg(test)]
mod tests {
    use gix::hash::Kind;
    use proptest::prelude::*;

    use super::*;

    const ZERO: &str = "0000000000000000000000000000000000000000";
    const ONE: &str = "1111111111111111111111111111111111111111";

    fn body(lines: &[String]) -> Vec<u8> {
        let mut body: Vec<u8> = lines
            .iter()
            .flat_map(|line| format!("{:04x}{line}", line.len() + 4).into_bytes())
            .collect();
        body.extend_from_slice(b"0000");
        body
    }

    fn read(body: &[u8]) -> Result<Option<Request>, Error> {
        read_within(body, &Limits::default())
    }

    fn read_within(body: &[u8], limits: &Limits) -> Result<Option<Request>, Error> {
        Request::read(&mut &body[..], Kind::Sha1, limits).map_err(|rejected| rejected.error)
    }

    #[test]
    fn what_git_sends_is_understood() {
        let mut bytes = body(&[
            format!("shallow {ONE}\n"),
            format!(
                "{ZERO} {ONE} refs/heads/main\0 report-status-v2 side-band-64k quiet atomic \
                 object-format=sha1 agent=git/2.47.3"
            ),
            format!("{ONE} {ZERO} refs/heads/old"),
        ]);
        bytes.extend_from_slice(b"PACK");
        let mut rest = &bytes[..];
        let request = Request::read(&mut rest, Kind::Sha1, &Limits::default())
            .unwrap()
            .unwrap();
        assert_eq!(rest, b"PACK");
        let one = ObjectId::from_hex(ONE.as_bytes()).unwrap();
        assert_eq!(request.shallow, [one]);
        assert_eq!(request.commands[0].name, "refs/heads/main");
        assert_eq!(
            (request.commands[0].old, request.commands[0].new),
            (None, Some(one))
        );
        assert_eq!(
            (request.commands[1].old, request.commands[1].new),
            (Some(one), None)
        );
        assert_eq!(request.report, ReportStatus::V2);
        assert!(request.side_band && request.quiet && request.atomic && request.has_pack());
        assert_eq!(request.agent.as_deref(), Some("git/2.47.3"));
    }

    #[test]
    fn the_probe_is_no_request() {
        assert!(read(b"0000").unwrap().is_none());
        assert!(matches!(read(b""), Err(Error::Cut)));
        assert!(matches!(read(b"0000PACK"), Err(Error::Malformed { .. })));
        assert!(matches!(
            read(&body(&[format!("shallow {ONE}")])),
            Err(Error::Malformed { .. })
        ));
    }

    #[test]
    fn names_that_could_leave_their_place_are_refused() {
        for name in [
            "HEAD",
            "refs/../x",
            "refs/heads/../../config",
            "refs/heads/.x",
            "refs/heads/a.lock",
            "refs/heads/a..b",
            "refs/heads/",
            "refs//x",
            "refs/heads/a b",
            "refs/heads/a\u{7f}",
            "refs/heads/@{1}",
            "refs\\heads",
            "",
        ] {
            let result = read(&body(&[format!("{ZERO} {ONE} {name}")]));
            assert!(
                matches!(result, Err(Error::RefName { .. })),
                "{name}: {result:?}"
            );
        }
        let long = format!("{ZERO} {ONE} refs/heads/{}", "x".repeat(COMPONENT_BYTES));
        assert!(read(&body(std::slice::from_ref(&long))).is_ok());
        assert!(matches!(
            read(&body(&[long + "x"])),
            Err(Error::RefName { .. })
        ));
    }

    #[test]
    fn other_refusals() {
        let twice = format!("{ZERO} {ONE} refs/heads/a");
        assert!(matches!(
            read(&body(&[twice.clone(), twice.clone()])),
            Err(Error::Repeated { .. })
        ));
        let nul_later = [twice.clone(), format!("{ZERO} {ONE} refs/heads/b\0x")];
        assert!(matches!(
            read(&body(&nul_later)),
            Err(Error::RefName { .. })
        ));
        for (capability, sha256) in [("object-format=sha256", true), ("push-cert", false)] {
            let error = read(&body(&[format!("{twice}\0 {capability}")])).unwrap_err();
            assert_eq!(matches!(error, Error::ObjectFormat { .. }), sha256);
            assert_eq!(matches!(error, Error::Capability { .. }), !sha256);
        }
        for line in [
            "",
            "x",
            &format!("{ZERO} {ONE}"),
            &format!("{ZERO}{ONE} refs/heads/a"),
        ] {
            assert!(read(&body(&[line.to_owned()])).is_err(), "{line}");
        }
        let whole = body(&[twice]);
        for end in 0..whole.len() {
            assert!(matches!(read(&whole[..end]), Err(Error::Cut)), "{end}");
        }
    }

    #[test]
    fn ids_are_of_the_repository_s_hash_function() {
        let (zero, one) = ("0".repeat(64), "1".repeat(64));
        let line = |format: &str| format!("{zero} {one} refs/heads/a\0{format}");
        let read = |line: String, hash| {
            let read = Request::read(&mut &body(&[line])[..], hash, &Limits::default());
            read.map_err(|rejected| rejected.error)
        };
        let request = read(line("object-format=sha256"), Kind::Sha256);
        let request = request.unwrap().unwrap();
        assert_eq!(request.hash(), Kind::Sha256);
        assert_eq!(request.commands[0].new.unwrap().to_string(), one);
        assert_eq!(request.commands[0].old, None);
        // A client that names none speaks sha1.
        for (line, hash) in [
            (line(""), Kind::Sha256),
            (line("object-format=sha1"), Kind::Sha256),
            (line("object-format=sha256"), Kind::Sha1),
            (line("object-format=md5"), Kind::Sha1),
        ] {
            let error = read(line, hash).unwrap_err();
            assert!(matches!(error, Error::ObjectFormat { .. }), "{error}");
        }
        for id in [ZERO, &"1".repeat(63), &"1".repeat(65)] {
            let line = format!("{zero} {id} refs/heads/a\0object-format=sha256");
            let error = read(line, Kind::Sha256).unwrap_err();
            assert!(matches!(error, Error::Malformed { .. }), "{error}");
        }
    }

    #[test]
    fn push_options_are_those_that_there_are() {
        let with = |options: &[&str]| {
            let mut bytes = body(&[format!("{ZERO} {ONE} refs/heads/a\0 push-options")]);
            bytes.extend(body(
                &options
                    .iter()
                    .map(|&name| name.to_owned())
                    .collect::<Vec<_>>(),
            ));
            bytes.extend_from_slice(b"PACK");
            let mut rest = &bytes[..];
            let request = Request::read(&mut rest, Kind::Sha1, &Limits::default());
            assert!(request.is_err() || rest == b"PACK");
            request.map_err(|rejected| rejected.error)
        };
        assert!(!with(&[]).unwrap().unwrap().options.trace);
        assert!(with(&["trace"]).unwrap().unwrap().options.trace);
        let all = with(&["no-release\n", "plan"]).unwrap().unwrap().options;
        assert!(all.no_release && all.plan && !all.trace);
        for unknown in ["Trace", "trace=1", "--trace", "ci.skip", "tr\0ace"] {
            let result = with(&["trace", unknown]);
            assert!(matches!(result, Err(Error::PushOption { .. })), "{unknown}");
        }
        assert!(with(&["trace"; 64]).is_ok());
        assert!(matches!(
            with(&["trace"; 65]),
            Err(Error::PushOptions { limit: 64 })
        ));
        assert!(matches!(
            with(&vec!["trace"; 10_000]),
            Err(Error::PushOptions { .. })
        ));
    }

    #[test]
    fn a_refusal_tells_how_to_answer() {
        let first = format!("{ZERO} {ONE} refs/heads/a\0report-status side-band-64k");
        let lines = [first, format!("{ZERO} {ONE} refs/heads/.b")];
        let rejected =
            Request::read(&mut &body(&lines)[..], Kind::Sha1, &Limits::default()).unwrap_err();
        assert!(matches!(rejected.error, Error::RefName { .. }));
        assert_eq!(rejected.request.commands.len(), 1);
        assert_eq!(rejected.request.report, ReportStatus::V1);
        assert!(rejected.request.side_band);
    }

    #[test]
    fn the_number_of_commands_is_limited() {
        let limits = Limits {
            commands: 2,
            ..Limits::default()
        };
        let lines: Vec<_> = (0..3)
            .map(|n| format!("{ZERO} {ONE} refs/heads/{n}"))
            .collect();
        assert!(read_within(&body(&lines[..2]), &limits).is_ok());
        assert!(matches!(
            read_within(&body(&lines), &limits),
            Err(Error::Commands { limit: 2 })
        ));
    }

    /// Lines that are nearly commands, so that the property test gets past the first word.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        let id = prop_oneof![
            Just(ZERO.to_owned()),
            Just(ONE.to_owned()),
            "[0-9a-f]{38,42}"
        ];
        let name = prop_oneof!["refs/(heads|tags)/[a-c./@]{1,4}", ".{0,20}"];
        let command = (
            id.clone(),
            id,
            name,
            prop::option::of("\0[ a-z=0-9-]{0,40}"),
        )
            .prop_map(|(old, new, name, capabilities)| {
                format!("{old} {new} {name}{}", capabilities.unwrap_or_default()).into_bytes()
            });
        prop_oneof![3 => command, 1 => prop::collection::vec(any::<u8>(), 0..60)]
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn what_is_read_keeps_the_limits(
            lines in prop::collection::vec(line(), 0..8),
            flush in any::<bool>(),
            tail in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let limits = Limits { commands: 3, ref_name_bytes: 16, ..Limits::default() };
            let mut bytes = Vec::new();
            for line in &lines {
                bytes.extend_from_slice(format!("{:04x}", line.len() + 4).as_bytes());
                bytes.extend_from_slice(line);
            }
            if flush {
                bytes.extend_from_slice(b"0000");
            }
            bytes.extend_from_slice(&tail);
            let mut rest = &bytes[..];
            if let Ok(Some(request)) = Request::read(&mut rest, Kind::Sha1, &limits) {
                prop_assert!((1..=3).contains(&request.commands.len()));
                let mut names = HashSet::new();
                for command in &request.commands {
                    prop_assert!(command.name.len() <= 16);
                    prop_assert!(command.name.starts_with("refs/"));
                    prop_assert!(!command.name.contains(".."));
                    prop_assert!(names.insert(&command.name));
                }
            }
        }
    }
}
