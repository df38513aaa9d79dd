//! `/v1/calls`: calls that we make, and those that we have.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use patchbay_core::EndReason;
use patchbay_store::{CallFilter, PAGE_MAX, Page, UnixMs};
use serde::Deserialize;
use serde_json::{Value, json};

mod kept;

use super::bot_call::open_meeting;
use super::caller::Caller;
use super::error::ApiError;
use super::twilio::voice::resume_path;
use crate::admission::{Ticket, units};
use crate::app::App;
use crate::config::{Route, Tenant, is_e164};
use crate::credential::Scope;
use crate::secret::Private;
use crate::twilio_rest::Outbound;

/// A call to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCall {
    to: String,
    /// Of a phone call only.
    from: Option<String>,
    route: Option<String>,
}

/// A phone call to be made.
struct PhoneCall {
    to: String,
    from: String,
    route: String,
}

fn default_route() -> String {
    "default".into()
}

/// `POST /v1/calls`: Twilio rings `to`; when it is answered, the route's model speaks.
///
/// # Errors
/// [`ApiError`]
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Result<Json<NewCall>, JsonRejection>,
) -> Result<Response, ApiError> {
    let asked = body.map_err(|rejection| ApiError::field("body", explained(&rejection)));
    if let Ok(Json(call)) = &asked
        && let Some(bot) = call.to.strip_prefix("bot:")
    {
        return super::bot_join::promise(&app, &caller, bot, call.route.as_deref());
    }
    if caller.bot().is_ok() {
        let Json(call) = asked?;
        return made_by_bot(&app, &caller, call).await;
    }
    let tenant = caller.tenant(&app, Scope::CallsWrite)?;
    let Json(NewCall { to, from, route }) = asked?;
    let from = from
        .ok_or_else(|| ApiError::field("from", "`from` is a number of your account such as +4930123456."))?;
    let call = PhoneCall { to, from, route: route.unwrap_or_else(default_route) };
    let route = tenant.routes.get(&call.route).filter(|_| caller.identity().may_use(&call.route));
    let route = route.ok_or_else(|| ApiError::not_found("route"))?;
    check_numbers(tenant, route, &call)?;
    app.phones.sweep(Instant::now(), |id| app.is_over(id));
    let ticket = app.admit(caller.config(), tenant, Some(&call.to), units(route.audio))?;
    let id = place(&app, tenant, route, call, ticket).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "state": "ringing" }))).into_response())
}

/// A bot calls a number, by a route that it answers.
async fn made_by_bot(app: &App, caller: &Caller, call: NewCall) -> Result<Response, ApiError> {
    let tenant = caller.tenant_or_bot(app, Scope::CallsWrite)?;
    let bot = caller.bot()?.bot.name();
    let answers = |route: &&Arc<Route>| route.bot.as_deref() == Some(bot) && route.allow_outbound;
    let route = match &call.route {
        Some(name) => tenant.routes.get(name).filter(answers),
        None => tenant.routes.values().find(answers),
    };
    let route = route.ok_or_else(|| {
        let message = "No route of the tenant has this bot and allow_outbound = true.";
        ApiError::new(StatusCode::FORBIDDEN, "outbound_not_allowed", message)
    })?;
    let from = call.from.or_else(|| tenant.twilio.numbers.first().cloned());
    let from = from
        .ok_or_else(|| ApiError::field("from", "`from` is a number of your account such as +4930123456."))?;
    let call = PhoneCall { to: call.to, from, route: route.name.clone() };
    check_numbers(tenant, route, &call)?;
    app.phones.sweep(Instant::now(), |id| app.is_over(id));
    let ticket = app.admit(caller.config(), tenant, Some(&call.to), units(route.audio))?;
    let id = place(app, tenant, route, call, ticket).await?;
    app.joins.make(&id, Instant::now());
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "state": "ringing" }))).into_response())
}

async fn place(
    app: &App,
    tenant: &Tenant,
    route: &Route,
    call: PhoneCall,
    ticket: Ticket,
) -> Result<String, ApiError> {
    let (to, from) = (Private::new(call.to), Private::new(call.from));
    let names = (tenant.name.as_str(), route.name.as_str());
    let (id, token) = app.phones.dial(names, to.clone(), Some(ticket), Instant::now());
    let url = app.public_url.http(&resume_path(&token));
    let status_url = app.public_url.http("/twilio/status");
    let outbound = Outbound { to: &to, from: &from, url: &url, status_url: &status_url };
    match app.twilio.place(&tenant.twilio, &outbound).await {
        Ok(call_sid) if app.phones.bind(&id, &call_sid) => Ok(id),
        Ok(_) => {
            Err(ApiError::new(StatusCode::BAD_GATEWAY, "twilio_failed", "Twilio answered with another call."))
        }
        Err(error) => {
            app.phones.forget(&id);
            tracing::warn!(tenant = tenant.name, %error, "an outbound call was not placed");
            Err(error.into())
        }
    }
}

fn check_numbers(tenant: &Tenant, route: &Route, call: &PhoneCall) -> Result<(), ApiError> {
    if !route.allow_outbound {
        let message = "This route makes no calls: allow_outbound is false.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "outbound_not_allowed", message));
    }
    if !is_e164(&call.to) {
        return Err(ApiError::field("to", "`to` is a number such as +4930123456."));
    }
    if !is_e164(&call.from) {
        return Err(ApiError::field("from", "`from` is a number of your account such as +4930123456."));
    }
    if !tenant.twilio.has(&call.from) {
        return Err(ApiError::field("from", "`from` is none of the tenant's twilio.numbers."));
    }
    if !route.outbound_prefixes.iter().any(|prefix| call.to.starts_with(prefix.as_str())) {
        let message = "This route does not call numbers that begin so: see outbound_prefixes.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "number_not_allowed", message));
    }
    Ok(())
}

/// What is wrong with a body, without its content.
fn explained(rejection: &JsonRejection) -> &'static str {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => "Send it as content-type: application/json.",
        JsonRejection::JsonSyntaxError(_) => "The body is not JSON.",
        JsonRejection::JsonDataError(_) => {
            "The body takes `to`, `from` and `route`, all of them texts; a call to a bot has no `from`."
        }
        _ => "The body cannot be read.",
    }
}

/// A list's query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Of one user only.
    user: Option<String>,
    /// What the page before answered as its next.
    after: Option<String>,
    /// Most calls of the page, 50 when absent.
    limit: Option<u32>,
}

/// `GET /v1/calls?user=&after=&limit=`: the tenant's calls, the latest first.
///
/// # Errors
/// [`ApiError`]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    listed: Result<Query<Listed>, QueryRejection>,
) -> Result<Response, ApiError> {
    let tenant = caller.tenant(&app, Scope::CallsRead)?;
    let Query(listed) =
        listed.map_err(|_| ApiError::field("query", "A list takes user, after and limit."))?;
    let filter = CallFilter { tenant: Some(tenant.name.clone()), user: listed.user.map(Private::new) };
    of_page(&app, &filter, listed.after, listed.limit).await
}

/// `GET /v1/calls/{id}`: one call with its words, latencies, cuts, usage and cost.
///
/// # Errors
/// [`ApiError`]
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let tenant = caller.tenant_or_bot(&app, Scope::CallsRead)?;
    if caller.bot().is_ok_and(|pass| app.bots.taken(&pass.bot, &id).is_none())
        && open_meeting(&app, &caller, &id).is_none()
    {
        return Err(ApiError::not_found("call"));
    }
    one(&app, &tenant.name, &id).await
}

/// A page of calls: those of the store, and on the first page those that it has not heard of yet.
pub(super) async fn of_page(
    app: &App,
    filter: &CallFilter,
    after: Option<String>,
    limit: Option<u32>,
) -> Result<Response, ApiError> {
    let page = Page { after, limit: limit.unwrap_or(50).clamp(1, PAGE_MAX) };
    app.archive.settle().await;
    let (rows, next) = app.archive.store.calls(filter, &page).await?;
    let now = UnixMs::now();
    // A list of this machine's calls copies each of them: only for the page that may show one.
    let is_first_of_all = page.after.is_none() && filter.user.is_none();
    let ours = if is_first_of_all { app.calls.list() } else { Vec::new() };
    let fresh = ours.into_iter().filter(|record| {
        let is_asked = filter.tenant.as_deref().is_none_or(|tenant| *record.tenant == *tenant);
        let is_known = rows.iter().any(|row| *row.id == *record.id);
        record.state != "ended" && is_asked && !is_known
    });
    let fresh: Vec<Value> = fresh.map(|record| kept::fresh(&record)).collect();
    let lines: Vec<Value> = fresh.into_iter().chain(rows.iter().map(|row| kept::line(row, now))).collect();
    Ok(Json(json!({ "data": lines, "next": next })).into_response())
}

/// One call of a tenant: as the store has it, or as this machine does before the store has heard of it.
pub(super) async fn one(app: &App, tenant: &str, id: &str) -> Result<Response, ApiError> {
    app.archive.settle().await;
    let record = app.calls.record(id).filter(|record| *record.tenant == *tenant);
    if let Some(page) = app.archive.store.call(tenant, id).await? {
        let mut call = kept::whole(&page, UnixMs::now());
        if let Some(record) = record.filter(|record| record.state != "ended") {
            call["state"] = record.state.into();
        }
        return Ok(Json(call).into_response());
    }
    if let Some(record) = record {
        return Ok(Json(record).into_response());
    }
    let rings = app.phones.by_id(id).is_some_and(|phone| phone.tenant == tenant);
    match rings || app.joins.waits(id, tenant, Instant::now()) {
        true => Ok(Json(json!({ "id": id, "state": "ringing" })).into_response()),
        false => Err(ApiError::not_found("call")),
    }
}

/// `POST /v1/calls/{id}/hangup`: ends the call, at Twilio too if the tenant has an account there.
///
/// # Errors
/// [`ApiError`]
pub async fn hang_up(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    if caller.bot().is_ok() {
        super::bot_call::meeting_of(&app, &caller, &id).await?.hang_up();
        return Ok(Json(json!({ "id": id, "state": "ending" })).into_response());
    }
    let tenant = caller.tenant(&app, Scope::CallsWrite)?;
    let is_ours = app.calls.record(&id).is_some_and(|call| *call.tenant == *tenant.name);
    let phone = app.phones.by_id(&id).filter(|phone| phone.tenant == tenant.name);
    if !is_ours && phone.is_none() {
        return Err(ApiError::not_found("call"));
    }
    let ended = app.calls.end(&id, EndReason::Requested);
    let sid = phone.and_then(|phone| phone.call_sid);
    if let (Some(sid), Some(_)) = (sid, tenant.twilio.rest_credential()) {
        let told = app.twilio.hang_up(&tenant.twilio, &sid).await;
        // The stream's end hangs up too, so that a Twilio that cannot be reached only costs a second.
        if !ended {
            told?;
        }
    }
    Ok(Json(json!({ "id": id, "state": "ending" })).into_response())
}
