//! `GET /v1/realtime`: a browser or a server talks to a route's model in OpenAI's realtime protocol (`reference/browser.md` §2).
//! Azure's addresses of the same: `/openai/v1/realtime`, and the dated `/openai/realtime`, which is spoken in the beta's shape.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::bot_join;
use super::caller::Caller;
use super::error::ApiError;
use crate::admission::units_between;
use crate::app::App;
use crate::bots::Human;
use crate::config::{Found, Route, Tenant};
use crate::credential::Scope;
use crate::plan::client::{Client, client_call, may_choose_model, model_format};
use crate::plan::{Target, client_port};
use crate::transport::{UpgradeRefused, WsUpgrade};

/// The subprotocol that is answered, whatever else is offered: the SDKs take no other.
const PROTOCOL: &str = "realtime";
/// How a page asks for the retired beta, as it cannot set headers.
const BETA_PROTOCOL: &str = "openai-beta.realtime-v1";
const MODEL_LENGTH_MAX: usize = 128;

/// What the address may say. SDKs add what they like.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    model: Option<String>,
    deployment: Option<String>,
    route: Option<String>,
    intent: Option<String>,
    call_id: Option<String>,
    /// A call to a bot that was asked for.
    join: Option<String>,
    greet: bool,
}

/// Opens a conversation.
///
/// # Errors
/// [`ApiError`], before anything is begun.
pub async fn open(
    State(app): State<Arc<App>>,
    caller: Caller,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    upgrade: Result<WsUpgrade, UpgradeRefused>,
) -> Result<Response, ApiError> {
    let is_flat = wants_beta(&headers) || upgrade.as_ref().is_ok_and(offers_beta);
    Opening { app: &app, caller: &caller, is_flat }.open(asked, upgrade)
}

/// Opens a conversation at Azure's dated address, in the beta's shape.
///
/// # Errors
/// As [`open`].
pub async fn open_dated(
    State(app): State<Arc<App>>,
    caller: Caller,
    asked: Result<Query<Asked>, QueryRejection>,
    upgrade: Result<WsUpgrade, UpgradeRefused>,
) -> Result<Response, ApiError> {
    Opening { app: &app, caller: &caller, is_flat: true }.open(asked, upgrade)
}

fn wants_beta(headers: &HeaderMap) -> bool {
    let asked = headers.get("openai-beta").and_then(|value| value.to_str().ok());
    asked.is_some_and(|value| value.split(',').any(|word| word.trim() == "realtime=v1"))
}

fn offers_beta(upgrade: &WsUpgrade) -> bool {
    upgrade.protocols().any(|offered| offered == BETA_PROTOCOL)
}

struct Opening<'a> {
    app: &'a Arc<App>,
    caller: &'a Caller,
    is_flat: bool,
}

impl Opening<'_> {
    fn open(
        &self,
        asked: Result<Query<Asked>, QueryRejection>,
        upgrade: Result<WsUpgrade, UpgradeRefused>,
    ) -> Result<Response, ApiError> {
        let tenant = self.caller.tenant(self.app, Scope::RealtimeConnect)?;
        let Query(asked) = asked.map_err(|_| ApiError::field("query", "The query makes no sense."))?;
        let upgrade = match upgrade {
            Ok(upgrade) => upgrade,
            Err(refused) => return Ok(refused.into_response()),
        };
        if asked.intent.is_some() {
            let message = "This gateway converses; it does not only write down.";
            return Err(ApiError::field("intent", message));
        }
        if let Some(id) = &asked.call_id {
            return self.steer(id, upgrade);
        }
        let id = match &asked.join {
            Some(id) => {
                bot_join::joined(self.app, self.caller, id, |found| self.begin(id, found, &asked))?;
                id.clone()
            }
            None => {
                let id = crate::id::fresh("call_");
                self.begin(&id, self.found(tenant, &asked)?, &asked)?;
                id
            }
        };
        let (response, pending) =
            upgrade.with_protocol(PROTOCOL).accept(client_port(&self.caller.config().limits));
        self.app.calls.attach(&id, pending);
        Ok(response)
    }

    /// Lets a server steer a running call of its tenant. It never begins a call of its own: that would cost money.
    fn steer(&self, id: &str, upgrade: WsUpgrade) -> Result<Response, ApiError> {
        let tenant = self.caller.tenant(self.app, Scope::CallsWrite)?;
        let own = self.app.calls.record(id).filter(|call| *call.tenant == *tenant.name);
        let own = own.filter(|call| self.caller.identity().may_use(&call.route) && call.outcome.is_none());
        own.ok_or_else(|| ApiError::not_found("call"))?;
        let upgrade = upgrade.with_protocol(PROTOCOL);
        let (response, pending) = upgrade.accept(client_port(&self.caller.config().limits));
        self.app.calls.steer(id, pending);
        tracing::info!(call = id, tenant = tenant.name, "somebody steers the call");
        Ok(response)
    }

    /// The route that is asked for.
    fn found(&self, tenant: &Tenant, asked: &Asked) -> Result<Found, ApiError> {
        let name = (self.caller.route(asked.route.as_deref()))
            .ok_or_else(|| ApiError::field("route", "`route` names one of the tenant's routes."))?;
        self.caller.config().route(&tenant.name, &name).ok_or_else(|| ApiError::not_found("route"))
    }

    /// Lets the call in and starts it: its model is dialled while the 101 is on its way.
    fn begin(&self, id: &str, found: Found, asked: &Asked) -> Result<(), ApiError> {
        let (app, config) = (self.app, self.caller.config());
        let identity = self.caller.identity();
        let (tenant, mut route, provider) = found;
        if let Some(model) = chosen_model(&route, asked) {
            Arc::make_mut(&mut route).model = model.to_owned();
        }
        let target = Target { tenant: &tenant, route: &route, provider: &provider };
        let user = identity.user.as_ref().map(|user| user.reveal().as_str());
        let units = units_between(patchbay_core::Format::L16_24K, model_format(target));
        let mut ticket = app.admit(config, &tenant, user, units)?;
        app.credentials.spend(identity, self.caller.sending())?;
        let reservation = ticket.take_reservation();
        let unix = self.caller.sending().unix;
        let client = Client { identity, is_flat: self.is_flat, greets: asked.greet, settings: None, unix };
        let failed = |error: &dyn std::fmt::Display| {
            app.metrics.refused("configuration");
            tracing::error!(tenant = tenant.name, route = route.name, %error, "a call cannot be started");
            let message = "This route cannot be used as it is configured: see the gateway's log.";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "configuration", message)
        };
        let mut plan =
            client_call(id, target, client, config, Box::new(ticket)).map_err(|error| failed(&error))?;
        plan.bill.reservation = reservation;
        app.seek_bot(&mut plan, Human::of(identity));
        app.calls.start(plan).map_err(|error| failed(&error))?;
        tracing::info!(call = id, tenant = tenant.name, route = route.name, "call started");
        Ok(())
    }
}

/// A model is a hint, unless the route says that it is the client's to choose.
fn chosen_model<'a>(route: &Route, asked: &'a Asked) -> Option<&'a str> {
    let named = asked.model.as_deref().or(asked.deployment.as_deref())?;
    let fits = !named.is_empty() && named.len() <= MODEL_LENGTH_MAX;
    (fits && may_choose_model(route)).then_some(named)
}
