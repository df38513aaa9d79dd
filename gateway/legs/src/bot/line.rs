//! What goes to the bot: numbered, and in its place in time.

use patchbay_core::{Codec, Format, Frame, MediaTime, Packet};

/// A hole longer than this is none of the audio's.
const GAP_MAX: MediaTime = MediaTime::from_ms(5_000);

/// Our stream to the bot.
pub(super) struct Line {
    format: Format,
    seq: u64,
    /// Of the next packet, since the first.
    at: MediaTime,
    /// Where the last frame ended, on its own timeline.
    end: Option<MediaTime>,
}

impl Line {
    pub(super) fn new(format: Format) -> Self {
        Self { format, seq: 0, at: MediaTime::ZERO, end: None }
    }

    /// The packet of one frame: a hole in the source is a hole in its time, and none in the numbers.
    pub(super) fn packet(&mut self, frame: &Frame) -> Packet {
        let gap = self.end.map_or(MediaTime::ZERO, |end| frame.pts.saturating_sub(end));
        let is_marked = self.end.is_none() || !gap.is_zero();
        if gap <= GAP_MAX {
            self.at += gap;
        }
        let clock_hz = if self.format.codec == Codec::Opus { Format::OPUS.rate_hz } else { self.format.rate_hz };
        let packet = Packet {
            codec: self.format.codec,
            seq: self.seq,
            time: self.at.samples(clock_hz),
            marker: is_marked,
            payload: frame.payload.to_raw(),
        };
        self.seq += 1;
        self.at += frame.duration;
        self.end = Some(frame.end());
        packet
    }
}
