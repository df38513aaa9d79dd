//! [`Bots`]: calls are offered to bots, and bots take them.
//!
//! The directory ([`patchbay_core::Directory`]) decides who gets a call, and when it goes to somebody else. Here is what it
//! needs of the world: the clock, a box of events for each lease, and the callers who wait.

use std::sync::{Arc, Mutex, MutexGuard};

use patchbay_core::{BotId, Format, Refusal, Status};
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tokio::time::Instant;

use crate::config::Config;

pub mod audio_type;
mod desk;
pub mod human;
pub mod keys;
pub mod outbox;
pub mod registering;
mod replays;

pub use desk::NotTaken;
pub use human::{Human, Level, Method};
pub use outbox::{Listening, Outbox};
pub use registering::{Delivery, Wanted};

use desk::Desk;
use human::Attest;
use replays::Replays;

/// Changes of status that a slow listener may miss before it is told to look anew.
const STATUSES_MAX: usize = 1024;

/// A call that is to be offered to a bot.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Whose.
    pub tenant: String,
    /// The bot's name within the tenant.
    pub bot: String,
    /// `call_…`
    pub call_id: String,
    /// Who calls.
    pub from: From,
    /// How they reach us.
    pub transport: Transport,
    /// What the bot may hear and speak, the best first; never empty.
    pub codecs: Vec<Format>,
    /// What was checked about them.
    pub human: Human,
}

/// Who calls a bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// A telephone.
    Phone,
    /// A browser, or another program of a person.
    Browser,
    /// Another bot.
    Bot,
}

/// How a caller reaches us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Media Streams.
    Twilio,
    /// A browser's peer connection.
    WebRtc,
    /// The realtime protocol.
    WebSocket,
    /// A bot's own transport.
    Bot,
}

/// A call that a bot took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Which bot.
    pub bot: BotId,
    /// Which of its instances.
    pub instance: String,
    /// Under which lease.
    pub lease: String,
    /// What the bot wants to hear.
    pub receive: Format,
    /// What it will send.
    pub send: Format,
}

/// The bots of this machine. The lock protects the desk, for the time of one operation.
pub struct Bots {
    desk: Mutex<Desk>,
    epoch: Instant,
    /// The earliest deadline came nearer.
    woken: Notify,
    replays: Mutex<Replays>,
    statuses: broadcast::Sender<(BotId, Status)>,
    attest: Attest,
}

impl Bots {
    /// No bots yet; `public_url` is the gateway's own address.
    #[must_use]
    pub fn new(config: watch::Receiver<Arc<Config>>, public_url: &str) -> Arc<Self> {
        Arc::new(Self {
            desk: Mutex::default(),
            epoch: Instant::now(),
            woken: Notify::new(),
            replays: Mutex::default(),
            statuses: broadcast::Sender::new(STATUSES_MAX),
            attest: Attest::new(config, public_url),
        })
    }

    /// Offers a call to the bot's instances, one after the other, until one takes it. Whoever drops the future takes the
    /// offer back, or the call if it was just accepted.
    ///
    /// # Errors
    /// [`Refusal::Status`] 404: unknown or offline; 503: busy; 403: rejected. [`Refusal::Timeout`]: nobody answered.
    pub async fn call(&self, offer: Offer) -> Result<Accepted, Refusal> {
        let (tell, mut told) = oneshot::channel();
        let mut waiting = Waiting { bots: self, call: offer.call_id.clone(), is_decided: false };
        {
            let mut desk = self.desk();
            let begun = desk.begin(offer, tell, self.now());
            self.settle(&mut desk);
            if let Err(refusal) = begun {
                waiting.is_decided = true;
                return Err(refusal);
            }
        }
        loop {
            let next = self.desk().poll_timeout().map_or(self.epoch, |at| self.instant(at));
            tokio::select! {
                answer = &mut told => {
                    waiting.is_decided = true;
                    return answer.unwrap_or(Err(Refusal::Unreachable));
                }
                () = tokio::time::sleep_until(next) => self.look(),
            }
        }
    }

    /// An accepted call is over: its place is free, and the bot is told. Does nothing for other calls.
    pub fn ended(&self, call_id: &str, reason: &str) {
        let mut desk = self.desk();
        desk.end(call_id, reason, self.now());
        self.settle(&mut desk);
    }

    /// A call that this bot took, and that is not over.
    #[must_use]
    pub fn taken(&self, bot: &BotId, call_id: &str) -> Option<Accepted> {
        self.desk().taken(call_id).filter(|accepted| accepted.bot == *bot)
    }

    /// Whether a bot can be called.
    #[must_use]
    pub fn status(&self, bot: &BotId) -> Status {
        self.desk().directory.status(bot)
    }

    /// What changes from now on.
    #[must_use]
    pub fn statuses(&self) -> broadcast::Receiver<(BotId, Status)> {
        self.statuses.subscribe()
    }

    /// Public keys of the tickets (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.attest.keys().jwks()
    }

    /// Ends leases and offers in time, for ever. The caller owns the task.
    pub async fn keep_time(&self) {
        loop {
            let woken = self.woken.notified();
            let next = self.desk().poll_timeout().map(|at| self.instant(at));
            match next {
                Some(next) => {
                    let _ = tokio::time::timeout_at(next, woken).await;
                }
                None => woken.await,
            }
            self.look();
        }
    }

    /// Does what the time asks for.
    fn look(&self) {
        let mut desk = self.desk();
        desk.pass(self.now());
        self.settle(&mut desk);
    }

    /// Tells everybody what followed.
    fn settle(&self, desk: &mut Desk) {
        for (bot, status) in desk.deliver(&self.attest, self.now(), |at| self.unix(at)) {
            // Nobody may be listening.
            let _ = self.statuses.send((bot, status));
        }
        if desk.is_sooner() {
            self.woken.notify_one();
        }
    }

    fn now(&self) -> patchbay_core::Instant {
        patchbay_core::Instant::ZERO + self.epoch.elapsed()
    }

    fn instant(&self, at: patchbay_core::Instant) -> Instant {
        self.epoch + std::time::Duration::from_micros(at.as_micros())
    }

    /// Seconds since 1970 of a moment to come, rounded up.
    fn unix(&self, at: patchbay_core::Instant) -> u64 {
        let left = at.saturating_since(self.now());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        (now + left).as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect("nobody panics while holding the desk")
    }
}

/// A caller who waits for a bot. One who goes takes the offer back.
struct Waiting<'b> {
    bots: &'b Bots,
    call: String,
    is_decided: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_decided {
            let mut desk = self.bots.desk();
            desk.cancel(&self.call, self.bots.now());
            self.bots.settle(&mut desk);
        }
    }
}
