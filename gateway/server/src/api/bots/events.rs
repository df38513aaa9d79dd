//! `GET /v1/bots/self/events`: a bot hears of calls, by a stream of events (SSE) or by asking again and again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{lease_id, no_lease};
use crate::api::asked::Asked;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::app::App;
use crate::bots::Listening;
use crate::bots::outbox::Event;

/// Where it is.
pub const PATH: &str = "/v1/bots/self/events";
/// How long an answer to a poll may take.
pub const WAIT_MAX: Duration = Duration::from_secs(25);
/// Between two signs of life on a stream.
const PING_EVERY: Duration = Duration::from_secs(10);

/// What to hear.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Heard {
    lease: Option<String>,
    after: Option<u64>,
    wait: Option<u64>,
}

/// The events of a lease: those after `Last-Event-ID` or `after`, else those that nobody was given yet.
///
/// # Errors
/// [`ApiError`]
pub(in crate::api) async fn open(
    State(app): State<Arc<App>>,
    caller: Caller,
    Asked(heard): Asked<Heard>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let bot = &caller.bot()?.bot;
    let lease = heard
        .lease
        .as_deref()
        .ok_or_else(|| ApiError::field("lease", "`lease` is what /v1/register answered."))?;
    let outbox = app.bots.outbox(bot, lease_id(lease)?).ok_or_else(no_lease)?;
    let listening = Listening::begin(&app.bots, &outbox);
    if let Some(wait) = heard.wait {
        return Ok(poll(listening, heard.after, Duration::from_secs(wait).min(WAIT_MAX)).await);
    }
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    if heard.after.is_some() && !wants_stream(&headers) {
        return Ok(poll(listening, heard.after, Duration::ZERO).await);
    }
    Ok(stream(listening, last.or(heard.after)))
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepts.is_some_and(|accepts| accepts.contains("text/event-stream"))
}

async fn poll(listening: Listening, after: Option<u64>, within: Duration) -> Response {
    let batch = listening.outbox().wait_after(after, within).await;
    listening.answered();
    let event = |event: &Event| {
        let body: Box<RawValue> = RawValue::from_string(event.body.to_string()).expect("an event is JSON");
        json!({ "id": event.id, "event": event.name, "data": body })
    };
    let events: Vec<_> = batch.events.iter().map(event).collect();
    ([(header::CACHE_CONTROL, "no-store")], Json(json!({ "events": events, "next": batch.next })))
        .into_response()
}

/// <https://html.spec.whatwg.org/multipage/server-sent-events.html>, November 2026.
fn stream(listening: Listening, after: Option<u64>) -> Response {
    let greeting = stream::once(async { Ok(Bytes::from_static(b"retry: 1000\n\n")) });
    let events = stream::unfold(Some((listening, after)), |state| async {
        let (listening, after) = state?;
        let batch = listening.outbox().wait_after(after, PING_EVERY).await;
        let text: String = match batch.events.as_slice() {
            [] => ": ping\n\n".into(),
            events => events.iter().map(told).collect(),
        };
        let next = (!batch.is_over).then_some((listening, Some(batch.next)));
        Some((Ok::<_, Infallible>(Bytes::from(text)), next))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let body = Body::from_stream(futures_util::StreamExt::chain(greeting, events));
    (headers, body).into_response()
}

fn told(event: &Event) -> String {
    format!("id: {}\nevent: {}\ndata: {}\n\n", event.id, event.name, event.body)
}
