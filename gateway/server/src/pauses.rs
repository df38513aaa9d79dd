//! How long an interruption took, and how long a caller heard nothing: from what one call tells.

use std::time::Duration;

use patchbay_core::{Event, Fact, Instant, PromptKind};

/// A cut that comes later than this after the caller began to speak is not of that speech.
const CUT_WITHIN: Duration = Duration::from_secs(2);

/// Where one call is between speech and answer.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    /// The caller began to speak, and nothing was cut for it yet.
    spoke_at: Option<Instant>,
    /// Something was cut. A call tells that before it tells what it was cut for.
    cut_at: Option<Instant>,
    /// The caller stopped, and has heard nothing since.
    hushed_at: Option<Instant>,
}

/// A pause that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// From speech to the end of what it interrupts.
    BargeIn(Duration),
    /// Nothing was heard for so long.
    DeadAir(Duration),
}

impl Pauses {
    pub(crate) fn event(&mut self, now: Instant, event: &Event) -> Option<Pause> {
        match event {
            Event::SpeechStarted | Event::DtmfReceived(_) => {
                self.hushed_at = None;
                if self.cut_at.take() == Some(now) {
                    return Some(Pause::BargeIn(Duration::ZERO));
                }
                self.spoke_at = Some(now);
                None
            }
            Event::SpeechStopped => {
                self.hushed_at = Some(now);
                None
            }
            _ => None,
        }
    }

    pub(crate) fn fact(&mut self, now: Instant, fact: &Fact) -> Option<Pause> {
        match fact {
            Fact::Cut(_) => {
                let spoke = self.spoke_at.take().map(|at| now.saturating_since(at));
                let barge_in = spoke.filter(|after| *after <= CUT_WITHIN).map(Pause::BargeIn);
                self.cut_at = Some(now).filter(|_| barge_in.is_none());
                barge_in
            }
            Fact::Answered { .. } | Fact::Prompted(PromptKind::Filler | PromptKind::Notice) => {
                self.hushed_at.take().map(|at| Pause::DeadAir(now.saturating_since(at)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use patchbay_core::{Cut, MediaTime, UtteranceId};

    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn cut() -> Fact {
        let span = MediaTime::from_ms(100);
        Fact::Cut(Cut { utterance: UtteranceId(1), heard: span, sent: span, received: span })
    }

    #[test]
    fn an_interruption_lasts_from_speech_to_cut_whichever_is_told_first() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.fact(at(5), &cut()), None);
        assert_eq!(pauses.event(at(5), &Event::SpeechStarted), Some(Pause::BargeIn(Duration::ZERO)));
        assert_eq!(pauses.event(at(900), &Event::SpeechStarted), None);
        assert_eq!(pauses.fact(at(1200), &cut()), Some(Pause::BargeIn(Duration::from_millis(300))));
        assert_eq!(pauses.fact(at(1200), &cut()), None, "one interruption counts once");
        assert_eq!(pauses.event(at(9000), &Event::SpeechStarted), None, "that cut was not for this");
        assert_eq!(pauses.fact(at(12_000), &cut()), None, "nor this one for that speech");
    }

    #[test]
    fn dead_air_ends_with_whatever_is_heard_first_or_the_callers_own_words() {
        let mut pauses = Pauses::default();
        pauses.event(at(0), &Event::SpeechStopped);
        let filler = Fact::Prompted(PromptKind::Filler);
        assert_eq!(pauses.fact(at(800), &filler), Some(Pause::DeadAir(Duration::from_millis(800))));
        assert_eq!(pauses.fact(at(2000), &Fact::Answered { after_us: 2_000_000 }), None);
        pauses.event(at(3000), &Event::SpeechStopped);
        pauses.event(at(3100), &Event::SpeechStarted);
        assert_eq!(pauses.fact(at(4000), &filler), None);
    }
}
