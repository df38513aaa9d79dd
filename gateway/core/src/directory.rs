//! [`Directory`]: which bots are there, and which instance of one gets the next call (`reference/browser.md` §6.4).
//!
//! Everything here is soft: a lease that is not renewed expires, and an offer that is not accepted in time goes to another
//! instance. At any moment a call is offered to one instance, or to none. What follows from an operation is told in
//! [`Notice`]s; what follows from time alone, by [`handle_timeout`](Directory::handle_timeout).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{Format, Instant};

mod bot;
mod decided;
mod name;
mod offering;
mod seat;

#[cfg(test)]
mod tests;

pub use name::{BadBotId, BotId, CallName, LeaseId};
pub use offering::{NotAccepted, NotOffered, Won};

use bot::Bot;
use decided::Decided;
use offering::{Held, Offering};
use seat::Lease;

/// What bounds the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryLimits {
    /// Leases of all tenants.
    pub leases_max: usize,
    /// Leases of one tenant: nobody's bots keep another's from registering.
    pub tenant_leases_max: usize,
    /// Instances of one bot, those included whose lease is over and whose calls still run.
    pub instances_max: usize,
    /// Longest lease.
    pub ttl_max: Duration,
    /// How long one instance has to accept.
    pub offer_within: Duration,
    /// Instances that a call is offered to, one after the other.
    pub tries_max: usize,
    /// Calls that are being offered at once.
    pub offers_max: usize,
}

impl Default for DirectoryLimits {
    fn default() -> Self {
        Self {
            leases_max: 200_000,
            tenant_leases_max: 100_000,
            instances_max: 1000,
            ttl_max: Duration::from_secs(300),
            offer_within: Duration::from_secs(5),
            tries_max: 5,
            offers_max: 10_000,
        }
    }
}

/// What an instance says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Which bot.
    pub bot: BotId,
    /// Which of its instances.
    pub instance: Box<str>,
    /// Words with a blank between them.
    pub capabilities: Box<str>,
    /// Formats that it hears and speaks, the best first.
    pub formats: Box<[Format]>,
    /// Calls at once.
    pub capacity: u16,
    /// How long the lease holds.
    pub ttl: Duration,
    /// Whether it takes no new calls.
    pub is_draining: bool,
}

/// A lease that was given or renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Its name.
    pub lease: LeaseId,
    /// Whether it was there before.
    pub is_renewed: bool,
    /// When it ends.
    pub expires_at: Instant,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryFull {
    /// For anybody.
    #[error("the directory is full")]
    Machine,
    /// For this tenant.
    #[error("the tenant has as many leases as it may")]
    Tenant,
    /// For this bot.
    #[error("the bot has as many instances as it may")]
    Bot,
}

/// Whether a bot can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// No lease.
    Offline,
    /// Every instance is going.
    Draining,
    /// Some instance takes calls, though it may be busy.
    Online,
}

/// What is known of a bot that has a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence<'d> {
    /// Whether it can be called.
    pub status: Status,
    /// What any instance can do.
    pub capabilities: BTreeSet<&'d str>,
    /// What any instance hears and speaks.
    pub formats: BTreeSet<Format>,
    /// Leases.
    pub instances: usize,
}

/// What followed from an operation, or from time: to be told to those whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The call is offered to the holder of the lease, and to nobody else, until then.
    Offered {
        /// Which call.
        call: CallName,
        /// To whom.
        lease: LeaseId,
        /// When the offer ends.
        until: Instant,
    },
    /// The call is no longer offered there.
    Withdrawn {
        /// Which call.
        call: CallName,
        /// To whom it was offered.
        lease: LeaseId,
        /// Why.
        why: Withdrawal,
    },
    /// Nobody took the call.
    Refused {
        /// Which call.
        call: CallName,
        /// Whether somebody answered at all: if not, they let it lapse.
        was_rejected: bool,
    },
    /// The lease is over.
    Ended {
        /// Which.
        lease: LeaseId,
    },
    /// The bot is now this.
    Is {
        /// Which bot.
        bot: BotId,
        /// What.
        status: Status,
    },
}

/// Why an offer was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// It was not accepted in time.
    Lapsed,
    /// The caller went.
    Canceled,
}

/// The bots of this machine, their leases, and the calls that are offered to them.
#[derive(Debug, Default)]
pub struct Directory {
    limits: DirectoryLimits,
    bots: BTreeMap<BotId, Bot>,
    leases: BTreeMap<LeaseId, BotId>,
    expiries: BTreeSet<(Instant, LeaseId)>,
    /// Leases by tenant.
    tenants: BTreeMap<Box<str>, usize>,
    offerings: BTreeMap<CallName, Offering>,
    deadlines: BTreeSet<(Instant, CallName)>,
    held: BTreeMap<CallName, Held>,
    decided: Decided,
}

impl Directory {
    /// An empty one.
    #[must_use]
    pub fn new(limits: DirectoryLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Gives the instance a lease, named `fresh`, or renews the one that it has with what it says now.
    ///
    /// # Errors
    /// [`DirectoryFull`]
    pub fn register(
        &mut self,
        registration: Registration,
        fresh: LeaseId,
        now: Instant,
        out: &mut Vec<Notice>,
    ) -> Result<Leased, DirectoryFull> {
        let Registration { bot: id, instance, capabilities, formats, capacity, ttl, is_draining } =
            registration;
        let old = self.bots.get(&*id).and_then(|bot| bot.named(&instance)?.lease.as_ref());
        let old = old.map(|lease| (lease.id, lease.expires_at));
        if old.is_none() {
            self.check_room(&id, &instance)?;
        }
        let expires_at = now + ttl.min(self.limits.ttl_max);
        let lease = old.map_or(fresh, |(lease, _)| lease);
        let before = self.status(&id);
        let bot = self.bots.entry(id.clone()).or_default();
        let seat = bot.seat(instance);
        let made = seat.lease.get_or_insert_with(|| Lease::new(lease));
        (made.capabilities, made.formats) = (capabilities, formats);
        (made.capacity, made.is_draining, made.expires_at) = (capacity, is_draining, expires_at);
        made.ttl = ttl.min(self.limits.ttl_max);
        if let Some((_, ends)) = old {
            self.expiries.remove(&(ends, lease));
        } else {
            *self.tenants.entry(id.tenant().into()).or_default() += 1;
            self.leases.insert(lease, id.clone());
        }
        self.expiries.insert((expires_at, lease));
        self.tell_change(&id, before, out);
        Ok(Leased { lease, is_renewed: old.is_some(), expires_at })
    }

    /// A sign of life: the lease holds as long again as it was asked for. `None` when there is none.
    pub fn renew(&mut self, lease: LeaseId, now: Instant) -> Option<Instant> {
        let bot = self.bots.get_mut(&**self.leases.get(&lease)?)?;
        let held = bot.leased(lease)?;
        let before = std::mem::replace(&mut held.expires_at, now + held.ttl);
        let after = held.expires_at;
        self.expiries.remove(&(before, lease));
        self.expiries.insert((after, lease));
        Some(after)
    }

    /// Whether the instance hears of an offer at once. One that does not is tried last.
    pub fn set_listening(&mut self, lease: LeaseId, is_listening: bool) {
        let bot = self.leases.get(&lease).and_then(|id| self.bots.get_mut(&**id));
        if let Some(held) = bot.and_then(|bot| bot.leased(lease)) {
            held.is_listening = is_listening;
        }
    }

    /// The instance takes no new calls, or does again. False when there is no such lease.
    pub fn set_draining(&mut self, lease: LeaseId, is_draining: bool, out: &mut Vec<Notice>) -> bool {
        let Some(id) = self.leases.get(&lease).cloned() else { return false };
        let before = self.status(&id);
        if let Some(held) = self.bots.get_mut(&*id).and_then(|bot| bot.leased(lease)) {
            held.is_draining = is_draining;
        }
        self.tell_change(&id, before, out);
        true
    }

    /// Whose lease it is.
    #[must_use]
    pub fn bot_of(&self, lease: LeaseId) -> Option<&BotId> {
        self.leases.get(&lease)
    }

    /// What the holder of a lease hears and speaks, the best first.
    #[must_use]
    pub fn formats_of(&self, lease: LeaseId) -> &[Format] {
        let bot = self.leases.get(&lease).and_then(|id| self.bots.get(&**id));
        let seats = bot.map(|bot| bot.seats.as_slice()).unwrap_or_default();
        let leases = seats.iter().filter_map(|seat| seat.lease.as_ref());
        leases.into_iter().find(|held| held.id == lease).map(|held| &*held.formats).unwrap_or_default()
    }

    /// The leases of a bot (`TENANT/NAME`).
    #[must_use]
    pub fn leases_of(&self, bot: &str) -> Vec<LeaseId> {
        let seats = self.bots.get(bot).map(|bot| bot.seats.as_slice()).unwrap_or_default();
        seats.iter().filter_map(|seat| Some(seat.lease.as_ref()?.id)).collect()
    }

    /// What is known of a bot (`TENANT/NAME`), if it has a lease.
    #[must_use]
    pub fn lookup(&self, bot: &str) -> Option<Presence<'_>> {
        self.bots.get(bot)?.presence()
    }

    /// Whether a bot (`TENANT/NAME`) can be called.
    #[must_use]
    pub fn status(&self, bot: &str) -> Status {
        self.bots.get(bot).map_or(Status::Offline, Bot::status)
    }

    /// How many leases there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Ends a lease. Calls that were accepted under it go on; a call that was offered goes to another instance.
    pub fn end(&mut self, lease: LeaseId, now: Instant, out: &mut Vec<Notice>) -> bool {
        let Some(id) = self.leases.remove(&lease) else { return false };
        let before = self.status(&id);
        let bot = self.bots.get_mut(&*id).expect("a lease is its bot's");
        let over = bot.end(lease).expect("what is listed as a lease is one");
        self.expiries.remove(&(over.expires_at, lease));
        let leases = self.tenants.get_mut(id.tenant()).expect("a lease is charged to its tenant");
        *leases -= 1;
        if *leases == 0 {
            self.tenants.remove(id.tenant());
        }
        out.push(Notice::Ended { lease });
        self.tell_change(&id, before, out);
        for call in over.offered {
            self.offer_on(&call, now, out);
        }
        self.forget_if_empty(&id);
        true
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let expiry = self.expiries.first().map(|(at, _)| *at);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        expiry.into_iter().chain(deadline).min()
    }

    /// Ends leases that were not renewed, and takes back offers that were not accepted, by `now`.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Notice>) {
        while let Some((_, lease)) = self.expiries.first().copied().filter(|(at, _)| *at <= now) {
            self.end(lease, now, out);
        }
        while let Some((_, call)) = self.deadlines.first().cloned().filter(|(at, _)| *at <= now) {
            self.lapse(&call, now, out);
        }
    }

    fn check_room(&self, id: &BotId, instance: &str) -> Result<(), DirectoryFull> {
        let of_tenant = self.tenants.get(id.tenant()).copied().unwrap_or_default();
        let bot = self.bots.get(&**id);
        let is_known = bot.is_some_and(|bot| bot.named(instance).is_some());
        let seats = bot.map_or(0, |bot| bot.seats.len());
        if self.leases.len() >= self.limits.leases_max {
            Err(DirectoryFull::Machine)
        } else if of_tenant >= self.limits.tenant_leases_max {
            Err(DirectoryFull::Tenant)
        } else if !is_known && seats >= self.limits.instances_max {
            Err(DirectoryFull::Bot)
        } else {
            Ok(())
        }
    }

    fn tell_change(&self, bot: &BotId, before: Status, out: &mut Vec<Notice>) {
        let status = self.status(bot);
        if status != before {
            out.push(Notice::Is { bot: bot.clone(), status });
        }
    }

    fn forget_if_empty(&mut self, id: &BotId) {
        if self.bots.get(&**id).is_some_and(|bot| bot.seats.is_empty()) {
            self.bots.remove(&**id);
        }
    }
}
