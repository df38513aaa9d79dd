//! A call whose caller speaks OpenAI's realtime API: a browser or a server.

use std::collections::BTreeSet;
use std::time::Duration;

use patchbay_core::{CallConfig, Format, Patience};
use patchbay_legs::client_events::{self, Choice, Policy};
use patchbay_legs::{realtime, shape};
use serde_json::{Map, Value, json};

use super::{NEVER, PlanError, Target, bot, call_config, is_recorded, opener_of, party, realtime_config};
use crate::calls::CallPlan;
use crate::config::{Config, ProviderKind, Route};
use crate::credential::{Identity, Kind};
use crate::meter::Bill;
use crate::recorder::LegPlan;
use crate::recording::Order;
use crate::scribe::Parties;

/// An upgrade that was accepted is there within this, or never.
const COMES_WITHIN: Duration = Duration::from_secs(10);

/// Who asks for a conversation, and how.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Who.
    pub identity: &'a Identity,
    /// Whether it speaks the retired beta.
    pub is_flat: bool,
    /// Whether the model is to speak first.
    pub greets: bool,
    /// What it chooses from the beginning, as a nested session.
    pub settings: Option<&'a Map<String, Value>>,
    /// Seconds since 1970.
    pub unix: u64,
}

/// A conversation as its two legs see it; the caller's transport is not chosen yet.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// What the client is told and may choose.
    pub client: client_events::Config,
    /// What the client's audio begins as, if it is in its events.
    pub format: Format,
    /// The model's leg.
    pub callee: LegPlan,
    /// The leg of a server that may come to steer.
    pub aside: LegPlan,
}

/// The two ends of a call, and the place aside of it.
#[derive(Clone, Debug)]
pub struct Legs {
    /// Who comes to us.
    pub caller: LegPlan,
    /// Who answers.
    pub callee: LegPlan,
    /// Who may come to steer.
    pub aside: LegPlan,
}

/// The leg of a server that may come to steer a conversation of those settings: it may choose everything.
pub(super) fn aside(session: Map<String, Value>, callee: &LegPlan) -> LegPlan {
    let config = client_events::Config { session, policy: Policy::All, is_flat: false };
    LegPlan {
        kind: "sideband".into(),
        config: serde_json::to_value(config).expect("settings are JSON"),
        ingress: callee.ingress,
        egress: callee.egress,
    }
}

/// What a client of a route may choose: everything with a key of the tenant's own, what the route says with anything else.
#[must_use]
pub fn policy(identity: &Identity, route: &Route) -> Policy {
    match identity.kind {
        Kind::ApiKey(_) => Policy::All,
        Kind::ClientSecret(_) | Kind::Jwt => Policy::These(route.browser_may.clone()),
    }
}

/// The format that the model's side has when the client is free to choose: no transcoder runs where the model takes PCM.
#[must_use]
pub fn model_format(target: Target<'_>) -> Format {
    match target.provider.kind {
        ProviderKind::Parrot | ProviderKind::TwilioBot => Format::PCMU,
        _ => Format::L16_24K,
    }
}

/// Plans both ends' settings. `model_format` is what the model's side is to send and take.
///
/// # Errors
/// [`PlanError`] for settings of a client secret that make no sense.
pub fn conversation(
    id: &str,
    target: Target<'_>,
    client: Client<'_>,
    model_format: Format,
) -> Result<Conversation, PlanError> {
    let minted = minted(client.identity);
    let format = minted.pointer("/audio/input/format").and_then(shape::format_of).unwrap_or(Format::L16_24K);
    // Whoever minted the secret had the right to choose all of it.
    let mut settings = Value::Object(Policy::All.filter(minted.as_object().unwrap_or(&Map::new())).settings);
    let policy = policy(client.identity, target.route);
    if let Some(chosen) = client.settings {
        shape::merge(&mut settings, &Value::Object(policy.filter(chosen).settings));
    }
    let (kind, config, session) = if target.provider.kind == ProviderKind::Parrot {
        ("parrot", json!({ "relays": true }), house_settings("parrot", target.route, &settings))
    } else if target.provider.kind == ProviderKind::TwilioBot {
        let leg = bot::twilio(target, &bot::CallIds::of_client(id, target), true);
        ("bot_twilio", leg.config, house_settings(&target.provider.name, target.route, &settings))
    } else if target.provider.kind == ProviderKind::Bot {
        ("bot", json!({ "relays": true }), house_settings(&target.provider.name, target.route, &settings))
    } else {
        let route: realtime::Config = serde_json::from_value(realtime_config(target))
            .map_err(|_| PlanError("the model refuses its settings"))?;
        let mut chosen = route.with(settings).map_err(|_| PlanError::SETTINGS)?;
        chosen.relays = true;
        let session = chosen.session();
        ("realtime", serde_json::to_value(chosen).expect("settings are JSON"), session)
    };
    let callee = LegPlan { kind: kind.into(), config, ingress: model_format, egress: model_format };
    let session = named(session, id, client.unix, target);
    let aside = aside(session.clone(), &callee);
    let config = client_events::Config { session, policy, is_flat: client.is_flat };
    Ok(Conversation { client: config, format, callee, aside })
}

/// Plans a call of a client whose audio goes in its events. `ticket` is held until the call is over.
///
/// # Errors
/// [`PlanError`] for an address, a key, an authority or settings that cannot be used.
pub fn client_call(
    id: &str,
    target: Target<'_>,
    client: Client<'_>,
    config: &Config,
    ticket: Box<dyn Send>,
) -> Result<CallPlan, PlanError> {
    let Conversation { client: events, format, callee, aside } =
        conversation(id, target, client, model_format(target))?;
    let caller = LegPlan {
        kind: "browser_ws".into(),
        config: serde_json::to_value(events).expect("settings are JSON"),
        ingress: format,
        egress: format,
    };
    plan(id, target, client, config, Legs { caller, callee, aside }, ticket)
}

/// Puts a call together whose caller is a client.
///
/// # Errors
/// As [`client_call`].
pub fn plan(
    id: &str,
    target: Target<'_>,
    client: Client<'_>,
    config: &Config,
    legs: Legs,
    ticket: Box<dyn Send>,
) -> Result<CallPlan, PlanError> {
    let Legs { caller, callee, aside } = legs;
    let mut party = party(id, target);
    party.user.clone_from(&client.identity.user);
    Ok(CallPlan {
        id: id.into(),
        tenant: target.tenant.name.as_str().into(),
        route: target.route.name.as_str().into(),
        config: client_call_config(target, client, config),
        opener: opener_of(&callee, target, config)?,
        parties: Parties { direction: "browser", ..Parties::default() },
        keeps_words: config.retention(target.tenant).transcripts_days > 0,
        recording: is_recorded(target, config)
            .then(|| Order::new(&target.route.recording.folder, caller.ingress, caller.egress)),
        bill: Bill { party, prices: config.prices_of(target.tenant), reservation: None },
        caller,
        callee,
        aside: Some(aside),
        ticket,
    })
}

fn client_call_config(target: Target<'_>, client: Client<'_>, config: &Config) -> CallConfig {
    let mut call = call_config(target, config);
    call.greets &= client.greets;
    call.limits.caller_wait = COMES_WITHIN;
    if target.provider.kind == ProviderKind::Bot {
        // A bot is rung, which takes time: the caller hears that something goes on.
        call.greets = target.route.greeting.is_some();
    } else if target.provider.kind != ProviderKind::TwilioBot {
        call.patience = Patience { filler: NEVER, notice: NEVER, give_up: NEVER };
    }
    call
}

/// What whoever minted the credential chose.
fn minted(identity: &Identity) -> Value {
    identity.settings.as_ref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| json!({}))
}

/// A session with the names that are ours to give.
fn named(mut session: Map<String, Value>, id: &str, unix: u64, target: Target<'_>) -> Map<String, Value> {
    let ends = unix + target.tenant.limits.call_duration_max.as_secs();
    session.insert("id".into(), format!("sess_{}", id.trim_start_matches("call_")).into());
    session.insert("object".into(), "realtime.session".into());
    session.insert("expires_at".into(), ends.into());
    session
}

/// The session of a client whom no provider answers.
fn house_settings(who: &str, route: &Route, settings: &Value) -> Map<String, Value> {
    let mut session = json!({
        "type": "realtime", "model": who, "output_modalities": ["audio"], "instructions": route.instructions,
        "audio": { "input": { "turn_detection": { "type": "server_vad" } }, "output": { "voice": who } },
    });
    shape::merge(&mut session, settings);
    if let Value::Object(session) = session { session } else { Map::new() }
}

/// Whether the client may choose the model that is dialled.
#[must_use]
pub fn may_choose_model(route: &Route) -> bool {
    let chosen: &BTreeSet<Choice> = &route.browser_may;
    chosen.contains(&Choice::Model)
}
