//! Length-prefixed Opus packets: `u16` big-endian, then so many bytes. A length of zero says only that somebody is there.

use bytes::{Buf as _, BufMut as _, BytesMut};
use patchbay_core::Packet;

use super::{BadBody, Number, PACKET_MAX, TOO_LONG, Unit};

/// Number and time before a packet, if they are there.
const HEADER: usize = 6;

/// Reads frames.
#[derive(Debug)]
pub struct Reader {
    has_header: bool,
    held: BytesMut,
}

impl Reader {
    pub(super) fn new(has_header: bool) -> Self {
        Self { has_header, held: BytesMut::new() }
    }

    pub(super) fn push(&mut self, bytes: &[u8], give: &mut impl FnMut(Unit)) -> Result<(), BadBody> {
        let header = if self.has_header { HEADER } else { 0 };
        self.held.extend_from_slice(bytes);
        while let Some(length) = self.held.first_chunk::<2>().map(|two| usize::from(u16::from_be_bytes(*two))) {
            if length > PACKET_MAX + header {
                return Err(TOO_LONG);
            }
            if length > 0 && length <= header {
                let expected = "With hdr=1 a frame holds six bytes of number and time, and a packet behind them.";
                return Err(BadBody { code: "frame_too_short", expected });
            }
            if self.held.len() < 2 + length {
                break;
            }
            self.held.advance(2);
            let mut frame = self.held.split_to(length);
            if length == 0 {
                continue;
            }
            let number = self.has_header.then(|| Number::Short(u16::from_be_bytes([frame[0], frame[1]])));
            frame.advance(header);
            give(Unit { number, audio: frame.freeze() });
        }
        Ok(())
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }
}

pub(super) fn packet(has_header: bool, packet: &Packet, out: &mut BytesMut) {
    let header = if has_header { HEADER } else { 0 };
    // What does not fit is no Opus packet: none has more than 61,298 bytes.
    let Ok(length) = u16::try_from(packet.payload.len() + header) else { return };
    out.put_u16(length);
    if has_header {
        out.put_u16(u16::try_from(packet.seq & u64::from(u16::MAX)).expect("16 bits are 16 bits"));
        out.put_u32(lower(packet.time));
    }
    out.extend_from_slice(&packet.payload);
}

/// The lower 32 bits.
fn lower(time: u64) -> u32 {
    u32::try_from(time & u64::from(u32::MAX)).expect("32 bits are 32 bits")
}
