//! What the bot says, on its way: as one long request, or in batches where a proxy holds long requests back.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Method;
use hyper::body::Frame;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::backoff::Backoff;
use crate::call::Mode;
use crate::error::Error;
use crate::framing::{self, FRAMES, FRAMES_WITH_HEADER, KEEPALIVE};
use crate::gateway::{Ask, Body, Gateway, refusal};

/// A stream of which the gateway has seen nothing after so long is held back by a proxy.
const PROBE_AFTER: Duration = Duration::from_millis(500);
/// How often the gateway is asked what it has, while something is under way.
const ACK_EVERY: Duration = Duration::from_secs(2);
const BATCH_PACKETS_MAX: usize = 50;
const BATCH_EVERY: Duration = Duration::from_millis(120);
const BATCH_WITHIN: Duration = Duration::from_secs(10);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(8);
/// Bound of what is kept until the gateway has it; then `send` waits. Ten seconds of packets of 20 ms.
const PACKETS_MAX: usize = 500;

struct Outgoing {
    seq: u64,
    timestamp: u32,
    packet: Bytes,
}

#[derive(Default)]
struct State {
    kept: VecDeque<Outgoing>,
    next_seq: u64,
    timestamp: u32,
    written: u64,
    /// How often what was under way was forgotten.
    cuts: u64,
    fault: Option<Error>,
}

/// The packets of one call in order, each kept until the gateway has it, so that a lost connection loses nothing.
pub(crate) struct Upload {
    gateway: Gateway,
    url: String,
    // Held for a few lines, never over an await.
    state: Mutex<State>,
    changed: Notify,
    mode: std::sync::Arc<Mode>,
}

impl Upload {
    pub(crate) fn new(gateway: Gateway, url: String, mode: std::sync::Arc<Mode>) -> Self {
        Self { gateway, url, state: Mutex::default(), changed: Notify::new(), mode }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.state());
        self.changed.notify_waiters();
        answer
    }

    /// Waits until it is so, or the upload is of no use any more.
    async fn until(&self, condition: impl Fn(&State) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let is = {
                let state = self.state();
                condition(&state) || state.fault.is_some()
            };
            if is {
                return;
            }
            changed.await;
        }
    }

    /// Takes one packet; waits while 500 are under way.
    pub(crate) async fn send(&self, packet: Bytes) -> Result<(), Error> {
        framing::check(&packet)?;
        loop {
            self.until(|state| state.kept.len() < PACKETS_MAX).await;
            let mut state = self.state();
            if let Some(fault) = &state.fault {
                return Err(fault.clone());
            }
            if state.kept.len() < PACKETS_MAX {
                state.keep(packet);
                break;
            }
        }
        self.changed.notify_waiters();
        Ok(())
    }

    /// Forgets what is not yet under way, and ends the stream, whose rest must not be heard. Answers the next seq.
    pub(crate) fn clear(&self) -> u64 {
        self.change(|state| {
            state.kept.clear();
            state.written = state.next_seq;
            state.cuts += 1;
            state.next_seq
        })
    }

    /// From now on [`send`](Self::send) fails, and nothing goes any more.
    pub(crate) fn close(&self, fault: Error) {
        self.change(|state| {
            state.fault.get_or_insert(fault);
        });
    }

    /// Carries packets until the call is over.
    pub(crate) async fn run(&self) {
        let mut backoff = Backoff::default();
        loop {
            self.until(|state| !state.kept.is_empty()).await;
            if self.state().fault.is_some() {
                return;
            }
            let carried = match self.mode.is_batch() {
                true => self.batch_once(&mut backoff).await,
                false => self.stream_once(&mut backoff).await,
            };
            if let Err(error) = carried {
                self.recover(error, &mut backoff).await;
            }
        }
    }

    async fn recover(&self, error: Error, backoff: &mut Backoff) {
        match error {
            Error::Lost(_) | Error::Silent => sleep(backoff.next()).await,
            Error::Refused(refusal) if refusal.is_over() => self.close(Error::CallEnded),
            Error::Refused(refusal) if refusal.is_passing() => {
                sleep(refusal.retry_after.unwrap_or_else(|| backoff.next())).await;
            }
            other => self.close(other),
        }
    }

    // As a stream.

    async fn stream_once(&self, backoff: &mut Backoff) -> Result<(), Error> {
        let (to, body) = pipe();
        let (first, cuts) = {
            let mut state = self.state();
            let Some(first) = state.kept.front().map(|first| first.seq) else { return Ok(()) };
            state.written = first;
            (first, state.cuts)
        };
        tokio::select! {
            error = self.carry(body) => Err(error),
            watched = self.watch(first, backoff) => watched,
            () = self.write(to) => Err(Error::Lost("the gateway reads no more".to_owned())),
            () = self.until(|state| state.cuts != cuts) => Ok(()),
        }
    }

    async fn carry(&self, body: Body) -> Error {
        let headers = [("content-type", FRAMES_WITH_HEADER)];
        match self.gateway.send(&Ask { method: Method::POST, url: &self.url, headers: &headers }, body).await
        {
            Err(error) => error,
            Ok(answer) if answer.status().is_success() => {
                Error::Lost("the gateway has ended the stream".to_owned())
            }
            Ok(answer) => refusal(answer).await,
        }
    }

    async fn write(&self, to: mpsc::Sender<Bytes>) {
        while to.send(self.unwritten()).await.is_ok() {
            let more = self.until(|state| state.next_seq > state.written);
            // Silence is told too.
            let _ = timeout(KEEPALIVE_EVERY, more).await;
        }
        // The answer says why.
        sleep(PROBE_AFTER).await;
    }

    fn unwritten(&self) -> Bytes {
        let mut state = self.state();
        let mut piece = BytesMut::new();
        for out in state.kept.iter().filter(|out| out.seq >= state.written) {
            framing::put(&mut piece, &out.packet, Some((out.seq, out.timestamp)));
        }
        state.written = state.next_seq;
        if piece.is_empty() { Bytes::from_static(KEEPALIVE) } else { piece.freeze() }
    }

    /// Learns what the gateway has. Ends, in another mode, when it has seen nothing of the stream.
    async fn watch(&self, first: u64, backoff: &mut Backoff) -> Result<(), Error> {
        sleep(PROBE_AFTER).await;
        if self.acknowledge().await? <= first {
            self.mode.become_batch();
            return Ok(());
        }
        loop {
            backoff.reset();
            let waiting = self.state().kept.len();
            sleep(if waiting < PACKETS_MAX / 2 { ACK_EVERY } else { PROBE_AFTER }).await;
            if waiting > 0 {
                self.acknowledge().await?;
            }
        }
    }

    async fn acknowledge(&self) -> Result<u64, Error> {
        let told = self.gateway.ask(Method::GET, &format!("{}/ack", self.url), None).await?;
        Ok(self.has(&told))
    }

    /// Lets go of what the gateway has. Answers the seq that it waits for.
    fn has(&self, told: &serde_json::Value) -> u64 {
        let has = told["next_seq"].as_u64().unwrap_or(0);
        self.change(|state| state.kept.retain(|out| out.seq >= has));
        has
    }

    // In batches.

    async fn batch_once(&self, backoff: &mut Backoff) -> Result<(), Error> {
        let again = Instant::now() + BATCH_EVERY;
        let mut body = BytesMut::new();
        let first = {
            let state = &mut *self.state();
            let Some(first) = state.kept.front().map(|first| first.seq) else { return Ok(()) };
            for out in state.kept.iter().take(BATCH_PACKETS_MAX) {
                framing::put(&mut body, &out.packet, None);
                state.written = state.written.max(out.seq + 1);
            }
            first.to_string()
        };
        let headers = [("content-type", FRAMES), ("seq", first.as_str())];
        let ask = Ask { method: Method::POST, url: &self.url, headers: &headers };
        self.has(&self.gateway.exchange(&ask, body.freeze(), BATCH_WITHIN).await?);
        backoff.reset();
        sleep_until(again).await;
        Ok(())
    }
}

impl State {
    fn keep(&mut self, packet: Bytes) {
        let ticks = framing::duration(&packet);
        self.kept.push_back(Outgoing { seq: self.next_seq, timestamp: self.timestamp, packet });
        self.next_seq += 1;
        self.timestamp = self.timestamp.wrapping_add(ticks);
    }
}

/// A body that is written piece by piece; who writes waits for who reads.
pub(crate) fn pipe() -> (mpsc::Sender<Bytes>, Body) {
    let (to, from) = mpsc::channel(1);
    let pieces = stream::unfold(from, |mut from| async {
        let piece = from.recv().await?;
        Some((Ok(Frame::data(piece)), from))
    });
    (to, StreamBody::new(pieces).boxed_unsync())
}
