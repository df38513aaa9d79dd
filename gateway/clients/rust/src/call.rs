//! One call that the bot has taken.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::Method;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::download::{AudioPacket, Hand, Incoming, Packets, Samples};
use crate::error::Error;
use crate::gateway::{Ask, Gateway};
use crate::sse;
use crate::upload::{Upload, pipe};

/// How speech goes to the gateway: as a stream, or in batches because a proxy holds streams back. All calls of a bot learn it together.
#[derive(Debug, Default)]
pub struct Mode(AtomicBool);

impl Mode {
    /// Whether it goes in batches.
    #[must_use]
    pub fn is_batch(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn become_batch(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Something that happened in a call: `mark` (`name`), `dtmf` (`digit`), `cleared` (`heard_ms`), `speech_started`, `transcript`, `call.ended`.
#[derive(Clone, Debug, PartialEq)]
pub struct CallEvent {
    /// Its type.
    pub kind: String,
    /// What it says.
    pub fields: Map<String, Value>,
}

/// A call, from [`Bot::accept_call`](crate::Bot::accept_call) until somebody hangs up. A clone is the same call.
#[derive(Clone)]
pub struct Call {
    one: Arc<One>,
}

struct One {
    gateway: Gateway,
    call_id: String,
    audio: String,
    events: String,
    receives: String,
    sends: String,
    upload: Upload,
    mode: Arc<Mode>,
    // Held to take or to set, never over an await.
    raw: Mutex<Option<mpsc::Sender<Bytes>>>,
    ended: watch::Sender<Option<String>>,
}

impl fmt::Debug for Call {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Call({})", self.one.call_id)
    }
}

impl Call {
    pub(crate) fn new(gateway: Gateway, call_id: &str, told: &Value, mode: Arc<Mode>) -> Self {
        let path = format!("/v1/calls/{call_id}");
        let text = |name: &str, otherwise: &str| told[name].as_str().unwrap_or(otherwise).to_owned();
        let audio = text("audio_url", &format!("{path}/audio"));
        let one = Arc::new(One {
            call_id: call_id.to_owned(),
            events: text("events_url", &format!("{path}/events")),
            receives: text("receive", crate::OPUS),
            sends: text("send", crate::OPUS),
            upload: Upload::new(gateway.clone(), audio.clone(), Arc::clone(&mode)),
            raw: Mutex::default(),
            ended: watch::Sender::new(None),
            gateway,
            audio,
            mode,
        });
        let carried = Arc::clone(&one);
        tokio::spawn(async move { carried.upload.run().await });
        Self { one }
    }

    /// Its name at the gateway.
    #[must_use]
    pub fn call_id(&self) -> &str {
        &self.one.call_id
    }

    /// What the bot hears and what it says, as types of media.
    #[must_use]
    pub fn formats(&self) -> (&str, &str) {
        (&self.one.receives, &self.one.sends)
    }

    /// How speech goes to the gateway.
    #[must_use]
    pub fn upload_mode(&self) -> &Mode {
        &self.one.mode
    }

    /// Why the call ended, if it has.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.one.ended.borrow().clone()
    }

    /// Waits until the call is over; answers why.
    pub async fn ended(&self) -> String {
        let mut ended = self.one.ended.subscribe();
        let reason = ended.wait_for(Option::is_some).await;
        reason.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }

    // What the bot hears.

    /// What the caller says, packet by packet, as it comes, until the call is over. Reconnects by itself; what was missed for longer than 5 s is
    /// lost, and the next packet tells how much.
    #[must_use]
    pub fn receive_audio_opus(&self) -> Incoming<AudioPacket> {
        let one = Arc::clone(&self.one);
        Incoming::fetched_by(|hand| async move {
            let (mut packets, mut backoff) = (Packets::default(), Backoff::default());
            while one.reason().is_none() {
                let fetched = tokio::select! {
                    fetched = packets.fetch(&one.gateway, &one.audio, &hand, || backoff.reset()) => fetched,
                    () = one.over() => return,
                };
                if !one.goes_on(fetched.map(|()| one.end("ended")), &hand, &mut backoff).await {
                    return;
                }
            }
        })
    }

    /// As [`receive_audio_opus`](Self::receive_audio_opus), for a call that was accepted with raw audio: pieces of 20 ms.
    #[must_use]
    pub fn receive_audio(&self) -> Incoming<AudioPacket> {
        let one = Arc::clone(&self.one);
        Incoming::fetched_by(|hand| async move {
            let (mut samples, mut backoff) = (Samples::default(), Backoff::default());
            while one.reason().is_none() {
                let fetched = tokio::select! {
                    fetched = samples.fetch(&one.gateway, &one.audio, &one.receives, &hand, || backoff.reset()) => fetched,
                    () = one.over() => return,
                };
                if !one.goes_on(fetched.map(|()| one.end("ended")), &hand, &mut backoff).await {
                    return;
                }
            }
        })
    }

    /// What happens in the call, until it is over. Reconnects by itself.
    #[must_use]
    pub fn events(&self) -> Incoming<CallEvent> {
        let one = Arc::clone(&self.one);
        Incoming::fetched_by(|hand| async move {
            let (mut last_id, mut backoff) = (String::new(), Backoff::default());
            while one.reason().is_none() {
                let fetched = tokio::select! {
                    fetched = one.fetch_events(&mut last_id, &mut backoff, &hand) => fetched,
                    () = one.over() => return,
                };
                let fetched = fetched.and(Err(Error::Lost("the stream of events has ended".to_owned())));
                if !one.goes_on(fetched, &hand, &mut backoff).await {
                    return;
                }
            }
        })
    }

    // What the bot says.

    /// Says one Opus packet (1 to 1275 bytes, up to 120 ms). Faster than real time is fine: the gateway plays in real time, and this waits while ten
    /// seconds are under way.
    ///
    /// # Errors
    /// [`Error::CallEnded`], [`Error::Refused`], and [`Error::Framing`] for what is no packet.
    pub async fn send_audio_opus(&self, packet: impl Into<Bytes>) -> Result<(), Error> {
        self.one.upload.send(packet.into()).await
    }

    /// Says raw audio of the type that the call was accepted with; any length. One stream, without batches: use Opus behind a proxy that buffers.
    ///
    /// # Errors
    /// [`Error::CallEnded`], and [`Error::Lost`] when the stream is lost (the next piece opens another).
    pub async fn send_audio(&self, samples: impl Into<Bytes>) -> Result<(), Error> {
        if self.reason().is_some() {
            return Err(Error::CallEnded);
        }
        let to = self.one.raw().get_or_insert_with(|| self.open_raw()).clone();
        if to.send(samples.into()).await.is_ok() {
            return Ok(());
        }
        self.one.raw().take();
        Err(Error::Lost("the stream is lost".to_owned()))
    }

    fn open_raw(&self) -> mpsc::Sender<Bytes> {
        let (to, body) = pipe();
        let one = Arc::clone(&self.one);
        tokio::spawn(async move {
            let ask = Ask { method: Method::POST, url: &one.audio, headers: &[("content-type", &one.sends)] };
            tokio::select! {
                // Who writes learns of it by the pipe.
                _ = one.gateway.send(&ask, body) => {}
                () = one.over() => {}
            }
        });
        to
    }

    /// Drops everything said so far that the caller has not heard. Call it when the caller speaks.
    ///
    /// # Errors
    /// [`Error::CallEnded`], [`Error::Refused`], [`Error::Lost`].
    pub async fn clear(&self) -> Result<(), Error> {
        let next_seq = self.one.upload.clear();
        self.one.raw().take();
        self.send_event(json!({ "type": "clear", "next_seq": next_seq })).await
    }

    /// Asks for the event `mark` with this name once all that was said before it is heard.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub async fn mark(&self, name: &str) -> Result<(), Error> {
        self.send_event(json!({ "type": "mark", "name": name })).await
    }

    /// Tells the gateway something of the call: `dtmf`, `transcript`, `speech_started`.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub async fn send_event(&self, event: Value) -> Result<(), Error> {
        self.post(&self.one.events, Some(event)).await
    }

    /// Ends the call at once; what is not yet heard is not heard. For the last words, [`mark`](Self::mark) and wait for it in
    /// [`events`](Self::events). Ending a call that is over is no error.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Lost`].
    pub async fn hangup(&self) -> Result<(), Error> {
        match self.post(&format!("/v1/calls/{}/hangup", self.one.call_id), None).await {
            Ok(()) | Err(Error::CallEnded) => {}
            Err(other) => return Err(other),
        }
        self.one.end("hangup");
        Ok(())
    }

    async fn post(&self, url: &str, body: Option<Value>) -> Result<(), Error> {
        if self.reason().is_some() {
            return Err(Error::CallEnded);
        }
        match self.one.gateway.ask(Method::POST, url, body).await {
            Err(Error::Refused(refusal)) if refusal.is_over() => {
                self.one.end("ended");
                Err(Error::CallEnded)
            }
            other => other.map(drop),
        }
    }

    pub(crate) fn end(&self, reason: &str) {
        self.one.end(reason);
    }
}

impl One {
    fn raw(&self) -> std::sync::MutexGuard<'_, Option<mpsc::Sender<Bytes>>> {
        self.raw.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reason(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    async fn over(&self) {
        // It ends with us at the latest.
        let _ = self.ended.subscribe().wait_for(Option::is_some).await;
    }

    fn end(&self, reason: &str) {
        let is_first = self.ended.send_if_modified(|ended| {
            let is_first = ended.is_none();
            ended.get_or_insert_with(|| reason.to_owned());
            is_first
        });
        if is_first {
            self.upload.close(Error::CallEnded);
            self.raw().take();
        }
    }

    /// Whether there is another try when a download has ended.
    async fn goes_on<T>(&self, fetched: Result<(), Error>, hand: &Hand<T>, backoff: &mut Backoff) -> bool {
        match fetched {
            Ok(()) => {}
            Err(Error::Refused(refusal)) if refusal.is_over() => self.end("ended"),
            Err(Error::Refused(refusal)) if !refusal.is_passing() => {
                hand.refuse(Error::Refused(refusal)).await;
                return false;
            }
            Err(Error::Refused(refusal)) => {
                sleep(refusal.retry_after.unwrap_or_else(|| backoff.next())).await
            }
            Err(_) => sleep(backoff.next()).await,
        }
        true
    }

    async fn fetch_events(
        &self,
        last_id: &mut String,
        backoff: &mut Backoff,
        hand: &Hand<CallEvent>,
    ) -> Result<(), Error> {
        let mut headers = vec![("accept", "text/event-stream")];
        let resumed = last_id.clone();
        if !resumed.is_empty() {
            headers.push(("last-event-id", &resumed));
        }
        let mut body = self.gateway.get(&self.events, &headers).await?.into_body();
        let mut parser = sse::Parser::resuming(last_id);
        while let Some(piece) = self.gateway.piece(&mut body).await? {
            parser.feed(&piece)?;
            while let Some(event) = parser.next() {
                backoff.reset();
                *last_id = event.id;
                let fields: Map<String, Value> = serde_json::from_str(&event.text).unwrap_or_default();
                let reason = fields.get("reason").and_then(Value::as_str).unwrap_or("ended").to_owned();
                let is_end = event.name == "call.ended";
                hand.over(CallEvent { kind: event.name, fields }).await?;
                if is_end {
                    self.end(&reason);
                }
            }
        }
        Ok(())
    }
}
