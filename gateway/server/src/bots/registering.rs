//! A bot registers, and goes.

use std::sync::Arc;
use std::time::Duration;

use patchbay_core::{BotId, DirectoryFull, Format, LeaseId, Registration, Status};
use serde::{Deserialize, Serialize};

use super::outbox::Outbox;
use super::{Accepted, Bots, NotTaken};
use crate::credential::bot_token::BotPass;

/// How an instance hears of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// It keeps a stream of events open.
    Sse,
    /// It asks again and again.
    Poll,
    /// Over the socket of its presence.
    WebSocket,
}

/// What an instance asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name; a fresh one if it has none.
    pub instance: Option<String>,
    /// Words.
    pub capabilities: Vec<String>,
    /// The best first.
    pub formats: Vec<Format>,
    /// Calls at once.
    pub capacity: u16,
    /// How it hears of calls.
    pub delivery: Delivery,
    /// How long the lease is to hold.
    pub ttl: Duration,
    /// Whether it takes no new calls.
    pub is_draining: bool,
}

/// A lease as its holder is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// `lease_…`
    pub lease: String,
    /// The instance's name.
    pub instance: String,
    /// Seconds since 1970.
    pub expires_at: u64,
}

/// Why an instance was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRegistered {
    /// The token was used for this before.
    Replayed,
    /// Too many tokens wait for their end.
    TooManyTokens,
    /// There is no room.
    Full(DirectoryFull),
}

/// What is known of a bot that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether it can be called.
    pub status: Status,
    /// What any instance can do.
    pub capabilities: Vec<String>,
    /// What any instance hears and speaks.
    pub formats: Vec<Format>,
}

impl Bots {
    /// Gives an instance a lease, or renews its own. The token may be used for this once.
    ///
    /// # Errors
    /// [`NotRegistered`]
    pub fn register(&self, pass: &BotPass, wanted: Wanted, unix: u64) -> Result<Granted, NotRegistered> {
        self.replays.lock().expect("nobody panics while holding the names").take(pass, unix)?;
        let instance = wanted.instance.unwrap_or_else(|| crate::id::fresh("instance_"));
        let registration = Registration {
            bot: pass.bot.clone(),
            instance: instance.as_str().into(),
            capabilities: wanted.capabilities.join(" ").into(),
            formats: wanted.formats.into(),
            capacity: wanted.capacity,
            ttl: wanted.ttl,
            is_draining: wanted.is_draining,
        };
        let (mut desk, now) = (self.desk(), self.now());
        desk.pass(now);
        let fresh = LeaseId(u128::from_be_bytes(crate::id::random()));
        let state = &mut *desk;
        let leased = state.directory.register(registration, fresh, now, &mut state.notices);
        let leased = leased.map_err(NotRegistered::Full);
        if let Ok(leased) = &leased {
            let outbox = state.outboxes.entry(leased.lease);
            outbox
                .or_insert_with(|| Outbox::new(leased.lease, pass.bot.clone()))
                .set_delivery(wanted.delivery);
        }
        self.settle(&mut desk);
        let leased = leased?;
        Ok(Granted { lease: leased.lease.to_string(), instance, expires_at: self.unix(leased.expires_at) })
    }

    /// Ends a lease of the bot, or all of them; how many.
    pub fn unregister(&self, bot: &BotId, lease: Option<LeaseId>) -> usize {
        let (mut desk, now) = (self.desk(), self.now());
        desk.pass(now);
        let leases = desk.directory.leases_of(bot);
        let meant: Vec<_> =
            leases.into_iter().filter(|own| lease.is_none_or(|lease| lease == *own)).collect();
        let state = &mut *desk;
        let ended =
            meant.iter().filter(|lease| state.directory.end(**lease, now, &mut state.notices)).count();
        self.settle(&mut desk);
        ended
    }

    /// A sign of life: the lease holds as long again. False when it is over.
    #[must_use]
    pub fn renew(&self, lease: LeaseId) -> bool {
        let (mut desk, now) = (self.desk(), self.now());
        desk.pass(now);
        let is_there = desk.directory.renew(lease, now).is_some();
        self.settle(&mut desk);
        is_there
    }

    /// The instance takes no new calls, or does again.
    pub fn set_draining(&self, lease: LeaseId, is_draining: bool) {
        let mut desk = self.desk();
        let state = &mut *desk;
        state.directory.set_draining(lease, is_draining, &mut state.notices);
        self.settle(&mut desk);
    }

    /// What is known of a bot that has a lease.
    #[must_use]
    pub fn seen(&self, bot: &str) -> Option<Seen> {
        let mut desk = self.desk();
        desk.pass(self.now());
        self.settle(&mut desk);
        let presence = desk.directory.lookup(bot)?;
        Some(Seen {
            status: presence.status,
            capabilities: presence.capabilities.iter().map(|word| (*word).to_owned()).collect(),
            formats: presence.formats.into_iter().collect(),
        })
    }

    /// The events of a lease of this bot.
    #[must_use]
    pub fn outbox(&self, bot: &BotId, lease: LeaseId) -> Option<Arc<Outbox>> {
        let mut desk = self.desk();
        desk.pass(self.now());
        self.settle(&mut desk);
        desk.outbox(bot, lease)
    }

    /// A bot takes a call; to say so again changes nothing.
    ///
    /// # Errors
    /// [`NotTaken`]
    pub fn accept(
        &self,
        who: (&BotId, LeaseId),
        call: &str,
        formats: (Option<Format>, Option<Format>),
    ) -> Result<Accepted, NotTaken> {
        let mut desk = self.desk();
        let accepted = desk.accept(who, call, formats, self.now());
        self.settle(&mut desk);
        accepted
    }

    /// A bot does not take a call: it is offered to another instance.
    ///
    /// # Errors
    /// [`NotTaken`]
    pub fn reject(&self, who: (&BotId, LeaseId), call: &str) -> Result<(), NotTaken> {
        let mut desk = self.desk();
        let rejected = desk.reject(who, call, self.now());
        self.settle(&mut desk);
        rejected
    }
}
