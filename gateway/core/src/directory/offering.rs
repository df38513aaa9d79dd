//! A call on its way to an instance: offered, accepted, rejected, lapsed, cancelled, over.

use super::{BotId, CallName, Directory, LeaseId, Notice, Withdrawal};
use crate::Instant;

/// A call that is being offered.
#[derive(Debug)]
pub(super) struct Offering {
    pub(super) bot: BotId,
    /// Who has it now, until when.
    holder: LeaseId,
    until: Instant,
    /// Who had it, the holder included.
    tried: Vec<LeaseId>,
    was_rejected: bool,
}

/// A call that was accepted.
#[derive(Debug)]
pub(super) struct Held {
    bot: BotId,
    instance: Box<str>,
    lease: LeaseId,
}

/// Who accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Won {
    /// Which bot.
    pub bot: BotId,
    /// Which of its instances.
    pub instance: Box<str>,
}

/// Why a call cannot be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOffered {
    /// The bot has no lease.
    #[error("the bot is offline")]
    Offline,
    /// Every instance is at its capacity, or going.
    #[error("the bot is busy")]
    Busy,
    /// Too many calls are being offered.
    #[error("too many calls are being offered")]
    Full,
    /// It is being offered, or was accepted.
    #[error("the call was offered before")]
    Twice,
}

/// Why a call cannot be accepted or rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// It was never offered to this bot.
    #[error("there is no such call")]
    Unknown,
    /// It was offered, and no longer is.
    #[error("the offer is over")]
    Expired,
    /// Another instance has it.
    #[error("another instance has the call")]
    Taken,
}

impl Directory {
    /// Offers a call to the least loaded instance of a bot (`TENANT/NAME`).
    ///
    /// # Errors
    /// [`NotOffered`]; then nobody hears of it.
    pub fn offer(
        &mut self,
        bot: &str,
        call: CallName,
        now: Instant,
        out: &mut Vec<Notice>,
    ) -> Result<(), NotOffered> {
        if self.offerings.contains_key(&call) || self.held.contains_key(&call) {
            return Err(NotOffered::Twice);
        }
        if self.offerings.len() >= self.limits.offers_max {
            return Err(NotOffered::Full);
        }
        let (id, known) = self.bots.get_key_value(bot).ok_or(NotOffered::Offline)?;
        if known.seats.iter().all(|seat| seat.lease.is_none()) {
            return Err(NotOffered::Offline);
        }
        let (id, holder) = (id.clone(), known.next(&[], now).ok_or(NotOffered::Busy)?);
        let offering =
            Offering { bot: id, holder, until: now, tried: Vec::with_capacity(1), was_rejected: false };
        self.offerings.insert(call.clone(), offering);
        self.give(&call, holder, now, out);
        Ok(())
    }

    /// The holder of the offer takes the call. Who already has it may say so again.
    ///
    /// # Errors
    /// [`NotAccepted`]
    pub fn accept(&mut self, call: &str, lease: LeaseId, now: Instant) -> Result<Won, NotAccepted> {
        if let Some(held) = self.held.get(call).filter(|held| held.lease == lease) {
            return Ok(Won { bot: held.bot.clone(), instance: held.instance.clone() });
        }
        self.check_answer(call, lease, now)?;
        let (call, offering) = self.close(call).expect("the answer was checked");
        let seat = self.bots.get_mut(&*offering.bot).and_then(|bot| bot.seat_of(lease));
        let seat = seat.expect("an offer is held under a lease");
        seat.calls += 1;
        let held = seat.lease.as_mut().expect("the seat was found by its lease");
        held.answered();
        let (bot, instance) = (offering.bot, seat.instance.clone());
        self.held.insert(call, Held { bot: bot.clone(), instance: instance.clone(), lease });
        Ok(Won { bot, instance })
    }

    /// The holder of the offer does not take the call: it goes to another instance.
    ///
    /// # Errors
    /// [`NotAccepted`]
    pub fn reject(
        &mut self,
        call: &str,
        lease: LeaseId,
        now: Instant,
        out: &mut Vec<Notice>,
    ) -> Result<(), NotAccepted> {
        self.check_answer(call, lease, now)?;
        self.take_back(call, |held| held.answered());
        if let Some(offering) = self.offerings.get_mut(call) {
            offering.was_rejected = true;
        }
        self.offer_on(call, now, out);
        Ok(())
    }

    /// The caller went: whoever was offered the call is told.
    pub fn cancel(&mut self, call: &str, out: &mut Vec<Notice>) {
        if let Some((call, offering)) = self.close(call) {
            out.push(Notice::Withdrawn { call, lease: offering.holder, why: Withdrawal::Canceled });
        }
    }

    /// An accepted call is over: its place is free. Answers under which lease it was.
    pub fn release(&mut self, call: &str) -> Option<LeaseId> {
        let (call, held) = self.held.remove_entry(call)?;
        if let Some(bot) = self.bots.get_mut(&*held.bot) {
            bot.release(&held.instance);
        }
        self.forget_if_empty(&held.bot);
        self.decided.remember(call, held.bot);
        Some(held.lease)
    }

    /// Whether the call was accepted by this bot (`TENANT/NAME`) and is not over.
    #[must_use]
    pub fn has(&self, bot: &str, call: &str) -> bool {
        self.held.get(call).is_some_and(|held| *held.bot == *bot)
    }

    fn check_answer(&self, call: &str, lease: LeaseId, now: Instant) -> Result<(), NotAccepted> {
        let bot = self.leases.get(&lease).ok_or(NotAccepted::Unknown)?;
        if let Some(offering) = self.offerings.get(call).filter(|offering| offering.bot == *bot) {
            return match offering.holder == lease {
                true if now < offering.until => Ok(()),
                true => Err(NotAccepted::Expired),
                false if offering.tried.contains(&lease) => Err(NotAccepted::Expired),
                false => Err(NotAccepted::Taken),
            };
        }
        match self.held.get(call) {
            Some(held) if held.bot == *bot => Err(NotAccepted::Taken),
            _ if self.decided.was_offered_to(call, bot) => Err(NotAccepted::Expired),
            _ => Err(NotAccepted::Unknown),
        }
    }

    /// The deadline of an offer passed.
    pub(super) fn lapse(&mut self, call: &str, now: Instant, out: &mut Vec<Notice>) {
        let lapsed = self.take_back(call, |held| held.lapsed());
        if let Some((call, lease)) = lapsed {
            out.push(Notice::Withdrawn { call: call.clone(), lease, why: Withdrawal::Lapsed });
            self.offer_on(&call, now, out);
        }
    }

    /// Offers a call that nobody holds to the next instance, or tells that there is none.
    pub(super) fn offer_on(&mut self, call: &str, now: Instant, out: &mut Vec<Notice>) {
        let Some((call, offering)) = self.offerings.get_key_value(call) else { return };
        self.deadlines.remove(&(offering.until, call.clone()));
        let call = call.clone();
        let may_go_on = offering.tried.len() < self.limits.tries_max;
        let bot = self.bots.get(&*offering.bot).filter(|_| may_go_on);
        match bot.and_then(|bot| bot.next(&offering.tried, now)) {
            Some(next) => self.give(&call, next, now, out),
            None => {
                let (call, offering) = self.offerings.remove_entry(&*call).expect("it was just there");
                self.decided.remember(call.clone(), offering.bot);
                out.push(Notice::Refused { call, was_rejected: offering.was_rejected });
            }
        }
    }

    fn give(&mut self, call: &CallName, holder: LeaseId, now: Instant, out: &mut Vec<Notice>) {
        let until = now + self.limits.offer_within;
        let offering = self.offerings.get_mut(call).expect("an offering is given on");
        (offering.holder, offering.until) = (holder, until);
        offering.tried.push(holder);
        let held = self.bots.get_mut(&*offering.bot).and_then(|bot| bot.leased(holder));
        held.expect("the next one has a lease").offer(call.clone(), now);
        self.deadlines.insert((until, call.clone()));
        out.push(Notice::Offered { call: call.clone(), lease: holder, until });
    }

    /// Takes the offer from its holder, who is told or judged by `answer`.
    fn take_back(
        &mut self,
        call: &str,
        answer: impl FnOnce(&mut super::seat::Lease),
    ) -> Option<(CallName, LeaseId)> {
        let (call, offering) = self.offerings.get_key_value(call)?;
        self.deadlines.remove(&(offering.until, call.clone()));
        let held = self.bots.get_mut(&*offering.bot).and_then(|bot| bot.leased(offering.holder));
        if let Some(held) = held {
            held.take_back(call);
            answer(held);
        }
        Some((call.clone(), offering.holder))
    }

    /// Ends the offering: it was accepted, or the caller went.
    fn close(&mut self, call: &str) -> Option<(CallName, Offering)> {
        self.take_back(call, |_| {})?;
        let (call, offering) = self.offerings.remove_entry(call)?;
        self.decided.remember(call.clone(), offering.bot.clone());
        Some((call, offering))
    }
}
