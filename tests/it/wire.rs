//! A client that says whatever a test wants: raw HTTP, pkt-lines, packs made by hand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::site::Site;

pub const ZERO: &str = "0000000000000000000000000000000000000000";
pub const CAPABILITIES: &str = "report-status side-band-64k object-format=sha1";

/// What a server answered to one request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|part| part == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut body = bytes[end + 4..].to_vec();
        if head.to_lowercase().contains("transfer-encoding: chunked") {
            body = unchunked(&body);
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body }
    }

    /// The body as text, what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|part| part == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 2 + size + 2..];
        if size == 0 {
            break;
        }
    }
    whole
}

pub fn connect(site: &Site) -> TcpStream {
    let connection = TcpStream::connect(site.url().trim_start_matches("http://")).unwrap();
    connection
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    connection
}

/// `Authorization` with the admin token, as git sends it.
pub fn authorization(site: &Site) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("x:{}", site.token()));
    format!("Authorization: Basic {pair}\r\n")
}

/// Sends bytes and reads until the server closes the connection, or does not for two minutes.
pub fn exchange(site: &Site, bytes: &[u8]) -> Vec<u8> {
    let mut connection = connect(site);
    // The server may have heard enough before the end.
    let _ = connection.write_all(bytes);
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer);
    answer
}

/// One request with the admin token, more headers (each with its line end) and a body.
pub fn request(site: &Site, line: &str, headers: &str, body: &[u8]) -> Answer {
    let head = format!(
        "{line}\r\nHost: x\r\nConnection: close\r\n{}{headers}\r\n",
        authorization(site)
    );
    Answer::parse(&exchange(site, &[head.as_bytes(), body].concat()))
}

/// A push of these bytes to an app called `hello`.
pub fn post(site: &Site, body: &[u8]) -> Answer {
    post_to(site, "hello", body)
}

/// A push to an app.
pub fn post_to(site: &Site, app: &str, body: &[u8]) -> Answer {
    let length = format!("Content-Length: {}\r\n", body.len());
    let line = format!("POST /{app}.git/git-receive-pack HTTP/1.1");
    request(site, &line, &length, body)
}

pub fn pkt(line: impl AsRef<[u8]>) -> Vec<u8> {
    let line = line.as_ref();
    [format!("{:04x}", line.len() + 4).as_bytes(), line].concat()
}

/// Commands and their flush.
pub fn commands(lines: &[String]) -> Vec<u8> {
    let mut body = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let line = if index == 0 {
            format!("{line}\0{CAPABILITIES}")
        } else {
            line.clone()
        };
        body.extend(pkt(line));
    }
    body.extend_from_slice(b"0000");
    body
}

/// Creates a ref.
pub fn create(id: &str, name: &str) -> Vec<u8> {
    commands(&[format!("{ZERO} {id} {name}")])
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The id of an object.
pub fn id_of(kind: &str, content: &[u8]) -> String {
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(format!("{kind} {}\0", content.len()).as_bytes());
    hasher.update(content);
    hasher.try_finalize().unwrap().to_string()
}

/// The binary form of an id.
pub fn raw_id(hex: &str) -> Vec<u8> {
    gix::ObjectId::from_hex(hex.as_bytes())
        .unwrap()
        .as_slice()
        .to_vec()
}

/// A pack that is made object by object, whatever sense that makes.
pub struct Pack {
    bytes: Vec<u8>,
    objects: u32,
}

impl Pack {
    pub fn new() -> Self {
        Self {
            bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec(),
            objects: 0,
        }
    }

    /// Where the next object will stand.
    pub fn offset(&self) -> usize {
        self.bytes.len()
    }

    /// An object of a kind (1 commit, 2 tree, 3 blob, 4 tag), said to have `size` bytes.
    pub fn object_of_size(&mut self, kind: u8, size: u64, content: &[u8]) -> &mut Self {
        self.header(kind, size);
        self.deflated(content)
    }

    pub fn object(&mut self, kind: u8, content: &[u8]) -> &mut Self {
        self.object_of_size(kind, content.len() as u64, content)
    }

    /// A delta by the id of its base.
    pub fn delta_of_id(&mut self, base: &str, delta: &[u8]) -> &mut Self {
        self.header(7, delta.len() as u64);
        self.bytes.extend(raw_id(base));
        self.deflated(delta)
    }

    /// A delta by the place of its base.
    pub fn delta_of_offset(&mut self, base: usize, delta: &[u8]) -> &mut Self {
        let mut distance = (self.offset() - base) as u64;
        self.header(6, delta.len() as u64);
        let mut digits = vec![low_bits(distance)];
        while distance > 0x7f {
            distance = (distance >> 7) - 1;
            digits.push(0x80 | low_bits(distance));
        }
        digits.reverse();
        self.bytes.extend(digits);
        self.deflated(delta)
    }

    fn header(&mut self, kind: u8, size: u64) {
        let mut left = size >> 4;
        let mut byte = (kind << 4) | (size & 0x0f) as u8;
        while left > 0 {
            self.bytes.push(byte | 0x80);
            byte = (left & 0x7f) as u8;
            left >>= 7;
        }
        self.bytes.push(byte);
        self.objects += 1;
    }

    fn deflated(&mut self, content: &[u8]) -> &mut Self {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        self.bytes.extend(encoder.finish().unwrap());
        self
    }

    /// The pack with the number of its objects and its checksum.
    pub fn sealed(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[8..12].copy_from_slice(&self.objects.to_be_bytes());
        let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
        hasher.update(&bytes);
        bytes.extend_from_slice(hasher.try_finalize().unwrap().as_slice());
        bytes
    }
}

/// The seven bits that one byte of a length carries.
fn low_bits(number: u64) -> u8 {
    (number & 0x7f).to_le_bytes()[0]
}

/// A delta that makes `target` bytes of a base of `base` bytes by copying from its start.
pub fn copying_delta(base: u64, target: u64) -> Vec<u8> {
    let mut delta = Vec::new();
    for mut size in [base, target] {
        while size > 0x7f {
            delta.push(0x80 | low_bits(size));
            size >>= 7;
        }
        delta.push(low_bits(size));
    }
    let mut left = target;
    while left > 0 {
        let part = left.min(0xff_ffff).min(base);
        // All three bytes of the size, no offset.
        delta.push(0xf0);
        delta.extend_from_slice(&part.to_le_bytes()[..3]);
        left -= part;
    }
    delta
}
