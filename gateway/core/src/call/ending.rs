//! How a call ends: at once when nobody is left to hear, with last words when it fails, and always once.

use std::time::Duration;

use super::{CALLEE, CALLER, Call, Effect, EndReason, Outcome, Output, Phase, PromptKind};
use crate::Instant;
use crate::leg::{Command, Fault};
use crate::side::State;

/// How long after the last words the call waits for their echo.
const ECHO_WAIT: Duration = Duration::from_millis(1500);

/// How often a quiet moment is looked for when the gateway goes down.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Call {
    /// Ends the call. What the callee had said is played to its end when the callee hung up or the money is spent; else
    /// it is over at once.
    pub(super) fn end(&mut self, outcome: Outcome, now: Instant, out: &mut Vec<Output>) {
        if outcome.reason == EndReason::Spend {
            return self.end_told(outcome, now, out);
        }
        if self.phase != Phase::Live {
            return self.finish(outcome, now, out);
        }
        let last_words = outcome.reason == EndReason::CalleeHungUp && self.sides[CALLER].state == State::Up;
        if last_words && self.sides[CALLER].playout.is_playing(now) {
            self.begin_ending(outcome, now);
        } else {
            self.finish(outcome, now, out);
        }
    }

    /// Nothing helps: the caller hears an apology, and the call ends as failed.
    pub(super) fn fail(&mut self, fault: Fault, code: &str, now: Instant, out: &mut Vec<Output>) {
        let outcome = Outcome { reason: EndReason::CalleeLost, fault: Some(fault), code: Some(code.into()) };
        self.end_told(outcome, now, out);
    }

    /// Parts with the callee, tells the caller, and ends.
    fn end_told(&mut self, outcome: Outcome, now: Instant, out: &mut Vec<Output>) {
        if self.phase != Phase::Live {
            return;
        }
        // Live no more, so that the callee's own goodbye does not end the call for another reason.
        self.begin_ending(outcome.clone(), now);
        self.command(CALLEE, Command::Hangup { code: 1000 }, now, out);
        self.sides[CALLEE].state = State::Gone;
        self.redial_at = None;
        match self.sides[CALLER].state {
            State::Gone => self.finish(outcome, now, out),
            State::Up => {
                self.sides[CALLER].playout.drop_prompts();
                self.apologise(outcome, now, out);
            }
            // The caller is on the way: the last words wait for them.
            State::Opening => {}
        }
    }

    /// The instant by which the caller's transport must come.
    pub(super) fn caller_deadline(&self) -> Option<Instant> {
        let limits = &self.config.limits;
        match (self.detached, self.sides[CALLER].state) {
            (Some(since), _) => Some(since + limits.detached_max),
            (None, State::Opening) => self.started.map(|at| at + limits.caller_wait),
            (None, _) => None,
        }
    }

    pub(super) fn run_deadlines(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.phase != Phase::Live {
            return;
        }
        if self.caller_deadline().is_some_and(|at| at <= now) {
            self.finish(Outcome { reason: EndReason::CallerLost, fault: None, code: None }, now, out);
        } else if self.leaving && self.is_quiet(now) {
            self.finish(Outcome { reason: EndReason::Shutdown, fault: None, code: None }, now, out);
        } else if self.started.is_some_and(|at| at + self.config.limits.call_max <= now) {
            self.end(
                Outcome { reason: EndReason::Limit, fault: None, code: Some("call_max".into()) },
                now,
                out,
            );
        }
    }

    /// Ends when the last words have been heard, or can no longer be.
    pub(super) fn finish_ending(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Phase::Ending(deadline, outcome) = &self.phase else { return };
        let caller = &self.sides[CALLER];
        let heard = match caller.state {
            State::Opening => false,
            State::Up => !caller.playout.is_playing(now),
            State::Gone => true,
        };
        if heard || *deadline <= now {
            let outcome = outcome.clone();
            self.finish(outcome, now, out);
        }
    }

    /// A caller who comes when the call has already failed hears why.
    pub(super) fn greet_with_apology(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Phase::Ending(_, outcome) = &self.phase {
            let outcome = outcome.clone();
            self.apologise(outcome, now, out);
        }
    }

    fn apologise(&mut self, outcome: Outcome, now: Instant, out: &mut Vec<Output>) {
        let why = if outcome.reason == EndReason::Spend { PromptKind::Budget } else { PromptKind::Apology };
        self.prompt(why, out);
        self.begin_ending(outcome, now);
    }

    fn begin_ending(&mut self, outcome: Outcome, now: Instant) {
        let caller = &self.sides[CALLER];
        let deadline = match caller.state {
            State::Opening => self.caller_deadline().unwrap_or(now),
            _ => caller.playout.dry_at().max(now) + caller.playout.queued().to_duration() + ECHO_WAIT,
        };
        self.dead_air.settle();
        self.phase = Phase::Ending(deadline, outcome);
    }

    fn finish(&mut self, outcome: Outcome, now: Instant, out: &mut Vec<Output>) {
        if self.phase == Phase::Ended {
            return;
        }
        let codes = [caller_code(&outcome), callee_code(&outcome)];
        // Live no more, so that what the legs say to their hang-up has no consequences.
        self.phase = Phase::Ending(now, outcome.clone());
        for side in [CALLER, CALLEE] {
            self.command(side, Command::Hangup { code: codes[side] }, now, out);
            self.sides[side].state = State::Gone;
        }
        self.hang_up_spare(out);
        self.hang_up_aside(codes[CALLER], now, out);
        self.phase = Phase::Ended;
        self.tap_end(now, out);
        out.push(Output::Effect(Effect::Ended(outcome)));
    }
}

/// What the caller's transport is closed with (RFC 6455 §7.4.1): whether another try is worth it.
fn caller_code(outcome: &Outcome) -> u16 {
    match (outcome.reason, outcome.fault) {
        (EndReason::Shutdown, _) => 1001,
        (EndReason::Spend, _) => 1008,
        (EndReason::Misbehaved | EndReason::CalleeLost, Some(fault)) => fault.close_code(),
        _ => 1000,
    }
}

fn callee_code(outcome: &Outcome) -> u16 {
    match outcome.fault {
        Some(fault) if outcome.reason == EndReason::Misbehaved => fault.close_code(),
        _ => 1000,
    }
}
