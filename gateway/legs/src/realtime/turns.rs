//! The caller's turns: where they begin and end, and what was written down of both sides.

use patchbay_core::{Event, Instant, MediaTime, Outbox, Role};

use super::renewal::Owed;
use super::wire::{Item, Piece, ServerEvent};
use super::{Realtime, usage};

impl Realtime {
    pub(super) fn speech_started(&mut self, out: &mut Outbox) {
        self.unanswered.speech_started();
        self.answering.expect_nothing();
        self.owed = Owed::Nothing;
        out.event(Event::SpeechStarted);
    }

    pub(super) fn speech_stopped(&mut self, now: Instant, out: &mut Outbox) {
        self.turn_ended(now);
        out.event(Event::SpeechStopped);
    }

    pub(super) fn turn_ended(&mut self, now: Instant) {
        if self.config().turn_detection.creates_response() {
            self.answering.expect(now);
            self.owed = Owed::Answer;
        }
    }

    pub(super) fn committed(&mut self, event: &ServerEvent, now: Instant, out: &mut Outbox) {
        // Some compatible servers never say that speech stopped.
        if self.unanswered.speaking() && self.owed == Owed::Nothing && self.reports_speech() {
            out.event(Event::SpeechStopped);
        }
        self.unanswered.committed();
        self.uncommitted = MediaTime::ZERO;
        if let Some(item) = &event.item_id {
            self.history.place(item, 0, Role::Caller);
        }
        self.turn_ended(now);
    }

    pub(super) fn item_added(&mut self, event: &ServerEvent, out: &mut Outbox) {
        let Some(item) = &event.item else { return };
        let (Some(id), Some("message")) = (&item.id, item.kind.as_deref()) else { return };
        match item.role.as_deref() {
            Some("user") => {
                self.history.place(id, 0, Role::Caller);
                self.written(id, item, out);
            }
            Some("assistant") => self.history.place(id, 0, Role::Model),
            _ => {}
        }
    }

    /// What the caller wrote instead of saying it.
    fn written(&mut self, id: &str, item: &Item, out: &mut Outbox) {
        let text = item.content.iter().filter(|part| &*part.kind == "input_text").find_map(|part| part.text.clone());
        let Some(text) = text.filter(|_| self.config().relays && !id.starts_with("pb_")) else { return };
        if self.history.set(id, 0, Role::Caller, &text) {
            out.event(Event::TranscriptReceived { role: Role::Caller, item: id.into(), text, is_final: true });
        }
    }

    pub(super) fn caller_said(&mut self, event: ServerEvent, piece: Piece, out: &mut Outbox) {
        if let (Some(item), Some(usage)) = (&event.item_id, &event.usage) {
            let part = event.content_index.unwrap_or(0);
            self.report(usage::of_transcription(item, part, usage), out);
        }
        if piece == Piece::Whole {
            self.unanswered.settled();
        }
        self.transcript(event, Role::Caller, piece, out);
    }

    pub(super) fn model_said(&mut self, event: ServerEvent, piece: Piece, out: &mut Outbox) {
        if event.response_id.as_deref().is_some_and(|id| self.answering.is_muted(id)) {
            return;
        }
        self.transcript(event, Role::Model, piece, out);
    }

    pub(super) fn transcript(&mut self, event: ServerEvent, role: Role, piece: Piece, out: &mut Outbox) {
        let whole = event.transcript.or(event.text);
        let text = if piece == Piece::Next { event.delta } else { whole };
        let (Some(item), Some(text)) = (event.item_id, text) else { return };
        let part = event.content_index.unwrap_or(0);
        let is_final = piece == Piece::Whole;
        let taken = if is_final {
            self.history.set(&item, part, role, &text)
        } else {
            self.history.add(&item, part, role, &text)
        };
        if taken && (is_final || !text.is_empty()) {
            out.event(Event::TranscriptReceived { role, item, text, is_final });
        }
    }
}
