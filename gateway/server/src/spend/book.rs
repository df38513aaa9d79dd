//! One tenant's money of one period: spent, and set aside.

use std::ops::Range;

use crate::calendar::{DAY_MS, Date};
use crate::config::{Period, Policy, SpendLimit};

/// How a call stands after it was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on.
    Fine,
    /// It may go on; the limit is near, which is told once a period.
    Warn,
    /// Nothing is left.
    Over(Policy),
}

/// No whole slice is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted {
    /// When the next period begins.
    pub(super) next_ms: i64,
}

/// One tenant's money. Amounts are micro-USD.
#[derive(Debug)]
pub(super) struct Book {
    limit: SpendLimit,
    period: Range<i64>,
    spent: i64,
    held: i64,
    warned: bool,
}

impl Book {
    pub(super) fn new(limit: SpendLimit, at_ms: i64) -> Self {
        let period = span(limit.period, at_ms);
        Self { limit, period, spent: 0, held: 0, warned: false }
    }

    /// Turns to the configuration and the period of now.
    pub(super) fn turn_to(&mut self, limit: &SpendLimit, at_ms: i64) {
        if self.limit != *limit {
            // Another length of period: the sum of the old one is the best that is known.
            self.period = span(limit.period, at_ms);
            self.limit = limit.clone();
            self.warned = false;
        }
        self.roll(at_ms);
    }

    fn roll(&mut self, at_ms: i64) {
        if at_ms >= self.period.end {
            self.period = span(self.limit.period, at_ms);
            (self.spent, self.warned) = (0, false);
        }
    }

    pub(super) fn spent(&self) -> i64 {
        self.spent
    }

    pub(super) fn add(&mut self, micro_usd: i64) {
        self.spent = self.spent.saturating_add(micro_usd);
    }

    /// What is neither spent nor set aside.
    fn free(&self) -> i64 {
        self.limit.limit.saturating_sub(self.spent).saturating_sub(self.held)
    }

    /// Sets a slice aside.
    pub(super) fn reserve(&mut self) -> Result<i64, Exhausted> {
        let slice = self.limit.reserve;
        if !self.limit.is_limited() {
            return Ok(0);
        }
        if self.free() >= slice {
            self.held += slice;
            return Ok(slice);
        }
        match self.limit.policy {
            Policy::Warn => Ok(0),
            Policy::Say | Policy::HangUp | Policy::Transfer => Err(Exhausted { next_ms: self.period.end }),
        }
    }

    /// Takes a cost out of what a call holds, and fills that up again.
    pub(super) fn charge(&mut self, held: &mut i64, micro_usd: i64, at_ms: i64) -> Verdict {
        self.roll(at_ms);
        self.add(micro_usd);
        self.move_held(held, -micro_usd.clamp(0, *held));
        if self.limit.is_limited() {
            let wanted = self.limit.reserve - *held;
            self.move_held(held, wanted.min(self.free()).max(0));
        }
        self.judge(*held)
    }

    fn move_held(&mut self, held: &mut i64, by: i64) {
        *held += by;
        self.held += by;
    }

    fn judge(&mut self, held: i64) -> Verdict {
        if !self.limit.is_limited() {
            return Verdict::Fine;
        }
        if held == 0 {
            return Verdict::Over(self.limit.policy);
        }
        if self.spent >= self.limit.warns_from() && !std::mem::replace(&mut self.warned, true) {
            return Verdict::Warn;
        }
        Verdict::Fine
    }

    pub(super) fn give_back(&mut self, held: i64) {
        self.held -= held;
    }
}

/// The period of `at_ms`, in milliseconds since 1970.
pub(super) fn span(period: Period, at_ms: i64) -> Range<i64> {
    let day = at_ms.div_euclid(DAY_MS);
    let (start, end) = match period {
        Period::Day => (day, day + 1),
        Period::Month => {
            let date = Date::of(day);
            (date.month_start().days(), date.next_month().days())
        }
    };
    start * DAY_MS..end * DAY_MS
}
