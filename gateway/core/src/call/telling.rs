//! What the two ends say to each other past the call, and what a listener says of its own playing.

use std::time::Duration;

use super::{CALLER, Call, Fact, Output};
use crate::leg::{Command, Cut, Event};
use crate::side::State;
use crate::{Instant, MediaTime, Told, UtteranceId};

/// What waits for a side that is not up, in events and in bytes.
const UNTOLD_MAX: usize = 128;
const UNTOLD_BYTES_MAX: usize = 1024 * 1024;
/// How long a listener that reports what it played is waited for, once it was interrupted. Its detector's silence is longer.
const REPORT_WITHIN: Duration = Duration::from_millis(400);
/// Interruptions that wait for such a report.
const UNSETTLED_MAX: usize = 16;

/// An interruption whose listener has still to say how much it played.
#[derive(Debug)]
pub(super) struct Unsettled {
    cut: Cut,
    listener: usize,
    pub(super) until: Instant,
}

impl Call {
    /// Passes on what one end says, behind the audio that it sent before.
    pub(super) fn tell(&mut self, from: usize, told: Told, now: Instant, out: &mut Vec<Output>) {
        out.push(Output::Event { leg: self.sides[from].id, event: Event::Told(told.clone()) });
        let listener = 1 - from;
        if listener == CALLER {
            self.tell_aside(&told, now, out);
        }
        if self.sides[listener].state == State::Gone {
            return;
        }
        let untold = &mut self.sides[listener].untold;
        let held = untold.iter().fold(told.event.len(), |sum, told| sum + told.event.len());
        if untold.len() >= UNTOLD_MAX || held > UNTOLD_BYTES_MAX {
            let event = Event::MessageDropped { reason: "told_nobody" };
            return out.push(Output::Event { leg: self.sides[from].id, event });
        }
        untold.push_back(told);
        self.pump_towards(listener, now, out);
    }

    pub(super) fn tell_what_waited(&mut self, listener: usize, now: Instant, out: &mut Vec<Output>) {
        while self.sides[listener].state == State::Up {
            let Some(told) = self.sides[listener].untold.pop_front() else { break };
            self.command(listener, Command::Tell(told), now, out);
        }
    }

    /// The listener cut an utterance by itself: it confirms an interruption of ours, or begins one.
    pub(super) fn cut_by_listener(
        &mut self,
        listener: usize,
        utterance: UtteranceId,
        heard: MediaTime,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let of_this = |u: &Unsettled| u.listener == listener && u.cut.utterance == utterance;
        if let Some(index) = self.unsettled.iter().position(of_this) {
            let cut = self.unsettled.remove(index).cut;
            return self.settle(listener, Cut { heard: cut.heard.min(heard), ..cut }, now, out);
        }
        self.tap_cut(listener, now, out);
        let cuts = self.sides[listener].playout.cut_by_listener(utterance, heard, now);
        self.sides[listener].reset_route();
        for cut in cuts {
            self.settle(listener, cut, now, out);
        }
    }

    /// An interruption is final at once, or when the listener has said how much it played.
    pub(super) fn settle_or_wait(&mut self, listener: usize, cut: Cut, now: Instant, out: &mut Vec<Output>) {
        let reports = self.sides[listener].caps.reports_heard && self.sides[listener].state == State::Up;
        if reports && !cut.heard.is_zero() && self.unsettled.len() < UNSETTLED_MAX {
            self.unsettled.push(Unsettled { cut, listener, until: now + REPORT_WITHIN });
        } else {
            self.settle(listener, cut, now, out);
        }
    }

    pub(super) fn settle_overdue(&mut self, now: Instant, out: &mut Vec<Output>) {
        while self.unsettled.first().is_some_and(|first| first.until <= now) {
            let Unsettled { cut, listener, .. } = self.unsettled.remove(0);
            self.settle(listener, cut, now, out);
        }
    }

    fn settle(&mut self, listener: usize, cut: Cut, now: Instant, out: &mut Vec<Output>) {
        if self.sides[1 - listener].caps.can_truncate {
            self.command(1 - listener, Command::Truncate(cut), now, out);
        }
        out.push(Output::Fact(Fact::Cut(cut)));
    }
}
