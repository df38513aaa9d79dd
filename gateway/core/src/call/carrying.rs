//! How audio gets from one side to the other, and how the one who speaks learns where the listener is.

use super::{Call, Fact, Output, Phase};
use crate::leg::Command;
use crate::{Frame, Instant, MediaTime};

impl Call {
    /// Audio from one side goes into the other side's playout. It leaves in [`pump`](Self::pump).
    pub(super) fn carry(&mut self, from: usize, frame: Frame, now: Instant, out: &mut Vec<Output>) {
        self.tap_said(from, &frame, now, out);
        if self.phase != Phase::Live {
            return;
        }
        if frame.utterance.is_some() {
            self.speech_came(1 - from, now, out);
        }
        let listener = &mut self.sides[1 - from];
        if !listener.carry(frame, self.transcoders) {
            out.push(Output::Fact(Fact::FrameLost { leg: listener.id }));
        }
    }

    /// Live audio from one side will not come: the other hears something that stands in for it.
    pub(super) fn conceal(&mut self, from: usize, span: MediaTime, next: Option<&[u8]>) {
        let source = self.sides[from].caps.ingress;
        self.sides[1 - from].conceal((source, span), next, self.transcoders);
    }

    /// The answer has come: prompts give way to it, and the silence is over.
    fn speech_came(&mut self, listener: usize, now: Instant, out: &mut Vec<Output>) {
        self.redial.answered();
        if std::mem::take(&mut self.prompted) {
            self.sides[listener].playout.drop_prompts();
        }
        if let Some(awaited) = self.dead_air.answered() {
            let after_us = u64::try_from(now.saturating_since(awaited).as_micros()).unwrap_or(u64::MAX);
            out.push(Output::Fact(Fact::Answered { after_us }));
        }
    }

    /// Tells the one who speaks which of its marks are over.
    pub(super) fn echo_marks(&mut self, listener: usize, now: Instant, out: &mut Vec<Output>) {
        while let Some((mark, played)) = self.sides[listener].playout.poll_placed(now) {
            self.command(1 - listener, Command::EchoMark { mark, played }, now, out);
        }
    }
}
