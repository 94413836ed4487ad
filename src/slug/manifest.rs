//! The manifest: what a slug is, as far as its bytes tell.
//!
//! As JSON it is one document with a line for each entry and each member, and its digests at the
//! end, so that it can be written while the slug is and read without being held in memory.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, PieceDigest, State};

/// What a slug is, as far as its bytes tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// In the order of the tar: sorted by path, byte by byte.
    pub entries: Vec<Entry>,
    /// The gzip members, in their order.
    pub members: Vec<Member>,
    #[serde(flatten)]
    pub summary: Summary,
}

/// A slug's digests and sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Of the compressed bytes.
    pub digest: Digest,
    /// Of the tar inside, as OCI's layers have it.
    pub diff_id: Digest,
    /// Size of the compressed bytes.
    pub size_bytes: u64,
    /// Size of the tar inside.
    pub tar_bytes: u64,
}

/// One gzip member of a slug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where it starts in the slug.
    pub offset: u64,
    /// Of its compressed bytes.
    pub size_bytes: u64,
    /// Of its piece of the tar.
    pub tar_bytes: u64,
    /// Of its compressed bytes.
    pub digest: PieceDigest,
    /// Of its piece of the tar.
    pub input: PieceDigest,
    /// After it.
    pub states: States,
}

/// Where the sha256 digests of which a member is a part stand after it: another slug whose first
/// members are the same continues there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct States {
    /// Of the compressed bytes.
    pub slug: State,
    /// Of the tar inside.
    pub tar: State,
}

/// The members that an entry is in, by their places from 0: the first and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span(pub u64, pub u64);

/// One file, directory or symlink of a slug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Line", into = "Line")]
pub struct Entry {
    /// Relative to the app's root, without `./app/`, and escaped by [`super::escape`].
    pub path: String,
    pub kind: EntryKind,
    pub members: Span,
}

/// What an entry is. Modes are reduced to 644 and 755.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    File {
        /// Whether its mode is 755.
        executable: bool,
        size_bytes: u64,
        digest: PieceDigest,
    },
    Directory,
    Symlink {
        /// Escaped by [`super::escape`].
        target: String,
    },
}

/// An entry as it stands in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    path: String,
    r#type: Type,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<PieceDigest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    members: Span,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    File,
    Directory,
    Symlink,
}

#[derive(Serialize, Deserialize)]
enum Mode {
    #[serde(rename = "644")]
    Plain,
    #[serde(rename = "755")]
    Executable,
}

impl From<Entry> for Line {
    fn from(entry: Entry) -> Self {
        let empty = Self {
            path: entry.path,
            r#type: Type::Directory,
            mode: None,
            size_bytes: None,
            digest: None,
            target: None,
            members: entry.members,
        };
        match entry.kind {
            EntryKind::Directory => empty,
            EntryKind::File {
                executable,
                size_bytes,
                digest,
            } => Self {
                r#type: Type::File,
                mode: Some(if executable {
                    Mode::Executable
                } else {
                    Mode::Plain
                }),
                size_bytes: Some(size_bytes),
                digest: Some(digest),
                ..empty
            },
            EntryKind::Symlink { target } => Self {
                r#type: Type::Symlink,
                target: Some(target),
                ..empty
            },
        }
    }
}

impl TryFrom<Line> for Entry {
    type Error = &'static str;

    fn try_from(line: Line) -> Result<Self, Self::Error> {
        let kind = match line {
            Line {
                r#type: Type::File,
                mode: Some(mode),
                size_bytes: Some(size_bytes),
                digest: Some(digest),
                target: None,
                ..
            } => EntryKind::File {
                executable: matches!(mode, Mode::Executable),
                size_bytes,
                digest,
            },
            Line {
                r#type: Type::Symlink,
                mode: None,
                size_bytes: None,
                digest: None,
                target: Some(target),
                ..
            } => EntryKind::Symlink { target },
            Line {
                r#type: Type::Directory,
                mode: None,
                size_bytes: None,
                digest: None,
                target: None,
                ..
            } => EntryKind::Directory,
            _ => return Err("an entry whose fields are not those of its type"),
        };
        Ok(Self {
            path: line.path,
            kind,
            members: line.members,
        })
    }
}

impl Entry {
    /// Writes what its [`Serialize`] does, in a fraction of the time: there are very many.
    fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        out.extend(b"{\"path\":");
        serde_json::to_writer(&mut *out, &self.path)?;
        match &self.kind {
            EntryKind::Directory => out.extend(b",\"type\":\"directory\""),
            EntryKind::Symlink { target } => {
                out.extend(b",\"type\":\"symlink\",\"target\":");
                serde_json::to_writer(&mut *out, target)?;
            }
            EntryKind::File {
                size_bytes, digest, ..
            } => {
                let mode = self.kind.mode();
                write!(out, ",\"type\":\"file\",\"mode\":\"{mode}\"")?;
                write!(out, ",\"size_bytes\":{size_bytes},\"digest\":\"{digest}\"")?;
            }
        }
        let Span(first, last) = self.members;
        write!(out, ",\"members\":[{first},{last}]}}")
    }
}

/// Reads the members of an entry's line, and its digest where it is a file, from the line's end.
fn digests_at_end(line: &[u8]) -> Option<(Span, Option<PieceDigest>)> {
    let (line, members) = split_at_last(line.strip_suffix(b"]}")?, b'[')?;
    let line = line.strip_suffix(b",\"members\":")?;
    let (first, last) = str::from_utf8(members).ok()?.split_once(',')?;
    let span = Span(first.parse().ok()?, last.parse().ok()?);
    // No text within has a quote without a backslash.
    let digest = match line.strip_suffix(b"\"")?.split_last_chunk() {
        Some((line, digest)) if line.ends_with(b",\"digest\":\"") => {
            Some(PieceDigest::from_text(digest)?)
        }
        _ => None,
    };
    Some((span, digest))
}

/// What comes before and after the last such byte.
fn split_at_last(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().rposition(|one| *one == byte)?;
    Some((&text[..at], &text[at + 1..]))
}

impl EntryKind {
    /// `"644"` or `"755"`; what a symlink has is not told.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        match self {
            Self::File {
                executable: false, ..
            } => "644",
            _ => "755",
        }
    }
}

impl Manifest {
    /// Writes the manifest as the JSON that is stored and digested.
    ///
    /// # Panics
    /// Never: no value of a manifest is one that JSON cannot say.
    #[must_use]
    pub fn json(&self) -> String {
        let never = "memory takes all bytes";
        let mut writer = ManifestWriter::new(Vec::new(), self.format);
        for entry in &self.entries {
            writer.entry(entry).expect(never);
        }
        let text = writer.finish(&self.members, &self.summary).expect(never);
        String::from_utf8(text).expect("JSON is text")
    }
}

/// Writes a manifest's JSON piece by piece.
pub struct ManifestWriter<W> {
    out: W,
    /// Lines that are not written yet.
    buffer: Vec<u8>,
    first: bool,
}

/// How many bytes are gathered before they are written.
const BUFFER_BYTES: usize = 64 * 1024;

impl<W: Write> ManifestWriter<W> {
    /// Starts a manifest.
    pub fn new(out: W, format: u32) -> Self {
        Self {
            out,
            buffer: format!("{{\"format\":{format},\"entries\":[").into_bytes(),
            first: true,
        }
    }

    /// Writes the next entry.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.line(|line| entry.write(line))
    }

    fn line(&mut self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        self.buffer
            .extend(if self.first { &b"\n"[..] } else { b",\n" });
        self.first = false;
        write(&mut self.buffer)?;
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the members and the digests and gives back what they were written to.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self, members: &[Member], summary: &Summary) -> io::Result<W> {
        self.buffer.extend(b"\n],\"members\":[");
        self.first = true;
        for member in members {
            self.line(|line| Ok(serde_json::to_writer(line, member)?))?;
        }
        let text = serde_json::to_string(summary)?;
        // Its fields follow the others'.
        let text = format!("\n],{}\n", text.trim_start_matches('{'));
        self.buffer.extend(text.as_bytes());
        self.out.write_all(&self.buffer)?;
        Ok(self.out)
    }
}

/// Reads a manifest as [`ManifestWriter`] writes it, giving each entry to `each`, and returns its
/// format, members and digests.
///
/// # Errors
/// Those of `json`, or [`io::ErrorKind::InvalidData`]: it is no manifest, or was laid out by
/// something else.
pub fn read(
    json: impl BufRead,
    mut each: impl FnMut(Entry),
) -> io::Result<(u32, Vec<Member>, Summary)> {
    read_lines(json, |line| {
        each(serde_json::from_slice(line)?);
        Ok(())
    })
}

/// As [`read`], and gives of each entry its members and, where it is a file, its digest; in a fraction of
/// the time, since nothing else of the entries is looked at.
///
/// # Errors
/// As those of [`read`].
pub fn read_digests(
    json: impl BufRead,
    mut each: impl FnMut(Span, Option<PieceDigest>) -> io::Result<()>,
) -> io::Result<(u32, Vec<Member>, Summary)> {
    read_lines(json, |line| {
        let (members, digest) = digests_at_end(line).ok_or(io::ErrorKind::InvalidData)?;
        each(members, digest)
    })
}

fn read_lines(
    mut json: impl BufRead,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u32, Vec<Member>, Summary)> {
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| -> io::Result<()> {
        line.clear();
        json.read_until(b'\n', line)?;
        match line.pop() {
            Some(b'\n') => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    next(&mut line)?;
    let format = line
        .strip_prefix(b"{\"format\":")
        .and_then(|rest| rest.strip_suffix(b",\"entries\":["))
        .ok_or(io::ErrorKind::InvalidData)?;
    let format = serde_json::from_slice(format)?;
    loop {
        next(&mut line)?;
        if line.starts_with(b"]") {
            break;
        }
        each(line.strip_suffix(b",").unwrap_or(&line))?;
    }
    let mut members = Vec::new();
    loop {
        next(&mut line)?;
        if line.starts_with(b"]") {
            break;
        }
        members.push(serde_json::from_slice(
            line.strip_suffix(b",").unwrap_or(&line),
        )?);
    }
    let rest = line.strip_prefix(b"],").ok_or(io::ErrorKind::InvalidData)?;
    let summary = serde_json::from_slice(&[b"{", rest].concat())?;
    // Where what is read checks itself, it does so at its end.
    if !json.fill_buf()?.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((format, members, summary))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Continuing;
    use crate::slug::FORMAT;

    #[test]
    fn a_manifest_survives_its_json() {
        let (digest, content) = (Digest::of(b""), PieceDigest::of(b""));
        let manifest = Manifest {
            format: FORMAT,
            entries: vec![
                Entry {
                    path: "bin".into(),
                    kind: EntryKind::Directory,
                    members: Span(0, 0),
                },
                Entry {
                    path: "bin/web".into(),
                    kind: EntryKind::File {
                        executable: true,
                        size_bytes: 0,
                        digest: content,
                    },
                    members: Span(0, 1),
                },
                Entry {
                    path: "current".into(),
                    kind: EntryKind::Symlink {
                        target: "bin".into(),
                    },
                    members: Span(1, 1),
                },
            ],
            members: vec![Member {
                offset: 0,
                size_bytes: 1,
                tar_bytes: 2,
                digest: PieceDigest::of(b""),
                input: PieceDigest::of(b""),
                states: States {
                    slug: Continuing::default().state(),
                    tar: Continuing::default().state(),
                },
            }],
            summary: Summary {
                digest,
                diff_id: digest,
                size_bytes: 1,
                tar_bytes: 2,
            },
        };
        let json = manifest.json();
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
        let mut entries = Vec::new();
        let (format, members, summary) =
            read(json.as_bytes(), |entry| entries.push(entry)).unwrap();
        assert_eq!(
            Manifest {
                format,
                entries,
                members,
                summary
            },
            manifest
        );
        insta::assert_snapshot!(json, @r#"
        {"format":1,"entries":[
        {"path":"bin","type":"directory","members":[0,0]},
        {"path":"bin/web","type":"file","mode":"755","size_bytes":0,"digest":"blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","members":[0,1]},
        {"path":"current","type":"symlink","target":"bin","members":[1,1]}
        ],"members":[
        {"offset":0,"size_bytes":1,"tar_bytes":2,"digest":"blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","input":"blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","states":{"slug":"6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19","tar":"6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19"}}
        ],"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","diff_id":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size_bytes":1,"tar_bytes":2}
        "#);
        let mut digests = Vec::new();
        read_digests(json.as_bytes(), |Span(first, last), digest| {
            digests.push((first, last, digest));
            Ok(())
        })
        .unwrap();
        assert_eq!(digests, [(0, 0, None), (0, 1, Some(content)), (1, 1, None)]);
        for end in 0..json.len() {
            assert!(
                read_digests(&json.as_bytes()[..end], |_, _| Ok(())).is_err(),
                "{end}"
            );
            assert!(read(&json.as_bytes()[..end], |_| ()).is_err(), "{end}");
        }
    }

    #[test]
    fn entries_are_written_as_they_are_serialized() {
        let digest = PieceDigest::of(b"x");
        let kinds = [
            EntryKind::Directory,
            EntryKind::Symlink {
                target: "\",\"digest\":\"blake3:".into(),
            },
            EntryKind::File {
                executable: true,
                size_bytes: 7,
                digest,
            },
            EntryKind::File {
                executable: false,
                size_bytes: u64::MAX,
                digest,
            },
        ];
        for kind in kinds {
            for path in [
                "x",
                "grüße/\\x00\"\u{7f}",
                "a\",\"digest\":\"blake3:00",
                &format!("\",\"digest\":\"{digest}"),
                ",\"members\":[1,2]}",
            ] {
                let entry = Entry {
                    path: path.into(),
                    kind: kind.clone(),
                    members: Span(3, 40),
                };
                let mut line = Vec::new();
                entry.write(&mut line).unwrap();
                assert_eq!(line, serde_json::to_vec(&entry).unwrap());
                let (Span(first, last), got) = digests_at_end(&line).unwrap();
                let is_file = matches!(kind, EntryKind::File { .. });
                assert_eq!((first, last, got), (3, 40, is_file.then_some(digest)));
            }
        }
    }

    #[test]
    fn fields_of_another_type_are_refused() {
        for line in [
            r#"{"path":"x","type":"file","members":[0,0]}"#,
            r#"{"path":"x","type":"directory","mode":"755","members":[0,0]}"#,
            r#"{"path":"x","type":"symlink","members":[0,0]}"#,
            r#"{"path":"x","type":"device","members":[0,0]}"#,
        ] {
            assert!(serde_json::from_str::<Entry>(line).is_err(), "{line}");
        }
    }
}
