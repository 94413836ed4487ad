//! A request's body as git sends it: plain, or packed by gzip.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::CONTENT_ENCODING;

use super::bridge::BodyReader;
use super::limits::Limits;

/// The body of a request before anybody has read of it.
pub(super) struct Unread {
    body: BodyReader,
    packed: bool,
}

impl Unread {
    /// The body of a request; `None` where it is packed in a way that nobody offered.
    pub(super) fn of(request: Request<Incoming>, limits: &Limits) -> Option<Self> {
        let encoding = request.headers().get(CONTENT_ENCODING);
        let packed = match encoding.map(|value| value.as_bytes().to_ascii_lowercase()) {
            None => false,
            Some(name) if name == b"identity" => false,
            Some(name) if name == b"gzip" || name == b"x-gzip" => true,
            Some(_) => return None,
        };
        let body = BodyReader::new(request.into_body(), limits);
        Some(Self { body, packed })
    }

    /// Begins to unpack it; on a blocking thread, since that reads.
    pub(super) fn open(self) -> RequestBody {
        if self.packed {
            RequestBody::Gzip(Box::new(BufReader::new(GzDecoder::new(self.body))))
        } else {
            RequestBody::Plain(self.body)
        }
    }
}

/// The body of a request, unpacked while it is read.
///
/// Whoever reads it sets the limit on the unpacked bytes.
pub(super) enum RequestBody {
    Plain(BodyReader),
    Gzip(Box<BufReader<GzDecoder<BodyReader>>>),
}

impl RequestBody {
    /// Reads on to the end, so that the client gets to read the answer; as it was sent, since
    /// unpacking could take for ever.
    pub(super) fn drain(self) {
        let body = match self {
            Self::Plain(body) => body,
            Self::Gzip(body) => body.into_inner().into_inner(),
        };
        body.drain();
    }
}

impl Read for RequestBody {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(body) => body.read(buf),
            Self::Gzip(body) => body.read(buf),
        }
    }
}

impl BufRead for RequestBody {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Plain(body) => body.fill_buf(),
            Self::Gzip(body) => body.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Self::Plain(body) => body.consume(amount),
            Self::Gzip(body) => body.consume(amount),
        }
    }
}
