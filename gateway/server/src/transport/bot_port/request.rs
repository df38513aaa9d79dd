//! The requests of a bot, each for as long as it is there: one that hears, one that speaks, any that read events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use patchbay_core::{MediaTime, Packet};
use patchbay_legs::bot::framing::Unit;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::meeting::{Acknowledged, Meeting, Unsaid, Uptake};

/// A reader is told so often that we are there.
const QUIET: Duration = Duration::from_secs(8);
/// How often a writer that has to wait looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A request that is there.
#[derive(Debug)]
pub(super) struct Presence(pub(super) Arc<Meeting>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A request that hears.
#[derive(Debug)]
pub struct Listening {
    pub(super) presence: Presence,
    pub(super) generation: u64,
    pub(super) next: u64,
    pub(super) missed: MediaTime,
    pub(super) changed: watch::Receiver<()>,
}

/// What a listening request gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Packets, in order, and how many before them came too late for this reader.
    Packets(Vec<Packet>, u64),
    /// Nothing, for a while.
    Quiet,
    /// Another request hears now.
    Replaced,
    /// The call is over, for this reason.
    Over(Box<str>),
}

impl Listening {
    /// The number of the first packet that comes.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.next
    }

    /// How much is gone of what was asked for.
    #[must_use]
    pub fn missed(&self) -> MediaTime {
        self.missed
    }

    /// What comes next.
    pub async fn next(&mut self) -> Heard {
        let deadline = Instant::now() + QUIET;
        loop {
            self.changed.mark_unchanged();
            if let Some(heard) = self.take() {
                return heard;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !matches!(timeout(left, self.changed.changed()).await, Ok(Ok(()))) {
                return Heard::Quiet;
            }
        }
    }

    /// What is there.
    fn take(&mut self) -> Option<Heard> {
        let place = self.presence.0.place();
        if place.reader != self.generation {
            return Some(Heard::Replaced);
        }
        let (packets, lost) = place.ring.since(self.next);
        let packets: Vec<_> = packets.cloned().collect();
        if packets.is_empty() {
            return place.end.clone().map(Heard::Over);
        }
        self.next = place.ring.next();
        Some(Heard::Packets(packets, lost))
    }
}

/// A request that speaks.
#[derive(Debug)]
pub struct Speaking {
    pub(super) presence: Presence,
    pub(super) generation: u64,
    pub(super) changed: watch::Receiver<()>,
}

impl Speaking {
    /// Takes a packet at once, however far ahead it is: whoever asks [`check`](Self::check)s before.
    ///
    /// # Errors
    /// [`Unsaid`]
    pub fn try_say(&mut self, unit: Unit) -> Result<Uptake, Unsaid> {
        let mut place = self.presence.0.place();
        match place.room(self.generation) {
            Err(Unsaid::Ahead(wait)) if place.is_full() => Err(Unsaid::Ahead(wait)),
            Ok(()) | Err(Unsaid::Ahead(_)) => Ok(place.say(unit)),
            Err(unsaid) => Err(unsaid),
        }
    }

    /// Whether there is room.
    ///
    /// # Errors
    /// [`Unsaid`]
    pub fn check(&self) -> Result<(), Unsaid> {
        self.presence.0.place().room(self.generation)
    }

    /// Takes a packet when there is room for it.
    ///
    /// # Errors
    /// [`Unsaid::Replaced`], [`Unsaid::Over`]
    pub async fn say(&mut self, unit: Unit) -> Result<Uptake, Unsaid> {
        loop {
            match self.check() {
                Ok(()) => return Ok(self.presence.0.place().say(unit)),
                Err(Unsaid::Ahead(wait)) => tokio::time::sleep(wait.min(LOOK_AGAIN)).await,
                Err(unsaid) => return Err(unsaid),
            }
        }
    }

    /// Resolves when there is no use in speaking on.
    pub fn done(&self) -> impl Future<Output = Unsaid> + use<> {
        let (meeting, generation) = (Arc::clone(&self.presence.0), self.generation);
        let mut changed = self.changed.clone();
        async move {
            loop {
                changed.mark_unchanged();
                match meeting.place().room(generation) {
                    Ok(()) | Err(Unsaid::Ahead(_)) => {}
                    Err(unsaid) => return unsaid,
                }
                if changed.changed().await.is_err() {
                    return Unsaid::Over("left".into());
                }
            }
        }
    }

    /// How far it has come.
    #[must_use]
    pub fn acknowledged(&self) -> Acknowledged {
        self.presence.0.acknowledged()
    }
}

/// A request that reads events.
#[derive(Debug)]
pub struct Reading {
    pub(super) presence: Presence,
    pub(super) after: u64,
    pub(super) changed: watch::Receiver<()>,
}

impl Reading {
    /// The next event with its number; `None` when there is none for `within`, or no more at all: see
    /// [`is_over`](Self::is_over).
    pub async fn next(&mut self, within: Duration) -> Option<(u64, Bytes)> {
        let deadline = Instant::now() + within;
        loop {
            self.changed.mark_unchanged();
            if let Some(event) = self.take() {
                return Some(event);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.is_over() || !matches!(timeout(left, self.changed.changed()).await, Ok(Ok(()))) {
                return None;
            }
        }
    }

    /// Whether the call is over and every event was read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let place = self.presence.0.place();
        place.end.is_some() && place.events.back().is_none_or(|(number, _)| *number <= self.after)
    }

    /// The next event that is there already.
    pub fn take(&mut self) -> Option<(u64, Bytes)> {
        let place = self.presence.0.place();
        let (number, event) = place.events.iter().find(|(number, _)| *number > self.after).cloned()?;
        drop(place);
        self.after = number;
        Some((number, event))
    }
}
