//! Opus packets in a byte stream: `application/vnd.patchbay.opus-frames`, and how long a packet lasts.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::error::Error;

pub(crate) const FRAMES: &str = "application/vnd.patchbay.opus-frames";
pub(crate) const FRAMES_WITH_HEADER: &str = "application/vnd.patchbay.opus-frames;hdr=1";
/// Longest Opus packet of one frame, in bytes (RFC 6716 §3.4).
pub const PACKET_BYTES_MAX: usize = 1275;
pub(crate) const KEEPALIVE: &[u8] = &[0, 0];
const HEADER_BYTES: usize = 6;

/// One packet. `seq` is 16 bits wide and wraps; `timestamp` counts 1/48 000 s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) place: Option<(u16, u32)>,
    pub(crate) payload: Bytes,
}

pub(crate) fn check(packet: &[u8]) -> Result<(), Error> {
    if (1..=PACKET_BYTES_MAX).contains(&packet.len()) {
        return Ok(());
    }
    Err(Error::Framing(format!("it has 1 to {PACKET_BYTES_MAX} bytes, not {}", packet.len())))
}

/// Adds a checked packet as it goes into a stream; with a header if it has a place.
pub(crate) fn put(to: &mut BytesMut, packet: &[u8], place: Option<(u64, u32)>) {
    let header = if place.is_some() { HEADER_BYTES } else { 0 };
    to.put_u16(u16::try_from(header + packet.len()).expect("a checked packet is short"));
    if let Some((seq, timestamp)) = place {
        to.put_u16(u16::try_from(seq & 0xFFFF).expect("masked"));
        to.put_u32(timestamp);
    }
    to.put_slice(packet);
}

/// Takes bytes as they come, in any pieces; gives whole frames. Keepalives are swallowed.
#[derive(Debug)]
pub(crate) struct Parser {
    header: usize,
    rest: BytesMut,
}

impl Parser {
    pub(crate) fn new(with_header: bool) -> Self {
        Self { header: if with_header { HEADER_BYTES } else { 0 }, rest: BytesMut::new() }
    }

    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.rest.extend_from_slice(piece);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// [`Error::Framing`] on a length that cannot be.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Error> {
        while let Some(length) =
            self.rest.first_chunk::<2>().map(|bytes| usize::from(u16::from_be_bytes(*bytes)))
        {
            if length > 0 && (length <= self.header || length > self.header + PACKET_BYTES_MAX) {
                return Err(Error::Framing(format!("a frame of {length} bytes")));
            }
            if self.rest.len() - 2 < length {
                break;
            }
            self.rest.advance(2);
            let mut payload = self.rest.split_to(length).freeze();
            if length > 0 {
                let place = (self.header > 0).then(|| (payload.get_u16(), payload.get_u32()));
                return Ok(Some(Frame { place, payload }));
            }
        }
        Ok(None)
    }
}

/// The whole number whose low 16 bits are `seq` and which is nearest to `near`.
pub(crate) fn unwrap(seq: u16, near: u64) -> u64 {
    let low = u16::try_from(near & 0xFFFF).expect("masked");
    near.saturating_add_signed(i64::from(seq.wrapping_sub(low).cast_signed()))
}

/// How long an Opus packet lasts, in ticks of 1/48 000 s (RFC 6716 §3.1). 0 if it says nonsense.
pub(crate) fn duration(packet: &[u8]) -> u32 {
    let Some(&first) = packet.first() else { return 0 };
    let config = first >> 3;
    let frame = match config {
        0..12 => [480, 960, 1920, 2880][usize::from(config & 3)],
        12..16 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let count = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => packet.get(1).map_or(0, |count| u32::from(count & 0x3F)),
    };
    if frame * count <= 5760 { frame * count } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_out_of_any_pieces() {
        let packets = [vec![1; 1], vec![2; 300], vec![3; 1275]];
        let mut stream = BytesMut::new();
        for (packet, n) in packets.iter().zip(0_u32..) {
            put(&mut stream, packet, Some((65_534 + u64::from(n), 960 * n)));
        }
        stream.extend_from_slice(KEEPALIVE);
        for size in [1, 2, 3, 7, 5000] {
            let (mut parser, mut frames) = (Parser::new(true), Vec::new());
            for piece in stream.chunks(size) {
                parser.feed(piece);
                frames.extend(std::iter::from_fn(|| parser.next().unwrap()));
            }
            let payloads: Vec<_> = frames.iter().map(|frame| frame.payload.to_vec()).collect();
            assert_eq!(payloads, packets);
            let places: Vec<_> = frames.iter().map(|frame| frame.place.unwrap()).collect();
            assert_eq!(places, [(65_534, 0), (65_535, 960), (0, 1920)]);
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_an_error() {
        for (with_header, stream) in [(true, b"\0\x06abcdef".as_slice()), (false, b"\xff\xff")] {
            let mut parser = Parser::new(with_header);
            parser.feed(stream);
            assert!(parser.next().is_err());
        }
        assert!(check(&[]).is_err() && check(&[0; 1276]).is_err() && check(&[0; 1275]).is_ok());
    }

    #[test]
    fn a_seq_of_16_bits_is_told_its_place() {
        assert_eq!((unwrap(2, 65_535), unwrap(65_535, 65_538)), (65_538, 65_535));
    }

    #[test]
    fn a_packet_says_how_long_it_lasts() {
        let said: [(&[u8], u32); 6] =
            [(b"\x78", 960), (b"\x08", 960), (b"\x7b\x03", 2880), (b"\x80", 120), (b"", 0), (b"\xff", 0)];
        for (packet, ticks) in said {
            assert_eq!(duration(packet), ticks, "{packet:?}");
        }
    }
}
