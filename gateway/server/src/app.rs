//! What every request shares.

use std::collections::hash_map::RandomState;
use std::net::SocketAddr;
use std::sync::Arc;

use patchbay_core::EndReason;
use patchbay_legs::ConfigError;
use tokio::sync::watch;

use crate::admission::Admission;
use crate::api::twilio::phone::Phones;
use crate::archive::Archive;
use crate::bots::Bots;
use crate::calls::{CallPlan, Calls};
use crate::config::{Config, PublicUrl};
use crate::credential::Credentials;
use crate::credential::attempts::Attempts;
use crate::drain::Drain;
use crate::joins::Joins;
use crate::journal::CallRecord;
use crate::meter::Till;
use crate::metrics::Metrics;
use crate::overload::Overload;
use crate::recording::airing::Airing;
use crate::registry::Registry;
use crate::transport::{Carrier, Dialer, Gate, Meetings, PortPending};
use crate::twilio_rest::TwilioRest;

/// What the API asks of the calls of this machine. [`Calls`] answers; a test may answer otherwise.
pub trait CallTable: Send + Sync {
    /// Starts a call; the model is dialled at once.
    ///
    /// # Errors
    /// As a leg says.
    fn start(&self, plan: CallPlan) -> Result<(), ConfigError>;
    /// Hands over the caller's transport, whose 101 is on its way.
    fn attach(&self, id: &str, pending: PortPending);
    /// Hands over the transport of somebody who steers, whose 101 is on its way.
    fn steer(&self, _id: &str, _pending: PortPending) {}
    /// Hands over the caller's transport. A call that is over, or too busy, gets none.
    fn carry(&self, _id: &str, _carrier: Carrier) {}
    /// Asks a call to end. False when it is not live.
    fn end(&self, id: &str, reason: EndReason) -> bool;
    /// What is known of a call, live or lately ended.
    fn record(&self, id: &str) -> Option<CallRecord>;
    /// Every call that is known, newest first.
    fn list(&self) -> Vec<CallRecord>;
    /// Forgets the calls that ended.
    fn drop_ended(&self);
    /// The live calls that can be heard.
    fn on_air(&self) -> Vec<(Box<str>, Airing)> {
        Vec::new()
    }
}

impl CallTable for Arc<Calls> {
    fn start(&self, plan: CallPlan) -> Result<(), ConfigError> {
        Calls::start(self, plan).map(|_| ())
    }

    fn attach(&self, id: &str, pending: PortPending) {
        let Some(call) = self.live(id) else { return };
        hand_over(pending, move |carrier| call.attach(carrier));
    }

    fn steer(&self, id: &str, pending: PortPending) {
        let Some(call) = self.live(id) else { return };
        hand_over(pending, move |carrier| call.steer(carrier));
    }

    fn carry(&self, id: &str, carrier: Carrier) {
        let refused = self.live(id).map(|call| call.attach(carrier));
        if let Some(Err(_)) = refused {
            tracing::warn!(call = id, "a call was too busy for its transport");
        }
    }

    fn end(&self, id: &str, reason: EndReason) -> bool {
        self.live(id).is_some_and(|call| call.end(reason))
    }

    fn record(&self, id: &str) -> Option<CallRecord> {
        Calls::record(self, id)
    }

    fn list(&self) -> Vec<CallRecord> {
        Calls::list(self)
    }

    fn drop_ended(&self) {
        Calls::drop_ended(self);
    }

    fn on_air(&self) -> Vec<(Box<str>, Airing)> {
        Calls::on_air(self)
    }
}

/// The task owns the upgrade until the call owns the port; it ends within the upgrade's deadline.
fn hand_over(pending: PortPending, take: impl FnOnce(Carrier) -> Result<(), Carrier> + Send + 'static) {
    tokio::spawn(async move {
        if let Some(port) = pending.port().await
            && let Err(mut carrier) = take(Carrier::WebSocket(Box::new(port)))
        {
            std::future::poll_fn(|cx| carrier.poll_finish(cx)).await;
        }
    });
}

/// What every request shares.
pub struct App {
    /// The configuration in use.
    pub config: watch::Receiver<Arc<Config>>,
    /// How the outside reaches us.
    pub public_url: PublicUrl,
    /// Whether only this machine can reach us: then webhooks may come without a signature, if there is no auth token.
    pub is_local: bool,
    /// The calls of this machine.
    pub calls: Box<dyn CallTable>,
    /// Phone calls and their tokens.
    pub phones: Phones,
    /// Where the requests of bots find their calls.
    pub meetings: Arc<Meetings>,
    /// Calls to bots that are to be joined.
    pub joins: Joins,
    /// Who asks.
    pub credentials: Credentials,
    /// Bots: who is there, and who gets a call.
    pub bots: Arc<Bots>,
    /// Tokens that the page asked for.
    pub page_tokens: Attempts,
    /// Makes names of the page's visitors, which mean nothing to anybody else.
    pub visitors: RandomState,
    /// Who is let in.
    pub admission: Arc<Admission>,
    /// How late we are.
    pub overload: Arc<Overload>,
    /// What calls cost.
    pub till: Till,
    /// What is kept.
    pub archive: Archive,
    /// Tenants that are managed at run time, if there is a database.
    pub registry: Option<Arc<Registry>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whether we are going down.
    pub drain: Drain,
    /// Twilio's REST API.
    pub twilio: TwilioRest,
    /// The ports of WebRTC, if it is on.
    pub gate: Option<Arc<Gate>>,
}

/// What an [`App`] is put together from.
pub struct AppParts {
    /// The configuration in use.
    pub config: watch::Receiver<Arc<Config>>,
    /// Where the public listener is bound.
    pub bound: SocketAddr,
    /// The calls of this machine.
    pub calls: Box<dyn CallTable>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whether we are going down.
    pub drain: Drain,
    /// What calls cost.
    pub till: Till,
    /// What is kept.
    pub archive: Archive,
    /// Tenants that are managed at run time, if there is a database.
    pub registry: Option<Arc<Registry>>,
    /// How late we are.
    pub overload: Arc<Overload>,
    /// The ports of WebRTC, if it is on.
    pub gate: Option<Arc<Gate>>,
}

#[cfg(test)]
impl AppParts {
    /// Of a machine that serves, without a database, whose calls are `calls`.
    pub(crate) fn in_memory(
        config: watch::Receiver<Arc<Config>>,
        bound: SocketAddr,
        calls: Box<dyn CallTable>,
    ) -> Self {
        let metrics = Arc::new(Metrics::new());
        let till = Till::in_memory(metrics.clone());
        let archive = Archive::in_memory();
        let (drain, registry, overload, gate) = (Drain::default(), None, Arc::default(), None);
        Self { config, bound, calls, metrics, drain, till, archive, registry, overload, gate }
    }
}

impl App {
    /// Puts together what requests share.
    #[must_use]
    pub fn new(parts: AppParts) -> Arc<Self> {
        let AppParts { config, bound, calls, metrics, drain, till, archive, registry, overload, gate } =
            parts;
        let public_url = config.borrow().public_url(bound);
        Arc::new(Self {
            is_local: bound.ip().is_loopback() && public_url.is_loopback(),
            page_tokens: Attempts::default(),
            visitors: RandomState::new(),
            bots: Bots::new(config.clone(), &public_url.http("")),
            credentials: Credentials::new(&public_url.http(""), Dialer::new()),
            config,
            public_url,
            calls,
            phones: Phones::new(),
            meetings: Arc::default(),
            joins: Joins::default(),
            admission: Admission::new(Arc::clone(&till.spend), Arc::clone(&overload)),
            overload,
            till,
            archive,
            registry,
            metrics,
            drain,
            twilio: TwilioRest::new(),
            gate,
        })
    }

    /// The configuration in use.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }
}
