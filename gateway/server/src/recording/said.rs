//! The left channel: where in the call the caller said what.
//!
//! A frame comes some time after it was said, never before. Frames on end are put on end, whatever the jitter of their
//! coming; a hole in their timestamps is silence. The clock corrects that: who seems to speak ahead of time did so
//! later than we assumed the hole before it to end, or our clocks differ; who is late for long was quiet for longer.

use std::ops::Range;

use patchbay_core::{Frame, MediaTime};

use super::track::{Decoder, Track};

/// Further behind the clock than this is no jitter but a hole that the timestamps do not tell.
const BEHIND_MAX: MediaTime = MediaTime::from_ms(1_000);
/// A difference of the clocks that is let be.
const DRIFT_MAX: MediaTime = MediaTime::from_ms(20);
/// Over so many frames (ten seconds) the least delay is looked for: jitter is gone from it, drift is not.
const FRAMES_WATCHED: u32 = 500;

/// What the caller said.
pub(super) struct Said {
    pub(super) track: Track,
    rate_hz: u32,
    decoder: Decoder,
    /// The timestamp that a frame without a hole before it carries.
    next: Option<MediaTime>,
    /// Where the next sample goes.
    end: u64,
    /// Silences that are not on disk yet, and so can be shortened, in order.
    holes: Vec<Hole>,
    /// Frames watched, and how far the least late of them was behind the clock.
    watched: (u32, u64),
}

/// Silence on the track.
struct Hole {
    at: Range<u64>,
    /// How long it was before it was shortened.
    span: u64,
}

impl Said {
    pub(super) fn new(rate_hz: u32) -> Self {
        Self {
            track: Track::default(),
            rate_hz,
            decoder: Decoder::new(rate_hz),
            next: None,
            end: 0,
            holes: Vec::new(),
            watched: (0, u64::MAX),
        }
    }

    /// The caller said `frame`, and it came at `at`.
    pub(super) fn take(&mut self, at: MediaTime, frame: &Frame) {
        let (came, span) = (at.samples(self.rate_hz), frame.duration.samples(self.rate_hz));
        let said_from = came.saturating_sub(span);
        let from = match self.next {
            Some(next) if frame.pts >= next => {
                let hole = frame.pts.saturating_sub(next).samples(self.rate_hz);
                (self.end + hole).min(said_from.max(self.end))
            }
            // The first frame, or another stream.
            _ => said_from,
        };
        self.next = Some(frame.end());
        let is_far_behind = said_from.saturating_sub(from) > BEHIND_MAX.samples(self.rate_hz);
        self.be_silent_until(if is_far_behind { said_from } else { from });
        if is_silent(frame) {
            self.be_silent_until(self.end + span);
        } else {
            self.decoder.push(frame, &mut self.track);
            self.end += span;
            self.watch(came);
        }
        self.give_way(came);
    }

    /// The call ended at `at`.
    pub(super) fn finish(&mut self, at: Option<u64>) {
        self.decoder.finish(&mut self.track);
        if let Some(at) = at {
            self.track.truncate(at);
        }
    }

    fn be_silent_until(&mut self, at: u64) {
        // What is on disk by now is silence too.
        let at = at.max(self.track.from());
        if at <= self.end {
            return;
        }
        self.decoder.finish(&mut self.track);
        self.track.pad(at);
        let written = self.track.from();
        self.holes.retain(|hole| hole.at.end > written);
        let span = at - self.end;
        match self.holes.last_mut().filter(|hole| hole.at.end == self.end) {
            Some(hole) => (hole.at.end, hole.span) = (at, hole.span + span),
            None => self.holes.push(Hole { at: self.end..at, span }),
        }
        self.end = at;
    }

    /// Nothing is said after it came: what is too late moves into the silence before it, or else its end is dropped.
    fn give_way(&mut self, came: u64) {
        while self.end > came && self.shorten_a_hole(self.end - came) {}
        let ahead = self.end.saturating_sub(came);
        if ahead > DRIFT_MAX.samples(self.rate_hz) {
            self.track.truncate(self.track.end().saturating_sub(ahead));
            self.end = came;
        }
    }

    /// Takes up to `count` samples out of the hole that was the longest: what filled in for audio that was held up is
    /// longer than a breath. False when nothing can be taken.
    fn shorten_a_hole(&mut self, count: u64) -> bool {
        let written = self.track.from();
        let room = |hole: &Hole| hole.at.end.saturating_sub(hole.at.start.max(written));
        let with_room = (0..self.holes.len()).filter(|n| room(&self.holes[*n]) > 0);
        let Some(index) = with_room.max_by_key(|n| self.holes[*n].span) else { return false };
        let moved = count.min(room(&self.holes[index]));
        self.holes[index].at.end -= moved;
        self.track.remove(self.holes[index].at.end, moved);
        for Hole { at, .. } in &mut self.holes[index + 1..] {
            *at = at.start - moved..at.end - moved;
        }
        self.end -= moved;
        true
    }

    /// Makes up for a clock of the caller's that is slower than ours.
    fn watch(&mut self, came: u64) {
        let (frames, least) = &mut self.watched;
        *frames += 1;
        *least = (*least).min(came.saturating_sub(self.end));
        if *frames == FRAMES_WATCHED {
            let behind = std::mem::replace(least, u64::MAX);
            *frames = 0;
            if behind > DRIFT_MAX.samples(self.rate_hz) {
                self.be_silent_until(self.end + behind);
            }
        }
    }
}

/// Whether a frame is exactly silent: a filled hole, or a microphone that is off.
fn is_silent(frame: &Frame) -> bool {
    let silence = frame.format.silence();
    frame.format.sample_bytes().is_some() && frame.payload.to_raw().iter().all(|byte| *byte == silence)
}
