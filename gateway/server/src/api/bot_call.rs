//! `/v1/calls/{id}/events`: what a bot and its call tell each other beside the audio; and whose call it is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;

use super::caller::Caller;
use super::error::ApiError;
use crate::app::App;
use crate::credential::Scope;
use crate::transport::{Meeting, Reading, Untold};

/// A reader is told so often that we are there.
const PING: Duration = Duration::from_secs(8);
/// A bot that has accepted may be here before its call knows of it.
const MEETS_WITHIN: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The meeting of a call, for the bot that took it and for a key of its tenant.
///
/// # Errors
/// [`ApiError`]: there is no such call for this bot, or no bot has taken it.
pub(super) async fn meeting_of(app: &App, caller: &Caller, id: &str) -> Result<Arc<Meeting>, ApiError> {
    let tenant = caller.tenant_or_bot(app, Scope::CallsWrite)?;
    let begun = tokio::time::Instant::now();
    loop {
        if let Some(meeting) = open_meeting(app, caller, id) {
            return Ok(meeting);
        }
        let comes = match caller.bot() {
            Ok(pass) if app.bots.taken(&pass.bot, id).is_none() => return Err(ApiError::not_found("call")),
            Ok(_) => true,
            Err(_) if !is_known(app, &tenant.name, id) => return Err(ApiError::not_found("call")),
            Err(_) => app.meetings.expects(id),
        };
        if !comes || begun.elapsed() >= MEETS_WITHIN {
            let message = "No bot is on this call.";
            return Err(ApiError::new(StatusCode::CONFLICT, "not_accepted", message));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The meeting of a call that is this caller's.
pub(super) fn open_meeting(app: &App, caller: &Caller, id: &str) -> Option<Arc<Meeting>> {
    let meeting = app.meetings.find(id)?;
    let occasion = meeting.occasion();
    let is_theirs = match caller.bot() {
        Ok(pass) => *pass.bot.tenant() == *occasion.tenant && *pass.bot.name() == *occasion.bot,
        Err(_) => {
            caller.tenant_or_bot(app, Scope::CallsWrite).is_ok_and(|tenant| *tenant.name == *occasion.tenant)
        }
    };
    is_theirs.then_some(meeting)
}

fn is_known(app: &App, tenant: &str, id: &str) -> bool {
    app.calls.record(id).is_some_and(|call| *call.tenant == *tenant)
        || app.phones.by_id(id).is_some_and(|phone| phone.tenant == tenant)
}

/// `POST /v1/calls/{id}/events`: `clear`, `speech_started`, `mark`, `dtmf`, `transcript`.
///
/// # Errors
/// [`ApiError`]
pub async fn tell(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let meeting = meeting_of(&app, &caller, &id).await?;
    let body = body.map_err(|_| {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "event_too_long", "An event has at most 32 KiB.")
    })?;
    match meeting.tell(body) {
        Ok(()) => Ok(Json(json!({})).into_response()),
        Err(Untold::Nonsense(nonsense)) => {
            let message = "An event is {\"type\":\"clear\"}, {\"type\":\"speech_started\"}, {\"type\":\"mark\",\"name\"}, \
                           {\"type\":\"dtmf\",\"digits\"} or {\"type\":\"transcript\",\"role\",\"text\",\"final\"}.";
            Err(ApiError::new(StatusCode::BAD_REQUEST, nonsense.0, message))
        }
        Err(Untold::Busy) => {
            let message = "The call takes no more events at the moment.";
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_events", message);
            Err(error.after(Duration::from_secs(1)))
        }
        Err(Untold::Over) => Err(ApiError::new(StatusCode::GONE, "call_ended", "The call is over.")),
    }
}

/// `GET /v1/calls/{id}/events`: server-sent events, from `Last-Event-ID` on.
///
/// # Errors
/// [`ApiError`]
pub async fn read(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let meeting = meeting_of(&app, &caller, &id).await?;
    let after = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let reading = meeting.read(after.unwrap_or_default());
    let body = Body::from_stream(stream::unfold((reading, true), next));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

/// The next piece of the stream (WHATWG HTML §9.2).
async fn next(
    (mut reading, is_first): (Reading, bool),
) -> Option<(Result<Bytes, Infallible>, (Reading, bool))> {
    #[derive(Deserialize)]
    struct Typed {
        r#type: String,
    }
    let text = if is_first {
        "retry: 1000\n\n".to_owned()
    } else {
        match reading.next(PING).await {
            Some((number, event)) => {
                let kind = serde_json::from_slice::<Typed>(&event)
                    .map_or_else(|_| "message".into(), |event| event.r#type);
                format!("id: {number}\nevent: {kind}\ndata: {}\n\n", String::from_utf8_lossy(&event))
            }
            None if reading.is_over() => return None,
            None => ": ping\n\n".to_owned(),
        }
    };
    Some((Ok(text.into()), (reading, false)))
}
