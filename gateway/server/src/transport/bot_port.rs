//! [`BotPort`]: a transport without a socket of its own. The call's driver polls it as it polls a socket; the requests of a bot,
//! long ones and short ones, come and go on the other side of a [`Meeting`].

mod meeting;
mod meetings;
mod place;
mod request;
mod ring;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use patchbay_core::Wire;
use tokio::time::{Instant, Sleep, sleep_until};

pub use meeting::{Acknowledged, Meeting, Occasion, Unsaid, Untold, Uptake};
pub use meetings::Meetings;
pub use place::span_of;
pub use request::{Heard, Listening, Reading, Speaking};

/// The driver's side of a meeting.
#[derive(Debug)]
pub struct BotPort {
    meeting: Arc<Meeting>,
    meetings: Arc<Meetings>,
    /// Fires when a bot of which nobody is there counts as gone.
    timer: Pin<Box<Sleep>>,
    /// Something was handed over since the last flush.
    is_pending: bool,
    is_closed: bool,
}

impl BotPort {
    pub(super) fn new(meeting: Arc<Meeting>, meetings: Arc<Meetings>) -> Self {
        let timer = Box::pin(sleep_until(Instant::now()));
        Self { meeting, meetings, timer, is_pending: false, is_closed: false }
    }

    /// What came, in order; [`Wire::Opened`] when the bot is there for the first time; one [`Wire::Close`] when it hung up (1000)
    /// or nobody of it was there for too long (1006). Pending for ever after it.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Wire> {
        if self.is_closed {
            return Poll::Pending;
        }
        loop {
            let wire = match self.meeting.poll(cx) {
                meeting::Polled::Wire(wire) => wire,
                meeting::Polled::There => return Poll::Pending,
                meeting::Polled::AwayUntil(deadline) => {
                    if self.timer.deadline() != deadline {
                        self.timer.as_mut().reset(deadline);
                    }
                    if self.timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    if self.meeting.is_away_since(deadline) {
                        Wire::Close { code: 1006, reason: "nobody is there".into() }
                    } else {
                        continue;
                    }
                }
            };
            self.is_closed = matches!(wire, Wire::Close { .. });
            return Poll::Ready(wire);
        }
    }

    /// Hands over a packet or an event; the bot's requests are woken by the flush.
    pub fn send(&mut self, wire: Wire) {
        self.is_pending = true;
        self.meeting.send(wire);
    }

    /// Wakes who waits.
    pub fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.is_pending) {
            self.meeting.wake();
        }
        Poll::Ready(())
    }

    /// Whether the end was delivered.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The call is over: the bot's requests end with the reason.
    pub fn ended(&mut self, reason: &'static str) {
        self.meeting.end(reason);
    }

    /// Lets go.
    pub fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        self.is_closed = true;
        self.meeting.end("left");
        Poll::Ready(())
    }
}

impl Drop for BotPort {
    fn drop(&mut self) {
        self.meeting.end("lost");
        self.meetings.close(&self.meeting);
    }
}

#[cfg(test)]
mod tests;
