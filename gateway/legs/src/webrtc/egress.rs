//! What goes to the peer: numbered, with timestamps that go on with the clock, and a marker where a talk spurt begins.

use std::time::Duration;

use patchbay_core::{Format, Frame, Instant, MediaTime, Packet};

use super::clock_hz;

/// How far a frame may be behind the one before it to be of the same talk spurt.
const SEAM: Duration = Duration::from_millis(20);
/// Live audio keeps its own timeline; after a pause this long it is a stream of its own.
const PAUSE: Duration = Duration::from_millis(500);

/// Our stream to the peer.
pub(super) struct Egress {
    format: Format,
    seq: u64,
    /// Of the next packet, in our ticks since the first.
    at: MediaTime,
    epoch: Option<Instant>,
    /// When the peer has played what was sent, had it no delay.
    dry_at: Instant,
    /// Where the last frame of live audio ended, on its own timeline.
    live_end: Option<MediaTime>,
}

impl Egress {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            seq: 0,
            at: MediaTime::ZERO,
            epoch: None,
            dry_at: Instant::ZERO,
            live_end: None,
        }
    }

    /// The packet of one frame.
    pub(super) fn packet(&mut self, frame: &Frame, now: Instant) -> Packet {
        let is_first = self.epoch.is_none();
        let epoch = *self.epoch.get_or_insert(now);
        let skipped = if is_first { None } else { self.skipped(frame, now) };
        let marker = is_first || skipped.is_some();
        match skipped {
            Some(Skip::By(span)) => self.at += span,
            Some(Skip::ToNow) => self.at = self.at.max(MediaTime::from_duration(now.saturating_since(epoch))),
            None => {}
        }
        self.dry_at = self.dry_at.max(now) + frame.duration;
        self.live_end = frame.utterance.is_none().then(|| frame.end());
        let packet = Packet {
            codec: self.format.codec,
            seq: self.seq,
            time: self.at.samples(clock_hz(self.format.codec)),
            marker,
            payload: frame.payload.to_raw(),
        };
        self.seq += 1;
        self.at += frame.duration;
        packet
    }

    /// When the peer has played all, had it no delay.
    pub(super) fn dry_at(&self) -> Instant {
        self.dry_at
    }

    /// What lies between this frame and the one before it.
    fn skipped(&self, frame: &Frame, now: Instant) -> Option<Skip> {
        let behind = now.saturating_since(self.dry_at);
        let live = self.live_end.filter(|_| frame.utterance.is_none() && behind < PAUSE);
        match live {
            Some(end) if frame.pts == end => None,
            Some(end) if frame.pts > end => Some(Skip::By(frame.pts.saturating_sub(end))),
            _ if behind <= SEAM => None,
            _ => Some(Skip::ToNow),
        }
    }
}

enum Skip {
    By(MediaTime),
    ToNow,
}
