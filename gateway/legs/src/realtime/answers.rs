//! The model's answers: asked for, begun, ended, failed; and cut, with what was heard of them told to the model.

use patchbay_core::{Cut, Down, Event, Fault, Instant, Outbox, Role};

use super::answering::Instructions;
use super::fault::Severity;
use super::wire::{PeerError, ServerEvent};
use super::{Realtime, dialect, fault, usage};

impl Realtime {
    pub(super) fn response_created(&mut self, event: &ServerEvent, now: Instant, out: &mut Outbox) {
        let id = event.response.as_ref().and_then(|r| r.id.as_deref()).unwrap_or_default();
        if !self.relay.is_aside(id) {
            self.respect(id, now, out);
        }
    }

    /// Audio is proof that its answer began, even if nobody said so.
    pub(super) fn respect(&mut self, response: &str, now: Instant, out: &mut Outbox) {
        if self.answering.begun(response, now) {
            self.unbilled.begun();
            out.event(Event::ResponseStarted);
        }
    }

    pub(super) fn response_done(&mut self, event: ServerEvent, now: Instant, out: &mut Outbox) {
        let Some(response) = event.response else { return };
        let id = response.id.unwrap_or_default();
        if let Some(usage) = &response.usage {
            self.report(usage::of_response(&id, usage), out);
        }
        let mut ended = Vec::new();
        self.speech.end_response(&id, &mut ended);
        ended.into_iter().for_each(|utterance| out.event(Event::UtteranceEnded { utterance }));
        if self.relay.is_aside(&id) || !self.answering.done(&id, now) {
            return;
        }
        let completed = response.status.as_deref() == Some("completed");
        out.event(Event::ResponseEnded { completed });
        if response.status.as_deref() == Some("failed") {
            let error = response.status_details.and_then(|d| d.error).unwrap_or_default();
            return self.response_failed(&error, now, out);
        }
        if completed {
            self.answering.succeeded();
        }
        self.owed.ended();
        self.ask_deferred(now, out);
    }

    pub(super) fn response_failed(&mut self, error: &PeerError, now: Instant, out: &mut Outbox) {
        let code = fault::code_of(error);
        match fault::severity(error) {
            Severity::Fatal => return self.end(fault::fatal(Fault::TenantConfig, &code), 1000, out),
            Severity::Expired => return self.end(Down::Expired, 1000, out),
            _ => out.event(Event::PeerComplained { code }),
        }
        if self.answering.retry(now) {
            return;
        }
        let down = if fault::is_rate_limit(error) {
            Down::Refused { retry_after: None }
        } else {
            Down::Lost { code: 1011 }
        };
        self.end(down, 1000, out);
    }

    pub(super) fn ask_deferred(&mut self, now: Instant, out: &mut Outbox) {
        if let Some(instructions) = self.answering.take_deferred() {
            self.ask(instructions, now, out);
        }
    }

    /// Sends `response.create`, or keeps it until the answer in progress has ended.
    pub(super) fn ask(&mut self, instructions: Instructions, now: Instant, out: &mut Outbox) {
        if !self.answering.may_ask(&instructions) {
            return;
        }
        let event = self.next_event();
        dialect::send(&dialect::respond(instructions.as_deref(), event), out);
        self.answering.asked(event, instructions, now);
    }

    pub(super) fn cancel(&mut self, out: &mut Outbox) {
        self.speech.mute();
        self.owed.cancelled();
        if let Some(response) = self.answering.cancel() {
            let event = self.next_event();
            dialect::send(&dialect::cancel(response.as_deref(), event), out);
        }
    }

    /// Tells the model what was heard of its utterance, if that is less than what it holds.
    pub(super) fn truncate(&mut self, cut: Cut, out: &mut Outbox) {
        let Some(utterance) = self.speech.truncate(cut.utterance) else { return };
        let (item, part) = (&*utterance.item, utterance.part);
        let received = utterance.received(self.setup.media.ingress);
        let heard = cut.heard.min(received);
        if utterance.ended && heard.as_ms() >= received.as_ms() {
            return;
        }
        let text: Box<str> = self.history.cut(item, part, heard, received).unwrap_or_default().into();
        if utterance.inherited {
            self.retell(item, part, &text, out);
        } else if heard.as_ms() == 0 && !self.speech.has_siblings(&utterance) {
            let event = self.next_event();
            dialect::send(&dialect::delete(item, event), out);
        } else {
            let event = self.next_event();
            dialect::send(&dialect::truncate(item, part, heard.as_ms(), event), out);
        }
        if !text.is_empty() {
            let item = utterance.item;
            out.event(Event::TranscriptReceived { role: Role::Model, item, text, is_final: true });
        }
    }

    /// What the other side asked for and may not have is its own to ask again.
    pub(super) fn request_refused(&mut self, is_clients: bool, now: Instant, out: &mut Outbox) {
        self.answering.refused();
        if is_clients {
            self.owed.ended();
        } else if !self.answering.retry(now) {
            self.end(Down::Lost { code: 1011 }, 1000, out);
        }
    }

    pub(super) fn nudge(&mut self, now: Instant, out: &mut Outbox) {
        let event = self.next_event();
        dialect::send(&dialect::cancel(None, event), out);
        let instructions = self.answering.forget_request();
        self.ask(instructions, now, out);
    }
}
