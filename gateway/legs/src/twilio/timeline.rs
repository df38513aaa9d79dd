//! Where the caller's audio stands in time, and the silence that stands for what Twilio did not send.
//!
//! Some calls have holes: nothing is sent while the caller is silent, and the timestamp jumps. A model's turn detector
//! that gets nothing never closes the turn, so holes are filled, while they last and up to the jump.

use std::time::Duration;

use bytes::Bytes;
use patchbay_core::{Format, Frame, Instant, MediaTime, Payload};

/// No media for this long is a hole.
const HOLE_AFTER: Duration = Duration::from_millis(300);
/// Silence is made in steps of this while a hole lasts.
const HOLE_STEP: Duration = Duration::from_millis(100);
/// The filling stays this far behind real time: jitter of the network must not make it longer than the hole.
const HOLE_MARGIN: Duration = Duration::from_millis(100);
/// Longest filling of one hole; by then every turn detector has decided.
const HOLE_MAX: MediaTime = MediaTime::from_ms(60_000);
/// Timestamps of frames on end wander by a few milliseconds; less than this is no gap.
const GAP_MIN: MediaTime = MediaTime::FRAME;
/// A timestamp this far back starts a new count.
const BACK_MAX: MediaTime = MediaTime::from_ms(1_000);

/// The ingress timeline of one stream.
#[derive(Debug)]
pub(super) struct Timeline {
    format: Format,
    /// The timestamp that media without a gap would carry next; `None` before the first.
    expected: Option<MediaTime>,
    /// End of all that was passed on, silence included.
    passed: MediaTime,
    /// Silence made since the last media.
    filled: MediaTime,
    /// Silence made for timestamps in all: never more than time that passed plus one `HOLE_MAX`.
    filled_for_gaps: MediaTime,
    started_at: Instant,
    media_at: Instant,
    due: Option<Instant>,
}

impl Timeline {
    pub(super) fn new(format: Format, now: Instant) -> Self {
        Self {
            format,
            expected: None,
            passed: MediaTime::ZERO,
            filled: MediaTime::ZERO,
            filled_for_gaps: MediaTime::ZERO,
            started_at: now,
            media_at: now,
            due: Some(now + HOLE_AFTER),
        }
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// When [`fill_hole`](Self::fill_hole) wants to be called. Media does not move it, so that the call's timer is not
    /// set anew fifty times a second.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Places media: silence for the gap before it, if there is one, then the media.
    pub(super) fn place(&mut self, timestamp_ms: u64, payload: Payload, now: Instant) -> (Option<Frame>, Frame) {
        let timestamp = MediaTime::from_ms(timestamp_ms);
        let silence = self.gap_before(timestamp, now).map(|gap| self.silence(gap));
        let frame = Frame::live(self.format, payload, self.passed);
        self.passed = frame.end();
        self.expected = self.expected.map(|expected| expected + frame.duration);
        self.filled = MediaTime::ZERO;
        self.media_at = now;
        self.due.get_or_insert(now + HOLE_AFTER);
        (silence, frame)
    }

    /// Silence for a hole that lasts, if one is due.
    pub(super) fn fill_hole(&mut self, now: Instant) -> Option<Frame> {
        if self.due.is_none_or(|due| now < due) {
            return None;
        }
        let quiet = now.saturating_since(self.media_at);
        if quiet < HOLE_AFTER {
            self.due = Some(self.media_at + HOLE_AFTER);
            return None;
        }
        let wanted = MediaTime::from_duration(quiet.saturating_sub(HOLE_MARGIN));
        let whole_frames = MediaTime::from_ms(wanted.min(HOLE_MAX).as_ms() / 20 * 20);
        let missing = whole_frames.saturating_sub(self.filled);
        self.due = (whole_frames < HOLE_MAX).then(|| now + HOLE_STEP);
        self.filled += missing;
        (!missing.is_zero()).then(|| self.silence(missing))
    }

    /// How much silence is still owed before media of that timestamp. Silence that was made while media were only late
    /// stays in the timeline: what comes after is passed on as it is, and the next gap counts from there.
    fn gap_before(&mut self, timestamp: MediaTime, now: Instant) -> Option<MediaTime> {
        let Some(expected) = self.expected else {
            self.expected = Some(timestamp);
            return None;
        };
        let gap = timestamp.saturating_sub(expected);
        let is_restart = expected.saturating_sub(timestamp) >= BACK_MAX;
        if gap < GAP_MIN && !is_restart {
            return None;
        }
        self.expected = Some(timestamp);
        let elapsed = MediaTime::from_duration(now.saturating_since(self.started_at));
        let budget = (elapsed + HOLE_MAX).saturating_sub(self.filled_for_gaps);
        let owed = gap.min(HOLE_MAX).saturating_sub(self.filled).min(budget);
        self.filled_for_gaps += owed;
        (!owed.is_zero()).then_some(owed)
    }

    fn silence(&mut self, span: MediaTime) -> Frame {
        let frame = Frame::live(self.format, Payload::Raw(silence(self.format, span)), self.passed);
        self.passed = frame.end();
        frame
    }
}

/// `span` of silence; the usual lengths of the telephone's format cost no allocation.
fn silence(format: Format, span: MediaTime) -> Bytes {
    static PCMU: [u8; 1600] = [0xFF; 1600];
    let bytes = format.bytes_for(span).unwrap_or(0);
    match PCMU.get(..bytes) {
        Some(silence) if format == Format::PCMU => Bytes::from_static(silence),
        _ => vec![format.silence(); bytes].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn speech() -> Payload {
        Payload::Raw(Bytes::from_static(&[0x55; 160]))
    }

    /// Media on end from `from_ms`, each arriving at its own time; returns the next.
    fn talk(timeline: &mut Timeline, from_ms: u64, frames: u64) -> u64 {
        for n in 0..frames {
            let ms = from_ms + n * 20;
            let (silence, _) = timeline.place(ms + 155, speech(), at(ms));
            assert_eq!(silence, None);
        }
        from_ms + frames * 20
    }

    fn fill_until(timeline: &mut Timeline, end: Instant) -> MediaTime {
        let mut filled = MediaTime::ZERO;
        while let Some(due) = timeline.due().filter(|due| *due <= end) {
            let frame = timeline.fill_hole(due);
            filled += frame.map_or(MediaTime::ZERO, |frame| frame.duration);
        }
        filled
    }

    #[test]
    fn a_first_timestamp_that_is_not_zero_is_the_start() {
        let mut timeline = Timeline::new(Format::PCMU, at(0));
        let (silence, frame) = timeline.place(155, speech(), at(0));
        assert_eq!((silence, frame.pts), (None, MediaTime::ZERO));
    }

    #[test]
    fn a_gap_is_filled_with_silence_of_the_format() {
        for (format, byte) in [(Format::PCMU, 0xFF), (Format::PCMA, 0xD5), (Format::L16_16K, 0)] {
            let mut timeline = Timeline::new(format, at(0));
            timeline.place(155, Payload::Raw(vec![1; format.bytes_for(MediaTime::FRAME).unwrap()].into()), at(0));
            let (silence, frame) = timeline.place(155 + 120, speech(), at(120));
            let silence = silence.unwrap();
            assert_eq!((silence.pts, silence.duration), (MediaTime::FRAME, MediaTime::from_ms(100)));
            assert!(silence.payload.to_raw().iter().all(|b| *b == byte));
            assert_eq!(frame.pts, MediaTime::from_ms(120));
        }
    }

    #[test]
    fn wandering_timestamps_are_no_gap_and_do_not_add_up() {
        let mut timeline = Timeline::new(Format::PCMU, at(0));
        let mut end = MediaTime::ZERO;
        for n in 0..10_000_u64 {
            let timestamp = 155 + n * 41 / 2 + n % 3;
            let (_, frame) = timeline.place(timestamp, speech(), at(timestamp));
            end = frame.end();
        }
        let behind = 10_000 * 41 / 2 - i64::try_from(end.as_ms()).unwrap();
        assert!(behind.abs() < 40, "{behind}");
    }

    #[test]
    fn a_hole_is_filled_while_it_lasts_and_exactly_to_the_jump() {
        let mut timeline = Timeline::new(Format::PCMU, at(0));
        let end = talk(&mut timeline, 0, 50);
        let filled = fill_until(&mut timeline, at(end + 2_000));
        assert!((1_700..=2_000).contains(&filled.as_ms()), "{}", filled.as_ms());
        let (silence, frame) = timeline.place(155 + end + 2_000, speech(), at(end + 2_000));
        assert_eq!(silence.unwrap().duration + filled, MediaTime::from_ms(2_000));
        assert_eq!(frame.pts, MediaTime::from_ms(end + 2_000));
    }

    #[test]
    fn a_detector_of_half_a_second_closes_the_turn_within_0_7_s_of_a_hole() {
        let mut timeline = Timeline::new(Format::PCMU, at(0));
        let end = talk(&mut timeline, 0, 50);
        assert!(fill_until(&mut timeline, at(end + 680)) >= MediaTime::from_ms(500));
    }

    #[test]
    fn late_media_are_passed_on_without_more_filling() {
        let mut timeline = Timeline::new(Format::PCMU, at(0));
        let end = talk(&mut timeline, 0, 50);
        let filled = fill_until(&mut timeline, at(end + 1_000));
        for n in 0..50 {
            let (silence, frame) = timeline.place(155 + end + n * 20, speech(), at(end + 1_000));
            assert_eq!(silence, None);
            assert_eq!(frame.pts, MediaTime::from_ms(end + n * 20) + filled);
        }
        let (silence, _) = timeline.place(155 + end + 1_100, speech(), at(end + 1_100));
        assert_eq!(silence.unwrap().duration, MediaTime::from_ms(100), "a later pause keeps its length");
    }

    #[test]
    fn a_caller_who_is_silent_from_the_start_is_heard_as_silence() {
        let mut timeline = Timeline::new(Format::PCMU, at(0));
        let filled = fill_until(&mut timeline, at(1_000));
        assert!(filled >= MediaTime::from_ms(800));
        let (silence, frame) = timeline.place(1_155, speech(), at(1_000));
        assert_eq!((silence, frame.pts), (None, filled));
    }

    #[test]
    fn filling_ends_after_a_minute_of_hole() {
        let mut timeline = Timeline::new(Format::PCMU, at(0));
        talk(&mut timeline, 0, 1);
        assert_eq!(fill_until(&mut timeline, at(600_000)), MediaTime::from_ms(60_000));
        assert_eq!(timeline.due(), None);
        let (silence, _) = timeline.place(600_155, speech(), at(600_000));
        assert_eq!(silence, None);
        assert!(timeline.due().is_some());
    }

    #[test]
    fn lying_timestamps_cannot_make_silence_without_end() {
        let mut timeline = Timeline::new(Format::PCMU, at(0));
        let mut made = MediaTime::ZERO;
        for n in 0..1000 {
            let (silence, _) = timeline.place(n * 1_000_000, speech(), at(n));
            made += silence.map_or(MediaTime::ZERO, |frame| frame.duration);
        }
        assert!(made <= MediaTime::from_ms(61_000), "{}", made.as_ms());
    }

    #[test]
    fn a_count_that_starts_anew_is_followed() {
        let mut timeline = Timeline::new(Format::PCMU, at(0));
        let end = talk(&mut timeline, 0, 500);
        let (silence, _) = timeline.place(0, speech(), at(end));
        assert_eq!(silence, None);
        let (silence, _) = timeline.place(20, speech(), at(end + 20));
        assert_eq!(silence, None);
    }
}
