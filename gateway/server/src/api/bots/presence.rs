//! `GET /v1/presence`: a WebSocket that says which bots are there. With a bot's lease it is the lease's heartbeat instead, and
//! carries its calls if it registered with `delivery: "websocket"`.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use patchbay_core::{BotId, Status, Wire};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep_until};

use super::{lease_id, no_lease};
use crate::api::asked::Asked;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::app::App;
use crate::bots::outbox::{Batch, Event, Outbox};
use crate::bots::{Delivery, Listening};
use crate::credential::Scope;
use crate::plan::public_port;
use crate::transport::{Port, PortLimits, UpgradeRefused, WsUpgrade};

/// How often a socket is pinged, and its lease renewed.
const BEAT_EVERY: Duration = Duration::from_secs(20);
/// A peer that says nothing for this long, not even a pong, is gone.
const DEAD_AFTER: Duration = Duration::from_secs(45);
/// A wait for events that needs no end: the socket has its own.
const LONG: Duration = Duration::from_secs(3600);
/// Messages of a peer that make no sense, before it is let go.
const NONSENSE_MAX: u32 = 10;
/// RFC 6455 §7.4.1.
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;

/// What to watch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Watched {
    lease: Option<String>,
    bot: Option<String>,
    after: Option<u64>,
}

/// Opens the socket.
///
/// # Errors
/// [`ApiError`], before anything is begun.
pub(in crate::api) async fn open(
    State(app): State<Arc<App>>,
    caller: Caller,
    Asked(watched): Asked<Watched>,
    upgrade: Result<WsUpgrade, UpgradeRefused>,
) -> Result<Response, ApiError> {
    let tenant = caller.tenant_or_bot(&app, Scope::RealtimeConnect)?.name.clone();
    let own = match &watched.lease {
        None => None,
        Some(lease) => Some(app.bots.outbox(&caller.bot()?.bot, lease_id(lease)?).ok_or_else(no_lease)?),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(refused) => return Ok(refused.into_response()),
    };
    let limits =
        PortLimits { ping_every: BEAT_EVERY, dead_after: DEAD_AFTER, ..public_port(&caller.config().limits) };
    let (response, pending) = upgrade.accept(limits);
    // The task owns the port, which ends with its peer or with the gateway.
    tokio::spawn(async move {
        if let Some(port) = pending.port().await {
            let watch = Watch { tenant, only: watched.bot };
            Socket::new(app, port, watch, own, watched.after).run().await;
        }
    });
    Ok(response)
}

/// Whose presence is told.
struct Watch {
    tenant: String,
    only: Option<String>,
}

impl Watch {
    fn covers(&self, bot: &BotId) -> bool {
        bot.tenant() == self.tenant && self.only.as_ref().is_none_or(|only| only == bot.name())
    }
}

/// One peer.
struct Socket {
    app: Arc<App>,
    port: Port,
    watch: Watch,
    /// Of a watcher; a heartbeat hears of its own calls only.
    statuses: Option<broadcast::Receiver<(BotId, Status)>>,
    own: Option<Arc<Outbox>>,
    /// While it carries calls.
    listening: Option<Listening>,
    after: Option<u64>,
    beat: Instant,
    nonsense: u32,
}

/// What happened to a socket.
enum Happened {
    Said(Wire),
    Changed(Result<(BotId, Status), RecvError>),
    Offered(Batch),
    Beat,
}

impl Socket {
    fn new(app: Arc<App>, port: Port, watch: Watch, own: Option<Arc<Outbox>>, after: Option<u64>) -> Self {
        let statuses = own.is_none().then(|| app.bots.statuses());
        let carries = own.as_ref().filter(|outbox| outbox.delivery() == Delivery::WebSocket);
        let listening = carries.map(|outbox| Listening::begin(&app.bots, outbox));
        let beat = Instant::now() + BEAT_EVERY;
        Self { app, port, watch, statuses, own, listening, after, beat, nonsense: 0 }
    }

    async fn run(mut self) {
        self.tell_all();
        self.renew();
        while !self.port.is_closed() {
            let happened = self.next().await;
            self.take(happened);
        }
        self.port.finish().await;
    }

    async fn next(&mut self) -> Happened {
        let Self { port, statuses, listening, after, beat, .. } = self;
        let said = poll_fn(|cx| {
            let _ = port.poll_flush(cx);
            port.poll_recv(cx)
        });
        let changed = async {
            match statuses {
                Some(statuses) => statuses.recv().await,
                None => pending().await,
            }
        };
        let offered = async {
            match listening {
                Some(listening) => listening.outbox().wait_after(*after, LONG).await,
                None => pending().await,
            }
        };
        tokio::select! {
            wire = said => Happened::Said(wire),
            change = changed => Happened::Changed(change),
            batch = offered => Happened::Offered(batch),
            () = sleep_until(*beat) => Happened::Beat,
        }
    }

    fn take(&mut self, happened: Happened) {
        match happened {
            Happened::Said(Wire::Text(text)) => self.hear(&text),
            Happened::Said(Wire::Close { .. }) => {}
            Happened::Said(_) => self.complain("a message is JSON, as text"),
            Happened::Changed(Ok((bot, status))) if self.watch.covers(&bot) => {
                self.say(&presence(&bot, status))
            }
            // Too much happened at once: the whole is told anew.
            Happened::Changed(Err(RecvError::Lagged(_))) => self.tell_all(),
            Happened::Changed(_) => {}
            Happened::Offered(batch) => self.pass_on(&batch),
            Happened::Beat => self.renew(),
        }
    }

    /// `{"type":"draining"}` and `{"type":"online"}`, of a bot with a lease.
    fn hear(&mut self, text: &[u8]) {
        let said: Option<Value> = serde_json::from_slice(text).ok();
        let is_draining = match said.as_ref().and_then(|said| said["type"].as_str()) {
            Some("draining") => true,
            Some("online") => false,
            _ => {
                return self.complain(
                    "a bot says {\"type\":\"draining\"} or {\"type\":\"online\"}, and others nothing",
                );
            }
        };
        match &self.own {
            Some(own) => self.app.bots.set_draining(own.lease, is_draining),
            None => self.complain("only a bot with ?lease= is online or draining"),
        }
    }

    fn complain(&mut self, message: &str) {
        self.nonsense += 1;
        if self.nonsense > NONSENSE_MAX {
            return self.close(POLICY, "too many messages make no sense");
        }
        self.say(&json!({ "type": "error", "error": { "code": "invalid_value", "message": message } }));
    }

    fn pass_on(&mut self, batch: &Batch) {
        for event in &batch.events {
            let text = flat(event);
            self.port.send(Wire::Text(text.into()));
        }
        self.after = Some(batch.next);
        if batch.is_over {
            self.close(POLICY, "the lease is over: register again");
        }
    }

    /// The sign of life of a lease, as long as the peer answers pings.
    fn renew(&mut self) {
        self.beat = Instant::now() + BEAT_EVERY;
        if !self.app.drain.is_serving() && self.app.admission.calls() == 0 {
            return self.close(GOING_AWAY, "the gateway is going down");
        }
        if self.own.as_ref().is_some_and(|own| !self.app.bots.renew(own.lease)) {
            self.close(POLICY, "the lease is over: register again");
        }
    }

    /// Every bot that is there: who is not named is not there.
    fn tell_all(&mut self) {
        if self.statuses.is_none() {
            return;
        }
        let bots = self.app.credentials.bots();
        for (bot, _) in bots.of_tenant(&self.watch.tenant, "") {
            let status = self.app.bots.status(bot);
            let is_asked_for = self.watch.only.is_some() || status != Status::Offline;
            if self.watch.covers(bot) && is_asked_for {
                self.port.send(Wire::Text(presence(bot, status).to_string().into()));
            }
        }
    }

    fn say(&mut self, message: &Value) {
        self.port.send(Wire::Text(message.to_string().into()));
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.port.send(Wire::Close { code, reason: reason.into() });
    }
}

fn presence(bot: &BotId, status: Status) -> Value {
    let status = match status {
        Status::Online => "online",
        Status::Draining => "draining",
        Status::Offline => "offline",
    };
    json!({ "type": "presence", "bot_id": bot.name(), "status": status })
}

/// An event as one object: its name and number beside what it says.
fn flat(event: &Event) -> String {
    let body = event.body.trim_start_matches('{');
    format!("{{\"type\":\"{}\",\"id\":{},{body}", event.name, event.id)
}
