//! [`Desk`]: the directory, the boxes of events of its leases, and the callers who wait for an answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use patchbay_core::{
    BotId, CallName, Directory, Format, Instant, LeaseId, NotAccepted, NotOffered, Notice, Refusal, Status,
    Withdrawal,
};
use serde_json::json;
use tokio::sync::oneshot;

use super::human::Attest;
use super::outbox::Outbox;
use super::{Accepted, Offer, audio_type};

/// When to try a bot again that is busy.
const BUSY: Duration = Duration::from_secs(5);

/// What is behind the lock of [`super::Bots`].
#[derive(Default)]
pub(super) struct Desk {
    pub(super) directory: Directory,
    pub(super) outboxes: HashMap<LeaseId, Arc<Outbox>>,
    waiting: HashMap<CallName, Waiting>,
    taken: HashMap<CallName, Accepted>,
    pub(super) notices: Vec<Notice>,
    /// When the keeper of the time will wake.
    armed: Option<Instant>,
}

struct Waiting {
    offer: Offer,
    tell: oneshot::Sender<Result<Accepted, Refusal>>,
}

/// Why a call cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// There is no such lease of this bot.
    NoLease,
    /// The directory says no.
    Offer(NotAccepted),
    /// The call is not to be had in that format.
    Format,
}

impl Desk {
    pub(super) fn begin(
        &mut self,
        offer: Offer,
        tell: oneshot::Sender<Result<Accepted, Refusal>>,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.pass(now);
        let missing = || Refusal::Status { status: 404, retry_after: None };
        let bot = BotId::new(&offer.tenant, &offer.bot).map_err(|_| missing())?;
        let call: CallName = offer.call_id.as_str().into();
        match self.directory.offer(&bot, call.clone(), now, &mut self.notices) {
            Ok(()) => {
                self.waiting.insert(call, Waiting { offer, tell });
                Ok(())
            }
            Err(NotOffered::Offline) => Err(missing()),
            Err(NotOffered::Busy | NotOffered::Full) => {
                Err(Refusal::Status { status: 503, retry_after: Some(BUSY) })
            }
            Err(NotOffered::Twice) => Err(Refusal::Status { status: 409, retry_after: None }),
        }
    }

    /// The caller went before anybody answered, or while somebody did.
    pub(super) fn cancel(&mut self, call: &str, now: Instant) {
        self.pass(now);
        self.waiting.remove(call);
        self.directory.cancel(call, &mut self.notices);
        self.end(call, "canceled", now);
    }

    pub(super) fn end(&mut self, call: &str, reason: &str, now: Instant) {
        self.pass(now);
        self.taken.remove(call);
        if let Some(lease) = self.directory.release(call)
            && let Some(outbox) = self.outboxes.get(&lease)
        {
            outbox.push("call.ended", &json!({ "call_id": call, "reason": reason }));
        }
    }

    pub(super) fn taken(&self, call: &str) -> Option<Accepted> {
        self.taken.get(call).cloned()
    }

    /// The outbox of a lease that is this bot's.
    pub(super) fn outbox(&self, bot: &BotId, lease: LeaseId) -> Option<Arc<Outbox>> {
        self.outboxes.get(&lease).filter(|outbox| outbox.bot == *bot).cloned()
    }

    /// A bot takes a call, in these formats if it says so.
    pub(super) fn accept(
        &mut self,
        (bot, lease): (&BotId, LeaseId),
        call: &str,
        (receive, send): (Option<Format>, Option<Format>),
        now: Instant,
    ) -> Result<Accepted, NotTaken> {
        self.pass(now);
        self.outbox(bot, lease).ok_or(NotTaken::NoLease)?;
        let own = self.directory.formats_of(lease);
        let codecs =
            self.waiting.get(call).map(|waiting| waiting.offer.codecs.as_slice()).unwrap_or_default();
        let is_offered = |format: &Format| codecs.is_empty() || codecs.contains(format);
        if ![receive, send].iter().flatten().all(is_offered) {
            return Err(NotTaken::Format);
        }
        let usual = own.iter().copied().find(|format| codecs.contains(format));
        let usual = usual.or_else(|| codecs.first().copied()).unwrap_or(Format::OPUS);
        let won = self.directory.accept(call, lease, now).map_err(NotTaken::Offer)?;
        if let Some(accepted) = self.taken.get(call) {
            return Ok(accepted.clone());
        }
        let accepted = Accepted {
            bot: won.bot,
            instance: won.instance.into(),
            lease: lease.to_string(),
            receive: receive.unwrap_or(usual),
            send: send.or(receive).unwrap_or(usual),
        };
        if let Some((call, waiting)) = self.waiting.remove_entry(call) {
            self.taken.insert(call, accepted.clone());
            // A caller who goes at this very moment takes the call back by dropping what waits for it.
            let _ = waiting.tell.send(Ok(accepted.clone()));
        }
        Ok(accepted)
    }

    pub(super) fn reject(
        &mut self,
        (bot, lease): (&BotId, LeaseId),
        call: &str,
        now: Instant,
    ) -> Result<(), NotTaken> {
        self.pass(now);
        self.outbox(bot, lease).ok_or(NotTaken::NoLease)?;
        self.directory.reject(call, lease, now, &mut self.notices).map_err(NotTaken::Offer)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.directory.poll_timeout()
    }

    /// Whether something is due before the keeper of the time would wake; it is then taken as woken.
    pub(super) fn is_sooner(&mut self) -> bool {
        let next = self.poll_timeout();
        let is_sooner = next.is_some_and(|next| self.armed.is_none_or(|armed| next < armed));
        self.armed = next;
        is_sooner
    }

    pub(super) fn pass(&mut self, now: Instant) {
        self.directory.handle_timeout(now, &mut self.notices);
    }

    /// Carries out the notices; answers whose status changed.
    pub(super) fn deliver(
        &mut self,
        attest: &Attest,
        now: Instant,
        unix: impl Fn(Instant) -> u64,
    ) -> Vec<(BotId, Status)> {
        let mut changes = Vec::new();
        for notice in std::mem::take(&mut self.notices) {
            match notice {
                Notice::Offered { call, lease, until } => {
                    let (Some(waiting), Some(outbox)) = (self.waiting.get(&call), self.outboxes.get(&lease))
                    else {
                        continue;
                    };
                    outbox.push(
                        "call.incoming",
                        &incoming(&waiting.offer, outbox, attest, (unix(now), unix(until))),
                    );
                }
                Notice::Withdrawn { call, lease, why } => {
                    let reason = match why {
                        Withdrawal::Lapsed => "offer_expired",
                        Withdrawal::Canceled => "canceled",
                    };
                    if let Some(outbox) = self.outboxes.get(&lease) {
                        outbox.push("call.canceled", &json!({ "call_id": &*call, "reason": reason }));
                    }
                }
                Notice::Refused { call, was_rejected } => {
                    let refusal = match was_rejected {
                        true => Refusal::Status { status: 403, retry_after: None },
                        false => Refusal::Timeout,
                    };
                    if let Some(waiting) = self.waiting.remove(&call) {
                        let _ = waiting.tell.send(Err(refusal));
                    }
                }
                Notice::Ended { lease } => {
                    if let Some(outbox) = self.outboxes.remove(&lease) {
                        outbox.close();
                    }
                }
                Notice::Is { bot, status } => changes.push((bot, status)),
            }
        }
        changes
    }
}

fn incoming(offer: &Offer, outbox: &Outbox, attest: &Attest, (now, until): (u64, u64)) -> serde_json::Value {
    let codecs: Vec<String> = offer.codecs.iter().map(|format| audio_type::name(*format)).collect();
    json!({
        "call_id": offer.call_id,
        "bot_id": offer.bot,
        "lease": outbox.lease.to_string(),
        "from": { "kind": offer.from },
        "ticket": attest.ticket(offer, now),
        "codecs": codecs,
        "expires_at": until,
    })
}
