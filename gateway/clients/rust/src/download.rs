//! What comes from the gateway for as long as a call lasts.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::Stream;
use hyper::HeaderMap;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::error::Error;
use crate::framing::{self, FRAMES_WITH_HEADER};
use crate::gateway::Gateway;

/// What waits for the bot. More is not read.
const WAITING_MAX: usize = 64;
const PIECE_MS: u64 = 20;
/// Ticks of 1/48 000 s in a millisecond.
const TICKS_PER_MS: u64 = 48;

/// What the caller said in one piece: an Opus packet, or 20 ms of raw audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioPacket {
    /// The packet, or the samples.
    pub payload: Bytes,
    /// Its number.
    pub seq: u64,
    /// In 1/48 000 s, 32 bits.
    pub timestamp: u32,
    /// How many packets are missing before this one (0 for raw audio).
    pub lost: u64,
}

/// Things that come, in order: `next().await`, or a [`Stream`]. Dropped, nothing more is fetched.
#[derive(Debug)]
pub struct Incoming<T> {
    coming: mpsc::Receiver<Result<T, Error>>,
    fetching: AbortHandle,
}

impl<T: Send + 'static> Incoming<T> {
    /// Runs `fetch`, which hands over what comes.
    pub(crate) fn fetched_by<F>(fetch: impl FnOnce(Hand<T>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (hand, coming) = mpsc::channel(WAITING_MAX);
        let fetching = tokio::spawn(fetch(Hand(hand))).abort_handle();
        Self { coming, fetching }
    }

    /// The next one; `None` when the call is over.
    ///
    /// # Errors
    /// [`Error::Refused`] if the gateway refuses; nothing follows it. A lost connection is made again and is no error.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        poll_fn(|context| self.coming.poll_recv(context)).await
    }
}

impl<T> Stream for Incoming<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.coming.poll_recv(context)
    }
}

impl<T> Drop for Incoming<T> {
    fn drop(&mut self) {
        self.fetching.abort();
    }
}

/// Where what comes is handed over; it waits while the bot is behind.
pub(crate) struct Hand<T>(mpsc::Sender<Result<T, Error>>);

impl<T> Hand<T> {
    /// Fails when nobody wants it any more.
    pub(crate) async fn over(&self, what: T) -> Result<(), Error> {
        self.0.send(Ok(what)).await.map_err(|_| Error::CallEnded)
    }

    pub(crate) async fn refuse(&self, error: Error) {
        // Who does not listen need not know.
        let _ = self.0.send(Err(error)).await;
    }
}

/// The packets of one call, over as many connections as it takes.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    expected: Option<u64>,
}

impl Packets {
    /// One connection. `worked` is called with each packet. Answers `Ok` when the call is over.
    pub(crate) async fn fetch(
        &mut self,
        gateway: &Gateway,
        url: &str,
        hand: &Hand<AudioPacket>,
        mut worked: impl FnMut(),
    ) -> Result<(), Error> {
        let resumed = self.expected.map(|seq| format!("{url}?from_seq={seq}"));
        let answer =
            gateway.get(resumed.as_deref().unwrap_or(url), &[("accept", FRAMES_WITH_HEADER)]).await?;
        let mut parser = framing::Parser::new(has_header(answer.headers()));
        let mut near = number(answer.headers(), "seq").or(self.expected).unwrap_or(0);
        let mut lost = number(answer.headers(), "gap-ms").unwrap_or(0) / PIECE_MS;
        let mut expected = self.expected.filter(|_| lost == 0).unwrap_or(near);
        let mut body = answer.into_body();
        while let Some(piece) = gateway.piece(&mut body).await? {
            parser.feed(&piece);
            while let Some(frame) = parser.next()? {
                let seq = frame.place.map_or(near, |(seq, _)| framing::unwrap(seq, near));
                if seq < expected {
                    continue;
                }
                let timestamp = frame.place.map_or(0, |(_, timestamp)| timestamp);
                let packet =
                    AudioPacket { payload: frame.payload, seq, timestamp, lost: lost + seq - expected };
                (expected, near, lost) = (seq + 1, seq + 1, 0);
                self.expected = Some(expected);
                worked();
                hand.over(packet).await?;
            }
        }
        Ok(())
    }
}

/// Raw audio of one call, in pieces of 20 ms.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    seq: u64,
}

impl Samples {
    pub(crate) async fn fetch(
        &mut self,
        gateway: &Gateway,
        url: &str,
        kind: &str,
        hand: &Hand<AudioPacket>,
        mut worked: impl FnMut(),
    ) -> Result<(), Error> {
        let size = bytes_of_20_ms(kind);
        let mut body = gateway.get(url, &[("accept", kind)]).await?.into_body();
        let mut rest = BytesMut::new();
        while let Some(piece) = gateway.piece(&mut body).await? {
            worked();
            rest.extend_from_slice(&piece);
            while rest.remaining() >= size {
                let ticks = self.seq * PIECE_MS * TICKS_PER_MS;
                let timestamp = u32::try_from(ticks & u64::from(u32::MAX)).expect("masked");
                let payload = rest.split_to(size).freeze();
                hand.over(AudioPacket { payload, seq: self.seq, timestamp, lost: 0 }).await?;
                self.seq += 1;
            }
        }
        Ok(())
    }
}

fn has_header(headers: &HeaderMap) -> bool {
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok());
    kind.is_none_or(|kind| kind.replace(' ', "").contains(";hdr=1"))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn bytes_of_20_ms(kind: &str) -> usize {
    let rate = kind.split_once("rate=").and_then(|(_, rate)| rate.parse::<usize>().ok()).unwrap_or(8000);
    let width = if kind.starts_with("audio/x-mulaw") { 1 } else { 2 };
    (rate / 50 * width).max(1)
}
