//! `/v1/calls/{id}/audio`: what a bot hears and says, as plain requests and answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use futures_util::{StreamExt as _, stream};
use patchbay_core::MediaTime;
use patchbay_legs::bot::framing::{BadBody, Framing, Number, Reader, Unit, Writer};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bot_call::meeting_of;
use super::caller::Caller;
use super::error::ApiError;
use crate::app::App;
use crate::transport::{Acknowledged, Heard, Listening, Meeting, Speaking, Unsaid, span_of};

/// Longest batch.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
const BATCH_SPAN_MAX: MediaTime = MediaTime::from_ms(10_000);
/// How long a batch may take to arrive.
const BATCH_WITHIN: Duration = Duration::from_secs(10);
const SEQ: HeaderName = HeaderName::from_static("seq");
const GAP_MS: HeaderName = HeaderName::from_static("gap-ms");
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Where to begin.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct From {
    from_seq: Option<u64>,
}

/// `GET /v1/calls/{id}/audio`: what the bot hears, until the call is over. `Accept` says framing and codec.
///
/// # Errors
/// [`ApiError`]
pub async fn hear(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    from: Result<Query<From>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let meeting = meeting_of(&app, &caller, &id).await?;
    let Query(From { from_seq }) =
        from.map_err(|_| ApiError::field("from_seq", "`from_seq` is a number."))?;
    let accept = headers.get(header::ACCEPT).map_or(Ok(""), HeaderValue::to_str).unwrap_or("-");
    let framing = Framing::of_accept(accept).ok_or_else(unacceptable)?;
    let listening = meeting.listen(from_seq, framing.format());
    let (first, missed) = (listening.first(), listening.missed());
    let serial = u32::try_from(first & u64::from(u32::MAX)).unwrap_or_default();
    let hearing = Hearing { app, listening, writer: Writer::new(&framing, serial), stage: Stage::Begins };
    let body = Body::from_stream(stream::unfold(hearing, Hearing::next));
    let mut response = Response::new(body);
    let content_type = HeaderValue::try_from(framing.content_type());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type.expect("a media type of ours is a header value"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
    headers.insert(SEQ, first.into());
    if !missed.is_zero() {
        headers.insert(GAP_MS, missed.as_ms().into());
    }
    Ok(response)
}

/// An answer that goes on as long as the call.
struct Hearing {
    app: Arc<App>,
    listening: Listening,
    writer: Writer,
    stage: Stage,
}

#[derive(PartialEq)]
enum Stage {
    Begins,
    GoesOn,
    Over,
}

impl Hearing {
    /// The next piece of the body: all packets that are there.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let mut out = BytesMut::new();
        match self.stage {
            Stage::Over => return None,
            Stage::Begins => {
                self.stage = Stage::GoesOn;
                self.writer.begin(&mut out);
            }
            Stage::GoesOn => {}
        }
        while out.is_empty() {
            match self.listening.next().await {
                Heard::Packets(packets, lost) => {
                    if lost > 0 {
                        self.app.metrics.audio_dropped(Duration::from_millis(lost * 20));
                    }
                    packets.iter().for_each(|packet| self.writer.packet(packet, &mut out));
                }
                Heard::Quiet => self.writer.keep_alive(&mut out),
                Heard::Replaced => return None,
                Heard::Over(reason) => {
                    self.writer.end(&reason, &mut out);
                    self.stage = Stage::Over;
                    break;
                }
            }
        }
        Some((Ok(out.freeze()), self))
    }
}

fn unacceptable() -> ApiError {
    let message = "`Accept` takes multipart/x-mixed-replace, application/vnd.patchbay.opus-frames (;hdr=1), audio/ogg, \
                   audio/x-mulaw;rate=8000 or audio/pcm;rate=8000|16000|24000|48000.";
    ApiError::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", message)
}

/// `POST /v1/calls/{id}/audio`: what the bot says. `Content-Type` says framing and codec. With `Seq` and a length, it is a batch,
/// taken whole or not at all; one `audio/opus` body is one packet; anything else is read as it comes, as far as the caller
/// keeps up.
///
/// # Errors
/// [`ApiError`]
pub async fn say(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let meeting = meeting_of(&app, &caller, &id).await?;
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let framing = Framing::of_content_type(content_type).ok_or_else(unsupported)?;
    let seq = first_number(&headers)?;
    let is_whole = headers.contains_key(header::CONTENT_LENGTH) && seq.is_some();
    if is_whole || framing == Framing::Single {
        batch(&meeting, &framing, seq, body).await
    } else {
        stream_in(&meeting, &framing, seq, body).await
    }
}

fn unsupported() -> ApiError {
    let message = "`Content-Type` takes application/vnd.patchbay.opus-frames (;hdr=1), multipart/x-mixed-replace, audio/ogg, \
                   audio/opus (one packet), audio/x-mulaw;rate=8000 or audio/pcm;rate=8000|16000|24000|48000.";
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
}

fn first_number(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(SEQ) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or_else(|| ApiError::field("seq", "`Seq` is the number of the first packet."))
}

/// Numbers the packets of a body whose first has a number.
struct Numbering(Option<u64>);

impl Numbering {
    fn of(&mut self, unit: Unit) -> Unit {
        let Some(next) = &mut self.0 else { return unit };
        let number = unit.number.or(Some(Number::Whole(*next)));
        *next = next.saturating_add(1);
        Unit { number, ..unit }
    }
}

async fn batch(
    meeting: &Arc<Meeting>,
    framing: &Framing,
    seq: Option<u64>,
    body: Body,
) -> Result<Response, ApiError> {
    let mut speaking = meeting.speak(framing.format());
    // Refused before it is read: whoever is too far ahead need not send it.
    speaking.check().map_err(unsaid)?;
    let read = tokio::time::timeout(BATCH_WITHIN, to_bytes(body, BATCH_BYTES_MAX)).await;
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let message = "A batch has at most 1 MiB, and all the bytes that Content-Length says.";
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "batch_too_long", message));
        }
        Err(_) => {
            return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "A batch comes within 10 s."));
        }
    };
    let (mut reader, mut units) = (Reader::new(framing), Vec::new());
    reader.push(&bytes, |unit| units.push(unit)).map_err(bad)?;
    reader.finish(|unit| units.push(unit));
    if reader.held() > 0 && framing != &Framing::Single {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "cut_off", "The batch ends within a packet."));
    }
    let span = units.iter().fold(MediaTime::ZERO, |sum, unit| sum + span_of(framing.format(), &unit.audio));
    if span > BATCH_SPAN_MAX {
        let message = "A batch has at most 10 s of audio.";
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "batch_too_long", message));
    }
    let mut numbering = Numbering(seq);
    for unit in units {
        match speaking.try_say(numbering.of(unit)) {
            Ok(_) => {}
            // How far it came is told: the rest comes again, and what was taken with it is known then.
            Err(Unsaid::Ahead(_)) => break,
            Err(other) => return Err(unsaid(other)),
        }
    }
    Ok(Json(progress(speaking.acknowledged())).into_response())
}

async fn stream_in(
    meeting: &Arc<Meeting>,
    framing: &Framing,
    seq: Option<u64>,
    body: Body,
) -> Result<Response, ApiError> {
    let mut speaking = meeting.speak(framing.format());
    let mut chunks = body.into_data_stream();
    let (mut reader, mut numbering, mut units) = (Reader::new(framing), Numbering(seq), Vec::new());
    loop {
        let chunk = {
            let done = std::pin::pin!(speaking.done());
            match select(chunks.next(), done).await {
                Either::Left((chunk, _)) => chunk,
                Either::Right((end, _)) => return ended(&speaking, end),
            }
        };
        let read = match chunk {
            Some(Ok(bytes)) => reader.push(&bytes, |unit| units.push(unit)),
            // It went away in the middle: what came whole counts.
            Some(Err(_)) | None => {
                reader.finish(|unit| units.push(unit));
                say_all(&mut speaking, &mut units, &mut numbering).await.ok();
                return Ok(Json(progress(speaking.acknowledged())).into_response());
            }
        };
        if let Err(end) = say_all(&mut speaking, &mut units, &mut numbering).await {
            return ended(&speaking, end);
        }
        read.map_err(bad)?;
    }
}

async fn say_all(
    speaking: &mut Speaking,
    units: &mut Vec<Unit>,
    numbering: &mut Numbering,
) -> Result<(), Unsaid> {
    for unit in units.drain(..) {
        speaking.say(numbering.of(unit)).await?;
    }
    Ok(())
}

/// A stream whose call is over did nothing wrong.
fn ended(speaking: &Speaking, end: Unsaid) -> Result<Response, ApiError> {
    let Unsaid::Over(reason) = end else { return Err(unsaid(end)) };
    let mut answer = progress(speaking.acknowledged());
    answer["ended"] = (&*reason).into();
    Ok(Json(answer).into_response())
}

/// `GET /v1/calls/{id}/audio/ack`: how far what the bot says has come, at once: whoever sees nothing here while it sends has a proxy
/// in between that keeps it.
///
/// # Errors
/// [`ApiError`]
pub async fn acknowledge(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let meeting = meeting_of(&app, &caller, &id).await?;
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((headers, Json(progress(meeting.acknowledged()))).into_response())
}

fn progress(acknowledged: Acknowledged) -> Value {
    json!({ "next_seq": acknowledged.next_seq, "buffered_ms": acknowledged.buffered_ms })
}

fn bad(bad: BadBody) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, bad.code, bad.expected)
}

fn unsaid(unsaid: Unsaid) -> ApiError {
    match unsaid {
        Unsaid::Ahead(wait) => {
            let message = "More than 10 s wait to be heard: send the rest later.";
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_far_ahead", message)
                .after(Duration::from_secs(wait.as_secs() + 1))
        }
        Unsaid::Replaced => {
            ApiError::new(StatusCode::CONFLICT, "replaced", "Another request speaks for this bot now.")
        }
        Unsaid::Over(reason) => {
            ApiError::new(StatusCode::GONE, "call_ended", format!("The call is over: {reason}."))
        }
    }
}
