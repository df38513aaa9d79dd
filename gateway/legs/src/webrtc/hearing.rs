//! How far the listener has heard. A browser confirms nothing, so that we reckon: when what was sent has played, and the way
//! there and the browser's own buffer have had their time.

use std::collections::VecDeque;
use std::time::Duration;

use patchbay_core::{Event, Instant, MediaTime, Outbox, Quality, UtteranceId};

/// What a browser buffers at the least, and its output: measured 36 ms and more (reference/browser.md §0).
const BUFFER: Duration = Duration::from_millis(50);
/// A browser buffers some multiple of the jitter it sees.
const JITTERS: u32 = 2;
const DELAY_MAX: Duration = Duration::from_millis(1_000);
/// Utterances that may be under way to one listener.
const UTTERANCES_MAX: usize = 4;
/// The call first settles what it interrupts, then hears how much was played.
const REPORT_AFTER: Duration = Duration::from_millis(1);

/// What is on its way to the listener's ear.
pub(super) struct Hearing {
    sent: VecDeque<Sent>,
    delay: Duration,
    report_at: Option<Instant>,
    reports: Vec<(UtteranceId, MediaTime)>,
}

/// What was sent of one utterance, and when it will have played, had the listener no delay.
struct Sent {
    utterance: UtteranceId,
    span: MediaTime,
    dry_at: Instant,
}

impl Default for Hearing {
    fn default() -> Self {
        Self { sent: VecDeque::new(), delay: BUFFER, report_at: None, reports: Vec::new() }
    }
}

impl Hearing {
    /// `span` more of `utterance` was sent; all has played by `dry_at`.
    pub(super) fn sends(&mut self, utterance: UtteranceId, span: MediaTime, dry_at: Instant) {
        match self.sent.back_mut().filter(|sent| sent.utterance == utterance) {
            Some(sent) => (sent.span, sent.dry_at) = (sent.span + span, dry_at),
            None => {
                if self.sent.len() >= UTTERANCES_MAX {
                    self.sent.pop_front();
                }
                self.sent.push_back(Sent { utterance, span, dry_at });
            }
        }
    }

    /// The network says how far it is.
    pub(super) fn heed(&mut self, quality: &Quality) {
        let way = quality.round_trip.unwrap_or_default() / 2;
        let jitter = quality.egress_jitter.unwrap_or_default().min(DELAY_MAX) * JITTERS;
        self.delay = (BUFFER + way.min(DELAY_MAX) + jitter).min(DELAY_MAX);
    }

    /// When the listener has heard what plays until `dry_at`.
    pub(super) fn heard_at(&self, dry_at: Instant) -> Instant {
        dry_at + self.delay
    }

    /// It was interrupted: how much of what was sent had been heard is reported in a moment.
    pub(super) fn cut(&mut self, now: Instant) {
        for Sent { utterance, span, dry_at } in self.sent.drain(..) {
            let unheard = MediaTime::from_duration((dry_at + self.delay).saturating_since(now));
            if !unheard.is_zero() {
                self.reports.push((utterance, span.saturating_sub(unheard)));
            }
        }
        self.reports.truncate(UTTERANCES_MAX);
        self.report_at = (!self.reports.is_empty()).then_some(now + REPORT_AFTER);
    }

    pub(super) fn on_timeout(&mut self, now: Instant, out: &mut Outbox) {
        if self.report_at.is_some_and(|at| at <= now) {
            self.report_at = None;
            for (utterance, heard) in self.reports.drain(..) {
                out.event(Event::ListenerCut { utterance, heard });
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.report_at
    }
}
