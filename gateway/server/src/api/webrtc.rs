//! `/v1/realtime/calls`: a browser's call over WebRTC, as OpenAI has it (reference/browser.md §1.1, §2.4), and the same as WHIP
//! (RFC 9725) at `/whip/{route}`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use patchbay_core::EndReason;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::bot_join;
use super::caller::Caller;
use super::error::ApiError;
use super::multipart;
use crate::app::App;
use crate::bots::Human;
use crate::config::{Found, Tenant};
use crate::credential::Scope;
use crate::plan::client::Client;
use crate::plan::{self, PlanError, Target, web_units};
use crate::transport::{Answer, Carrier, Gate, OfferError};

const SDP: &str = "application/sdp";
/// Candidates that come later (RFC 8840 §9): a server that is ICE-lite needs none.
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// What the address may say.
#[derive(Debug, Deserialize)]
pub struct Asked {
    /// Which of the tenant's routes.
    #[serde(default)]
    route: Option<String>,
    /// Whether the model is to speak first.
    #[serde(default)]
    greet: bool,
}

/// `POST /v1/realtime/calls`: an offer, as `application/sdp` or as a form with `sdp` and `session`; answered at once with every
/// candidate.
///
/// # Errors
/// [`ApiError`]
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let offer = offer(&headers, body)?;
    open(&app, &caller, &asked, &offer)
}

/// `POST /whip/{route}`: the same, in WHIP's words.
///
/// # Errors
/// [`ApiError`]
pub async fn create_whip(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(route): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let offer = offer(&headers, body)?;
    open(&app, &caller, &Asked { route: Some(route), greet: false }, &offer)
}

/// `POST /v1/calls/{id}/join`: an offer for a call to a bot that was asked for.
///
/// # Errors
/// [`ApiError`]
pub async fn join(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    bot_join::joined(&app, &caller, &id, |found| {
        let offer = offer(&headers, body)?;
        begin(&app, &caller, (&id, found), false, &offer)
    })
}

/// `POST` or `PATCH /v1/realtime/calls/{id}`: a new offer for the same call, an ICE restart.
///
/// # Errors
/// [`ApiError`]
pub async fn restart(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    own_call(&app, &caller, &id)?;
    if method == Method::PATCH && is_of(&headers, FRAGMENT) {
        return fragment(&read(body)?);
    }
    let offer = offer(&headers, body)?;
    let answer = gate(&app)?.restart(&id, &offer.sdp).await?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, HeaderValue::from_static(SDP))], answer.sdp).into_response())
}

/// `POST /v1/realtime/calls/{id}/hangup` and `DELETE /v1/realtime/calls/{id}`: ends the call.
///
/// # Errors
/// [`ApiError`]
pub async fn hang_up(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    own_call(&app, &caller, &id)?;
    app.calls.end(&id, EndReason::Requested);
    Ok(StatusCode::OK.into_response())
}

/// Begins a call by a route.
fn open(app: &App, caller: &Caller, asked: &Asked, offer: &Offer) -> Result<Response, ApiError> {
    let tenant = caller.tenant(app, Scope::RealtimeConnect)?;
    let name = caller.route(asked.route.as_deref()).ok_or_else(|| ApiError::not_found("route"))?;
    let found = caller.config().route(&tenant.name, &name).ok_or_else(|| ApiError::not_found("route"))?;
    begin(app, caller, (&crate::id::fresh("rtc_"), found), asked.greet, offer)
}

/// Begins a call: admitted before anything is made for it, and paid for when it is sure to begin.
fn begin(
    app: &App,
    caller: &Caller,
    (id, found): (&str, Found),
    greets: bool,
    offer: &Offer,
) -> Result<Response, ApiError> {
    let gate = gate(app)?;
    let format = Gate::look(&offer.sdp)?;
    let (config, identity) = (caller.config(), caller.identity());
    let (tenant, route, provider) = found;
    let target = Target { tenant: &tenant, route: &route, provider: &provider };
    let user = identity.user.as_ref().map(|user| user.reveal().as_str());
    let mut ticket = app.admit(config, &tenant, user, web_units(target, format))?;
    let (port, answer) = gate.answer(id, &offer.sdp)?;
    app.credentials.spend(identity, caller.sending())?;
    let reservation = ticket.take_reservation();
    let (settings, unix) = (offer.settings.as_ref(), caller.sending().unix);
    let client = Client { identity, is_flat: false, greets, settings, unix };
    let plan = plan::web_call(id, target, (client, answer.format), config, Box::new(ticket));
    let mut plan = plan.map_err(|error| match (error, settings) {
        (PlanError::SETTINGS, Some(_)) => {
            ApiError::field("session", "`session` has settings that make no sense.")
        }
        (error, _) => unplanned(app, &tenant, &error),
    })?;
    plan.bill.reservation = reservation;
    app.seek_bot(&mut plan, Human::of(identity));
    app.calls.start(plan).map_err(|error| unplanned(app, &tenant, &error))?;
    app.calls.carry(id, Carrier::Rtc(Box::new(port)));
    tracing::info!(call = id, tenant = tenant.name, route = route.name, format = %answer.format, "call started");
    Ok(created(id, answer))
}

fn created(id: &str, answer: Answer) -> Response {
    let value = |text: String| HeaderValue::try_from(text).expect("an id of ours is a header value");
    let headers: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(SDP)),
        (header::LOCATION, value(format!("/v1/realtime/calls/{id}"))),
        (header::ETAG, value(format!("\"{id}\""))),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::CREATED, headers, answer.sdp).into_response()
}

/// A call of the caller's tenant: for whoever may talk, or steer calls.
fn own_call(app: &App, caller: &Caller, id: &str) -> Result<(), ApiError> {
    let tenant = match caller.tenant(app, Scope::CallsWrite) {
        Ok(tenant) => tenant,
        Err(_) => caller.tenant(app, Scope::RealtimeConnect)?,
    };
    let call = app.calls.record(id).filter(|call| *call.tenant == *tenant.name);
    let call = call.filter(|call| caller.identity().may_use(&call.route));
    call.map(|_| ()).ok_or_else(|| ApiError::not_found("call"))
}

fn gate(app: &App) -> Result<&Gate, ApiError> {
    app.gate.as_deref().ok_or_else(|| {
        let message =
            "This gateway has no WebRTC: webrtc.public_ips says by which addresses browsers reach it.";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "webrtc_off", message)
    })
}

fn read(body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|_| {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "The body is longer than limits.body_bytes_max.",
        )
    })
}

/// What a browser offers.
struct Offer {
    sdp: String,
    /// What it chooses beside it, as a nested session: as much of it holds as of a `session.update`.
    settings: Option<Map<String, Value>>,
}

/// The offer of a body of either kind. Who says no kind is taken at their word.
fn offer(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<Offer, ApiError> {
    let body = read(body)?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let (sdp, settings) = match content_type {
        Some(kind) if kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data") => {
            (multipart::part(kind, &body, "sdp"), settings(kind, &body)?)
        }
        Some(_) if !is_of(headers, SDP) => (None, None),
        _ => (Some(&body[..]), None),
    };
    let text = sdp.and_then(|sdp| std::str::from_utf8(sdp).ok()).map(str::to_owned);
    text.map(|sdp| Offer { sdp, settings }).ok_or_else(|| {
        let message = "Send the offer as application/sdp, or as multipart/form-data with a part `sdp`.";
        ApiError::field("sdp", message)
    })
}

fn settings(kind: &str, body: &[u8]) -> Result<Option<Map<String, Value>>, ApiError> {
    let Some(session) = multipart::part(kind, body, "session") else { return Ok(None) };
    let read = serde_json::from_slice(session).map(Some);
    read.map_err(|_| ApiError::field("session", "`session` is a JSON object."))
}

fn is_of(headers: &HeaderMap, kind: &str) -> bool {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.split(';').next().is_some_and(|said| said.trim().eq_ignore_ascii_case(kind))
}

/// RFC 9725 §4.3: candidates are welcome and not needed; new names of ICE come with a whole offer.
fn fragment(body: &[u8]) -> Result<Response, ApiError> {
    let has_candidates = std::str::from_utf8(body).is_ok_and(|text| {
        text.lines().any(|line| line.starts_with("a=candidate:") || line == "a=end-of-candidates")
    });
    if has_candidates {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let message = "An ICE restart is a whole offer as application/sdp.";
    Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "whole_offer_wanted", message))
}

fn unplanned(app: &App, tenant: &Tenant, error: &dyn std::fmt::Display) -> ApiError {
    app.metrics.refused("configuration");
    tracing::error!(tenant = tenant.name, %error, "a call cannot be started");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "configuration", "The route cannot be used.")
}

impl From<OfferError> for ApiError {
    fn from(error: OfferError) -> Self {
        match error {
            OfferError::Gone => {
                let message = "This call has no WebRTC connection that could be restarted.";
                Self::new(StatusCode::CONFLICT, "no_connection", message)
            }
            other => Self::field("sdp", format!("{other}.")),
        }
    }
}
