//! Tenants that are managed at run time, and their sealed secrets.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use patchbay_store::UnixMs;
use serde::Deserialize;
use serde_json::{Value, json};

use super::registry;
use crate::api::asked::Asked;
use crate::api::error::ApiError;
use crate::app::App;
use crate::secret::Secret;

/// `GET /admin/tenants`: those of the configuration and those of the database.
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let kept = match &app.registry {
        Some(registry) => registry.tenants().await?,
        None => Vec::new(),
    };
    let config = app.config();
    let entry = |name: &String| {
        let row = kept.iter().find(|row| row.name == *name);
        let source = if row.is_some() { "database" } else { "configuration" };
        json!({ "name": name, "source": source, "revision": row.map(|row| row.revision) })
    };
    let tenants: Vec<_> = config.tenants.keys().map(entry).collect();
    Ok(Json(json!({ "data": tenants, "next": null })).into_response())
}

/// `GET /admin/tenants/{tenant}`: what is in effect, secrets redacted, and the text it is made of.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let config = app.config();
    let tenant = config.tenants.get(&name).ok_or_else(|| ApiError::not_found("tenant"))?;
    let row = match &app.registry {
        Some(registry) => registry.tenants().await?.into_iter().find(|row| row.name == name),
        None => None,
    };
    let (text, revision) = row.map_or((None, None), |row| (Some(row.document), Some(row.revision)));
    Ok(Json(json!({ "name": name, "text": text, "revision": revision, "effective": **tenant }))
        .into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revision {
    /// What the change is based on; a change that came between is a conflict.
    revision: Option<u64>,
}

/// `PUT /admin/tenants/{tenant}`: the body is what would stand below `[tenants.NAME]`, as TOML, or the same as JSON.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Asked(query): Asked<Revision>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, ApiError> {
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let text = if is_json { toml_of(&body)? } else { body };
    let registry = registry(&app)?;
    let revision = registry.put(&app.credentials, &name, &text, query.revision).await?;
    // It may have been here before, or be in use on another machine.
    app.till.restore(&app.config(), UnixMs::now()).await?;
    Ok(Json(json!({ "name": name, "revision": revision })).into_response())
}

fn toml_of(body: &str) -> Result<String, ApiError> {
    let value: Value = serde_json::from_str(body)
        .map_err(|error| ApiError::field("body", format!("The body is no JSON (line {}).", error.line())))?;
    toml::to_string(&value)
        .map_err(|_| ApiError::field("body", "The body is an object without null, as TOML has none."))
}

/// `DELETE /admin/tenants/{tenant}`: of the database. Its calls go on; its keys open nothing any more.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    registry(&app)?.delete(&app.credentials, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /admin/tenants/{tenant}/secrets/{name}`: the body is the secret. It is sealed, and never shown again.
pub(super) async fn put_secret(
    State(app): State<Arc<App>>,
    Path((tenant, name)): Path<(String, String)>,
    body: String,
) -> Result<StatusCode, ApiError> {
    let value = body.trim();
    if value.is_empty() {
        return Err(ApiError::field("body", "The body is the secret, and it is empty."));
    }
    let secret = Secret::new(value.to_owned(), &format!("sealed {name}"));
    registry(&app)?.put_secret(&app.credentials, &tenant, &name, &secret).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /admin/tenants/{tenant}/secrets/{name}`, unless the tenant still names it.
pub(super) async fn delete_secret(
    State(app): State<Arc<App>>,
    Path((tenant, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let was_there = registry(&app)?.delete_secret(&app.credentials, &tenant, &name).await?;
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::not_found("secret")) }
}
