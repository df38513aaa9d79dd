//! `POST /twilio/voice/{tenant}/{route}`: a phone call rings. The model is dialled here, so that the stream finds it
//! ready.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::phone::Addresses;
use super::request::TwilioForm;
use super::{refused, twiml};
use crate::admission::{Applicant, Refused, Ticket, units};
use crate::api::error::ApiError;
use crate::app::App;
use crate::bots::Human;
use crate::config::{Config, Provider, Route, Tenant};
use crate::meter::PhoneCall;
use crate::plan::{self, Phone, Target};
use crate::scribe::Parties;
use crate::secret::Private;
use crate::twiml::connect;

/// Answers the webhook.
pub async fn answer(
    State(app): State<Arc<App>>,
    Path((tenant, route)): Path<(String, String)>,
    parts: Parts,
    body: Bytes,
) -> Response {
    let config = app.config();
    let Some(owner) = config.tenants.get(&tenant) else { return unknown(&app, "tenant") };
    let form = match TwilioForm::verify(&app, &[owner], &parts, &body) {
        Ok(form) => form,
        Err(reason) => return app.refuse_twilio("/twilio/voice/{tenant}/{route}", reason),
    };
    if let Err(error) = check_number(&app, owner, &form) {
        return error.into_response();
    }
    let Some((tenant, route, provider)) = config.route(&tenant, &route) else {
        return unknown(&app, "route");
    };
    let ringing = Ringing { app: &app, config: &config, tenant: &tenant, route: &route, provider: &provider };
    ringing.answer(&form)
}

/// A tenant that lists its numbers takes no call for another: it may be a webhook that was left on a number that is
/// somebody else's by now, or another tenant's in the same account.
fn check_number(app: &App, tenant: &Tenant, form: &TwilioForm) -> Result<(), ApiError> {
    let name = if is_outbound(form) { "From" } else { "To" };
    if form.get(name).is_some_and(|number| tenant.twilio.has(number)) || tenant.twilio.numbers.is_empty() {
        return Ok(());
    }
    app.metrics.refused("number");
    tracing::warn!(tenant = tenant.name, "call refused: {name} is none of the tenant's twilio.numbers");
    let message = format!("`{name}` is none of the numbers in `tenants.{}.twilio.numbers`.", tenant.name);
    Err(ApiError::new(StatusCode::FORBIDDEN, "number_not_listed", message))
}

/// On this machine alone a slip of the fingers is told; strangers learn no names.
fn unknown(app: &App, what: &str) -> Response {
    if app.is_local { ApiError::not_found(what).into_response() } else { refused() }
}

/// A phone call that rings, and where it is to go.
pub(super) struct Ringing<'a> {
    pub(super) app: &'a App,
    pub(super) config: &'a Config,
    pub(super) tenant: &'a Tenant,
    pub(super) route: &'a Route,
    pub(super) provider: &'a Provider,
}

impl Ringing<'_> {
    fn answer(&self, form: &TwilioForm) -> Response {
        let (app, now) = (self.app, Instant::now());
        app.phones.sweep(now, |id| app.is_over(id));
        let names = (self.tenant.name.as_str(), self.route.name.as_str());
        let start = |id: &str| self.start(id, form, self.admit(form.party("From"))?);
        match app.phones.ring(&form.call_sid, names, now, self.config.limits.media_token, start) {
            Ok(addresses) => self.connected(&addresses),
            Err(()) => twiml(self.route.fallback_twiml.clone()),
        }
    }

    /// Lets the call in, or logs and counts why not. It counts against the quota of `user`.
    fn admit(&self, user: Option<&str>) -> Result<Ticket, ()> {
        self.app.admit(self.config, self.tenant, user, units(self.route.audio)).map_err(|refused| {
            let (tenant, route) = (&self.tenant.name, &self.route.name);
            tracing::warn!(tenant, route, reason = refused.as_str(), "call refused");
        })
    }

    /// Starts the call `id`. A failure was logged and counted.
    pub(super) fn start(&self, id: &str, form: &TwilioForm, mut ticket: Ticket) -> Result<(), ()> {
        let app = self.app;
        let target = Target { tenant: self.tenant, route: self.route, provider: self.provider };
        let parties = parties(form);
        let phone = Phone { call_sid: &form.call_sid, account_sid: &form.account_sid, parties: &parties };
        let failed = |error: &dyn std::fmt::Display| {
            app.metrics.refused("configuration");
            tracing::error!(tenant = self.tenant.name, route = self.route.name, %error, "a call cannot be started");
        };
        let reservation = ticket.take_reservation();
        let mut plan =
            plan::phone_call(id, target, phone, self.config, Box::new(ticket)).map_err(|e| failed(&e))?;
        plan.bill.reservation = reservation;
        let number = form.party("From").map(|number| Private::new(number.to_owned()));
        app.seek_bot(&mut plan, Human::phone(number, form.get("StirVerstat")));
        app.calls.start(plan).map_err(|error| failed(&error))?;
        app.till.telephone.begin(PhoneCall {
            call_sid: form.call_sid.clone(),
            tenant: self.tenant.name.clone(),
            route: self.route.name.clone(),
            call: id.to_owned(),
            direction: parties.direction,
            called: Private::new(form.get("To").unwrap_or_default().to_owned()),
        });
        tracing::info!(
            call = id,
            call_sid = form.call_sid,
            tenant = self.tenant.name,
            route = self.route.name,
            "call started"
        );
        Ok(())
    }

    pub(super) fn connected(&self, addresses: &Addresses) -> Response {
        twiml(self.app.connect(addresses))
    }
}

fn is_outbound(form: &TwilioForm) -> bool {
    form.get("Direction").is_some_and(|direction| direction.starts_with("outbound"))
}

/// Who talks to whom, as Twilio says it.
fn parties(form: &TwilioForm) -> Parties {
    let number = |name| form.party(name).map(|number| Private::new(number.to_owned()));
    Parties {
        direction: if is_outbound(form) { "outbound" } else { "inbound" },
        caller: number("From"),
        called: number("To"),
        external_id: None,
    }
}

impl App {
    /// Lets a call in, or counts why not.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn admit(
        &self,
        config: &Config,
        tenant: &Tenant,
        user: Option<&str>,
        units: u32,
    ) -> Result<Ticket, Refused> {
        let admitted = if self.drain.is_serving() {
            let applicant = Applicant { tenant, user, units };
            self.admission.admit(applicant, &config.limits)
        } else {
            Err(Refused::Draining)
        };
        admitted.inspect_err(|refused| {
            self.metrics.refused(refused.as_str());
            self.metrics.limit_hit(refused.as_str());
        })
    }

    /// TwiML that brings the caller to our media socket, and back to us when that closes.
    pub(super) fn connect(&self, addresses: &Addresses) -> String {
        connect(
            &self.public_url.ws(&media_path(&addresses.media)),
            &self.public_url.http("/twilio/status"),
            &self.public_url.http(&resume_path(&addresses.resume)),
        )
    }

    /// Whether a call is not live any more, or never was.
    pub(crate) fn is_over(&self, id: &str) -> bool {
        self.calls.record(id).is_none_or(|record| record.state == "ended")
    }

    /// Counts, logs and refuses what does not come from Twilio.
    pub(super) fn refuse_twilio(&self, route: &'static str, reason: super::request::NotTwilio) -> Response {
        self.metrics.signature_refused();
        tracing::warn!(route, %reason, "refused: not from Twilio");
        refused()
    }
}

/// Path of a media socket.
pub(super) fn media_path(token: &str) -> String {
    format!("/twilio/media/{token}")
}

/// Path of a resume.
pub(crate) fn resume_path(token: &str) -> String {
    format!("/twilio/resume/{token}")
}
