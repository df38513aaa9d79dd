//! `POST /v1/realtime/client_secrets`: a secret for a browser, in OpenAI's shape (reference/realtime.md §1.2), with our own
//! bounds under `patchbay`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use patchbay_legs::client_events::Policy;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::caller::Caller;
use super::error::ApiError;
use crate::app::App;
use crate::config::{Config, Tenant};
use crate::credential::mint::{NotMinted, Wanted};
use crate::credential::origin::Origin;
use crate::credential::{Identity, Scope};
use crate::plan::client::policy;
use crate::secret::Private;

/// Settings of a conversation, as JSON, in bytes.
const SETTINGS_MAX: usize = 16 * 1024;
/// How long a secret may be good, in seconds, and how long it is if nobody says.
const SECONDS: std::ops::RangeInclusive<u64> = 10..=7200;
const SECONDS_DEFAULT: u64 = 600;
const USES_MAX: u32 = 10_000;
const ORIGINS_MAX: usize = 8;
const USER_MAX: usize = 256;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NewSecret {
    expires_after: Option<ExpiresAfter>,
    session: Option<Map<String, Value>>,
    patchbay: Bounds,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpiresAfter {
    #[serde(default)]
    anchor: Option<String>,
    seconds: u64,
}

/// What OpenAI's shape has no place for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Bounds {
    user: Option<String>,
    route: Option<String>,
    origins: Vec<String>,
    uses: Option<u32>,
}

/// Mints one.
///
/// # Errors
/// [`ApiError`]
pub async fn create(State(app): State<Arc<App>>, caller: Caller, body: Bytes) -> Result<Response, ApiError> {
    let tenant = caller.tenant(&app, Scope::SecretsCreate)?;
    let asked = read(&body)?;
    let now = caller.sending().unix;
    let expires_at = now + seconds(asked.expires_after.as_ref())?;
    let route = caller.route(asked.patchbay.route.as_deref());
    let route = route
        .ok_or_else(|| ApiError::field("patchbay.route", "`route` names one of the tenant's routes."))?;
    let settings = allowed(tenant, &route, caller.identity(), asked.session.unwrap_or_default());
    let wanted = Wanted {
        tenant: tenant.name.clone(),
        user: user(caller.identity(), asked.patchbay.user)?,
        route: route.clone(),
        origins: origins(tenant, &app, &caller, &asked.patchbay.origins)?,
        settings: kept(&settings)?,
        uses: uses(asked.patchbay.uses)?,
        expires_at,
    };
    let secret = app.credentials.mint(caller.config(), wanted, now)?;
    let session = shown(caller.config(), tenant, &route, settings);
    let body = json!({ "value": secret.expose(), "expires_at": expires_at, "session": session });
    // RFC 6749 §5.1: an answer with a credential is kept by no cache.
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((StatusCode::OK, [no_store], Json(body)).into_response())
}

fn read(body: &[u8]) -> Result<NewSecret, ApiError> {
    if body.is_empty() {
        return Ok(NewSecret::default());
    }
    let message =
        "The body is a JSON object with `expires_after`, `session` and `patchbay`, each of them optional.";
    serde_json::from_slice(body).map_err(|_| ApiError::field("body", message))
}

fn seconds(after: Option<&ExpiresAfter>) -> Result<u64, ApiError> {
    let Some(after) = after else { return Ok(SECONDS_DEFAULT) };
    if after.anchor.as_deref().is_some_and(|anchor| anchor != "created_at") {
        return Err(ApiError::field("expires_after.anchor", "`anchor` is created_at."));
    }
    if SECONDS.contains(&after.seconds) {
        Ok(after.seconds)
    } else {
        Err(ApiError::field("expires_after.seconds", "`seconds` is a number from 10 to 7200."))
    }
}

/// A key mints for whom it likes, a user for nobody else.
fn user(identity: &Identity, asked: Option<String>) -> Result<Option<Private<String>>, ApiError> {
    let fits = |user: &String| (1..=USER_MAX).contains(&user.len()) && !user.chars().any(char::is_control);
    if asked.as_ref().is_some_and(|user| !fits(user)) {
        return Err(ApiError::field("patchbay.user", "`user` is a text of up to 256 bytes."));
    }
    let asked = asked.map(Private::new);
    match (&identity.user, asked) {
        (None, asked) => Ok(asked),
        (Some(own), None) => Ok(Some(own.clone())),
        (Some(own), Some(asked)) if *own == asked => Ok(Some(asked)),
        (Some(_), Some(_)) => {
            Err(ApiError::field("patchbay.user", "A user's token makes secrets for that user only."))
        }
    }
}

fn origins(tenant: &Tenant, app: &App, caller: &Caller, asked: &[String]) -> Result<Vec<Origin>, ApiError> {
    let wrong = |message: String| ApiError::field("patchbay.origins", message);
    if asked.len() > ORIGINS_MAX {
        return Err(wrong(format!("`origins` has at most {ORIGINS_MAX} origins.")));
    }
    let read = |text: &String| {
        let origin = Origin::parse(text).map_err(|(what, _)| wrong(format!("An origin {what}.")))?;
        let is_allowed = app.credentials.may_read(caller.config(), Some(&tenant.name), origin.as_str());
        if is_allowed {
            Ok(origin)
        } else {
            Err(wrong("An origin is not among the tenant's allowed_origins.".into()))
        }
    };
    asked.iter().map(read).collect()
}

fn uses(asked: Option<u32>) -> Result<Option<u32>, ApiError> {
    match asked {
        Some(uses) if !(1..=USES_MAX).contains(&uses) => {
            Err(ApiError::field("patchbay.uses", "`uses` is a number from 1 to 10000."))
        }
        other => Ok(other),
    }
}

/// A key of the tenant chooses everything; a user only what the route leaves to its users.
fn allowed(
    tenant: &Tenant,
    route: &str,
    identity: &Identity,
    asked: Map<String, Value>,
) -> Map<String, Value> {
    let policy = tenant.routes.get(route).map(|route| policy(identity, route));
    let Some(policy @ Policy::These(_)) = policy else { return asked };
    let mut settings = policy.filter(&asked).settings;
    if let Some(kind) = asked.get("type") {
        settings.insert("type".into(), kind.clone());
    }
    settings
}

/// The settings as they are kept: nothing if they say nothing.
fn kept(settings: &Map<String, Value>) -> Result<Option<Arc<str>>, ApiError> {
    let kinds = ["realtime", "transcription"];
    let is_kind = |kind: &Value| kind.as_str().is_some_and(|kind| kinds.contains(&kind));
    if settings.get("type").is_some_and(|kind| !is_kind(kind)) {
        return Err(ApiError::field("session.type", "`type` is realtime or transcription."));
    }
    let says_nothing = settings.iter().all(|(name, value)| name == "type" && value == "realtime");
    let text = serde_json::to_string(settings).expect("what was JSON is JSON");
    if text.len() > SETTINGS_MAX {
        return Err(ApiError::field("session", "`session` has at most 16384 bytes."));
    }
    Ok((!says_nothing).then(|| text.into()))
}

/// The settings as OpenAI shows them: with an id, a type and a model.
fn shown(config: &Config, tenant: &Tenant, route: &str, mut settings: Map<String, Value>) -> Value {
    let model = config.route(&tenant.name, route).map(|(_, route, _)| route.model.clone());
    settings.entry("type").or_insert_with(|| "realtime".into());
    settings.entry("model").or_insert_with(|| model.into());
    settings.insert("id".into(), crate::id::fresh("sess_").into());
    settings.insert("object".into(), "realtime.session".into());
    Value::Object(settings)
}

impl From<NotMinted> for ApiError {
    fn from(reason: NotMinted) -> Self {
        match reason {
            NotMinted::TooLong(_) => {
                Self::field("patchbay", "`user`, `route` and `origins` together are too long.")
            }
            NotMinted::Full(_) => {
                Self::busy("secrets_full", "Too many client secrets are waiting to be used.")
            }
        }
    }
}
