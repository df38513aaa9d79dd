//! The last seconds of what the bot was sent, so that a reader who was away misses nothing.

use std::collections::VecDeque;

use patchbay_core::{Format, MediaTime, Packet, opus_duration};

/// How much is kept.
const KEPT: MediaTime = MediaTime::from_ms(5_000);
/// However short packets are.
const PACKETS_MAX: usize = 2_000;

/// Packets under numbers that never begin anew.
#[derive(Debug, Default)]
pub(super) struct Ring {
    packets: VecDeque<(Packet, MediaTime)>,
    span: MediaTime,
    /// The number of the first that is kept.
    first: u64,
}

impl Ring {
    /// Numbers a packet and keeps it.
    pub(super) fn push(&mut self, packet: Packet, format: Format) {
        let spans = || opus_duration(&packet.payload).unwrap_or(MediaTime::FRAME);
        let span = format.duration_of(packet.payload.len()).unwrap_or_else(spans);
        let packet = Packet { seq: self.next(), ..packet };
        self.packets.push_back((packet, span));
        self.span += span;
        while self.packets.len() > 1 && (self.span > KEPT || self.packets.len() > PACKETS_MAX) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, span)) = self.packets.pop_front() {
            self.span = self.span.saturating_sub(span);
            self.first += 1;
        }
    }

    /// The format is another from here on: what was kept is of no use.
    pub(super) fn clear(&mut self) {
        while !self.packets.is_empty() {
            self.drop_oldest();
        }
    }

    /// The number of the next packet.
    pub(super) fn next(&self) -> u64 {
        self.first + self.packets.len() as u64
    }

    /// The packets from number `from` on, and how many of them are gone.
    pub(super) fn since(&self, from: u64) -> (impl Iterator<Item = &Packet>, u64) {
        let lost = self.first.saturating_sub(from);
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        (self.packets.iter().skip(skip).map(|(packet, _)| packet), lost)
    }

    /// Where a reader that asks for `from` begins, and how much it missed. `None`: live. A number below 65,536 may be the
    /// lower part of one.
    pub(super) fn place(&self, from: Option<u64>) -> (u64, MediaTime) {
        let next = self.next();
        let Some(from) = from else { return (next, MediaTime::ZERO) };
        let from = if from <= u64::from(u16::MAX) && next > u64::from(u16::MAX) {
            let whole = next & !u64::from(u16::MAX) | from;
            if whole > next { whole - (u64::from(u16::MAX) + 1) } else { whole }
        } else {
            from
        };
        match from {
            _ if from > next => (next, MediaTime::ZERO),
            _ if from >= self.first => (from, MediaTime::ZERO),
            _ => (next, MediaTime::from_ms((next - from) * 20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchbay_core::Codec;

    fn ring(packets: u64) -> Ring {
        let mut ring = Ring::default();
        for seq in 0..packets {
            let payload = vec![0xFF; 160].into();
            let packet = Packet { codec: Codec::Pcmu, seq: 7, time: seq * 160, marker: false, payload };
            ring.push(packet, Format::PCMU);
        }
        ring
    }

    #[test]
    fn five_seconds_are_kept_under_numbers_that_go_on() {
        let ring = ring(300);
        assert_eq!((ring.first, ring.next()), (50, 300));
        let (packets, lost) = ring.since(290);
        assert_eq!((packets.map(|packet| packet.seq).collect::<Vec<_>>(), lost), ((290..300).collect(), 0));
        assert_eq!(ring.since(40).1, 10);
    }

    #[test]
    fn a_reader_resumes_where_it_was_or_is_told_what_it_missed() {
        let ring = ring(300);
        assert_eq!(ring.place(None), (300, MediaTime::ZERO));
        assert_eq!(ring.place(Some(60)), (60, MediaTime::ZERO));
        assert_eq!(ring.place(Some(1_000)), (300, MediaTime::ZERO));
        assert_eq!(ring.place(Some(10)), (300, MediaTime::from_ms(5_800)));
    }

    #[test]
    fn the_lower_part_of_a_number_is_enough() {
        let mut ring = ring(300);
        ring.first = 65_536 - 100;
        assert_eq!(ring.next(), 65_536 + 150);
        assert_eq!(ring.place(Some(65_500)), (65_500, MediaTime::ZERO));
        assert_eq!(ring.place(Some(150)), (65_536 + 150, MediaTime::ZERO));
    }

    #[test]
    fn another_format_begins_with_nothing_kept() {
        let mut ring = ring(300);
        ring.clear();
        assert_eq!((ring.next(), ring.since(0).0.count()), (300, 0));
    }
}
