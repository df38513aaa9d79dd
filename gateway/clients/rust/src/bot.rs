//! A bot: registered with a gateway, found by callers, offered calls.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{Stream, stream};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::attestation::{Attestation, Level, Verifier};
use crate::backoff::{Backoff, random};
use crate::call::{Call, Mode};
use crate::error::Error;
use crate::gateway::{Ask, Bearer, Gateway};
use crate::key::{BotKey, TOKEN_LIFE};
use crate::sse;

const EVENTS: &str = "/v1/bots/self/events";
/// What the gateway may hold a long poll for, and how long polling goes on before the stream is tried again.
const POLL_S: u64 = 25;
const POLLING_FOR: Duration = Duration::from_secs(300);
/// Offers that wait to be looked at. More are not read.
const OFFERS_MAX: usize = 100;

/// How a bot reaches its gateway. The default is good.
#[derive(Clone, Debug)]
pub struct Options {
    /// The gateway's `public_url`, which tokens are made out to, if the bot reaches it at another address.
    pub audience: Option<String>,
    /// Names this instance; random unless given.
    pub instance: Option<String>,
    /// A connection without a byte for so long is given up. The gateway sends something every 10 s.
    pub silent: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { audience: None, instance: None, silent: Duration::from_secs(12) }
    }
}

/// What the directory is told. The default is good.
#[derive(Clone, Debug)]
pub struct Wish {
    /// For people.
    pub name: Option<String>,
    /// What callers may search for.
    pub capabilities: Vec<String>,
    /// What the bot can receive and send.
    pub formats: Vec<String>,
    /// How many calls at once this instance takes: 1 to 1000.
    pub capacity: u32,
    /// After how long the lease ends should this program die: at most 300 s.
    pub ttl: Duration,
}

impl Default for Wish {
    fn default() -> Self {
        let formats = vec![crate::OPUS.to_owned()];
        Self { name: None, capabilities: Vec::new(), formats, capacity: 10, ttl: Duration::from_secs(60) }
    }
}

/// A call that is offered. It stands for about 5 s.
#[derive(Clone, Debug)]
pub struct IncomingCall {
    /// Its name at the gateway.
    pub call_id: String,
    /// Of what kind the caller is: `phone`, `browser` or `bot`.
    pub caller: String,
    /// For [`Bot::verify_human_attestation`].
    pub ticket: String,
    /// What the caller's side can do.
    pub codecs: Vec<String>,
    /// In seconds since 1970.
    pub expires_at: f64,
    lease: String,
    canceled: Arc<AtomicBool>,
}

impl IncomingCall {
    /// Whether the offer was taken back.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.canceled.load(Ordering::Relaxed)
    }
}

/// One instance of a bot at one gateway. A clone is the same bot.
#[derive(Clone, Debug)]
pub struct Bot {
    one: Arc<One>,
}

#[derive(Debug)]
struct One {
    bot_id: String,
    instance: String,
    gateway: Gateway,
    registrar: Gateway,
    verifier: Verifier,
    mode: Arc<Mode>,
    // Held for a few lines, never over an await.
    state: Mutex<State>,
    // Held by whoever waits for the next offer.
    offers: tokio::sync::Mutex<mpsc::Receiver<IncomingCall>>,
    hand: mpsc::Sender<IncomingCall>,
}

#[derive(Debug, Default)]
struct State {
    wish: Option<Value>,
    lease: String,
    waiting: HashMap<String, IncomingCall>,
    calls: HashMap<String, Call>,
    running: Vec<AbortHandle>,
}

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    call_id: String,
    #[serde(default)]
    lease: String,
    #[serde(default)]
    from: Value,
    #[serde(default)]
    ticket: String,
    #[serde(default)]
    codecs: Vec<String>,
    #[serde(default)]
    expires_at: f64,
    #[serde(default)]
    reason: Option<String>,
}

/// Where the events were read up to.
#[derive(Default)]
struct Place {
    lease: String,
    last_id: String,
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Bot {
    /// A bot that is not registered yet. `gateway_url` is the gateway's `public_url`.
    ///
    /// # Errors
    /// [`Error::Setting`] if that is no address.
    pub fn new(gateway_url: &str, bot_id: &str, key: BotKey, options: Options) -> Result<Self, Error> {
        let audience = options.audience.as_deref().unwrap_or(gateway_url).trim_end_matches('/').to_owned();
        let verifier = Verifier::new(&audience, bot_id);
        let of = bot_id.to_owned();
        let mint: Bearer = Arc::new(move || key.token(&of, &audience, now()));
        let registrar = Gateway::new(gateway_url, Arc::clone(&mint), options.silent)?;
        let gateway = registrar.with_bearer(kept(mint));
        let (hand, offers) = mpsc::channel(OFFERS_MAX);
        let instance = options.instance.unwrap_or_else(|| format!("{:016x}", u64::from_be_bytes(random())));
        let one = One {
            bot_id: bot_id.to_owned(),
            instance,
            gateway,
            registrar,
            verifier,
            mode: Arc::default(),
            state: Mutex::default(),
            offers: tokio::sync::Mutex::new(offers),
            hand,
        };
        Ok(Self { one: Arc::new(one) })
    }

    /// The lease; empty before registration.
    #[must_use]
    pub fn lease(&self) -> String {
        self.one.state().lease.clone()
    }

    /// Enters the gateway's directory: from now on callers find the bot, and calls are offered to this instance. Answers the lease, which is
    /// refreshed by itself until [`close`](Self::close).
    ///
    /// # Errors
    /// [`Error::Refused`] (401: the key is not known, or the clock is wrong), [`Error::Lost`], [`Error::Silent`].
    pub async fn register_with_discovery(&self, wish: Wish) -> Result<String, Error> {
        let mut told = json!({ "id": self.one.bot_id, "instance": self.one.instance, "capabilities": wish.capabilities,
            "formats": wish.formats, "capacity": wish.capacity, "delivery": "sse", "ttl": wish.ttl.as_secs() });
        if let Some(name) = wish.name {
            told["name"] = name.into();
        }
        self.one.state().wish = Some(told);
        let again = self.one.register().await?;
        let mut state = self.one.state();
        if state.running.is_empty() {
            let (refreshed, listened) = (Arc::clone(&self.one), Arc::clone(&self.one));
            let refreshing = tokio::spawn(async move { refreshed.refresh(again).await });
            let listening = tokio::spawn(async move { listened.listen().await });
            state.running = vec![refreshing.abort_handle(), listening.abort_handle()];
        }
        Ok(state.lease.clone())
    }

    /// The next call that is offered to this instance. It wants [`accept_call`](Self::accept_call) or [`reject_call`](Self::reject_call) within 5 s;
    /// else another instance is asked.
    pub async fn next_call(&self) -> Option<IncomingCall> {
        let mut offers = self.one.offers.lock().await;
        loop {
            let offer = offers.recv().await?;
            if !offer.is_canceled() {
                return Some(offer);
            }
        }
    }

    /// The calls that are offered, as a stream.
    pub fn calls(&self) -> impl Stream<Item = IncomingCall> + Send + use<> {
        stream::unfold(self.clone(), |bot| async { Some((bot.next_call().await?, bot)) })
    }

    /// Takes an offered call, with [`OPUS`](crate::OPUS), or with raw audio ([`ULAW`](crate::ULAW), [`PCM_24K`](crate::PCM_24K)), both ways.
    ///
    /// # Errors
    /// [`Error::OfferExpired`], [`Error::CallTaken`], [`Error::Refused`], [`Error::Lost`].
    pub async fn accept_call(&self, incoming: &IncomingCall, audio: &str) -> Result<Call, Error> {
        let call_id = &incoming.call_id;
        let body = json!({ "lease": incoming.lease, "audio": { "receive": audio, "send": audio } });
        let told =
            self.one.gateway.ask(Method::POST, &format!("/v1/calls/{call_id}/accept"), Some(body)).await?;
        let call = Call::new(self.one.gateway.clone(), call_id, &told, Arc::clone(&self.one.mode));
        let calls = &mut self.one.state().calls;
        calls.retain(|_, other| other.reason().is_none());
        calls.insert(call_id.clone(), call.clone());
        Ok(call)
    }

    /// Leaves an offered call to others.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Lost`].
    pub async fn reject_call(&self, incoming: &IncomingCall, reason: &str) -> Result<(), Error> {
        let body = json!({ "lease": incoming.lease, "reason": reason });
        let url = format!("/v1/calls/{}/reject", incoming.call_id);
        self.one.gateway.ask(Method::POST, &url, Some(body)).await.map(drop)
    }

    /// What the gateway vouches for about the caller, if that is at least `least`. Checks the signature by the gateway's keys, type, issuer,
    /// audience, age (at most 60 s), the call, and that the ticket is shown once.
    ///
    /// # Errors
    /// [`Error::Ticket`]; [`Error::Refused`] or [`Error::Lost`] if the keys cannot be fetched.
    pub async fn verify_human_attestation(
        &self,
        ticket: &str,
        least: Level,
        call_id: Option<&str>,
    ) -> Result<Attestation, Error> {
        if self.one.verifier.wants_keys(ticket, now()) {
            let jwks = self.one.gateway.ask(Method::GET, "/.well-known/jwks.json", None).await?;
            self.one.verifier.learn_keys(&jwks, now());
        }
        Ok(self.one.verifier.verify(ticket, least, call_id, now())?)
    }

    /// Ends the lease and every task; calls that run are hung up.
    pub async fn close(&self) {
        let (calls, running, lease) = {
            let mut state = self.one.state();
            let lease = std::mem::take(&mut state.lease);
            (std::mem::take(&mut state.calls), std::mem::take(&mut state.running), lease)
        };
        running.iter().for_each(AbortHandle::abort);
        for call in calls.values() {
            // The lease ends, and the gateway ends its calls at the latest when nobody answers.
            let _ = call.hangup().await;
        }
        if !lease.is_empty() {
            let url = format!("/v1/register/{}?lease={lease}", self.one.bot_id);
            let _ = self.one.gateway.ask(Method::DELETE, &url, None).await;
        }
    }
}

/// A token that is good for another minute at least. Only registration needs a new one each time.
fn kept(mint: Bearer) -> Bearer {
    let kept: Mutex<Option<(Instant, String)>> = Mutex::default();
    Arc::new(move || {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let age_max = TOKEN_LIFE - Duration::from_secs(60);
        match &*kept {
            Some((minted, token)) if minted.elapsed() < age_max => token.clone(),
            _ => kept.insert((Instant::now(), mint())).1.clone(),
        }
    })
}

impl One {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn register(&self) -> Result<Duration, Error> {
        let wish = self.state().wish.clone();
        let told = self.registrar.ask(Method::POST, "/v1/register", wish).await?;
        self.state().lease = told["lease"].as_str().unwrap_or_default().to_owned();
        let after = told["refresh_after"].as_f64().filter(|after| *after > 0.0).unwrap_or(20.0);
        // A moment or a span: what is larger than any span is a moment.
        let after = if after > 1e6 { after - now().as_secs_f64() } else { after };
        Ok(Duration::from_secs_f64(after.clamp(1.0, 300.0)))
    }

    async fn refresh(&self, mut after: Duration) {
        let mut backoff = Backoff::default();
        loop {
            sleep(after).await;
            after = match self.register().await {
                Ok(after) => {
                    backoff.reset();
                    after
                }
                Err(_) => backoff.next(),
            };
        }
    }

    // The stream of events, and its twin for proxies that hold it back.

    async fn listen(&self) {
        let (mut backoff, mut polls_until) = (Backoff::default(), None::<Instant>);
        let mut at = Place::default();
        loop {
            let lease = self.state().lease.clone();
            if lease != at.lease {
                at = Place { lease, last_id: String::new() };
            }
            let heard = match polls_until.is_some_and(|until| until > Instant::now()) {
                true => self.poll(&mut at, &mut backoff).await,
                false => self.stream(&mut at, &mut backoff).await,
            };
            match heard {
                Ok(()) => {}
                Err(Error::Silent) => polls_until = Some(Instant::now() + POLLING_FOR),
                Err(Error::Refused(refusal)) => {
                    sleep(refusal.retry_after.unwrap_or_else(|| backoff.next())).await;
                    if refusal.is_gone() && at.lease == self.state().lease {
                        // The next try tells.
                        let _ = self.register().await;
                    }
                }
                Err(_) => sleep(backoff.next()).await,
            }
        }
    }

    async fn stream(&self, at: &mut Place, backoff: &mut Backoff) -> Result<(), Error> {
        let url = format!("{EVENTS}?lease={}", at.lease);
        let resumed = at.last_id.clone();
        let mut headers = vec![("accept", "text/event-stream")];
        if !resumed.is_empty() {
            headers.push(("last-event-id", &resumed));
        }
        let mut body = self.gateway.get(&url, &headers).await?.into_body();
        let mut parser = sse::Parser::resuming(&at.last_id);
        while let Some(piece) = self.gateway.piece(&mut body).await? {
            backoff.reset();
            parser.feed(&piece)?;
            while let Some(event) = parser.next() {
                if let Ok(told) = serde_json::from_str(&event.text) {
                    self.take(&event.name, told).await;
                }
                at.last_id = event.id;
            }
            if self.state().lease != at.lease {
                return Ok(());
            }
        }
        sleep(parser.retry.unwrap_or(Duration::from_secs(1))).await;
        Ok(())
    }

    async fn poll(&self, at: &mut Place, backoff: &mut Backoff) -> Result<(), Error> {
        let after = if at.last_id.is_empty() { "0" } else { &at.last_id };
        let url = format!("{EVENTS}?lease={}&after={after}&wait={POLL_S}", at.lease);
        let ask = Ask { method: Method::GET, url: &url, headers: &[] };
        let told = self.gateway.exchange(&ask, Bytes::new(), Duration::from_secs(POLL_S + 10)).await?;
        backoff.reset();
        for event in told["events"].as_array().into_iter().flatten() {
            if let (Some(name), Ok(told)) = (event["event"].as_str(), Told::deserialize(&event["data"])) {
                self.take(name, told).await;
            }
        }
        at.last_id = told["next"].as_str().map_or_else(|| told["next"].to_string(), str::to_owned);
        Ok(())
    }

    async fn take(&self, name: &str, told: Told) {
        match name {
            "call.incoming" => self.offer(told).await,
            "call.canceled" => {
                if let Some(offer) = self.state().waiting.remove(&told.call_id) {
                    offer.canceled.store(true, Ordering::Relaxed);
                }
            }
            "call.ended" => {
                if let Some(call) = self.state().calls.remove(&told.call_id) {
                    call.end(told.reason.as_deref().unwrap_or("ended"));
                }
            }
            _ => {}
        }
    }

    async fn offer(&self, told: Told) {
        let lease = if told.lease.is_empty() { self.state().lease.clone() } else { told.lease };
        let offer = IncomingCall {
            call_id: told.call_id,
            caller: told.from["kind"].as_str().unwrap_or_default().to_owned(),
            ticket: told.ticket,
            codecs: told.codecs,
            expires_at: told.expires_at,
            lease,
            canceled: Arc::default(),
        };
        let old = now().as_secs_f64() - 60.0;
        {
            let waiting = &mut self.state().waiting;
            waiting.retain(|_, other| other.expires_at > old);
            waiting.insert(offer.call_id.clone(), offer.clone());
        }
        // The other end lies beside this one.
        let _ = self.hand.send(offer).await;
    }
}
