//! Gateway keys of a tenant.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use patchbay_store::{KeyRow, UnixMs};
use serde::Deserialize;
use serde_json::{Value, json};

use super::registry;
use crate::api::error::ApiError;
use crate::app::App;
use crate::credential::api_key::ApiKey;
use crate::credential::{Scope, Scopes};

/// `GET /admin/tenants/{tenant}/keys`: without what opens.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Path(tenant): Path<String>,
) -> Result<Response, ApiError> {
    let keys = registry(&app)?.store().keys(&tenant).await?;
    let keys: Vec<_> = keys.iter().map(public).collect();
    Ok(Json(json!({ "data": keys, "next": null })).into_response())
}

fn public(key: &KeyRow) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": key.created_at.0 / 1000,
        "expires_at": key.expires_at.map(|at| at.0 / 1000),
        "revoked_at": key.revoked_at.map(|at| at.0 / 1000),
    })
}

/// A key to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// What its owner calls it.
    #[serde(default)]
    name: String,
    /// What it may do; all there is when absent.
    scopes: Option<Vec<String>>,
    /// When it ends by itself.
    expires_in_days: Option<u32>,
}

/// `POST /admin/tenants/{tenant}/keys`: answers the key, this once.
pub(super) async fn mint(
    State(app): State<Arc<App>>,
    Path(tenant): Path<String>,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(wanted) =
        body.map_err(|_| ApiError::field("body", "A key takes name, scopes, expires_in_days."))?;
    if !app.config().tenants.contains_key(&tenant) {
        return Err(ApiError::not_found("tenant"));
    }
    let now = UnixMs::now();
    let seconds = u64::try_from(now.0 / 1000).unwrap_or_default();
    let (key, row) = ApiKey::mint(&tenant, &wanted.name, scopes(wanted.scopes)?, seconds);
    let mut row = KeyRow::from(&row);
    row.expires_at = wanted.expires_in_days.map(|days| UnixMs(now.0 + i64::from(days) * UnixMs::DAY));
    registry(&app)?.put_key(&app.credentials, &row).await?;
    let mut answer = public(&row);
    answer["key"] = key.expose().into();
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

fn scopes(words: Option<Vec<String>>) -> Result<Scopes, ApiError> {
    let Some(words) = words else { return Ok(Scopes::all()) };
    let known = |word: &String| {
        let all = || Scope::ALL.map(Scope::as_str).join(", ");
        Scope::parse(word).ok_or_else(|| ApiError::field("scopes", format!("Scopes are {}.", all())))
    };
    words.iter().map(known).collect()
}

/// `DELETE /admin/tenants/{tenant}/keys/{id}`: it opens nothing from the next request on.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Path((tenant, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let was_there = registry(&app)?.revoke_key(&app.credentials, &tenant, &id).await?;
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::not_found("key")) }
}
