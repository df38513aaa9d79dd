//! `POST /v1/calls/{id}/accept` and `/reject`: a bot answers an offer.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use patchbay_core::{Format, NotAccepted};
use serde::Deserialize;
use serde_json::json;

use super::{lease_id, no_lease};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::app::App;
use crate::bots::{NotTaken, audio_type};

/// How a bot takes a call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepting {
    lease: String,
    #[serde(default)]
    audio: Audio,
}

/// In which formats.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audio {
    receive: Option<String>,
    send: Option<String>,
}

/// Takes a call that is offered to this instance. To say so again is answered alike.
///
/// # Errors
/// [`ApiError`]
pub async fn accept(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Result<Json<Accepting>, JsonRejection>,
) -> Result<Response, ApiError> {
    let bot = &caller.bot()?.bot;
    let message = "The body takes lease, and audio with receive and send.";
    let Json(asked) = body.map_err(|_| ApiError::field("body", message))?;
    let receive = format("audio.receive", asked.audio.receive.as_deref())?;
    let send = format("audio.send", asked.audio.send.as_deref())?;
    let who = (bot, lease_id(&asked.lease)?);
    let accepted = app.bots.accept(who, &id, (receive, send)).map_err(not_taken)?;
    tracing::info!(call = id, tenant = bot.tenant(), bot = bot.name(), "a bot took a call");
    let at = |rest: &str| format!("/v1/calls/{id}/{rest}");
    let body = json!({
        "call_id": id,
        "audio_url": app.public_url.http(&at("audio")),
        "events_url": app.public_url.http(&at("events")),
        "stream_url": app.public_url.ws(&at("stream")),
        "receive": audio_type::name(accepted.receive),
        "send": audio_type::name(accepted.send),
    });
    Ok(Json(body).into_response())
}

/// Why a bot does not take a call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejecting {
    lease: String,
    reason: Option<String>,
}

/// Gives a call that is offered to this instance to another one.
///
/// # Errors
/// [`ApiError`]
pub async fn reject(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Result<Json<Rejecting>, JsonRejection>,
) -> Result<Response, ApiError> {
    let bot = &caller.bot()?.bot;
    let Json(asked) = body.map_err(|_| ApiError::field("body", "The body takes lease and reason."))?;
    app.bots.reject((bot, lease_id(&asked.lease)?), &id).map_err(not_taken)?;
    // What a bot writes there may be anything: only that it wrote something is logged.
    let is_explained = asked.reason.is_some();
    tracing::info!(call = id, tenant = bot.tenant(), bot = bot.name(), is_explained, "a bot rejected a call");
    Ok(Json(json!({ "call_id": id })).into_response())
}

fn format(param: &'static str, text: Option<&str>) -> Result<Option<Format>, ApiError> {
    let parse = |text: &str| {
        let message = format!("`{param}` is one of the offer's `codecs`.");
        audio_type::parse(text).ok_or_else(|| ApiError::field(param, message))
    };
    text.map(parse).transpose()
}

fn not_taken(error: NotTaken) -> ApiError {
    let new = |status, code, message: &'static str| ApiError::new(status, code, message);
    match error {
        NotTaken::NoLease => no_lease(),
        NotTaken::Format => {
            ApiError::field("audio", "`audio` names a format that is not among the offer's `codecs`.")
        }
        NotTaken::Offer(NotAccepted::Unknown) => ApiError::not_found("call"),
        NotTaken::Offer(NotAccepted::Taken) => {
            let message = "Another instance has this call: leave it alone.";
            new(StatusCode::CONFLICT, "call_taken", message)
        }
        NotTaken::Offer(NotAccepted::Expired) => {
            let message = "The offer is over: the caller went, or five seconds passed and the call went on.";
            new(StatusCode::GONE, "offer_expired", message)
        }
    }
}
