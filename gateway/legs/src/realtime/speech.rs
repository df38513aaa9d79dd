//! The model's utterances: one for each audio part of an item, in the order of first audio.

use std::collections::VecDeque;

use patchbay_core::{Format, MediaTime, UtteranceId};

/// Utterances kept for late deltas and truncation. A response holds a few; the playout holds 120 s.
const UTTERANCES_MAX: usize = 16;

/// What became of a delta.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// First audio of a new utterance.
    Begun(UtteranceId),
    /// More of an utterance, at this position.
    More(UtteranceId, MediaTime),
    /// Of an utterance that was cut or has ended.
    Late,
}

#[derive(Clone, Debug)]
pub(super) struct Utterance {
    pub(super) id: UtteranceId,
    pub(super) item: Box<str>,
    pub(super) part: u32,
    response: Box<str>,
    bytes: u64,
    pub(super) ended: bool,
    truncated: bool,
    /// Spoken on an earlier connection: this one knows it as text.
    pub(super) inherited: bool,
}

impl Utterance {
    /// Audio received of it; rounded down.
    pub(super) fn received(&self, format: Format) -> MediaTime {
        position(format, self.bytes)
    }
}

/// Ledger of what was received, by utterance.
#[derive(Clone, Debug)]
pub(super) struct Speech {
    format: Format,
    utterances: VecDeque<Utterance>,
    next: u32,
    /// Utterances below this number were cut.
    muted_below: u32,
}

impl Speech {
    pub(super) fn new(format: Format) -> Self {
        Self { format, utterances: VecDeque::new(), next: 0, muted_below: 0 }
    }

    /// The ledger for the next connection: nothing more comes of what is on record, but the listener may not have
    /// heard it yet. Numbers go on, so that none means two utterances in one call.
    pub(super) fn continued(&self) -> Self {
        let mut next = Self { muted_below: self.next, ..self.clone() };
        for utterance in &mut next.utterances {
            (utterance.ended, utterance.inherited) = (true, true);
        }
        next
    }

    /// Whether anything was ever said, on this connection or before it.
    pub(super) fn began(&self) -> bool {
        self.next > 0
    }

    /// Books `bytes` of audio. Returns what it is, and an utterance that had to be forgotten before its end.
    pub(super) fn take(
        &mut self,
        response: &str,
        item: &str,
        part: u32,
        bytes: usize,
    ) -> (Taken, Option<UtteranceId>) {
        let (format, muted_below) = (self.format, self.muted_below);
        if let Some(known) = self.find_mut(item, part) {
            if known.ended || known.id.0 < muted_below {
                return (Taken::Late, None);
            }
            let pts = known.received(format);
            known.bytes += bytes as u64;
            return (Taken::More(known.id, pts), None);
        }
        let forgotten = self.make_room();
        let id = UtteranceId(self.next);
        self.next = self.next.wrapping_add(1);
        self.utterances.push_back(Utterance {
            id,
            item: item.into(),
            part,
            response: response.into(),
            bytes: bytes as u64,
            ended: false,
            truncated: false,
            inherited: false,
        });
        (Taken::Begun(id), forgotten)
    }

    fn make_room(&mut self) -> Option<UtteranceId> {
        if self.utterances.len() < UTTERANCES_MAX {
            return None;
        }
        let oldest = self.utterances.pop_front()?;
        (!oldest.ended && oldest.id.0 >= self.muted_below).then_some(oldest.id)
    }

    fn find_mut(&mut self, item: &str, part: u32) -> Option<&mut Utterance> {
        self.utterances.iter_mut().rev().find(|u| u.part == part && &*u.item == item)
    }

    /// The audio of one part is complete.
    pub(super) fn end(&mut self, item: &str, part: u32) -> Option<UtteranceId> {
        let muted_below = self.muted_below;
        let known = self.find_mut(item, part)?;
        let first = !std::mem::replace(&mut known.ended, true);
        (first && known.id.0 >= muted_below).then_some(known.id)
    }

    /// The response is over: whatever it spoke is complete. Appends the utterances that had not ended.
    pub(super) fn end_response(&mut self, response: &str, ended: &mut Vec<UtteranceId>) {
        for utterance in self.utterances.iter_mut().filter(|u| !u.ended && &*u.response == response) {
            utterance.ended = true;
            if utterance.id.0 >= self.muted_below {
                ended.push(utterance.id);
            }
        }
    }

    /// Cuts every utterance begun so far: what still comes of them is late.
    pub(super) fn mute(&mut self) {
        self.muted_below = self.next;
    }

    /// The utterance to truncate, the first time it is asked for.
    pub(super) fn truncate(&mut self, id: UtteranceId) -> Option<Utterance> {
        let known = self.utterances.iter_mut().rev().find(|u| u.id == id && !u.truncated)?;
        known.truncated = true;
        Some(known.clone())
    }

    /// Whether other audio parts of the same item are on record.
    pub(super) fn has_siblings(&self, of: &Utterance) -> bool {
        self.utterances.iter().any(|u| u.item == of.item && u.part != of.part)
    }
}

fn position(format: Format, bytes: u64) -> MediaTime {
    let sample = format.sample_bytes().unwrap_or(1) as u64;
    MediaTime::from_samples(bytes / sample, format.rate_hz)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_do_not_drift_on_odd_sizes() {
        let mut speech = Speech::new(Format::L16_24K);
        let (begun, _) = speech.take("r", "i", 0, 959);
        let Taken::Begun(id) = begun else { panic!("{begun:?}") };
        for n in 1..100u64 {
            let expected = MediaTime::from_samples(959 * n / 2, 24_000);
            assert_eq!(speech.take("r", "i", 0, 959).0, Taken::More(id, expected));
        }
    }

    #[test]
    fn the_ledger_is_bounded_and_says_what_it_forgets() {
        let mut speech = Speech::new(Format::PCMU);
        for n in 0..UTTERANCES_MAX {
            assert_eq!(speech.take("r", &format!("i{n}"), 0, 8).1, None);
        }
        assert_eq!(speech.take("r", "one more", 0, 8).1, Some(UtteranceId(0)));
        assert_eq!(speech.utterances.len(), UTTERANCES_MAX);
    }

    #[test]
    fn a_successor_does_not_reuse_a_number() {
        let mut speech = Speech::new(Format::PCMU);
        speech.take("r", "i", 0, 8);
        assert_eq!(speech.continued().take("r", "i", 0, 8).0, Taken::Late);
        assert_eq!(speech.continued().take("r", "j", 0, 8).0, Taken::Begun(UtteranceId(1)));
    }
}
