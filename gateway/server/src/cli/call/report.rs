//! [`Report`]: what a placed call measured.

use std::time::Duration;

use patchbay_core::MediaTime;
use patchbay_sim::twilio::{Ending, Span, TwilioDouble};
use serde::Serialize;

use super::place::CallPlan;
use crate::cli::wav::{end_of_sound, has_sound};

/// What was measured. Times in milliseconds; of the stream where not said otherwise, from its opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Twilio's id of the call.
    pub call_sid: String,
    /// Whether speech came back after the caller had spoken.
    pub speech_came_back: bool,
    /// From the first request to the TwiML.
    pub webhook_ms: u64,
    /// From the first request to the open stream.
    pub setup_ms: u64,
    /// When the first audio was heard: the greeting, if there is one.
    pub first_audio_ms: Option<u64>,
    /// From the end of the caller's speech to the first audio of the answer.
    pub answer_ms: Option<u64>,
    /// From the caller's interruption to silence.
    pub barge_in_ms: Option<u64>,
    /// How much of the interrupted speech had been heard: the true point of truncation.
    pub barge_in_heard_ms: Option<u64>,
    /// Audio heard in all.
    pub heard_ms: u64,
    /// Silences of more than 20 ms and at most a second within speech.
    pub gaps: Vec<Gap>,
    /// The longest of them.
    pub gap_ms_max: u64,
    /// Marks echoed at playback.
    pub marks: usize,
    /// Marks echoed because of a `clear`.
    pub marks_cleared: usize,
    /// `clear`s received.
    pub clears: usize,
    /// Messages of ours that Twilio would drop.
    pub invalid: u64,
    /// Warnings that Twilio would log.
    pub warnings: Vec<u32>,
    /// Streams of the call: more than one when it was handed over.
    pub streams: usize,
    /// How the last stream ended.
    pub ending: Option<Ending>,
    /// What was heard, µ-law at 8 kHz.
    #[serde(skip)]
    pub heard: Vec<u8>,
}

/// A silence within speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// When it began.
    pub at_ms: u64,
    /// How long it was.
    pub ms: u64,
}

impl Report {
    pub(super) fn of(
        plan: &CallPlan,
        call_sid: &str,
        double: &TwilioDouble,
        webhook: Duration,
        setup: Duration,
    ) -> Self {
        let log = double.log();
        let spoken = log.said.first().map(|said| said.from + bytes_span(end_of_sound(&plan.speech)));
        let interruption = plan.barge_in.as_ref().and(log.said.get(1));
        let clear = interruption.and_then(|said| log.clears.iter().find(|clear| clear.at >= said.from));
        let gaps: Vec<Gap> = log.gaps.iter().map(gap).collect();
        Self {
            call_sid: call_sid.to_owned(),
            speech_came_back: spoken.is_some_and(|spoken| has_sound(after(double.heard(), spoken))),
            webhook_ms: ms(webhook),
            setup_ms: ms(setup),
            first_audio_ms: log.first_audio.map(MediaTime::as_ms),
            answer_ms: spoken.and_then(|spoken| answer(double, spoken)),
            barge_in_ms: interruption
                .zip(clear)
                .map(|(said, clear)| clear.at.saturating_sub(said.from).as_ms()),
            barge_in_heard_ms: clear.map(|clear| clear.heard.as_ms()),
            heard_ms: log.played_bytes / 8,
            gap_ms_max: gaps.iter().map(|gap| gap.ms).max().unwrap_or(0),
            gaps,
            marks: log.marks.iter().filter(|echo| !echo.because_of_clear).count(),
            marks_cleared: log.marks.iter().filter(|echo| echo.because_of_clear).count(),
            clears: log.clears.len(),
            invalid: log.invalid,
            warnings: log.warnings.clone(),
            streams: 1,
            ending: log.ending.map(|(_, ending)| ending),
            heard: double.heard().to_vec(),
        }
    }

    /// The report of a call that went on in another stream.
    pub(super) fn followed_by(mut self, next: &Self) -> Self {
        self.speech_came_back |= next.speech_came_back;
        self.answer_ms = self.answer_ms.or(next.answer_ms);
        self.heard_ms += next.heard_ms;
        self.gaps.extend(&next.gaps);
        self.gap_ms_max = self.gap_ms_max.max(next.gap_ms_max);
        self.marks += next.marks;
        self.marks_cleared += next.marks_cleared;
        self.clears += next.clears;
        self.invalid += next.invalid;
        self.warnings.extend(&next.warnings);
        self.streams += next.streams;
        self.ending = next.ending;
        self.heard.extend(&next.heard);
        self
    }
}

/// From `spoken` to the first audio that began to play after it.
fn answer(double: &TwilioDouble, spoken: MediaTime) -> Option<u64> {
    let began = double.log().media.iter().filter_map(|media| media.from).find(|from| *from >= spoken)?;
    Some(began.saturating_sub(spoken).as_ms())
}

fn gap(span: &Span) -> Gap {
    Gap { at_ms: span.from.as_ms(), ms: span.to.saturating_sub(span.from).as_ms() }
}

fn after(heard: &[u8], time: MediaTime) -> &[u8] {
    let at = usize::try_from(time.samples(8_000)).unwrap_or(usize::MAX);
    heard.get(at..).unwrap_or_default()
}

fn bytes_span(bytes: usize) -> MediaTime {
    MediaTime::from_samples(bytes as u64, 8_000)
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
