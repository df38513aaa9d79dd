//! What a call tells its recording: what was said, what was heard, and when. Nothing unless the call records.
//!
//! A listener hears audio some time after it was sent. How long is known only once the listener confirms it, so
//! audio is told with the time at which an *ideal* listener plays it, who has it at the instant at which it is sent,
//! and the delay of the real one is told whenever it is measured.

use super::{CALLER, Call, Output, PromptKind};
use crate::leg::Command;
use crate::{Format, Frame, Instant, MediaTime};

/// Told to the recording of a call. Times are since the start of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tap {
    /// The caller said this, and all of it before it came.
    Said {
        /// When it came.
        at: MediaTime,
        /// What; its `pts` tells holes.
        frame: Frame,
    },
    /// The caller is to hear this.
    Played {
        /// When the ideal listener begins to hear it.
        at: MediaTime,
        /// What.
        frame: Frame,
    },
    /// The caller hears what is played this much later than the ideal listener.
    Delayed {
        /// How much.
        by: MediaTime,
    },
    /// Of what was played the caller does not hear the rest.
    Cut {
        /// When the ideal listener would have begun to hear it.
        at: MediaTime,
    },
    /// The call is over.
    Ended {
        /// When.
        at: MediaTime,
    },
}

impl Call {
    /// The caller said `frame`.
    pub(super) fn tap_said(&self, from: usize, frame: &Frame, now: Instant, out: &mut Vec<Output>) {
        if self.config.records && from == CALLER {
            out.push(Output::Tap(Tap::Said { at: self.since_start(now), frame: frame.clone() }));
        }
    }

    /// Sends a frame that was just taken from the playout of `side`.
    pub(super) fn play(&mut self, side: usize, frame: Frame, now: Instant, out: &mut Vec<Output>) {
        if self.config.records && side == CALLER {
            let at = self.since_start(self.sides[CALLER].playout.plays_at(frame.duration, now));
            out.push(Output::Tap(Tap::Played { at, frame: frame.clone() }));
        }
        self.command(side, Command::Play(frame), now, out);
    }

    /// A mark of `side` came back.
    pub(super) fn tap_delay(&self, side: usize, out: &mut Vec<Output>) {
        if self.config.records && side == CALLER {
            let by = MediaTime::from_duration(self.sides[CALLER].playout.delay());
            out.push(Output::Tap(Tap::Delayed { by }));
        }
    }

    /// `listener` is about to be cut short.
    pub(super) fn tap_cut(&self, listener: usize, now: Instant, out: &mut Vec<Output>) {
        if self.config.records && listener == CALLER {
            let at = self.since_start(self.sides[CALLER].playout.heard_until(now));
            out.push(Output::Tap(Tap::Cut { at }));
        }
    }

    pub(super) fn tap_end(&self, now: Instant, out: &mut Vec<Output>) {
        if self.config.records {
            out.push(Output::Tap(Tap::Ended { at: self.since_start(now) }));
        }
    }

    /// The caller is told first of all that the call is recorded, once, and to the end: see
    /// [`is_announcing`](Self::is_announcing).
    pub(super) fn announce(&mut self, now: Instant, out: &mut Vec<Output>) {
        if !self.config.announces || self.announced_by.is_some() {
            return;
        }
        self.prompt(PromptKind::Recorded, out);
        let span = Format::PCMU.duration_of(self.prompts.recorded.len()).unwrap_or_default();
        self.announced_by = Some(now + span);
    }

    /// Whether the announcement is being heard: nothing interrupts it, or the caller would not have been told.
    pub(super) fn is_announcing(&self, now: Instant) -> bool {
        let delay = self.sides[CALLER].playout.delay();
        self.announced_by.is_some_and(|by| now < by + delay)
    }

    /// The caller is gone for now. An announcement that was not heard to its end will be made again.
    pub(super) fn forget_unheard_announcement(&mut self, now: Instant) {
        if self.is_announcing(now) {
            self.announced_by = None;
        }
    }

    fn since_start(&self, at: Instant) -> MediaTime {
        MediaTime::from_duration(at.saturating_since(self.started.unwrap_or(at)))
    }
}
