//! [`Stage`]: a double on a real socket, in real time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use patchbay_core::{Instant, Wire};
use patchbay_sim::browser::BrowserDouble;
use patchbay_sim::twilio::TwilioDouble;
use tokio::time::{Sleep, sleep_until};

use crate::transport::Port;

/// Messages taken in one turn before others get theirs.
const BUDGET: usize = 64;
/// The code by which a double asks for a reset instead of a close.
const RESET: u16 = 1006;

/// A scripted peer without IO.
pub trait Double {
    /// Takes what came from the gateway.
    fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Vec<Wire>);
    /// To be called at or after [`poll_timeout`](Self::poll_timeout).
    fn on_timeout(&mut self, now: Instant, out: &mut Vec<Wire>);
    /// When the double next wants to be called.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Whether it has nothing more to say or hear.
    fn is_over(&self) -> bool;
}

impl Double for TwilioDouble {
    fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Vec<Wire>) {
        Self::on_wire(self, wire, now, out);
    }

    fn on_timeout(&mut self, now: Instant, out: &mut Vec<Wire>) {
        Self::on_timeout(self, now, out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }

    fn is_over(&self) -> bool {
        Self::is_over(self)
    }
}

impl Double for BrowserDouble {
    fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Vec<Wire>) {
        Self::on_wire(self, wire, now, out);
    }

    fn on_timeout(&mut self, now: Instant, out: &mut Vec<Wire>) {
        Self::on_timeout(self, now, out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }

    fn is_over(&self) -> bool {
        Self::is_over(self)
    }
}

/// A double, its socket, and a clock that began with it.
#[derive(Debug)]
pub struct Stage<D> {
    double: D,
    port: Port,
    epoch: tokio::time::Instant,
    timer: Pin<Box<Sleep>>,
    out: Vec<Wire>,
}

impl<D: Double> Stage<D> {
    /// The double on a port that has just opened.
    #[must_use]
    pub fn new(double: D, port: Port) -> Self {
        let epoch = tokio::time::Instant::now();
        Self { double, port, epoch, timer: Box::pin(sleep_until(epoch)), out: Vec::new() }
    }

    /// Plays until the double is over, then ends the socket as the double wants it. `watch` sees the double after
    /// each of its turns.
    pub async fn play(mut self, mut watch: impl FnMut(&D)) -> D {
        self.double.on_wire(Wire::Opened, Instant::ZERO, &mut self.out);
        if poll_fn(|cx| self.poll(cx, &mut watch)).await {
            self.port.reset();
        } else {
            self.port.finish().await;
        }
        self.double
    }

    /// Ready when it is over: whether by a reset.
    fn poll(&mut self, cx: &mut Context<'_>, watch: &mut impl FnMut(&D)) -> Poll<bool> {
        loop {
            let now = self.now();
            if self.double.poll_timeout().is_some_and(|at| at <= now) {
                self.double.on_timeout(now, &mut self.out);
            }
            self.receive(cx, now);
            if self.send_all(cx) {
                return Poll::Ready(true);
            }
            watch(&self.double);
            if self.double.is_over() {
                return Poll::Ready(false);
            }
            let Some(at) = self.double.poll_timeout() else { return Poll::Pending };
            self.timer.as_mut().reset(self.epoch + std::time::Duration::from_micros(at.as_micros()));
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) {
        for _ in 0..BUDGET {
            match self.port.poll_recv(cx) {
                Poll::Ready(wire) => self.double.on_wire(wire, now, &mut self.out),
                Poll::Pending => return,
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Whether a reset was asked for.
    fn send_all(&mut self, cx: &mut Context<'_>) -> bool {
        for wire in self.out.drain(..) {
            if matches!(wire, Wire::Close { code: RESET, .. }) {
                return true;
            }
            self.port.send(wire);
        }
        let _ = self.port.poll_flush(cx);
        false
    }

    fn now(&self) -> Instant {
        let passed = tokio::time::Instant::now() - self.epoch;
        Instant::ZERO + passed
    }
}
