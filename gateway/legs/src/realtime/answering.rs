//! The one answer that may be in progress: asked for, begun, ended; and the deadlines that notice when it is not.

use std::collections::VecDeque;
use std::time::Duration;

use patchbay_core::{Instant, MediaTime};

/// Answers remembered for late events of theirs.
const KNOWN_MAX: usize = 8;
/// Without a sign that an answer begins.
const BEGIN_WITHIN: Duration = Duration::from_secs(4);
/// Without an event of an answer in progress.
const GO_ON_WITHIN: Duration = Duration::from_secs(10);
/// Audio received ahead of its playing time beyond which a silent provider is no fault: our own reader pauses.
const BACKLOG_MAX: Duration = Duration::from_secs(60);
/// Before an answer that failed is asked for again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The provider holds at most one answer in the default conversation.
#[derive(Debug, PartialEq, Eq)]
enum Slot {
    Idle,
    /// We asked, with this event id.
    Requested(u32),
    Active(Box<str>),
    /// The provider says that it answers, but not by which id.
    Unnamed,
}

#[derive(Debug)]
struct Known {
    id: Box<str>,
    muted: bool,
    done: bool,
}

/// What we ask the model to say, until it can be asked.
pub(super) type Instructions = Option<Box<str>>;

/// What a deadline that passed asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask (again) for this.
    Ask(Instructions),
    /// The answer does not begin: cancel what may hang there, and ask once more.
    Nudge,
    /// The provider fell silent.
    Lost,
}

#[derive(Debug)]
pub(super) struct Answering {
    slot: Slot,
    known: VecDeque<Known>,
    /// The last request, whose fate may not be known even when an answer has begun: that may be the provider's own.
    request: Option<u32>,
    /// What the answer in progress was asked to say, in case it fails.
    asked: Instructions,
    /// Exactly one request that waits for the answer in progress to end.
    deferred: Option<Instructions>,
    /// The next answer to begin was cancelled before it had a name.
    mute_next: bool,
    retry_at: Option<Instant>,
    retried: bool,
    begin_by: Option<Instant>,
    nudged: bool,
    last_sign: Instant,
    /// When the audio received so far would have been played.
    plays_until: Instant,
}

impl Answering {
    pub(super) fn new() -> Self {
        Self {
            slot: Slot::Idle,
            known: VecDeque::new(),
            request: None,
            asked: None,
            deferred: None,
            mute_next: false,
            retry_at: None,
            retried: false,
            begin_by: None,
            nudged: false,
            last_sign: Instant::ZERO,
            plays_until: Instant::ZERO,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.slot == Slot::Idle
    }

    /// The answer in progress, if it has an id.
    pub(super) fn active(&self) -> Option<&str> {
        match &self.slot {
            Slot::Active(id) => Some(id),
            _ => None,
        }
    }

    /// Whether a request may go out now; else it is kept, in place of an older one.
    pub(super) fn may_ask(&mut self, instructions: &Instructions) -> bool {
        if self.is_idle() && self.retry_at.is_none() {
            return true;
        }
        self.deferred = Some(instructions.clone());
        false
    }

    /// A request went out.
    pub(super) fn asked(&mut self, event: u32, instructions: Instructions, now: Instant) {
        self.slot = Slot::Requested(event);
        self.request = Some(event);
        self.asked = instructions;
        self.begin_by = Some(now + BEGIN_WITHIN);
        self.last_sign = now;
    }

    /// The caller's turn ended: the model should answer by itself.
    pub(super) fn expect(&mut self, now: Instant) {
        if self.is_idle() {
            (self.retried, self.asked) = (false, None);
            self.begin_by = Some(now + BEGIN_WITHIN);
        }
    }

    /// The caller speaks again: no answer is due.
    pub(super) fn expect_nothing(&mut self) {
        if self.is_idle() {
            self.begin_by = None;
        }
        self.nudged = false;
    }

    /// The event id of the request that is not confirmed yet.
    pub(super) fn requested(&self) -> Option<u32> {
        match self.slot {
            Slot::Requested(event) => Some(event),
            _ => None,
        }
    }

    /// A request met an answer in progress: it waits for that to end. Without an id it is the request in the slot.
    pub(super) fn busy(&mut self, event: Option<u32>, now: Instant) {
        let ours = if event.is_some() { event == self.request } else { self.requested().is_some() };
        if !ours {
            return;
        }
        self.request = None;
        if matches!(self.slot, Slot::Requested(_)) {
            self.slot = Slot::Unnamed;
        }
        let asked = self.asked.take();
        if !self.mute_next {
            self.deferred.get_or_insert(asked);
        }
        self.begin_by = None;
        self.last_sign = now;
    }

    /// Our request was refused: nothing is in progress.
    pub(super) fn refused(&mut self) {
        self.slot = Slot::Idle;
        (self.begin_by, self.mute_next) = (None, false);
    }

    /// The answer `id` began. False when it was known.
    pub(super) fn begun(&mut self, id: &str, now: Instant) -> bool {
        self.last_sign = now;
        let is_known = self.known.iter().any(|k| &*k.id == id);
        if is_known || (id.is_empty() && matches!(self.slot, Slot::Active(_))) {
            return false;
        }
        (self.begin_by, self.nudged, self.retry_at) = (None, false, None);
        self.plays_until = now;
        let muted = std::mem::take(&mut self.mute_next);
        self.remember(id, muted);
        self.slot = Slot::Active(id.into());
        true
    }

    /// Some compatible servers give no ids: nothing of theirs can be known as late.
    fn remember(&mut self, id: &str, muted: bool) {
        if id.is_empty() {
            return;
        }
        if self.known.len() == KNOWN_MAX {
            self.known.pop_front();
        }
        self.known.push_back(Known { id: id.into(), muted, done: false });
    }

    /// Whether audio of that answer is to be dropped: it was cancelled, or is over.
    pub(super) fn is_late(&self, id: &str) -> bool {
        self.known.iter().any(|k| &*k.id == id && (k.muted || k.done))
    }

    pub(super) fn is_muted(&self, id: &str) -> bool {
        self.known.iter().any(|k| &*k.id == id && k.muted)
    }

    /// An event of an answer came.
    pub(super) fn sign_of_life(&mut self, now: Instant) {
        self.last_sign = now;
    }

    /// Audio of the answer came.
    pub(super) fn spoke(&mut self, span: MediaTime, now: Instant) {
        self.last_sign = now;
        self.plays_until = self.plays_until.max(now) + span;
    }

    /// Cancels: what still comes of the answer in progress is late. `Some` when the provider has to be told, with the
    /// answer's id if it has one.
    pub(super) fn cancel(&mut self) -> Option<Option<Box<str>>> {
        (self.deferred, self.retry_at) = (None, None);
        match &self.slot {
            Slot::Idle => None,
            Slot::Requested(_) | Slot::Unnamed => {
                (!std::mem::replace(&mut self.mute_next, true)).then_some(None)
            }
            Slot::Active(id) => {
                let known = self.known.iter_mut().find(|k| k.id == *id)?;
                (!std::mem::replace(&mut known.muted, true)).then(|| Some(id.clone()))
            }
        }
    }

    /// The answer `id` is over. True when it was the one in progress; a late end of an older one leaves a newer alone.
    pub(super) fn done(&mut self, id: &str, now: Instant) -> bool {
        self.last_sign = now;
        let known = self.known.iter_mut().find(|k| &*k.id == id);
        let is_new = known.is_none();
        match known {
            Some(known) => known.done = true,
            None => {
                self.remember(id, true);
                self.known.iter_mut().filter(|k| &*k.id == id).for_each(|k| k.done = true);
            }
        }
        let current = match &self.slot {
            Slot::Idle => false,
            Slot::Active(active) => **active == *id,
            Slot::Unnamed => true,
            // An end without a beginning happens around interruptions.
            Slot::Requested(_) => is_new,
        };
        if current {
            self.slot = Slot::Idle;
            (self.begin_by, self.mute_next) = (None, false);
        }
        current
    }

    /// The answer failed: true when it will be asked for once more after a pause.
    pub(super) fn retry(&mut self, now: Instant) -> bool {
        if std::mem::replace(&mut self.retried, true) {
            return false;
        }
        self.retry_at = Some(now + RETRY_AFTER);
        true
    }

    /// An answer came to its own end: the next may fail once again.
    pub(super) fn succeeded(&mut self) {
        (self.retried, self.nudged) = (false, false);
    }

    /// The request that had to wait, if it may go out now.
    pub(super) fn take_deferred(&mut self) -> Option<Instructions> {
        if self.is_idle() && self.retry_at.is_none() { self.deferred.take() } else { None }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let silent = matches!(self.slot, Slot::Active(_) | Slot::Unnamed).then(|| self.silent_at());
        [self.retry_at, self.begin_by, silent].into_iter().flatten().min()
    }

    fn silent_at(&self) -> Instant {
        let backlog = self.plays_until.saturating_since(Instant::ZERO).saturating_sub(BACKLOG_MAX);
        (self.last_sign + GO_ON_WITHIN).max(Instant::ZERO + backlog)
    }

    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            return Some(Due::Ask(self.asked.take()));
        }
        if self.begin_by.is_some_and(|at| at <= now) {
            self.begin_by = None;
            let again = std::mem::replace(&mut self.nudged, true);
            return Some(if again { Due::Lost } else { Due::Nudge });
        }
        let is_silent = matches!(self.slot, Slot::Active(_) | Slot::Unnamed) && self.silent_at() <= now;
        is_silent.then_some(Due::Lost)
    }

    /// What a nudge asks again.
    pub(super) fn forget_request(&mut self) -> Instructions {
        (self.slot, self.mute_next) = (Slot::Idle, false);
        self.asked.take()
    }
}
