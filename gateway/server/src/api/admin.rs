//! What only operators may reach: `/metrics` and `/admin/*`, on the admin listener. Each change is audited.
//!
//! On a loopback listener the machine's own users are the operators, but not the pages that they have open: a request
//! from a page other than our console, or one by another name than the machine's, is refused. On any other listener
//! `credentials.admin_key` decides.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::asked::Asked;
use super::error::ApiError;
use crate::app::App;
use crate::drain::Phase;
use crate::registry::{ChangeError, Registry, TEXT_MAX};
use patchbay_store::StoreError;

mod calls;
mod keys;
mod listening;
mod tenants;

/// `/admin/*`, for operators only.
pub(super) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    let tenants = Router::new()
        .route("/admin/tenants", get(tenants::list))
        .route("/admin/tenants/{tenant}", get(tenants::show).put(tenants::put).delete(tenants::delete))
        .route(
            "/admin/tenants/{tenant}/secrets/{name}",
            axum::routing::put(tenants::put_secret).delete(tenants::delete_secret),
        )
        .route("/admin/tenants/{tenant}/keys", get(keys::list).post(keys::mint))
        .route("/admin/tenants/{tenant}/keys/{id}", axum::routing::delete(keys::revoke))
        .route("/admin/tenants/{tenant}/forget", post(calls::forget));
    let rest = Router::new()
        .route("/admin/calls", get(calls::list))
        .route("/admin/calls/{id}", get(calls::show))
        .route("/admin/calls/{id}/end", post(calls::end))
        .route("/admin/calls/{id}/listen", get(listening::listen))
        .route("/admin/levels", get(listening::levels))
        .route("/admin/audit", get(audit))
        .route("/admin/drain", post(drain));
    tenants
        .merge(rest)
        .layer(DefaultBodyLimit::max(2 * TEXT_MAX))
        .route_layer(from_fn_with_state(app.clone(), operators_only))
}

async fn operators_only(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match operator(&app, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            app.metrics.auth_refused("admin");
            error.into_response()
        }
    }
}

fn operator(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let config = app.config();
    if let Some(key) = &config.credentials.admin_key {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = Sha256::digest(shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default());
        let known = Sha256::digest(key.expose());
        return bool::from(shown.as_slice().ct_eq(known.as_slice()))
            .then_some(())
            .ok_or_else(ApiError::unauthorized);
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_ours = headers.get(header::ORIGIN).is_none_or(|origin| is_own_page(origin.as_bytes(), host));
    if config.server.admin_listen.ip().is_loopback() && is_machine(host) && is_ours {
        return Ok(());
    }
    let message = "Set credentials.admin_key and show it: Authorization: Bearer …. Without one, /admin answers this machine only.";
    Err(ApiError::new(StatusCode::FORBIDDEN, "operators_only", message))
}

/// Whether the page that asks is one that this listener served, which is the console. A name that somebody else chose is
/// not the machine's, so no page under such a name gets this far.
fn is_own_page(origin: &[u8], host: &str) -> bool {
    origin.strip_prefix(b"http://") == Some(host.as_bytes())
}

/// Whether a `Host` is an address or `localhost`: a name that somebody else chose may lead here as well.
fn is_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name).trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok()
}

/// The registry, if there is a database.
fn registry(app: &App) -> Result<&Arc<Registry>, ApiError> {
    app.registry.as_ref().ok_or_else(|| {
        let message = "There is no database: set storage.url. Until then, tenants are in the configuration.";
        ApiError::new(StatusCode::CONFLICT, "no_database", message)
    })
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        let (status, code) = match &error {
            ChangeError::Name(_) | ChangeError::TooLong => (StatusCode::BAD_REQUEST, "invalid_value"),
            ChangeError::NoTenant(_) => (StatusCode::NOT_FOUND, "not_found"),
            ChangeError::Faults(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_configuration"),
            ChangeError::Store(error) => return store_failed(error),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        store_failed(&error)
    }
}

fn store_failed(error: &StoreError) -> ApiError {
    match error {
        StoreError::Conflict { .. } => ApiError::new(StatusCode::CONFLICT, "conflict", format!("{error}.")),
        StoreError::Invalid { .. } => {
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_value", format!("{error}."))
        }
        error => {
            tracing::error!(%error, "the store failed");
            let message = "The database cannot be used now. Calls go on; try again.";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", message)
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    tenant: Option<String>,
    #[serde(default)]
    after: u64,
    #[serde(default = "fifty")]
    limit: u32,
}

const fn fifty() -> u32 {
    50
}

async fn audit(State(app): State<Arc<App>>, Asked(query): Asked<AuditQuery>) -> Result<Response, ApiError> {
    let store = registry(&app)?.store();
    let rows = store.audit(query.tenant.as_deref(), query.after, query.limit.clamp(1, 500)).await?;
    let next = rows.last().map(|row| row.seq);
    Ok(Json(json!({ "data": rows, "next": next })).into_response())
}

/// As the first SIGTERM would. The answer tells how many calls are left.
async fn drain(State(app): State<Arc<App>>) -> Response {
    app.drain.advance(Phase::Draining);
    Json(json!({ "state": "draining", "calls": app.admission.calls() })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_but_the_console_is_an_operator() {
        assert!(is_own_page(b"http://127.0.0.1:9090", "127.0.0.1:9090"));
        for origin in ["null", "http://127.0.0.1:8080", "http://evil.example", "https://127.0.0.1:9090", ""] {
            assert!(!is_own_page(origin.as_bytes(), "127.0.0.1:9090"), "{origin}");
        }
    }

    #[test]
    fn only_an_address_or_localhost_is_this_machine() {
        for host in ["127.0.0.1:9090", "localhost:9090", "localhost", "[::1]:9090", "10.0.0.1"] {
            assert!(is_machine(host), "{host}");
        }
        for host in ["evil.example:9090", "127.0.0.1.evil.example", "localhost.evil.example:1", ""] {
            assert!(!is_machine(host), "{host}");
        }
    }
}
