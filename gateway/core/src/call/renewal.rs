//! New connections for old legs: a callee that was lost is dialled again; one near its cap is renewed in a quiet
//! moment, the new connection made before the old one is broken; a caller whose transport broke may come back.

use super::{CALLEE, CALLER, Call, Effect, EndReason, Fact, Outcome, Output, Phase};
use crate::leg::{Command, Down, Event, Fault, Leg, LegError, Outbox, Wire};
use crate::side::State;
use crate::{Instant, LegId, Limits};

/// How long after a failed renewal the next is tried.
const RETRY: std::time::Duration = std::time::Duration::from_secs(30);
/// How often a quiet moment is looked for when a renewal is due.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(250);
/// A gap that the caller noticed, and that is worth a word.
const NOTICEABLE: std::time::Duration = std::time::Duration::from_millis(1500);

/// The renewal of a callee's connection before its cap.
#[derive(Default)]
pub(super) struct Renewal {
    /// When to look for a quiet moment.
    due: Option<Instant>,
    /// From when on it need not be quiet.
    force: Option<Instant>,
    /// The leg that is to take over.
    spare: Option<(LegId, Box<dyn Leg>)>,
}

impl Renewal {
    /// A callee came up.
    pub(super) fn arm(&mut self, now: Instant, limits: &Limits) {
        *self =
            Self { due: Some(now + limits.rotate_after), force: Some(now + limits.rotate_by), spare: None };
    }

    pub(super) fn is_leg(&self, leg: LegId) -> bool {
        self.spare.as_ref().is_some_and(|(id, _)| *id == leg)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let spare = self.spare.as_ref().and_then(|(_, leg)| leg.poll_timeout());
        self.due.into_iter().chain(spare).min()
    }
}

impl Call {
    pub(super) fn leg_down(&mut self, side: usize, down: Down, now: Instant, out: &mut Vec<Output>) {
        if self.phase != Phase::Live {
            self.sides[side].state = State::Gone;
            return;
        }
        match (side, down) {
            (CALLER, Down::Lost { .. }) => self.detach_caller(now, out),
            (CALLER, Down::Fatal { fault, code }) => {
                self.sides[CALLER].state = State::Gone;
                self.end(
                    Outcome { reason: EndReason::Misbehaved, fault: Some(fault), code: Some(code) },
                    now,
                    out,
                );
            }
            (CALLER, _) => {
                self.sides[CALLER].state = State::Gone;
                self.end(Outcome { reason: EndReason::CallerHungUp, fault: None, code: None }, now, out);
            }
            (_, Down::HungUp) => {
                self.sides[CALLEE].state = State::Gone;
                self.end(Outcome { reason: EndReason::CalleeHungUp, fault: None, code: None }, now, out);
            }
            (_, Down::Fatal { fault, code }) => self.fail(fault, &code, now, out),
            (_, Down::Lost { .. } | Down::Expired) => self.schedule_redial(None, now, out),
            (_, Down::Refused { retry_after }) => self.schedule_redial(retry_after, now, out),
        }
    }

    /// A leg that cannot go on. Its transport is closed with a code that says whose fault it was.
    pub(super) fn leg_failed(
        &mut self,
        side: usize,
        leg: LegId,
        error: &LegError,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        if self.sides[side].id != leg || self.sides[side].state == State::Gone {
            return;
        }
        let code = error.fault.close_code();
        out.push(Output::Wire { leg, wire: Wire::Close { code, reason: error.what.into() } });
        let down = Down::Fatal { fault: error.fault, code: error.what.into() };
        out.push(Output::Event { leg, event: Event::LegDown(down.clone()) });
        self.leg_down(side, down, now, out);
    }

    fn schedule_redial(&mut self, asked: Option<std::time::Duration>, now: Instant, out: &mut Vec<Output>) {
        self.turn.lost();
        self.renewal = Renewal::default();
        let successor = self.sides[CALLEE].leg.successor();
        let (Some(leg), Some(at)) = (successor, self.redial.next(now, asked)) else {
            return self.fail(Fault::PeerLost, "unreachable", now, out);
        };
        let id = self.new_leg_id();
        self.sides[CALLEE].replace(id, leg, now);
        self.redial_at = Some(at);
    }

    pub(super) fn redial_now(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.redial_at = None;
        if self.sides[CALLER].state == State::Up && self.turn.owes_answer() {
            self.dead_air.owe_more(now.max(self.sides[CALLER].playout.dry_at()));
        }
        out.push(Output::Fact(Fact::Redialled { attempt: self.redial.attempts() }));
        out.push(Output::Effect(Effect::Open { leg: self.sides[CALLEE].id, callee: true }));
    }

    fn detach_caller(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(leg) = self.sides[CALLER].leg.successor() else {
            self.sides[CALLER].state = State::Gone;
            return self.end(Outcome { reason: EndReason::CallerHungUp, fault: None, code: None }, now, out);
        };
        // Nobody listens: what was not heard is cut, and nothing is owed.
        self.sides[CALLER].state = State::Opening;
        self.dead_air.settle();
        self.forget_unheard_announcement(now);
        self.interrupt(CALLER, now, out);
        let id = self.new_leg_id();
        self.sides[CALLER].replace(id, leg, now);
        self.detached = Some(now);
        out.push(Output::Fact(Fact::CallerDetached));
        out.push(Output::Effect(Effect::Open { leg: id, callee: false }));
    }

    pub(super) fn caller_returned(&mut self, since: Instant, now: Instant, out: &mut Vec<Output>) {
        out.push(Output::Fact(Fact::CallerReturned));
        if self.greeted && now.saturating_since(since) > NOTICEABLE {
            let instructions = "The line was interrupted for a moment. Say so briefly, and carry on.";
            self.ask_callee(Some(instructions.into()), now, out);
        }
    }

    /// Begins a renewal in a quiet moment, or at any moment when the cap is near.
    pub(super) fn run_renewal(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.run_spare_timer(now, out);
        if self.renewal.due.is_none_or(|at| at > now) {
            return;
        }
        let forced = self.renewal.force.is_some_and(|at| at <= now);
        if self.renewal.spare.is_some() || !(forced || self.is_quiet(now)) {
            self.renewal.due = Some(now + LOOK_AGAIN);
            return;
        }
        let Some(leg) = self.sides[CALLEE].leg.successor() else {
            self.renewal.due = None;
            return;
        };
        let id = self.new_leg_id();
        self.renewal.due = Some(now + RETRY);
        self.renewal.spare = Some((id, leg));
        out.push(Output::Effect(Effect::Open { leg: id, callee: true }));
    }

    pub(super) fn on_renewal_wire(&mut self, wire: Wire, now: Instant, out: &mut Vec<Output>) {
        let Some((id, mut leg)) = self.renewal.spare.take() else { return };
        let mut outbox = Outbox::default();
        let result = leg.on_wire(wire, now, &mut outbox);
        self.absorb_spare(id, leg, outbox, result.is_err(), now, out);
    }

    fn run_spare_timer(&mut self, now: Instant, out: &mut Vec<Output>) {
        let wakes_at = self.renewal.spare.as_ref().and_then(|(_, leg)| leg.poll_timeout());
        if wakes_at.is_none_or(|at| at > now) {
            return;
        }
        let Some((id, mut leg)) = self.renewal.spare.take() else { return };
        let mut outbox = Outbox::default();
        let result = leg.on_timeout(now, &mut outbox);
        self.absorb_spare(id, leg, outbox, result.is_err(), now, out);
    }

    fn absorb_spare(
        &mut self,
        id: LegId,
        mut leg: Box<dyn Leg>,
        mut outbox: Outbox,
        failed: bool,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        out.extend(outbox.wires.drain(..).map(|wire| Output::Wire { leg: id, wire }));
        let is_down = failed || outbox.events.iter().any(|e| matches!(e, Event::LegDown(_)));
        let is_up = outbox.events.iter().any(|e| matches!(e, Event::LegUp));
        let forced = self.renewal.force.is_some_and(|at| at <= now);
        if is_down {
            out.push(Output::Wire { leg: id, wire: Wire::Close { code: 1000, reason: "".into() } });
        } else if !is_up {
            self.renewal.spare = Some((id, leg));
        } else if forced || self.is_quiet(now) {
            self.swap_callee(id, leg, now, out);
        } else {
            // Somebody began to speak meanwhile, and the new connection does not know of it: try again later.
            hang_up_unheard(id, &mut *leg, now, out);
            self.renewal.due = Some(now + LOOK_AGAIN);
        }
    }

    fn swap_callee(&mut self, id: LegId, leg: Box<dyn Leg>, now: Instant, out: &mut Vec<Output>) {
        let old = &mut self.sides[CALLEE];
        hang_up_unheard(old.id, &mut *old.leg, now, out);
        self.sides[CALLEE].replace(id, leg, now);
        self.sides[CALLEE].up(now);
        self.renewal.arm(now, &self.config.limits);
        out.push(Output::Fact(Fact::Rotated));
    }

    pub(super) fn hang_up_spare(&mut self, out: &mut Vec<Output>) {
        if let Some((leg, _)) = self.renewal.spare.take() {
            out.push(Output::Wire { leg, wire: Wire::Close { code: 1000, reason: "".into() } });
        }
    }

    pub(super) fn new_leg_id(&mut self) -> LegId {
        let id = LegId(self.next_leg);
        self.next_leg += 1;
        id
    }
}

/// Hangs up a leg that the call has done with: its wires leave, what it says has no consequences but on the account.
fn hang_up_unheard(id: LegId, leg: &mut dyn Leg, now: Instant, out: &mut Vec<Output>) {
    let mut farewell = Outbox::default();
    drop(leg.on_command(Command::Hangup { code: 1000 }, now, &mut farewell));
    out.extend(farewell.wires.into_iter().map(|wire| Output::Wire { leg: id, wire }));
    let metered = farewell.events.into_iter().filter(|event| matches!(event, Event::UsageReported(_)));
    out.extend(metered.map(|event| Output::Event { leg: id, event }));
}
