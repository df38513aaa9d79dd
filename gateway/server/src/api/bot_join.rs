//! `POST /v1/calls {to: "bot:…"}`: a browser, or whoever speaks the realtime API, asks for a call to a bot, and joins it.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use patchbay_core::BotId;
use serde_json::json;

use super::caller::Caller;
use super::error::ApiError;
use crate::app::App;
use crate::config::{Found, Tenant};
use crate::credential::Scope;

/// Promises a call to `bot`, by the rules of `route`.
pub(super) fn promise(
    app: &App,
    caller: &Caller,
    bot: &str,
    route: Option<&str>,
) -> Result<Response, ApiError> {
    let tenant = asking(app, caller)?;
    let name = caller.route(route).ok_or_else(|| ApiError::not_found("route"))?;
    let bound =
        caller.identity().route.as_ref().and(tenant.routes.get(&name)).and_then(|route| route.bot.as_ref());
    if bound.is_some_and(|only| only != bot) {
        let message = "The credential is for a route that another bot answers.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "bot_not_allowed", message));
    }
    let wrong = |_| ApiError::field("to", "`to` is a number such as +4930123456, or bot:NAME.");
    BotId::new(&tenant.name, bot).map_err(wrong)?;
    let id = app.joins.promise(&tenant.name, bot, &name, Instant::now());
    let id = id.ok_or_else(|| ApiError::busy("too_many_calls", "Too many calls wait to be joined."))?;
    let webrtc = app.public_url.http(&format!("/v1/calls/{id}/join"));
    let websocket = app.public_url.ws(&format!("/v1/realtime?join={id}"));
    let join = json!({ "webrtc": webrtc, "websocket": websocket });
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "state": "ringing", "join": join }))).into_response())
}

/// Joins a call with `begin`, which is given its target. What fails may be tried again.
pub(super) fn joined<T>(
    app: &App,
    caller: &Caller,
    id: &str,
    begin: impl FnOnce(Found) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let tenant = asking(app, caller)?;
    let Some(join) = app.joins.take(id, &tenant.name, Instant::now()) else {
        let is_ours = app.calls.record(id).is_some_and(|call| *call.tenant == *tenant.name)
            || app.phones.by_id(id).is_some_and(|phone| phone.tenant == tenant.name);
        let message = "This call is not waiting to be joined.";
        let taken = || ApiError::new(StatusCode::CONFLICT, "not_joinable", message);
        return Err(if is_ours { taken() } else { ApiError::not_found("call") });
    };
    let begun = join.target(caller.config()).ok_or_else(|| ApiError::not_found("route")).and_then(begin);
    begun.inspect_err(|_| app.joins.put_back(id, join))
}

/// The tenant of whoever may talk, or make calls.
fn asking<'c>(app: &App, caller: &'c Caller) -> Result<&'c Arc<Tenant>, ApiError> {
    caller.tenant(app, Scope::RealtimeConnect).or_else(|_| caller.tenant(app, Scope::CallsWrite))
}
