//! What goes between a client and a one-off dyno that it is attached to, as frames: a byte that says
//! what it is, four that say how long it is, and so many bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What a client asks the connection to become.
pub const PROTOCOL: &str = "slugline-run/1";

/// Bytes of input that a client may send before the dyno has taken them: so the server reads on, and
/// hears of signals, while the dyno does not.
pub const WINDOW_BYTES: usize = 64 << 10;

/// Largest content of a frame.
const FRAME_BYTES: usize = 64 << 10;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// From the client: input.
    Input(Bytes),
    /// From the client: there is no more input.
    EndOfInput,
    /// From the client: columns and lines of its terminal.
    Resize(u16, u16),
    /// From the client: a signal's number.
    Signal(u8),
    /// From the dyno.
    Output(Bytes),
    Error(Bytes),
    /// So many bytes of the input have been taken.
    Taken(u32),
    /// It has ended with this code.
    Exit(i32),
}

/// What came is no frame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the other side speaks another protocol")]
pub struct NoFrame;

impl Frame {
    /// The frame's bytes.
    pub fn encode(&self) -> Bytes {
        let mut numbers = BytesMut::new();
        let (kind, content) = match self {
            Self::Input(bytes) => (b'i', bytes),
            Self::Output(bytes) => (b'o', bytes),
            Self::Error(bytes) => (b'e', bytes),
            Self::EndOfInput => (b'z', &Bytes::new()),
            Self::Resize(columns, lines) => {
                numbers.put_u16(*columns);
                numbers.put_u16(*lines);
                (b'r', &numbers.freeze())
            }
            Self::Signal(number) => {
                numbers.put_u8(*number);
                (b's', &numbers.freeze())
            }
            Self::Taken(count) => {
                numbers.put_u32(*count);
                (b't', &numbers.freeze())
            }
            Self::Exit(code) => {
                numbers.put_i32(*code);
                (b'x', &numbers.freeze())
            }
        };
        let mut frame = BytesMut::with_capacity(5 + content.len());
        frame.put_u8(kind);
        frame.put_u32(u32::try_from(content.len()).unwrap_or(u32::MAX));
        frame.extend_from_slice(content);
        frame.freeze()
    }

    /// Takes the first frame off a buffer, once all of it is there.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Self>, NoFrame> {
        let Some((head, _)) = buffer.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let [kind, length @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > FRAME_BYTES {
            return Err(NoFrame);
        }
        if buffer.len() < 5 + length {
            return Ok(None);
        }
        buffer.advance(5);
        let mut content = buffer.split_to(length).freeze();
        Ok(Some(match (kind, length) {
            (b'i', _) => Self::Input(content),
            (b'o', _) => Self::Output(content),
            (b'e', _) => Self::Error(content),
            (b'z', 0) => Self::EndOfInput,
            (b'r', 4) => Self::Resize(content.get_u16(), content.get_u16()),
            (b's', 1) => Self::Signal(content.get_u8()),
            (b't', 4) => Self::Taken(content.get_u32()),
            (b'x', 4) => Self::Exit(content.get_i32()),
            _ => return Err(NoFrame),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let all = [
            Frame::Input(Bytes::from_static(b"abc")),
            Frame::EndOfInput,
            Frame::Resize(80, 24),
            Frame::Signal(15),
            Frame::Output(Bytes::from(vec![7; FRAME_BYTES])),
            Frame::Error(Bytes::new()),
            Frame::Taken(3),
            Frame::Exit(-1),
        ];
        let bytes = all.iter().flat_map(Frame::encode).collect::<Vec<_>>();
        for step in [1, 7, bytes.len()] {
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for piece in bytes.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = Frame::decode(&mut buffer).unwrap() {
                    found.push(frame);
                }
            }
            assert_eq!(found, all);
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn what_is_no_frame() {
        for bytes in [
            &b"G\0\0\0\0"[..],
            b"i\0\x02\0\0",
            b"i\xff\xff\xff\xff",
            b"r\0\0\0\x01a",
            b"z\0\0\0\x01a",
        ] {
            let mut buffer = BytesMut::from(bytes);
            assert_eq!(Frame::decode(&mut buffer), Err(NoFrame), "{bytes:?}");
        }
        assert_eq!(Frame::decode(&mut BytesMut::from(&b"i\0\0"[..])), Ok(None));
    }
}
