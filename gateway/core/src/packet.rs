//! [`Packet`]: what RTP carries, once encryption and network are off it (RFC 3550 §5.1).

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Codec, MediaTime};

/// One RTP packet: its place in its stream, and its payload.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// What the payload type stands for.
    pub codec: Codec,
    /// Sequence number, extended beyond 16 bits.
    pub seq: u64,
    /// Timestamp in samples of the codec's RTP clock, extended beyond 32 bits.
    pub time: u64,
    /// The first packet of a talk spurt (RFC 3551 §4.1).
    pub marker: bool,
    /// The payload.
    pub payload: Bytes,
}

/// Never prints audio.
impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} at {} ({} bytes)", self.codec, self.seq, self.time, self.payload.len())
    }
}

/// How long an Opus packet plays (RFC 6716 §3.1, §3.2), or `None` for one that cannot be: empty, without a frame, or
/// longer than 120 ms.
#[must_use]
pub fn opus_duration(packet: &[u8]) -> Option<MediaTime> {
    /// 120 ms (§3.2.5).
    const TICKS_MAX: u64 = 5_760;
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        config @ 0..12 => [480, 960, 1_920, 2_880][usize::from(config) % 4],
        config @ 12..16 => [480, 960][usize::from(config) % 2],
        config => [120, 240, 480, 960][usize::from(config) % 4],
    };
    let frames = match toc & 0b11 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1)? & 0b11_1111),
    };
    let ticks = frame * frames;
    (1..=TICKS_MAX).contains(&ticks).then(|| MediaTime::from_ticks(ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opus_packet_says_how_long_it_plays() {
        let ms = |ms| Some(MediaTime::from_ms(ms));
        // Configuration, code, count of frames: SILK 20 ms, hybrid 10 and 20 ms, CELT 20 and 2.5 ms.
        for (packet, expected) in [
            (&[1 << 3][..], ms(20)),
            (&[12 << 3], ms(10)),
            (&[15 << 3], ms(20)),
            (&[31 << 3], ms(20)),
            (&[28 << 3], Some(MediaTime::from_ticks(120))),
            (&[31 << 3 | 1], ms(40)),
            (&[3 << 3 | 3, 2], ms(120)),
        ] {
            assert_eq!(opus_duration(packet), expected, "{packet:?}");
        }
    }

    #[test]
    fn an_opus_packet_that_cannot_be_has_no_duration() {
        for packet in [&[][..], &[31 << 3 | 3], &[31 << 3 | 3, 0], &[3 << 3 | 3, 3], &[31 << 3 | 3, 63]] {
            assert_eq!(opus_duration(packet), None, "{packet:?}");
        }
    }
}
