//! The phone calls of this machine: which `CallSid` is which call, and the tokens in the addresses that we give to
//! Twilio.
//!
//! A token is 128 bits of HMAC-SHA256 under a key of this process, so that the same webhook gives the same TwiML while
//! only the token's SHA-256 is kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::admission::Ticket;
use crate::id::{hex, random};
use crate::secret::Private;

/// More resumes than this within [`RESUME_WINDOW`]: something is broken, the tenant's fallback takes over.
const RESUMES_MAX: usize = 3;
const RESUME_WINDOW: Duration = Duration::from_secs(60);
/// A phone call of which nothing was heard for this long is forgotten, once its call is over.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// How often the forgotten are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// One phone call.
#[derive(Clone, Debug)]
pub struct Phone {
    /// Our id of the call: `call_…`.
    pub id: String,
    /// Whose call.
    pub tenant: String,
    /// By which route.
    pub route: String,
    /// `CA…`; `None` until the callee of an outbound call answers.
    pub call_sid: Option<String>,
    /// The other party, if we called it.
    pub callee: Option<Private<String>>,
    epoch: u32,
    stream: Stream,
    heard_at: Instant,
    resumed_at: VecDeque<Instant>,
}

/// How the media socket of the newest epoch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    /// Its token may be used until then.
    Offered { until: Instant },
    /// Its token is spent.
    Taken,
    /// None was offered yet: an outbound call that rings.
    Ringing,
}

/// The two secrets in the addresses of one TwiML document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Of `GET /twilio/media/{token}`; good once.
    pub media: String,
    /// Of `POST /twilio/resume/{token}`; good as long as the call.
    pub resume: String,
}

/// What `POST /twilio/resume` found.
#[derive(Clone, Debug)]
pub enum Resumed {
    /// The call may go on at these addresses, if it still lives.
    Again(Box<Phone>, Addresses),
    /// Too often: the fallback.
    TooOften(Box<Phone>),
    /// An outbound call was answered; nothing was started yet.
    Answered(Box<Phone>, Addresses),
}

/// The tables. The lock protects them, for the time of one look-up or change; nothing is awaited under it.
pub struct Phones {
    key: [u8; 32],
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    /// By our id.
    phones: HashMap<String, Phone>,
    by_sid: HashMap<String, String>,
    /// SHA-256 of a media token of the newest epoch → our id.
    media: HashMap<[u8; 32], String>,
    /// SHA-256 of a resume token → our id.
    resume: HashMap<[u8; 32], String>,
    /// Of outbound calls that ring.
    tickets: HashMap<String, Ticket>,
    swept_at: Option<Instant>,
}

impl Default for Phones {
    fn default() -> Self {
        Self::new()
    }
}

impl Phones {
    /// No calls, and a fresh key.
    #[must_use]
    pub fn new() -> Self {
        Self { key: random(), tables: Mutex::default() }
    }

    /// Answers a voice webhook: the addresses of the phone call `call_sid`. It is entered on its first webhook by
    /// `start`, which is given the id for the new call; a repeated webhook gets the same addresses and starts nothing.
    ///
    /// # Errors
    /// As `start` says.
    pub fn ring<E>(
        &self,
        call_sid: &str,
        (tenant, route): (&str, &str),
        now: Instant,
        token_for: Duration,
        start: impl FnOnce(&str) -> Result<(), E>,
    ) -> Result<Addresses, E> {
        let mut tables = self.tables();
        if let Some(id) = tables.by_sid.get(call_sid).cloned() {
            return Ok(self.again(&mut tables, &id, now, token_for));
        }
        let id = crate::id::fresh("call_");
        start(&id)?;
        let phone = Phone {
            id: id.clone(),
            tenant: tenant.to_owned(),
            route: route.to_owned(),
            call_sid: Some(call_sid.to_owned()),
            callee: None,
            epoch: 0,
            stream: Stream::Offered { until: now + token_for },
            heard_at: now,
            resumed_at: VecDeque::new(),
        };
        tables.by_sid.insert(call_sid.to_owned(), id);
        Ok(self.enter(&mut tables, phone))
    }

    /// Enters an outbound call before Twilio is asked to place it, and answers its id and its resume token: Twilio may
    /// come with it before we have heard the `CallSid`. It holds `ticket` while it rings.
    pub fn dial(
        &self,
        (tenant, route): (&str, &str),
        callee: Private<String>,
        ticket: Option<Ticket>,
        now: Instant,
    ) -> (String, String) {
        let id = crate::id::fresh("call_");
        let phone = Phone {
            id: id.clone(),
            tenant: tenant.to_owned(),
            route: route.to_owned(),
            call_sid: None,
            callee: Some(callee),
            epoch: 0,
            stream: Stream::Ringing,
            heard_at: now,
            resumed_at: VecDeque::new(),
        };
        let mut tables = self.tables();
        let addresses = self.enter(&mut tables, phone);
        if let Some(ticket) = ticket {
            tables.tickets.insert(id.clone(), ticket);
        }
        (id, addresses.resume)
    }

    /// The ticket of an outbound call that was answered.
    #[must_use]
    pub fn take_ticket(&self, id: &str) -> Option<Ticket> {
        self.tables().tickets.remove(id)
    }

    /// Binds an outbound call to its `CallSid`. False when it is bound to another.
    pub fn bind(&self, id: &str, call_sid: &str) -> bool {
        let mut tables = self.tables();
        let Some(phone) = tables.phones.get_mut(id) else { return false };
        match &phone.call_sid {
            Some(bound) => bound == call_sid,
            None => {
                phone.call_sid = Some(call_sid.to_owned());
                tables.by_sid.insert(call_sid.to_owned(), id.to_owned());
                true
            }
        }
    }

    fn enter(&self, tables: &mut Tables, phone: Phone) -> Addresses {
        let addresses = self.addresses(&phone);
        tables.media.insert(hash(&addresses.media), phone.id.clone());
        tables.resume.insert(hash(&addresses.resume), phone.id.clone());
        tables.phones.insert(phone.id.clone(), phone);
        addresses
    }

    /// A repeated webhook. While the stream was not taken, its token lives on from now.
    fn again(&self, tables: &mut Tables, id: &str, now: Instant, token_for: Duration) -> Addresses {
        let phone = tables.phones.get_mut(id).expect("a CallSid in the table has its phone call");
        phone.heard_at = now;
        if matches!(phone.stream, Stream::Offered { .. }) {
            phone.stream = Stream::Offered { until: now + token_for };
        }
        self.addresses(phone)
    }

    fn addresses(&self, phone: &Phone) -> Addresses {
        Addresses { media: self.token("media", phone), resume: self.token("resume", phone) }
    }

    fn token(&self, purpose: &str, phone: &Phone) -> String {
        let epoch = if purpose == "media" { phone.epoch } else { 0 };
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(format!("{purpose}/{}/{epoch}", phone.id).as_bytes());
        hex(&mac.finalize().into_bytes()[..16])
    }

    /// The phone call whose media token this is, unspent and in time. Spends nothing.
    #[must_use]
    pub fn offered(&self, media_token: &str, now: Instant) -> Option<Phone> {
        let tables = self.tables();
        let phone = tables.phones.get(tables.media.get(&hash(media_token))?)?;
        phone.is_offered(now).then(|| phone.clone())
    }

    /// Spends a media token. Of two who try, one gets it.
    #[must_use]
    pub fn spend(&self, media_token: &str, now: Instant) -> bool {
        let mut tables = self.tables();
        let Some(id) = tables.media.get(&hash(media_token)).cloned() else { return false };
        let Some(phone) = tables.phones.get_mut(&id).filter(|phone| phone.is_offered(now)) else {
            return false;
        };
        phone.stream = Stream::Taken;
        phone.heard_at = now;
        true
    }

    /// Takes a resume token that came with `call_sid`; a fresh media token replaces the old one. `None` for a token that
    /// is not ours, or of another phone call.
    #[must_use]
    pub fn resume(&self, token: &str, call_sid: &str, now: Instant, token_for: Duration) -> Option<Resumed> {
        let mut tables = self.tables();
        let id = tables.resume.get(&hash(token))?.clone();
        let phone = tables.phones.get_mut(&id)?;
        if phone.call_sid.as_deref().is_some_and(|bound| bound != call_sid) {
            return None;
        }
        let is_first = phone.stream == Stream::Ringing;
        phone.heard_at = now;
        if phone.resumes_too_often(now) {
            return Some(Resumed::TooOften(Box::new(phone.clone())));
        }
        let spent = hash(&self.token("media", phone));
        phone.epoch += 1;
        phone.stream = Stream::Offered { until: now + token_for };
        phone.call_sid = Some(call_sid.to_owned());
        let phone = phone.clone();
        tables.by_sid.insert(call_sid.to_owned(), id.clone());
        tables.media.remove(&spent);
        let addresses = self.addresses(&phone);
        tables.media.insert(hash(&addresses.media), id);
        let phone = Box::new(phone);
        Some(if is_first { Resumed::Answered(phone, addresses) } else { Resumed::Again(phone, addresses) })
    }

    /// The phone call with that `CallSid`.
    #[must_use]
    pub fn by_sid(&self, call_sid: &str) -> Option<Phone> {
        let tables = self.tables();
        tables.phones.get(tables.by_sid.get(call_sid)?).cloned()
    }

    /// The phone call with that id.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<Phone> {
        self.tables().phones.get(id).cloned()
    }

    /// Forgets a phone call.
    pub fn forget(&self, id: &str) {
        self.remove(&mut self.tables(), id);
    }

    /// From time to time, forgets those of which nothing was heard for long and whose call `is_over`.
    pub fn sweep(&self, now: Instant, is_over: impl Fn(&str) -> bool) {
        let mut tables = self.tables();
        if tables.swept_at.is_some_and(|at| now.saturating_duration_since(at) < SWEEP_EVERY) {
            return;
        }
        tables.swept_at = Some(now);
        let silent = |phone: &&Phone| now.saturating_duration_since(phone.heard_at) > FORGET_AFTER;
        let over: Vec<String> =
            tables.phones.values().filter(silent).filter(|p| is_over(&p.id)).map(|p| p.id.clone()).collect();
        for id in over {
            self.remove(&mut tables, &id);
        }
    }

    fn remove(&self, tables: &mut Tables, id: &str) {
        let Some(phone) = tables.phones.remove(id) else { return };
        // Its drop takes the lock of the books, which nobody holds while waiting for ours.
        drop(tables.tickets.remove(id));
        let addresses = self.addresses(&phone);
        tables.media.remove(&hash(&addresses.media));
        tables.resume.remove(&hash(&addresses.resume));
        if let Some(sid) = &phone.call_sid {
            tables.by_sid.remove(sid);
        }
    }

    fn tables(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.tables.lock().expect("nobody panics while holding the tables")
    }
}

impl Phone {
    fn is_offered(&self, now: Instant) -> bool {
        matches!(self.stream, Stream::Offered { until } if now <= until)
    }

    fn resumes_too_often(&mut self, now: Instant) -> bool {
        self.resumed_at.retain(|at| now.saturating_duration_since(*at) < RESUME_WINDOW);
        if self.resumed_at.len() >= RESUMES_MAX {
            return true;
        }
        self.resumed_at.push_back(now);
        false
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ring(phones: &Phones, sid: &str, now: Instant) -> Addresses {
        let start = |_: &str| Ok::<(), Infallible>(());
        phones.ring(sid, ("t", "r"), now, MINUTE, start).unwrap()
    }

    #[test]
    fn a_media_token_is_good_once() {
        let (phones, now) = (Phones::new(), Instant::now());
        let addresses = ring(&phones, "CA1", now);
        assert_eq!(addresses.media.len(), 32);
        assert!(phones.offered(&addresses.media, now).is_some(), "looking spends nothing");
        let takers = (0..1000).filter(|_| phones.spend(&addresses.media, now)).count();
        assert_eq!(takers, 1);
        assert!(phones.offered(&addresses.media, now).is_none());
    }

    #[test]
    fn a_media_token_expires() {
        let (phones, now) = (Phones::new(), Instant::now());
        let addresses = ring(&phones, "CA1", now);
        assert!(phones.offered(&addresses.media, now + MINUTE).is_some());
        assert!(!phones.spend(&addresses.media, now + MINUTE + Duration::from_millis(1)));
    }

    #[test]
    fn a_repeated_webhook_gets_the_same_addresses_and_starts_nothing() {
        let (phones, now) = (Phones::new(), Instant::now());
        let first = ring(&phones, "CA1", now);
        let start = |_: &str| -> Result<(), &str> { Err("must not start") };
        assert_eq!(phones.ring("CA1", ("t", "r"), now + MINUTE, MINUTE, start).unwrap(), first);
        assert!(phones.spend(&first.media, now + MINUTE + MINUTE), "its time begins anew");
        assert_ne!(ring(&phones, "CA2", now), first);
        assert!(phones.ring("CA3", ("t", "r"), now, MINUTE, start).is_err());
        assert!(phones.by_sid("CA3").is_none(), "what was not started is not kept");
    }

    #[test]
    fn a_resume_replaces_the_media_token_and_is_bound_to_its_phone_call() {
        let (phones, now) = (Phones::new(), Instant::now());
        let first = ring(&phones, "CA1", now);
        assert!(phones.resume(&first.resume, "CA2", now, MINUTE).is_none());
        assert!(phones.resume(&first.media, "CA1", now, MINUTE).is_none(), "a media token resumes nothing");
        let Some(Resumed::Again(phone, second)) = phones.resume(&first.resume, "CA1", now, MINUTE) else {
            panic!("resumes")
        };
        assert_eq!(phone.tenant, "t");
        assert_eq!(second.resume, first.resume);
        assert!(!phones.spend(&first.media, now), "the old token is void");
        assert!(phones.spend(&second.media, now));
    }

    #[test]
    fn the_fourth_resume_in_a_minute_falls_back() {
        let (phones, now) = (Phones::new(), Instant::now());
        let addresses = ring(&phones, "CA1", now);
        let resume = |at| phones.resume(&addresses.resume, "CA1", now + at, MINUTE).unwrap();
        for second in [0, 10, 20] {
            assert!(matches!(resume(Duration::from_secs(second)), Resumed::Again(..)));
        }
        assert!(matches!(resume(Duration::from_secs(30)), Resumed::TooOften(_)));
        assert!(matches!(resume(Duration::from_secs(61)), Resumed::Again(..)), "a minute later it may again");
    }

    #[test]
    fn an_outbound_call_is_bound_by_whoever_comes_first() {
        let (phones, now) = (Phones::new(), Instant::now());
        let (id, resume) = phones.dial(("t", "r"), Private::new("+491".into()), None, now);
        let answered = phones.resume(&resume, "CA1", now, MINUTE);
        assert!(matches!(answered, Some(Resumed::Answered(..))));
        assert!(phones.bind(&id, "CA1"), "Twilio's reply comes later");
        assert!(!phones.bind(&id, "CA2"));
        assert!(matches!(phones.resume(&resume, "CA1", now, MINUTE), Some(Resumed::Again(..))));
    }

    #[test]
    fn what_is_over_and_silent_is_forgotten_with_its_tokens() {
        let (phones, now) = (Phones::new(), Instant::now());
        let old = ring(&phones, "CA1", now);
        let later = now + FORGET_AFTER + MINUTE;
        phones.sweep(later, |_| false);
        assert!(phones.by_sid("CA1").is_some(), "a long call is not forgotten");
        phones.sweep(later + MINUTE, |_| true);
        assert!(phones.by_sid("CA1").is_none());
        assert!(phones.resume(&old.resume, "CA1", later, MINUTE).is_none());
        let tables = phones.tables();
        assert_eq!((tables.phones.len(), tables.media.len(), tables.resume.len()), (0, 0, 0));
    }

    #[test]
    fn two_processes_give_different_tokens() {
        let now = Instant::now();
        assert_ne!(ring(&Phones::new(), "CA1", now), ring(&Phones::new(), "CA1", now));
    }
}
