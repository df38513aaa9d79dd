//! The call: two legs patched together, the owner of all mutable state. One entry, [`Call::handle`].
//!
//! The shell hands in what came from a transport, or that time has passed; the call writes every consequence to `out`
//! before it returns. Nothing happens between two steps of one `handle`: an interruption changes three queues and two
//! remote memories at one instant.
//!
//! Sides are called by what they do: the *caller* came to us, the *callee* answers.

use crate::dead_air::DeadAir;
use crate::hook::{Hook, Verdict};
use crate::leg::{Command, Event, Leg, LegError, Outbox, Wire};
use crate::redial::Redial;
use crate::side::{Side, State};
use crate::turn::Turn;
use crate::{Instant, LegId, TranscoderFactory};

#[path = "call/aside.rs"]
mod aside;
#[path = "call/carrying.rs"]
mod carrying;
#[path = "call/ending.rs"]
mod ending;
#[path = "call/exchange.rs"]
mod exchange;
#[path = "call/prompting.rs"]
mod prompting;
#[path = "call/pump.rs"]
mod pump;
#[path = "call/renewal.rs"]
mod renewal;
#[path = "call/tap.rs"]
mod tap;
#[path = "call/telling.rs"]
mod telling;

pub use exchange::{CallConfig, Effect, EndReason, Fact, Input, Outcome, Output, PromptKind, Prompts};
pub use tap::Tap;

/// Index of the side that came to us.
const CALLER: usize = 0;
/// Index of the side that answers.
const CALLEE: usize = 1;

/// Where the call is in its life.
#[derive(Debug, PartialEq)]
enum Phase {
    Live,
    /// The last words are being played, until this instant at the latest.
    Ending(Instant, Outcome),
    Ended,
}

/// Two legs patched together. See the module.
pub struct Call {
    config: CallConfig,
    prompts: Prompts,
    transcoders: TranscoderFactory,
    hook: Option<Box<dyn Hook>>,
    sides: [Side; 2],
    turn: Turn,
    dead_air: DeadAir,
    redial: Redial,
    renewal: renewal::Renewal,
    aside: Option<aside::Aside>,
    phase: Phase,
    /// Of the last input.
    now: Instant,
    next_leg: u16,
    started: Option<Instant>,
    /// Since when the caller has no transport.
    detached: Option<Instant>,
    /// When to dial the callee again.
    redial_at: Option<Instant>,
    /// The greeting was asked for.
    greeted: bool,
    /// When the caller will have been told that the call is recorded.
    announced_by: Option<Instant>,
    /// The gateway goes down: to be left in a quiet moment.
    leaving: bool,
    /// A prompt was queued since speech last came.
    prompted: bool,
    /// What was interrupted, until the listener says how much it played.
    unsettled: Vec<telling::Unsettled>,
    outbox: Outbox,
    commands: Vec<(LegId, Command)>,
}

impl Call {
    /// A call between `caller` and `callee`. Begins with [`Input::Start`]. The legs get the ids 0 and 1.
    #[must_use]
    pub fn new(
        config: CallConfig,
        prompts: Prompts,
        transcoders: TranscoderFactory,
        caller: Box<dyn Leg>,
        callee: Box<dyn Leg>,
    ) -> Self {
        Self {
            turn: Turn::new(config.barge_in),
            dead_air: DeadAir::new(config.patience.clone()),
            redial: Redial::new(&config.limits, config.seed),
            renewal: renewal::Renewal::default(),
            aside: None,
            sides: [Side::new(LegId(0), caller), Side::new(LegId(1), callee)],
            phase: Phase::Live,
            now: Instant::ZERO,
            next_leg: 2,
            started: None,
            detached: None,
            redial_at: None,
            greeted: false,
            announced_by: None,
            leaving: false,
            prompted: false,
            unsettled: Vec::new(),
            outbox: Outbox::default(),
            commands: Vec::new(),
            hook: None,
            config,
            prompts,
            transcoders,
        }
    }

    /// Binds a plugin's instance to the call.
    #[must_use]
    pub fn with_hook(mut self, hook: Box<dyn Hook>) -> Self {
        self.hook = Some(hook);
        self
    }

    /// The only entry. On return `out` is complete, and [`poll_timeout`](Self::poll_timeout) is later than `now`.
    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        if self.phase == Phase::Ended {
            return;
        }
        self.now = now;
        match input {
            Input::Start => self.start(now, out),
            Input::Wire { leg, wire } => self.on_wire(leg, wire, now, out),
            Input::Timeout => {}
            Input::Stalled { leg, stalled } => {
                if let Some(side) = self.sides.iter_mut().find(|s| s.id == leg) {
                    side.stalled = stalled;
                }
            }
            Input::Say { prompt } if self.phase == Phase::Live => self.prompt(prompt, out),
            Input::Say { .. } => {}
            Input::End { reason: EndReason::Shutdown } if !self.leaving => self.leaving = true,
            Input::End { reason } => self.end(Outcome { reason, fault: None, code: None }, now, out),
        }
        self.run_timers(now, out);
        self.pump(now, out);
    }

    /// When the call next wants [`Input::Timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.phase == Phase::Ended {
            return None;
        }
        let legs = self.sides.iter().filter(|s| s.state != State::Gone).filter_map(|s| s.leg.poll_timeout());
        let caller = &self.sides[CALLER];
        let paced = caller.takes_audio().then(|| caller.playout.due_at()).flatten();
        let ending = match &self.phase {
            // Nothing tells us that the last words were heard but the clock, where marks are not echoed.
            Phase::Ending(deadline, _) if caller.playout.dry_at() > self.now => {
                Some((*deadline).min(caller.playout.dry_at()))
            }
            Phase::Ending(deadline, _) => Some(*deadline),
            _ => None,
        };
        let leaving = self.leaving.then(|| self.now + ending::LOOK_AGAIN);
        let unsettled = self.unsettled.first().map(|cut| cut.until);
        let (dead_air, caller) = (self.dead_air.poll_timeout(), self.caller_deadline());
        let own = [leaving, paced, ending, dead_air, self.redial_at, caller, unsettled];
        let placed = self.sides.iter().filter_map(|side| side.playout.placed_at());
        let renewal = self.renewal.poll_timeout();
        let call_max = self.started.map(|at| at + self.config.limits.call_max);
        legs.chain(own.into_iter().flatten()).chain(placed).chain(renewal).chain(call_max).min()
    }

    /// Whether the shell should read the transport of `leg`: not while more of its speech is queued than allowed, or is to be
    /// kept by a listener who takes nothing.
    #[must_use]
    pub fn reads(&self, leg: LegId) -> bool {
        let listener = &self.sides[CALLER];
        let is_waited_for = listener.stalled && listener.playout.is_kept_by_listener();
        self.sides[CALLEE].id != leg || !(listener.playout.is_full() || is_waited_for)
    }

    /// Whether the call is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Whether nobody speaks, nothing is owed, and nothing is playing: a moment to hand the call over.
    #[must_use]
    pub fn is_quiet(&self, now: Instant) -> bool {
        self.turn.is_quiet() && self.dead_air.since().is_none() && !self.sides[CALLER].playout.is_playing(now)
    }

    fn start(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.started = Some(now);
        for (index, side) in self.sides.iter().enumerate() {
            out.push(Output::Effect(Effect::Open { leg: side.id, callee: index == CALLEE }));
        }
    }

    fn on_wire(&mut self, leg: LegId, wire: Wire, now: Instant, out: &mut Vec<Output>) {
        if let Some(side) = self.sides.iter().position(|s| s.id == leg && s.state != State::Gone) {
            let mut outbox = std::mem::take(&mut self.outbox);
            let result = self.sides[side].on_wire(wire, now, &mut outbox);
            self.absorb(side, outbox, result, now, out);
        } else if self.renewal.is_leg(leg) {
            self.on_renewal_wire(wire, now, out);
        } else if self.aside() == Some(leg) {
            self.on_aside_wire(wire, now, out);
        }
    }

    fn command(&mut self, side: usize, command: Command, now: Instant, out: &mut Vec<Output>) {
        if self.sides[side].state == State::Gone {
            return;
        }
        let mut outbox = std::mem::take(&mut self.outbox);
        let result = self.sides[side].command(command, now, &mut outbox);
        self.absorb(side, outbox, result, now, out);
    }

    /// Passes on what a leg wrote: first its wires, in order, then its events, each with its consequences.
    fn absorb(
        &mut self,
        side: usize,
        mut outbox: Outbox,
        result: Result<(), LegError>,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let leg = self.sides[side].id;
        out.extend(outbox.wires.drain(..).map(|wire| Output::Wire { leg, wire }));
        for event in outbox.events.drain(..) {
            // A leg that an earlier event ended or replaced has nothing more to say.
            if self.sides[side].id == leg && self.sides[side].state != State::Gone {
                self.on_event(side, event, now, out);
            }
        }
        self.outbox = outbox;
        if let Err(error) = result {
            self.leg_failed(side, leg, &error, now, out);
        }
    }

    fn on_event(&mut self, side: usize, event: Event, now: Instant, out: &mut Vec<Output>) {
        let event = match event {
            Event::AudioReceived(frame) => return self.carry(side, frame, now, out),
            Event::Told(told) => return self.tell(side, told, now, out),
            event => event,
        };
        if let Event::AudioLost { span, next } = &event {
            self.conceal(side, *span, next.as_deref());
        }
        let verdict = self.ask_hook(side, &event, now, out);
        let interrupts = self.turn.on_event(&event) && verdict == Verdict::Pass && !self.is_announcing(now);
        match &event {
            Event::LegUp => self.leg_up(side, now, out),
            Event::UtteranceEnded { utterance } => {
                let listener = &mut self.sides[1 - side];
                listener.finish_route();
                listener.playout.utterance_ended(*utterance);
            }
            Event::QualityReported(quality) => self.sides[side].expect_loss(quality),
            Event::MarkReached(mark) => {
                self.sides[side].playout.mark_reached(*mark, now);
                self.tap_delay(side, out);
            }
            Event::SpeechStarted => {
                self.dead_air.settle();
                if interrupts {
                    self.interrupt(1 - side, now, out);
                }
            }
            Event::SpeechStopped if self.sides[side].caps.answers => self.dead_air.owe(now),
            Event::ResponseEnded { .. } => self.dead_air.settle(),
            Event::DtmfReceived(key) => {
                if interrupts && side == CALLER {
                    self.interrupt(side, now, out);
                }
                if verdict == Verdict::Pass {
                    self.command(1 - side, Command::Press(*key), now, out);
                }
            }
            Event::Withdrawn if !self.is_announcing(now) => {
                self.dead_air.settle();
                self.interrupt(1 - side, now, out);
            }
            Event::MarkPlaced(mark) => self.sides[1 - side].playout.place_mark(*mark),
            Event::Interrupted if !self.is_announcing(now) => self.interrupt(side, now, out),
            Event::Played { utterance, so_far } => self.sides[side].playout.played(*utterance, *so_far, now),
            Event::ListenerCut { utterance, heard } => {
                self.cut_by_listener(side, *utterance, *heard, now, out)
            }
            Event::Renegotiated => self.sides[side].refresh_caps(now),
            _ => {}
        }
        let down = if let Event::LegDown(down) = &event { Some(down.clone()) } else { None };
        out.push(Output::Event { leg: self.sides[side].id, event });
        if let Some(down) = down {
            self.leg_down(side, down, now, out);
        }
    }

    fn ask_hook(&mut self, side: usize, event: &Event, now: Instant, out: &mut Vec<Output>) -> Verdict {
        let Some(hook) = &mut self.hook else { return Verdict::Pass };
        let mut commands = std::mem::take(&mut self.commands);
        let verdict = hook.on_event(self.sides[side].id, event, &mut commands);
        for (leg, command) in commands.drain(..) {
            if let Some(target) = self.sides.iter().position(|s| s.id == leg) {
                self.command(target, command, now, out);
            }
        }
        self.commands = commands;
        verdict
    }

    /// What the listener has not heard will never be said. The order is the promise: silence the listener first.
    fn interrupt(&mut self, listener: usize, now: Instant, out: &mut Vec<Output>) {
        let speaker = 1 - listener;
        let was_playing = self.sides[listener].playout.is_playing(now);
        self.tap_cut(listener, now, out);
        let cuts = self.sides[listener].playout.cut(now);
        self.sides[listener].reset_route();
        if was_playing && self.sides[listener].state == State::Up {
            self.command(listener, Command::Flush, now, out);
        }
        let caps = self.sides[speaker].caps;
        if caps.can_cancel {
            self.command(speaker, Command::Cancel, now, out);
        }
        for cut in cuts {
            self.settle_or_wait(listener, cut, now, out);
        }
        self.turn.cut();
    }

    fn leg_up(&mut self, side: usize, now: Instant, out: &mut Vec<Output>) {
        self.sides[side].up(now);
        if self.phase != Phase::Live {
            return self.greet_with_apology(now, out);
        }
        if side == CALLEE {
            self.renewal.arm(now, &self.config.limits);
        } else if let Some(since) = self.detached.take() {
            self.caller_returned(since, now, out);
        }
        if side == CALLER {
            self.announce(now, out);
        }
        let both_up = self.sides.iter().all(|s| s.state == State::Up);
        if both_up && self.config.greets && !self.greeted {
            self.greeted = true;
            self.ask_callee(self.config.greeting.clone(), now, out);
        } else if side == CALLER && self.sides[CALLEE].state != State::Up {
            // Whoever answers is not there yet: the caller must not wait in silence.
            self.dead_air.owe(now);
        } else if side == CALLEE && !self.turn.owes_answer() {
            self.dead_air.settle();
        }
    }

    fn ask_callee(&mut self, instructions: Option<Box<str>>, now: Instant, out: &mut Vec<Output>) {
        self.turn.ask();
        self.dead_air.owe(now);
        self.command(CALLEE, Command::Respond { instructions }, now, out);
    }

    fn run_timers(&mut self, now: Instant, out: &mut Vec<Output>) {
        for index in [CALLER, CALLEE] {
            let side = &mut self.sides[index];
            if side.state != State::Gone && side.leg.poll_timeout().is_some_and(|at| at <= now) {
                let mut outbox = std::mem::take(&mut self.outbox);
                let result = side.leg.on_timeout(now, &mut outbox);
                self.absorb(index, outbox, result, now, out);
            }
        }
        if self.redial_at.is_some_and(|at| at <= now) {
            self.redial_now(now, out);
        }
        self.run_renewal(now, out);
        self.settle_overdue(now, out);
        while let Some(due) = self.dead_air.poll(now) {
            self.overdue(due, now, out);
        }
        self.run_deadlines(now, out);
    }
}
