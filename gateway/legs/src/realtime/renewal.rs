//! A new connection that carries on where the old one ended.
//!
//! The provider resumes nothing. So the new connection is told what was said as text, hears again what it has not
//! answered, and is asked again for what it owes (`reference/realtime.md` §5.7, §5.9).

use std::sync::Arc;

use bytes::Bytes;
use patchbay_core::{Event, Instant, MediaTime, Outbox, Payload, Role};

use super::{Phase, Realtime, answering, dialect};

/// What the model owes the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Owed {
    #[default]
    Nothing,
    /// What we asked it to say.
    Asked(answering::Instructions),
    /// An answer to the caller's turn.
    Answer,
    /// The rest of an answer that had begun.
    Rest,
}

impl Owed {
    /// First audio came.
    pub(super) fn begun(&mut self) {
        *self = Self::Rest;
    }

    /// The answer is over, or we cut it.
    pub(super) fn ended(&mut self) {
        *self = Self::Nothing;
    }

    pub(super) fn cancelled(&mut self) {
        *self = Self::Nothing;
    }
}

/// Said by the system after the history, so that the model neither greets again nor starts over.
const CARRY_ON: &str = "The connection was renewed; carry on the conversation; do not greet again.";
const CARRY_ON_MID_ANSWER: &str = "The connection was renewed while you were speaking; carry on from where your last \
                                   words end; do not greet again and do not repeat yourself.";

/// Longest append of a replay.
const APPEND_MAX: MediaTime = MediaTime::from_ms(1_000);

impl Realtime {
    /// A leg to the same model with the same past, or `None` when another connection would fail the same way.
    pub(super) fn renew(&self) -> Option<Self> {
        if self.phase == (Phase::Down { fatal: true }) {
            return None;
        }
        let mut next = Self::fresh(Arc::clone(&self.setup));
        next.speech = self.speech.continued();
        next.history = self.history.clone();
        next.unanswered = self.unanswered.clone();
        next.owed = self.owed.clone();
        next.relay = self.relay.renewed();
        next.renewed = self.renewed || self.speech.began() || self.history.said().next().is_some();
        Some(next)
    }

    /// The session has its configuration: the leg is up.
    pub(super) fn updated(&mut self, now: Instant, out: &mut Outbox) {
        let Phase::Updating { .. } = self.phase else { return self.updated_by_client() };
        self.phase = Phase::Up;
        out.event(Event::LegUp);
        self.confirm_update(out);
        if self.renewed {
            self.replay_text(out);
        }
        let repeated = self.replay_audio(now, out);
        match std::mem::take(&mut self.owed) {
            // The repeated turn makes the model answer by itself.
            Owed::Answer if repeated => {
                self.answering.expect(now);
                self.owed = Owed::Answer;
            }
            Owed::Asked(instructions) => self.ask_owed(Owed::Asked(instructions.clone()), instructions, now, out),
            owed @ Owed::Answer if self.history.ends_with_caller() => self.ask_owed(owed, None, now, out),
            owed @ Owed::Rest => self.ask_owed(owed, None, now, out),
            Owed::Answer | Owed::Nothing => {}
        }
    }

    fn ask_owed(
        &mut self,
        owed: Owed,
        instructions: answering::Instructions,
        now: Instant,
        out: &mut Outbox,
    ) {
        self.owed = owed;
        self.ask(instructions, now, out);
    }

    fn replay_text(&mut self, out: &mut Outbox) {
        let dialect = self.setup.config.dialect;
        let mut number = self.sent;
        for (index, entry) in self.history.said_mut().enumerate() {
            number = number.wrapping_add(1);
            let id = format!("pb_past_{index}");
            dialect::send(&dialect::item(dialect, &id, Some(entry.role), &entry.text, number), out);
            entry.seed = Some(id.into());
        }
        self.sent = number;
        let text = if self.owed == Owed::Rest { CARRY_ON_MID_ANSWER } else { CARRY_ON };
        let event = self.next_event();
        dialect::send(&dialect::item(dialect, "pb_anchor", None, text, event), out);
    }

    /// An utterance of an earlier connection was cut: what this connection was told of it is told again, shorter.
    pub(super) fn retell(&mut self, item: &str, part: u32, text: &str, out: &mut Outbox) {
        let Some((seed, before)) = self.history.seeds(item, part).filter(|_| self.is_up()) else { return };
        let (seed, before) = (seed.to_owned(), before.unwrap_or("root").to_owned());
        let event = self.next_event();
        dialect::send(&dialect::delete(&seed, event), out);
        let again = (!text.is_empty()).then(|| format!("{seed}_cut"));
        if let Some(id) = &again {
            let event = self.next_event();
            let mut told = dialect::item(self.setup.config.dialect, id, Some(Role::Model), text, event);
            told["previous_item_id"] = before.into();
            dialect::send(&told, out);
        }
        self.history.reseed(item, part, again.map(Into::into));
    }

    /// Appends the turn that was not answered, then what came since. True when a whole turn was repeated.
    fn replay_audio(&mut self, now: Instant, out: &mut Outbox) -> bool {
        let (turn, since) = self.unanswered.audio();
        let repeats = !turn.is_empty() && self.owed == Owed::Answer;
        if repeats {
            self.append_all(&turn, out);
            self.end_repeated_turn(out);
        } else if !turn.is_empty() && matches!(self.owed, Owed::Asked(_)) {
            self.append_all(&turn, out);
            self.commit_turn(out);
        }
        self.append_all(&since, out);
        self.answering.sign_of_life(now);
        repeats
    }

    /// Silence enough that the detector takes the repeated turn for ended.
    fn end_repeated_turn(&mut self, out: &mut Outbox) {
        let format = self.setup.media.egress;
        let span = MediaTime::from_ms(self.setup.config.turn_detection.silence_ms() + 300);
        let silence = vec![format.silence(); format.bytes_for(span).unwrap_or(0)];
        self.append_all(&silence, out);
    }

    fn append_all(&mut self, raw: &[u8], out: &mut Outbox) {
        let format = self.setup.media.egress;
        let most = format.bytes_for(APPEND_MAX).unwrap_or(usize::MAX).max(1);
        for chunk in raw.chunks(most) {
            let span = format.duration_of(chunk.len()).unwrap_or_default();
            self.uncommitted += span;
            self.unbilled.heard(span);
            dialect::append(&Payload::Raw(Bytes::copy_from_slice(chunk)), out);
        }
    }
}
