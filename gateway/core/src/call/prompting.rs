//! What the caller hears that no model says: stopgaps, last words, and that the call is recorded.

use super::{CALLER, Call, Fact, Output, Phase, PromptKind};
use crate::dead_air::Overdue;
use crate::leg::Fault;
use crate::side::State;
use crate::{Format, Frame, Instant, MediaTime, Payload};

impl Call {
    /// An answer is late.
    pub(super) fn overdue(&mut self, due: Overdue, now: Instant, out: &mut Vec<Output>) {
        if self.sides[CALLER].state != State::Up || self.phase != Phase::Live {
            return;
        }
        match due {
            Overdue::Filler => self.prompt(PromptKind::Filler, out),
            Overdue::Notice => self.prompt(PromptKind::Notice, out),
            Overdue::GiveUp => self.fail(Fault::PeerLost, "no_answer", now, out),
        }
    }

    /// Queues a prompt for the caller.
    pub(super) fn prompt(&mut self, kind: PromptKind, out: &mut Vec<Output>) {
        let audio = match kind {
            PromptKind::Filler => &self.prompts.filler,
            PromptKind::Notice => &self.prompts.notice,
            PromptKind::Apology => &self.prompts.apology,
            PromptKind::Budget => &self.prompts.budget,
            PromptKind::Recorded => &self.prompts.recorded,
        };
        let fills = matches!(kind, PromptKind::Filler | PromptKind::Notice);
        let busy = !self.sides[CALLER].playout.queued().is_zero();
        if audio.is_empty() || (busy && fills) {
            return;
        }
        let frame = Frame::live(Format::PCMU, Payload::Raw(audio.clone()), MediaTime::ZERO);
        let caller = &mut self.sides[CALLER];
        caller.finish_route();
        caller.carry(frame, self.transcoders);
        caller.finish_route();
        self.prompted |= fills;
        out.push(Output::Fact(Fact::Prompted(kind)));
    }
}
