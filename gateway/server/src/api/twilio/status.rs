//! `POST /twilio/status`: how a stream or a phone call stands (reference/twilio.md §1.8).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use patchbay_core::EndReason;

use super::request::TwilioForm;
use crate::app::App;
use crate::config::Tenant;

/// Takes note.
pub async fn take(State(app): State<Arc<App>>, parts: Parts, body: Bytes) -> Response {
    let config = app.config();
    let tenants: Vec<&Tenant> = config.tenants.values().map(|tenant| &**tenant).collect();
    match TwilioForm::verify(&app, &tenants, &parts, &body) {
        Ok(form) => note(&app, &form),
        Err(reason) => return app.refuse_twilio("/twilio/status", reason),
    }
    StatusCode::NO_CONTENT.into_response()
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
