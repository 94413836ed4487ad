//! Progress that the client shows as `remote: …`, sent in packets of band 2 beside the report.

use std::io::{self, Write};

use gix_packetline::Channel;
use gix_packetline::blocking_io::encode;

/// Most bytes that one packet of a band can carry.
///
/// Source: gitprotocol-common(5), 65,520 bytes a packet less its length and the band's number.
pub const MAX_BAND_BYTES: usize = 65_515;

/// An empty packet of band 2; clients pass over it and proxies see that the connection lives.
///
/// To be written between whole packets only, and only to clients that asked for side-bands.
pub const KEEP_ALIVE: &[u8; 5] = b"0005\x02";

/// Sends what is written to it as progress: whole lines as they come, the rest on `flush`.
///
/// Each packet is one `write_all` of the inner writer, so that other packets can go between.
/// Where the client did not ask for side-bands, what is written is dropped.
#[derive(Debug)]
pub struct SideBand<W: Write> {
    out: W,
    wanted: bool,
    line: Vec<u8>,
}

impl<W: Write> SideBand<W> {
    /// Sends to `out` where `wanted`: where the request has `side_band`.
    pub fn new(out: W, wanted: bool) -> Self {
        Self {
            out,
            wanted,
            line: Vec::new(),
        }
    }

    /// Gives the inner writer back, after the last incomplete line has been sent.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for SideBand<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.wanted {
            return Ok(bytes.len());
        }
        let whole = bytes.iter().rposition(|byte| matches!(byte, b'\n' | b'\r'));
        let (lines, rest) = bytes.split_at(whole.map_or(0, |last| last + 1));
        if !lines.is_empty() {
            self.line.extend_from_slice(lines);
            send(&mut self.out, Channel::Progress, &self.line)?;
            self.line.clear();
        }
        self.line.extend_from_slice(rest);
        // A line that never ends must not be kept in memory.
        if self.line.len() >= MAX_BAND_BYTES {
            send(&mut self.out, Channel::Progress, &self.line)?;
            self.line.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        send(&mut self.out, Channel::Progress, &self.line)?;
        self.line.clear();
        self.out.flush()
    }
}

/// Sends bytes in as many packets as they need.
pub(super) fn send(out: &mut dyn Write, band: Channel, bytes: &[u8]) -> io::Result<()> {
    for part in bytes.chunks(MAX_BAND_BYTES) {
        let mut packet = Vec::with_capacity(part.len() + 5);
        encode::band_to_write(band, part, &mut packet)?;
        out.write_all(&packet)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content of each packet, after its band.
    fn packets(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while !bytes.is_empty() {
            let length = usize::from_str_radix(std::str::from_utf8(&bytes[..4]).unwrap(), 16);
            let (packet, rest) = bytes.split_at(length.unwrap());
            assert_eq!(packet[4], 2);
            packets.push(packet[5..].to_vec());
            bytes = rest;
        }
        packets
    }

    #[test]
    fn lines_are_sent_whole() {
        let mut band = SideBand::new(Vec::new(), true);
        band.write_all(b"-----> Bui").unwrap();
        assert!(band.out.is_empty());
        band.write_all(b"lding\n       a\n     ").unwrap();
        assert_eq!(
            packets(&band.out),
            [b"-----> Building\n       a\n".to_vec()]
        );
        band.flush().unwrap();
        band.flush().unwrap();
        let out = band.finish().unwrap();
        assert_eq!(packets(&out)[1..], [b"     ".to_vec()]);
    }

    #[test]
    fn long_texts_are_cut_at_the_edge() {
        for (length, wanted) in [
            (MAX_BAND_BYTES, vec![MAX_BAND_BYTES]),
            (MAX_BAND_BYTES + 1, vec![MAX_BAND_BYTES, 1]),
        ] {
            let mut band = SideBand::new(Vec::new(), true);
            band.write_all(&vec![b'x'; length]).unwrap();
            let sizes: Vec<_> = packets(&band.out).iter().map(Vec::len).collect();
            assert_eq!(sizes, wanted);
        }
    }

    #[test]
    fn without_side_bands_progress_is_dropped() {
        let mut band = SideBand::new(Vec::new(), false);
        band.write_all(b"x\n").unwrap();
        assert!(band.finish().unwrap().is_empty());
    }

    #[test]
    fn the_keep_alive_is_an_empty_packet() {
        assert_eq!(packets(KEEP_ALIVE), [b"".to_vec()]);
    }
}
