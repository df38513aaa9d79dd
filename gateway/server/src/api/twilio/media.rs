//! `GET /twilio/media/{token}`: the caller's audio. The token in the path is the credential: checked before the 101, and
//! spent by it.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::refused;
use super::request::{NotTwilio, one};
use super::signature::{Signed, verify};
use super::voice::media_path;
use crate::app::App;
use crate::config::{Config, Tenant};
use crate::plan::public_port;
use crate::transport::WsUpgrade;

const ROUTE: &str = "/twilio/media/{token}";

/// Opens the socket.
pub async fn open(State(app): State<Arc<App>>, Path(token): Path<String>, mut parts: Parts) -> Response {
    let (config, now) = (app.config(), Instant::now());
    let Some(phone) = app.phones.offered(&token, now) else { return unauthorized(&app, "media_token") };
    let Some(tenant) = config.tenants.get(&phone.tenant) else { return unauthorized(&app, "media_token") };
    if let Err(reason) = check_signature(&app, tenant, &token, &parts) {
        return app.refuse_twilio(ROUTE, reason);
    }
    let upgrade = match WsUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(refusal) => return refusal.into_response(),
    };
    if app.is_over(&phone.id) || !app.phones.spend(&token, now) {
        return unauthorized(&app, "media_token");
    }
    accept(&app, &config, &phone.id, upgrade)
}

fn accept(app: &App, config: &Config, id: &str, upgrade: WsUpgrade) -> Response {
    let (response, pending) = upgrade.accept(public_port(&config.limits));
    app.calls.attach(id, pending);
    response
}

/// A signature that is there must verify, over the very address that we gave (reference/twilio.md §2.5).
fn check_signature(app: &App, tenant: &Tenant, token: &str, parts: &Parts) -> Result<(), NotTwilio> {
    if parts.uri.query().is_some() {
        return Err(NotTwilio::Query);
    }
    let tokens = tenant.twilio.auth_tokens.iter().map(|token| token.expose());
    let is_signed = parts.headers.contains_key("x-twilio-signature");
    match (is_signed, tenant.twilio.require_stream_signature) {
        (false, false) => Ok(()),
        (false, true) => Err(NotTwilio::Signature),
        // Nothing to verify it with; the token alone decides, as it does for an unsigned socket.
        (true, false) if tenant.twilio.auth_tokens.is_empty() && app.is_local => Ok(()),
        (true, _) => {
            let url = app.public_url.ws(&media_path(token));
            let valid = verify(tokens, &Signed::bare(&url), one(&parts.headers, "x-twilio-signature"));
            if valid { Ok(()) } else { Err(NotTwilio::Signature) }
        }
    }
}

fn unauthorized(app: &App, kind: &'static str) -> Response {
    app.metrics.auth_refused(kind);
    tracing::warn!(route = ROUTE, kind, "refused");
    refused()
}
