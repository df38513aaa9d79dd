//! Never silence: what the caller gets to hear while an answer is owed and does not come.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Instant;

/// How long the caller waits for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Patience {
    /// Until a soft filler sound, and then again between fillers.
    pub filler: Duration,
    /// Until a spoken notice.
    pub notice: Duration,
    /// Until a spoken apology, and the end.
    pub give_up: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { filler: ms(1200), notice: ms(4000), give_up: ms(12_000) }
    }
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// Play the filler.
    Filler,
    /// Say that it takes a moment.
    Notice,
    /// Apologise and end.
    GiveUp,
}

/// Watches the silence that is our fault: from when an answer is owed until audio flows or the caller speaks.
#[derive(Debug)]
pub struct DeadAir {
    patience: Patience,
    since: Option<Instant>,
    /// Since when the *beginning* of an answer is owed; one that has begun and pauses is not awaited.
    awaited: Option<Instant>,
    next: Option<(Instant, Overdue)>,
    noticed: bool,
}

impl DeadAir {
    /// Nothing is owed yet.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self { patience, since: None, awaited: None, next: None, noticed: false }
    }

    /// An answer is owed, and the caller hears nothing from `since` on. No effect while one is owed already.
    pub fn owe(&mut self, since: Instant) {
        self.awaited.get_or_insert(since);
        self.owe_more(since);
    }

    /// The rest of an answer is owed, and the caller hears nothing from `since` on. No effect while one is owed already.
    pub fn owe_more(&mut self, since: Instant) {
        if self.since.is_none() {
            self.since = Some(since);
            self.schedule(since);
        }
    }

    /// Nothing is owed: audio flows, or the caller speaks, or the answer is over.
    pub fn settle(&mut self) {
        (self.since, self.awaited, self.next, self.noticed) = (None, None, None, false);
    }

    /// The answer begins. Since when it was awaited, if it was.
    pub fn answered(&mut self) -> Option<Instant> {
        let awaited = self.awaited.take();
        self.settle();
        awaited
    }

    /// Since when an answer is owed.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// When [`poll`](Self::poll) next has something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next.map(|(at, _)| at)
    }

    /// What is due now, once.
    pub fn poll(&mut self, now: Instant) -> Option<Overdue> {
        let (at, due) = self.next.filter(|(at, _)| *at <= now)?;
        self.noticed |= due == Overdue::Notice;
        match due {
            Overdue::GiveUp => self.next = None,
            Overdue::Filler | Overdue::Notice => self.schedule(at),
        }
        Some(due)
    }

    /// The next thing after `last`: a filler, unless the notice or the end comes first.
    fn schedule(&mut self, last: Instant) {
        let Some(since) = self.since else { return };
        let filler = (last + self.patience.filler, Overdue::Filler);
        let notice = (!self.noticed).then_some((since + self.patience.notice, Overdue::Notice));
        let give_up = (since + self.patience.give_up, Overdue::GiveUp);
        self.next = [Some(give_up), notice, Some(filler)].into_iter().flatten().min_by_key(|(at, _)| *at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn the_caller_hears_a_filler_then_a_notice_then_an_apology() {
        let mut watch = DeadAir::new(Patience::default());
        watch.owe(at(0));
        let mut heard = Vec::new();
        while let Some(due_at) = watch.poll_timeout() {
            heard.push((due_at.as_micros() / 1000, watch.poll(due_at).unwrap()));
        }
        assert_eq!(heard[0], (1200, Overdue::Filler));
        assert_eq!(heard.iter().find(|(_, due)| *due == Overdue::Notice).unwrap().0, 4000);
        assert_eq!(*heard.last().unwrap(), (12_000, Overdue::GiveUp));
        assert!(
            heard.windows(2).all(|w| w[1].0 - w[0].0 <= 1200),
            "never longer than one filler apart: {heard:?}"
        );
    }

    #[test]
    fn the_rest_of_an_answer_is_owed_but_not_awaited() {
        let mut watch = DeadAir::new(Patience::default());
        watch.owe(at(0));
        assert_eq!(watch.answered(), Some(at(0)));
        watch.owe_more(at(300));
        assert_eq!(watch.poll_timeout(), Some(at(1500)));
        assert_eq!(watch.answered(), None, "one answer begins once");
    }

    #[test]
    fn an_answer_settles_the_debt() {
        let mut watch = DeadAir::new(Patience::default());
        watch.owe(at(0));
        watch.settle();
        assert_eq!(watch.poll_timeout(), None);
        watch.owe(at(5000));
        assert_eq!(watch.poll_timeout(), Some(at(6200)));
    }
}
