//! `/v1/bots`, `/v1/register`, `/v1/lookup`: bots are made known, come, are found, and go.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use patchbay_core::{BotId, DirectoryFull, LeaseId, Status};
use patchbay_store::StoreError;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub mod answer;
pub mod events;
pub mod presence;

use super::asked::Asked;
use super::caller::Caller;
use super::error::ApiError;
use crate::app::App;
use crate::bots::keys::{self, NotAdded};
use crate::bots::registering::NotRegistered;
use crate::bots::{Delivery, Wanted, audio_type};
use crate::credential::Scope;
use crate::credential::bot_key::{KnownBot, PublicKey};

/// How long a lease may hold, in seconds.
const TTL: std::ops::RangeInclusive<u64> = 5..=300;
const CAPACITY: std::ops::RangeInclusive<u16> = 1..=1000;
/// Capabilities and formats of one instance.
const WORDS_MAX: usize = 16;
/// Longest capability, in bytes.
const WORD_MAX: usize = 32;
/// Longest name of an instance or of a bot, in bytes.
const NAME_MAX: usize = 128;
/// Bots of one page.
const PAGE_MAX: usize = 100;

/// A bot to be made known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBot {
    id: String,
    name: Option<String>,
    jwk: Map<String, Value>,
}

/// `POST /v1/bots`: makes a bot known, or adds a key to it.
///
/// # Errors
/// [`ApiError`]
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Result<Json<NewBot>, JsonRejection>,
) -> Result<Response, ApiError> {
    let tenant = caller.tenant(&app, Scope::BotsWrite)?;
    let Json(new) = body.map_err(|_| ApiError::field("body", "A bot is {\"id\", \"name\", \"jwk\"}."))?;
    let bot = bot_id(&tenant.name, &new.id)?;
    check_name("name", new.name.as_deref())?;
    let key = PublicKey::read(&new.jwk).map_err(|wrong| ApiError::field("jwk", format!("{wrong}.")))?;
    let kids = keys::add(&app, &bot, new.name.as_deref(), &key).await.map_err(not_added)?;
    let kids: Vec<Value> = kids.iter().map(|kid| json!({ "kid": kid })).collect();
    let body = json!({ "id": bot.name(), "name": new.name, "kid": key.kid, "keys": kids });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// What is to be taken back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Taken {
    kid: Option<String>,
}

/// `DELETE /v1/bots/{id}?kid=`: takes a key back, or the whole bot.
///
/// # Errors
/// [`ApiError`]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Asked(taken): Asked<Taken>,
) -> Result<StatusCode, ApiError> {
    let tenant = caller.tenant(&app, Scope::BotsWrite)?;
    let bot = BotId::new(&tenant.name, &id).map_err(|_| no_bot())?;
    let was_there = keys::remove(&app, &bot, taken.kid.as_deref()).await?;
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(no_bot()) }
}

/// What an instance says when it comes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registering {
    id: String,
    instance: Option<String>,
    name: Option<String>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    formats: Vec<String>,
    #[serde(default = "one")]
    capacity: u16,
    delivery: String,
    #[serde(default = "longest")]
    ttl: u64,
    #[serde(default)]
    draining: bool,
}

const fn one() -> u16 {
    1
}

const fn longest() -> u64 {
    *TTL.end()
}

/// `POST /v1/register`: a lease for an instance of the bot, or the same one for longer.
///
/// # Errors
/// [`ApiError`]
pub async fn register(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Result<Json<Registering>, JsonRejection>,
) -> Result<Response, ApiError> {
    let pass = caller.bot()?;
    let Json(asked) = body.map_err(|rejection| ApiError::field("body", explained(&rejection)))?;
    if asked.id != pass.bot.name() {
        let message = format!("The token is bot:{}'s: a bot registers itself and no other.", pass.bot.name());
        return Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_bot", message));
    }
    check_name("name", asked.name.as_deref())?;
    let wanted = wanted(&asked)?;
    let ttl = wanted.ttl;
    let granted = app.bots.register(pass, wanted, caller.sending().unix).map_err(not_registered)?;
    let body = json!({
        "lease": granted.lease,
        "instance": granted.instance,
        "expires_at": granted.expires_at,
        "refresh_after": (ttl / 3).as_secs().max(1),
    });
    Ok(no_store(Json(body).into_response()))
}

fn wanted(asked: &Registering) -> Result<Wanted, ApiError> {
    check_name("instance", asked.instance.as_deref())?;
    let delivery = match asked.delivery.as_str() {
        "sse" => Delivery::Sse,
        "poll" => Delivery::Poll,
        "websocket" => Delivery::WebSocket,
        _ => return Err(ApiError::field("delivery", "`delivery` is sse, poll or websocket.")),
    };
    if !CAPACITY.contains(&asked.capacity) {
        return Err(ApiError::field("capacity", "`capacity` is a number of calls from 1 to 1000."));
    }
    if !TTL.contains(&asked.ttl) {
        return Err(ApiError::field("ttl", "`ttl` is a number of seconds from 5 to 300."));
    }
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b);
    let is_word = |word: &String| (1..=WORD_MAX).contains(&word.len()) && word.bytes().all(is_plain);
    if asked.capabilities.len() > WORDS_MAX || !asked.capabilities.iter().all(is_word) {
        let message = "`capabilities` are up to 16 words of up to 32 letters, digits, - _ . : and /.";
        return Err(ApiError::field("capabilities", message));
    }
    let formats: Option<Vec<_>> = asked.formats.iter().map(|text| audio_type::parse(text)).collect();
    let Some(formats) = formats.filter(|formats| formats.len() <= WORDS_MAX) else {
        let message = "`formats` are audio/opus, audio/x-mulaw;rate=8000, audio/x-alaw;rate=8000 or audio/pcm;rate=8000, \
                       16000, 24000 or 48000.";
        return Err(ApiError::field("formats", message));
    };
    Ok(Wanted {
        instance: asked.instance.clone(),
        capabilities: asked.capabilities.clone(),
        formats,
        capacity: asked.capacity,
        delivery,
        ttl: Duration::from_secs(asked.ttl),
        is_draining: asked.draining,
    })
}

/// Which lease.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfLease {
    lease: Option<String>,
}

/// `DELETE /v1/register/{bot_id}?lease=`: ends a lease, or all of the bot's.
///
/// # Errors
/// [`ApiError`]
pub(super) async fn unregister(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Asked(asked): Asked<OfLease>,
) -> Result<StatusCode, ApiError> {
    let tenant = caller.tenant_or_bot(&app, Scope::BotsWrite)?;
    let bot = BotId::new(&tenant.name, &id).map_err(|_| no_bot())?;
    if caller.bot().is_ok_and(|pass| pass.bot != bot) {
        return Err(no_bot());
    }
    let lease = asked.lease.as_deref().map(lease_id).transpose()?;
    match app.bots.unregister(&bot, lease) {
        0 => Err(no_lease()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// `GET /v1/lookup/{bot_id}`: whether a bot is there, and what it can do. Never where it is.
///
/// # Errors
/// [`ApiError`]
pub async fn lookup(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let tenant = caller.tenant_or_bot(&app, Scope::RealtimeConnect)?;
    let bot = BotId::new(&tenant.name, &id).map_err(|_| no_bot())?;
    let bots = app.credentials.bots();
    let known = bots.bot(&bot).ok_or_else(no_bot)?;
    Ok(Json(line(&app, &bot, known)).into_response())
}

/// A list's query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    capability: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/bots?capability=&after=&limit=`: the tenant's bots by name; of a capability, those that are there and have it.
///
/// # Errors
/// [`ApiError`]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Asked(listed): Asked<Listed>,
) -> Result<Response, ApiError> {
    let tenant = caller.tenant_or_bot(&app, Scope::RealtimeConnect)?;
    let bots = app.credentials.bots();
    let limit = listed.limit.unwrap_or(50).clamp(1, PAGE_MAX);
    let (mut lines, mut next, mut looked) = (Vec::new(), None, None);
    for (bot, known) in bots.of_tenant(&tenant.name, listed.after.as_deref().unwrap_or_default()) {
        if lines.len() == limit {
            next = looked;
            break;
        }
        let line = line(&app, bot, known);
        let has = |word: &String| {
            line["capabilities"].as_array().is_some_and(|all| all.iter().any(|one| one == word))
        };
        if listed.capability.as_ref().is_none_or(has) {
            lines.push(line);
        }
        looked = Some(bot.name().to_owned());
    }
    Ok(Json(json!({ "data": lines, "next": next })).into_response())
}

fn line(app: &App, bot: &BotId, known: &KnownBot) -> Value {
    let seen = app.bots.seen(bot);
    let status = seen.as_ref().map_or(Status::Offline, |seen| seen.status);
    let (capabilities, formats) = seen.map(|seen| (seen.capabilities, seen.formats)).unwrap_or_default();
    json!({
        "id": bot.name(),
        "name": known.name,
        "online": status != Status::Offline,
        "draining": status == Status::Draining,
        "capabilities": capabilities,
        "formats": formats.into_iter().map(audio_type::name).collect::<Vec<_>>(),
        "keys": known.kids,
        "gateway_url": app.public_url.http(""),
    })
}

/// `GET /.well-known/jwks.json`: what call tickets are verified with.
pub async fn jwks(State(app): State<Arc<App>>) -> Response {
    let fresh = (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    ([fresh], Json(app.bots.jwks())).into_response()
}

fn bot_id(tenant: &str, name: &str) -> Result<BotId, ApiError> {
    BotId::new(tenant, name).map_err(|_| ApiError::field("id", "`id` has up to 64 of a-z, 0-9, - and _."))
}

fn lease_id(text: &str) -> Result<LeaseId, ApiError> {
    text.parse().map_err(|_| no_lease())
}

fn check_name(param: &'static str, name: Option<&str>) -> Result<(), ApiError> {
    let fits = |name: &str| (1..=NAME_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    if name.is_none_or(fits) {
        return Ok(());
    }
    Err(ApiError::field(param, format!("`{param}` has 1 to {NAME_MAX} characters.")))
}

fn no_bot() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "bot_not_found", "There is no such bot.")
}

fn no_lease() -> ApiError {
    let message = "There is no such lease of this bot: it ended, or was never given. Register again.";
    ApiError::new(StatusCode::NOT_FOUND, "lease_not_found", message)
}

fn not_added(error: NotAdded) -> ApiError {
    match error {
        NotAdded::TooMany => ApiError::new(StatusCode::CONFLICT, "too_many_keys", format!("{error}.")),
        NotAdded::Store(StoreError::Conflict { .. }) => {
            let message = "This key is another bot's: make a new one for each bot.";
            ApiError::new(StatusCode::CONFLICT, "key_taken", message)
        }
        NotAdded::Store(error) => error.into(),
    }
}

fn not_registered(error: NotRegistered) -> ApiError {
    match error {
        NotRegistered::Replayed => {
            let message =
                "This token was used to register before: sign a new one, with a `jti` of its own, each time.";
            ApiError::new(StatusCode::UNAUTHORIZED, "bot_token_replayed", message)
        }
        NotRegistered::TooManyTokens => ApiError::busy(
            "too_many_registrations",
            "The tenant registers too often: once in a third of `ttl` is enough.",
        ),
        NotRegistered::Full(full) => {
            let code = match full {
                DirectoryFull::Machine => "directory_full",
                DirectoryFull::Tenant => "too_many_leases",
                DirectoryFull::Bot => "too_many_instances",
            };
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, format!("Not now: {full}."));
            error.after(Duration::from_secs(60))
        }
    }
}

fn explained(rejection: &JsonRejection) -> &'static str {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => "Send it as content-type: application/json.",
        JsonRejection::JsonSyntaxError(_) => "The body is not JSON.",
        JsonRejection::JsonDataError(_) => {
            "The body takes id, instance, name, capabilities, formats, capacity, delivery, ttl and draining."
        }
        _ => "The body cannot be read.",
    }
}

fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
