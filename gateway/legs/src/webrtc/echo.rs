//! How far the listener has heard. A browser confirms nothing, so that we tell the marks ourselves: when what was sent before
//! them has played, and the way there and the browser's own buffer have had their time.

use std::collections::VecDeque;
use std::time::Duration;

use patchbay_core::{Event, Instant, MarkId, Outbox, Quality};

/// What a browser buffers at the least, and its output: measured 36 ms and more (reference/browser.md §0).
const BUFFER: Duration = Duration::from_millis(50);
/// A browser buffers some multiple of the jitter it sees.
const JITTERS: u32 = 2;
const DELAY_MAX: Duration = Duration::from_millis(1_000);
/// Marks that may be under way; the playout asks for five a second.
const MARKS_MAX: usize = 64;

/// The marks under way, and the delay that we believe in.
pub(super) struct Echo {
    marks: VecDeque<(Instant, MarkId)>,
    delay: Duration,
}

impl Default for Echo {
    fn default() -> Self {
        Self { marks: VecDeque::new(), delay: BUFFER }
    }
}

impl Echo {
    /// The listener reaches `mark` when it has played what is sent by `dry_at`.
    pub(super) fn ask(&mut self, mark: MarkId, dry_at: Instant) {
        if self.marks.len() < MARKS_MAX {
            let last = self.marks.back().map_or(Instant::ZERO, |(at, _)| *at);
            self.marks.push_back(((dry_at + self.delay).max(last), mark));
        }
    }

    /// What was sent and not yet played is of no account any more.
    pub(super) fn void(&mut self) {
        self.marks.clear();
    }

    /// The network says how far it is.
    pub(super) fn heed(&mut self, quality: &Quality) {
        let way = quality.round_trip.unwrap_or_default() / 2;
        let jitter = quality.egress_jitter.unwrap_or_default().min(DELAY_MAX) * JITTERS;
        self.delay = (BUFFER + way.min(DELAY_MAX) + jitter).min(DELAY_MAX);
    }

    pub(super) fn on_timeout(&mut self, now: Instant, out: &mut Outbox) {
        while let Some((_, mark)) = self.marks.pop_front_if(|(at, _)| *at <= now) {
            out.event(Event::MarkReached(mark));
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.marks.front().map(|(at, _)| *at)
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.marks.is_empty()
    }
}
