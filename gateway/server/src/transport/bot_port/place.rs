//! [`Place`]: what lies between a call and the requests of its bot.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use patchbay_core::{Format, MediaTime, Wire, opus_duration};
use patchbay_legs::bot::framing::{Number, Unit};
use tokio::time::Instant;

use super::meeting::{Acknowledged, Unsaid, Uptake};
use super::ring::Ring;

/// Audio that the bot may be ahead of its caller.
const AHEAD_MAX: Duration = Duration::from_secs(10);
/// What the call has not taken yet.
pub(super) const WIRES_MAX: usize = 1_024;
/// Events that a reader may have missed.
const EVENTS_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Place {
    pub(super) receive: Format,
    pub(super) send: Format,
    /// Towards the call, in order.
    pub(super) wires: VecDeque<Wire>,
    pub(super) driver: Option<Waker>,
    /// Towards the bot.
    pub(super) ring: Ring,
    pub(super) events: VecDeque<(u64, Bytes)>,
    pub(super) next_event: u64,
    /// Who is the reader, and who the writer: the newest of each.
    pub(super) reader: u64,
    pub(super) writer: u64,
    /// Requests that are there, and since when there is none.
    pub(super) present: u32,
    pub(super) away_since: Instant,
    pub(super) has_come: bool,
    pub(super) has_hung_up: bool,
    /// The number of the next packet that the bot sends, once it has sent one.
    pub(super) next_seq: Option<u64>,
    /// When all that the bot sent will have played, by the clock.
    pub(super) plays_until: Instant,
    pub(super) end: Option<Box<str>>,
}

impl Place {
    pub(super) fn wake_driver(&mut self) {
        if let Some(waker) = self.driver.take() {
            waker.wake();
        }
    }

    pub(super) fn push(&mut self, wire: Wire) {
        self.wires.push_back(wire);
        self.wake_driver();
    }

    pub(super) fn event(&mut self, text: Bytes) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back((self.next_event, text));
        self.next_event += 1;
    }

    pub(super) fn ahead(&self) -> Duration {
        self.plays_until.saturating_duration_since(Instant::now())
    }

    pub(super) fn acknowledged(&self) -> Acknowledged {
        let buffered_ms = u64::try_from(self.ahead().as_millis()).unwrap_or(u64::MAX);
        Acknowledged { next_seq: self.next_seq.unwrap_or_default(), buffered_ms }
    }

    /// Whether a packet of this number is new.
    pub(super) fn is_new(&mut self, number: Option<Number>) -> bool {
        let next = self.next_seq.unwrap_or_default();
        let seq = match number {
            None => next,
            Some(Number::Whole(seq)) => seq,
            Some(Number::Short(low)) if self.next_seq.is_none() => low.into(),
            Some(Number::Short(low)) => {
                let step =
                    low.wrapping_sub(u16::try_from(next & u64::from(u16::MAX)).expect("16 bits are 16 bits"));
                // Half of the circle lies ahead (RFC 1982).
                if step > u16::MAX / 2 { return false } else { next + u64::from(step) }
            }
        };
        if self.next_seq.is_some() && seq < next {
            return false;
        }
        self.next_seq = Some(seq.saturating_add(1));
        true
    }

    pub(super) fn say(&mut self, unit: Unit) -> Uptake {
        if !self.is_new(unit.number) {
            return Uptake::Known;
        }
        let span = span_of(self.send, &unit.audio).to_duration();
        self.plays_until = self.plays_until.max(Instant::now()) + span;
        self.push(Wire::Binary(unit.audio));
        Uptake::New
    }

    /// Whether the call takes nothing for now.
    pub(super) fn is_full(&self) -> bool {
        self.wires.len() >= WIRES_MAX
    }

    /// Whether the writer of that generation may say something now.
    pub(super) fn room(&self, generation: u64) -> Result<(), Unsaid> {
        if let Some(reason) = &self.end {
            return Err(Unsaid::Over(reason.clone()));
        }
        if self.writer != generation {
            return Err(Unsaid::Replaced);
        }
        let ahead = self.ahead();
        if ahead > AHEAD_MAX || self.is_full() {
            return Err(Unsaid::Ahead(ahead.saturating_sub(AHEAD_MAX).max(Duration::from_millis(20))));
        }
        Ok(())
    }
}

/// How long audio plays; what is none plays for no time, and the leg complains.
#[must_use]
pub fn span_of(format: Format, audio: &Bytes) -> MediaTime {
    format.duration_of(audio.len()).or_else(|| opus_duration(audio)).unwrap_or_default()
}
