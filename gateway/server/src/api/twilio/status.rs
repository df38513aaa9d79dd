//! `POST /twilio/status`: how a stream or a phone call stands (reference/twilio.md §1.8).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use patchbay_core::EndReason;
use patchbay_store::{Quality, UnixMs};

use super::request::TwilioForm;
use crate::app::App;
use crate::config::{Config, Tenant};
use crate::meter::PhoneBill;

/// Takes note.
pub async fn take(State(app): State<Arc<App>>, parts: Parts, body: Bytes) -> Response {
    let config = app.config();
    let tenants: Vec<&Tenant> = config.tenants.values().map(|tenant| &**tenant).collect();
    match TwilioForm::verify(&app, &tenants, &parts, &body) {
        Ok(form) => {
            bill(&app, &config, &form);
            note(&app, &form);
        }
        Err(reason) => return app.refuse_twilio("/twilio/status", reason),
    }
    StatusCode::NO_CONTENT.into_response()
}

/// The minutes of a phone call that is over. A callback that Twilio repeats counts once.
fn bill(app: &App, config: &Config, form: &TwilioForm) {
    let Some(seconds) = form.get("CallDuration").and_then(|seconds| seconds.parse().ok()) else { return };
    if form.get("CallStatus") != Some("completed") {
        return;
    }
    let phone = app.phones.by_sid(&form.call_sid);
    let account =
        || config.tenants.values().find(|t| t.twilio.account_sid.as_deref() == Some(&form.account_sid));
    let known = phone.as_ref().and_then(|phone| config.tenants.get(&phone.tenant));
    let Some(tenant) = known.or_else(account) else { return };
    let is_outbound = form.get("Direction").is_some_and(|direction| direction.starts_with("outbound"));
    let bill = PhoneBill {
        call_sid: &form.call_sid,
        tenant: &tenant.name,
        route: phone.as_ref().map_or("", |phone| &phone.route),
        call: phone.as_ref().map_or("", |phone| &phone.id),
        direction: if is_outbound { "outbound" } else { "inbound" },
        called: form.get("To").unwrap_or_default(),
        seconds,
        quality: Quality::Exact,
    };
    app.till.telephone.take(&bill, &config.prices_of(tenant), &tenant.spend, UnixMs::now());
}

fn note(app: &App, form: &TwilioForm) {
    let Some(phone) = app.phones.by_sid(&form.call_sid) else { return };
    if form.get("StreamEvent") == Some("stream-error") {
        // Twilio's text may hold anything: it is not logged.
        tracing::warn!(call = phone.id, "Twilio reports a stream error");
    }
    let is_over = |status: &&str| ["completed", "busy", "failed", "no-answer", "canceled"].contains(status);
    if let Some(status) = form.get("CallStatus").filter(is_over) {
        tracing::info!(call = phone.id, status, "the phone call is over");
        if !app.calls.end(&phone.id, EndReason::CallerHungUp) && phone.callee.is_some() {
            app.phones.forget(&phone.id);
        }
    }
}
