//! `POST /twilio/resume/{token}`: the media socket closed, or an outbound call was answered. What happens next?

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::response::Response;
use patchbay_core::EndReason;

use super::phone::{Addresses, Phone, Resumed};
use super::request::TwilioForm;
use super::voice::Ringing;
use super::{refused, twiml};
use crate::app::App;
use crate::config::{Config, Policy, Tenant};
use crate::journal::CallRecord;
use crate::twiml::{dial, hang_up};

const ROUTE: &str = "/twilio/resume/{token}";

/// Answers what comes next in the call.
pub async fn answer(
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
    parts: Parts,
    body: Bytes,
) -> Response {
    let config = app.config();
    // The signature comes first: whose it must be shows from the token only after Twilio has proved itself.
    let tenants: Vec<&Tenant> = config.tenants.values().map(|tenant| &**tenant).collect();
    let form = match TwilioForm::verify(&app, &tenants, &parts, &body) {
        Ok(form) => form,
        Err(reason) => return app.refuse_twilio(ROUTE, reason),
    };
    let token_for = config.limits.media_token;
    match app.phones.resume(&token, &form.call_sid, Instant::now(), token_for) {
        None => {
            app.metrics.auth_refused("resume_token");
            refused()
        }
        Some(Resumed::TooOften(phone)) => {
            tracing::error!(call = phone.id, "the stream breaks again and again: fallback");
            twiml(fallback(&config, &phone))
        }
        Some(Resumed::Answered(phone, addresses)) => start(&app, &config, &phone, &addresses, &form),
        Some(Resumed::Again(phone, addresses)) => next(&app, &config, &phone, &addresses),
    }
}

fn next(app: &App, config: &Config, phone: &Phone, addresses: &Addresses) -> Response {
    match app.calls.record(&phone.id) {
        Some(record) if record.state != "ended" => {
            tracing::info!(call = phone.id, "the stream is taken up again");
            twiml(app.connect(addresses))
        }
        Some(record) if is_transferred(config, phone, &record) => twiml(transfer(config, phone)),
        Some(record) if was_on_purpose(&record) => twiml(hang_up()),
        _ => twiml(fallback(config, phone)),
    }
}

/// An outbound call was answered: only now is the model dialled.
fn start(app: &App, config: &Config, phone: &Phone, addresses: &Addresses, form: &TwilioForm) -> Response {
    let Some((tenant, route, provider)) = config.route(&phone.tenant, &phone.route) else {
        return twiml(hang_up());
    };
    let ringing = Ringing { app, config, tenant: &tenant, route: &route, provider: &provider };
    // The ticket was given when the call was asked for.
    let started =
        app.phones.take_ticket(&phone.id).ok_or(()).and_then(|ticket| ringing.start(&phone.id, form, ticket));
    match started {
        Ok(()) => ringing.connected(addresses),
        Err(()) => twiml(route.fallback_twiml.clone()),
    }
}

/// Whether the money is spent, and the caller goes on to somebody else then.
fn is_transferred(config: &Config, phone: &Phone, record: &CallRecord) -> bool {
    let is_spent = record.outcome.as_ref().is_some_and(|outcome| outcome.reason == EndReason::Spend);
    let tenant = config.tenants.get(&phone.tenant);
    is_spent && tenant.is_some_and(|tenant| tenant.spend.policy == Policy::Transfer)
}

/// To a person, if the tenant names one.
fn transfer(config: &Config, phone: &Phone) -> String {
    let named = config.tenants.get(&phone.tenant).and_then(|tenant| tenant.spend.transfer_to.as_deref());
    named.map_or_else(|| fallback(config, phone), dial)
}

/// Whether somebody ended the call, and nothing broke.
fn was_on_purpose(record: &CallRecord) -> bool {
    record.outcome.as_ref().is_some_and(|outcome| {
        let wanted = match outcome.reason {
            EndReason::CallerHungUp
            | EndReason::CalleeHungUp
            | EndReason::Limit
            | EndReason::Spend
            | EndReason::Requested => true,
            EndReason::CallerLost | EndReason::CalleeLost | EndReason::Misbehaved | EndReason::Shutdown => {
                false
            }
        };
        wanted && outcome.fault.is_none()
    })
}

/// The route's fallback; a route that a reload removed has none.
fn fallback(config: &Config, phone: &Phone) -> String {
    config
        .route(&phone.tenant, &phone.route)
        .map_or_else(hang_up, |(_, route, _)| route.fallback_twiml.clone())
}
