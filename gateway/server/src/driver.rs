//! The driver: the only loop that touches both worlds. One task per call.
//!
//! One wake-up serves everything that is ready: inputs of every transport under a budget, one timer, then one flush
//! per transport. Nothing is awaited, so a slow peer never blocks the reader of the other.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use patchbay_core::{
    Call, Effect, EndReason, Input, Instant, LegId, Outcome, Output, PromptKind, Refusal, Wire,
};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use crate::journal::Journal;
use crate::transport::{Carrier, DialSpec, Dialer};

mod seeking;

pub use seeking::{Accepted, Finder, Seeking};

/// Inputs taken from one transport in one wake-up, before the others get their turn.
const BUDGET: usize = 32;

thread_local! {
    /// Where a call writes its outputs: empty again when [`Driver::feed`] returns, so one for each thread is enough, and
    /// it is warm. An input that is fed while another's outputs are performed finds an empty one, and leaves it.
    static OUTPUTS: RefCell<Vec<Output>> = const { RefCell::new(Vec::new()) };
}

/// How the callee's transport is made.
#[derive(Clone, Debug)]
pub enum Opener {
    /// The leg has no wire: it is open at once.
    Inside,
    /// We dial.
    Dial {
        /// The sockets' maker.
        dialer: Dialer,
        /// Where to, and with which key.
        spec: Box<DialSpec>,
    },
    /// A bot is asked, and comes to us.
    Bot(Seeking),
}

/// What the outside may ask of a running call.
#[derive(Debug)]
pub enum Control {
    /// The caller's transport has come.
    Attach(Carrier),
    /// Somebody has come who steers from aside.
    Steer(Carrier),
    /// Say this to the caller.
    Say(PromptKind),
    /// End the call.
    End(EndReason),
}

/// One transport and the leg it serves. It outlives its leg until it has said goodbye.
struct Line {
    leg: LegId,
    port: Carrier,
    stalled: bool,
}

type Dialing = Pin<Box<dyn Future<Output = Result<Carrier, Refusal>> + Send>>;

/// Runs one call to its end; resolves to how it ended when every transport has said goodbye.
pub struct Driver {
    call: Call,
    journal: Journal,
    opener: Opener,
    control: mpsc::Receiver<Control>,
    lines: Vec<Line>,
    dials: Vec<(LegId, Dialing)>,
    /// The leg that waits for, or has, the caller's transport.
    caller: LegId,
    epoch: tokio::time::Instant,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires; it may be earlier than needed, never later.
    armed: Option<Instant>,
    started: bool,
    outcome: Option<Outcome>,
}

impl Driver {
    /// A driver that starts the call when it is first polled.
    pub fn new(call: Call, opener: Opener, journal: Journal, control: mpsc::Receiver<Control>) -> Self {
        Self {
            call,
            journal,
            opener,
            control,
            lines: Vec::with_capacity(2),
            dials: Vec::new(),
            caller: LegId(0),
            epoch: tokio::time::Instant::now(),
            timer: Box::pin(tokio::time::sleep(std::time::Duration::ZERO)),
            armed: None,
            started: false,
            outcome: None,
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.epoch.elapsed()
    }

    /// Hands one input to the call, and does what it says.
    fn feed(&mut self, input: Input, now: Instant) {
        self.journal.input(now, &input);
        let mut outputs = OUTPUTS.take();
        self.call.handle(input, now, &mut outputs);
        for output in outputs.drain(..) {
            self.journal.output(now, &output);
            match output {
                Output::Wire { leg, wire } => self.send(leg, wire),
                Output::Effect(effect) => self.perform(effect, now),
                Output::Event { .. } | Output::Fact(_) | Output::Tap(_) => {}
            }
        }
        OUTPUTS.set(outputs);
    }

    /// What is meant for a transport that is gone, or not there yet, is dropped: the leg is told of both.
    fn send(&mut self, leg: LegId, wire: Wire) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.leg == leg) {
            line.port.send(wire);
        }
    }

    fn perform(&mut self, effect: Effect, now: Instant) {
        match effect {
            Effect::Open { leg, callee: false } => self.caller = leg,
            Effect::Open { leg, callee: true } => match &self.opener {
                Opener::Inside => self.feed(Input::Wire { leg, wire: Wire::Opened }, now),
                Opener::Dial { dialer, spec } => {
                    let (dialer, spec) = (dialer.clone(), spec.clone());
                    let dialing = async move { Ok(Carrier::WebSocket(Box::new(dialer.dial(&spec).await?))) };
                    self.dials.push((leg, Box::pin(dialing)));
                }
                Opener::Bot(seeking) => self.dials.push((leg, Box::pin(seeking.seek()))),
            },
            Effect::Ended(outcome) => {
                self.dials.clear();
                let reason = outcome.reason.as_str();
                self.lines.iter_mut().for_each(|line| line.port.ended(reason));
                if let Opener::Bot(seeking) = &self.opener {
                    seeking.ended(reason);
                }
                self.outcome = Some(outcome);
            }
        }
    }

    fn attach(&mut self, leg: LegId, port: Carrier, now: Instant) {
        let is_open = port.is_open();
        self.lines.push(Line { leg, port, stalled: false });
        if is_open {
            self.feed(Input::Wire { leg, wire: Wire::Opened }, now);
        }
    }

    /// The newest stream is the live one: an older one whose loss we have not noticed yet is lost now.
    fn fence(&mut self, leg: LegId, now: Instant) {
        let old = self.lines.iter().position(|line| line.leg == leg && !line.port.is_closed());
        if let Some(index) = old {
            let leg = self.lines.swap_remove(index).leg;
            self.feed(Input::Wire { leg, wire: Wire::Close { code: 1006, reason: "replaced".into() } }, now);
        }
    }

    fn poll_control(&mut self, cx: &mut Context<'_>, now: Instant) {
        while let Poll::Ready(Some(control)) = self.control.poll_recv(cx) {
            match control {
                Control::Attach(port) => {
                    self.fence(self.caller, now);
                    self.attach(self.caller, port, now);
                }
                Control::Steer(port) => {
                    self.call.aside().into_iter().for_each(|leg| self.fence(leg, now));
                    // The one that was fenced off has a successor. A call that cannot be steered drops the transport.
                    if let Some(leg) = self.call.aside() {
                        self.attach(leg, port, now);
                    }
                }
                Control::Say(prompt) => self.feed(Input::Say { prompt }, now),
                Control::End(reason) => self.feed(Input::End { reason }, now),
            }
        }
    }

    fn poll_dials(&mut self, cx: &mut Context<'_>, now: Instant) {
        let mut index = 0;
        while index < self.dials.len() {
            match self.dials[index].1.as_mut().poll(cx) {
                Poll::Pending => index += 1,
                Poll::Ready(result) => {
                    let (leg, _) = self.dials.swap_remove(index);
                    match result {
                        Ok(port) => self.attach(leg, port, now),
                        Err(refusal) => self.feed(Input::Wire { leg, wire: Wire::Refused(refusal) }, now),
                    }
                }
            }
        }
    }

    /// Takes what the transports have, at most the budget of each. Tells whether one may have more.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut more = false;
        for index in 0..self.lines.len() {
            let leg = self.lines[index].leg;
            let mut left = BUDGET;
            while left > 0 && self.call.reads(leg) {
                let Poll::Ready(wire) = self.lines[index].port.poll_recv(cx) else { break };
                self.feed(Input::Wire { leg, wire }, now);
                left -= 1;
            }
            more |= left == 0;
        }
        more
    }

    /// Writes what is pending, once for each transport, and tells the call who is slow.
    fn flush(&mut self, cx: &mut Context<'_>, now: Instant) {
        for index in 0..self.lines.len() {
            let line = &mut self.lines[index];
            let _ = line.port.poll_flush(cx);
            let stalled = !line.port.is_writable();
            if line.stalled != stalled {
                line.stalled = stalled;
                let leg = line.leg;
                if !stalled {
                    // The other side may be read again.
                    cx.waker().wake_by_ref();
                }
                self.feed(Input::Stalled { leg, stalled }, now);
                let _ = self.lines[index].port.poll_flush(cx);
            }
        }
    }

    /// A transport whose end was delivered says goodbye and goes.
    fn bury(&mut self, cx: &mut Context<'_>) {
        self.lines.retain_mut(|line| !line.port.is_closed() || line.port.poll_finish(cx).is_pending());
    }

    /// Arms the one timer. It is only moved when the next deadline is earlier: moving it back at each frame would cost
    /// more than waking once in vain.
    fn arm(&mut self, cx: &mut Context<'_>) {
        let Some(deadline) = self.call.poll_timeout() else { return };
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.armed = Some(deadline);
            self.timer.as_mut().reset(self.epoch + std::time::Duration::from_micros(deadline.as_micros()));
            if self.timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }

    fn fire(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.armed.is_none() || self.timer.as_mut().poll(cx).is_pending() {
            return;
        }
        let late = self.armed.take().map(|armed| now.saturating_since(armed));
        if self.call.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.journal.woke_late(late.unwrap_or_default());
            self.feed(Input::Timeout, now);
        }
    }

    fn poll_goodbyes(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.lines.retain_mut(|line| line.port.poll_finish(cx).is_pending());
        match self.outcome.take() {
            Some(outcome) if self.lines.is_empty() => Poll::Ready(outcome),
            outcome => {
                self.outcome = outcome;
                Poll::Pending
            }
        }
    }
}

impl Future for Driver {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let driver = self.get_mut();
        let now = driver.now();
        if !std::mem::replace(&mut driver.started, true) {
            driver.feed(Input::Start, now);
        }
        if driver.outcome.is_none() {
            driver.poll_control(cx, now);
            driver.poll_dials(cx, now);
            driver.fire(cx, now);
            let more = driver.read(cx, now);
            driver.flush(cx, now);
            driver.bury(cx);
            driver.arm(cx);
            if more {
                cx.waker().wake_by_ref();
            }
        }
        if driver.outcome.is_some() { driver.poll_goodbyes(cx) } else { Poll::Pending }
    }
}
