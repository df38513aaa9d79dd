//! From a route to what a call needs: its limits, its two legs, and how the model is reached.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};

pub mod client;

use patchbay_core::{CallConfig, Format};
use patchbay_legs::realtime;
use serde_json::{Value, json};

use crate::calls::CallPlan;
use crate::config::{self, AudioChoice, Config, NoiseReduction, Provider, ProviderKind, Route, Tenant};
use crate::driver::Opener;
use crate::meter::{Bill, Party};
use crate::recorder::LegPlan;
use crate::recording::Order;
use crate::scribe::Parties;
use crate::secret::Secret;
use crate::transport::{DialSpec, Dialer, PortLimits};

mod bot;
mod web;

pub use web::{web_call, web_units};

/// How long a call waits for its caller's transport after it broke: Twilio's `<Redirect>` takes a second or two.
const DETACHED_MAX: Duration = Duration::from_secs(30);

/// Longer than any call.
const NEVER: Duration = Duration::from_secs(366 * 86_400);

/// What a caller's leg is told of the phone call.
#[derive(Clone, Copy, Debug)]
pub struct Phone<'a> {
    /// `CA…`
    pub call_sid: &'a str,
    /// `AC…`
    pub account_sid: &'a str,
    /// Who talks to whom.
    pub parties: &'a Parties,
}

/// A route with all that it needs.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Whose.
    pub tenant: &'a Tenant,
    /// Which.
    pub route: &'a Route,
    /// Who answers.
    pub provider: &'a Provider,
}

/// Why a route cannot be planned: the configuration names something that cannot be used. Holds no secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(&'static str);

impl PlanError {
    /// What the client chose, or whoever minted its secret, is nothing that the model's leg could ask for.
    pub const SETTINGS: Self = Self("the client's settings make no sense");
}

/// Plans a phone call. `ticket` is held until the call is over.
///
/// # Errors
/// [`PlanError`] for an address, a key or an authority that cannot be used.
pub fn phone_call(
    id: &str,
    target: Target<'_>,
    phone: Phone<'_>,
    config: &Config,
    ticket: Box<dyn Send>,
) -> Result<CallPlan, PlanError> {
    let format = match target.route.audio {
        AudioChoice::Auto => Format::PCMU,
        AudioChoice::Pcm => Format::L16_24K,
    };
    let (callee, aside) = answering(target, format, || bot::CallIds::of_phone(phone))?;
    Ok(CallPlan {
        id: id.into(),
        tenant: target.tenant.name.as_str().into(),
        route: target.route.name.as_str().into(),
        config: call_config(target, config),
        caller: LegPlan {
            kind: "twilio".into(),
            config: json!({
                "call_sid": phone.call_sid,
                "account_sid": phone.account_sid,
                "start_timeout_ms": u64::try_from(config.limits.start_timeout.as_millis()).unwrap_or(u64::MAX),
            }),
            ingress: Format::PCMU,
            egress: Format::PCMU,
        },
        opener: opener_of(&callee, target, config)?,
        callee,
        aside,
        parties: Parties { external_id: Some(phone.call_sid.to_owned()), ..phone.parties.clone() },
        keeps_words: config.retention(target.tenant).transcripts_days > 0,
        bill: Bill { party: party(id, target), prices: config.prices_of(target.tenant), reservation: None },
        recording: recording(target, config, Format::PCMU),
        ticket,
    })
}

/// Who uses what. Whoever phones is nobody here: usage is kept for years, and a number is personal.
fn party(id: &str, target: Target<'_>) -> Party {
    Party {
        tenant: target.tenant.name.clone(),
        user: None,
        route: target.route.name.clone(),
        call: id.to_owned(),
        provider: target.provider.name.clone(),
        model: target.route.model.clone(),
        transcription_model: target.route.transcription_model.clone().unwrap_or_default(),
    }
}

/// Plans and opens every route once, so that what an endpoint refuses is told before a caller is on the line.
///
/// # Errors
/// One line a route that cannot be used.
pub fn check(config: &Config) -> Result<(), String> {
    let routes =
        config.tenants.values().flat_map(|tenant| tenant.routes.keys().map(move |route| (tenant, route)));
    let faults: Vec<String> = routes
        .filter_map(|(tenant, route)| {
            let (tenant, route, provider) = config.route(&tenant.name, route)?;
            let target = Target { tenant: &tenant, route: &route, provider: &provider };
            let phone = Phone { call_sid: "", account_sid: "", parties: &Parties::default() };
            let opened = phone_call("", target, phone, config, Box::new(()))
                .map_err(|error| error.to_string())
                .and_then(|plan| crate::calls::open(&plan.callee).map_err(|error| error.to_string()));
            let fault = opened.err()?;
            Some(format!(
                "configuration: route `{}` of tenant `{}` cannot be used: {fault}",
                route.name, tenant.name
            ))
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

fn call_config(target: Target<'_>, config: &Config) -> CallConfig {
    let route = target.route;
    let mut call = CallConfig {
        barge_in: match route.barge_in {
            config::BargeIn::Speech => patchbay_core::BargeIn::Speech,
            config::BargeIn::Dtmf => patchbay_core::BargeIn::Dtmf,
            config::BargeIn::Off => patchbay_core::BargeIn::Off,
        },
        greets: route.greeting.is_some(),
        greeting: route.greeting.as_deref().map(Into::into),
        seed: u64::from_le_bytes(crate::id::random()),
        records: is_recorded(target, config) || route.recording.listen_in,
        announces: is_recorded(target, config) && route.recording.announce,
        ..CallConfig::default()
    };
    if target.provider.kind == ProviderKind::TwilioBot {
        // The bot hears the caller, and says itself when it is to be silent.
        call.barge_in = patchbay_core::BargeIn::Off;
    }
    call.limits.caller_wait = config.limits.media_token;
    call.limits.detached_max = DETACHED_MAX;
    call.limits.call_max = target.tenant.limits.call_duration_max;
    if target.provider.kind == ProviderKind::Bot {
        // A bot has no cap that its connection would have to be renewed for.
        (call.limits.rotate_after, call.limits.rotate_by) = (NEVER, NEVER);
    }
    call
}

/// How a caller whose audio is of `format` both ways is recorded, if at all.
fn recording(target: Target<'_>, config: &Config, format: Format) -> Option<Order> {
    is_recorded(target, config).then(|| Order::new(&target.route.recording.folder, format, format))
}

/// Whether a call's sound is recorded: never, if it would be kept for no day.
fn is_recorded(target: Target<'_>, config: &Config) -> bool {
    target.route.recording.enabled && config.retention(target.tenant).recordings_days > 0
}

/// Who answers a phone call, and the place of a server that may come to steer it.
fn answering(
    target: Target<'_>,
    format: Format,
    ids: impl FnOnce() -> bot::CallIds,
) -> Result<(LegPlan, Option<LegPlan>), PlanError> {
    if target.provider.kind == ProviderKind::TwilioBot {
        return Ok((bot::twilio(target, &ids(), false), None));
    }
    let leg = |kind: &str, config| LegPlan { kind: kind.into(), config, ingress: format, egress: format };
    match target.provider.kind {
        ProviderKind::Parrot => return Ok((leg("parrot", json!({})), None)),
        ProviderKind::Bot => return Ok((leg("bot", json!({})), None)),
        _ => {}
    }
    let mut config: realtime::Config = serde_json::from_value(realtime_config(target))
        .map_err(|_| PlanError("the model refuses its settings"))?;
    config.relays = true;
    let callee = leg("realtime", serde_json::to_value(&config).expect("settings are JSON"));
    let aside = client::aside(config.session(), &callee);
    Ok((callee, Some(aside)))
}

/// The model's leg in its own words.
fn realtime_config(target: Target<'_>) -> Value {
    let (route, provider) = (target.route, target.provider);
    let interrupts = route.barge_in == config::BargeIn::Speech;
    let turns = serde_json::to_value(&route.turn_detection).map(|mut turns| {
        match &mut turns {
            Value::Object(fields) => fields.insert("interrupt_response".into(), interrupts.into()),
            _ => None,
        };
        turns
    });
    let mut config = json!({
        "dialect": dialect(provider.kind),
        "auth": match provider.auth { config::Auth::Bearer => "bearer", config::Auth::ApiKey => "api_key_header" },
        "model": route.model,
        "instructions": route.instructions,
        "turn_detection": turns.expect("turn detection is JSON"),
    });
    let optional = [
        ("voice", Some(route.voice.as_str()).filter(|voice| !voice.is_empty())),
        ("language", Some(route.language.as_str()).filter(|language| !language.is_empty())),
        ("transcription_model", route.transcription_model.as_deref()),
        ("api_version", provider.api_version.as_deref()),
        ("noise_reduction", noise_reduction(route.noise_reduction)),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            config[key] = value.into();
        }
    }
    config
}

fn dialect(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::Azure => "azure",
        ProviderKind::AzurePreview => "azure_preview",
        _ => "openai",
    }
}

fn noise_reduction(choice: NoiseReduction) -> Option<&'static str> {
    match choice {
        NoiseReduction::Off => None,
        NoiseReduction::NearField => Some("near_field"),
        NoiseReduction::FarField => Some("far_field"),
    }
}

/// How the leg of that plan is reached.
fn opener_of(callee: &LegPlan, target: Target<'_>, config: &Config) -> Result<Opener, PlanError> {
    let (provider, settings) = (target.provider, &callee.config);
    match provider.kind {
        // Whom a bot's call is offered to is not the configuration's to know: see `App::seek_bot`.
        ProviderKind::Parrot | ProviderKind::Bot => return Ok(Opener::Inside),
        ProviderKind::TwilioBot => return bot::dial_as_twilio(provider),
        _ => {}
    }
    let leg: realtime::Config =
        serde_json::from_value(settings.clone()).map_err(|_| PlanError("the model refuses its settings"))?;
    let found = realtime::target(&leg, &provider.base_url);
    let mut spec = DialSpec::new(&found.url).map_err(|_| PlanError("base_url is no address"))?;
    for (name, value) in found.headers {
        let value = HeaderValue::try_from(value).map_err(|_| PlanError("a header cannot be sent"))?;
        spec = spec.header(HeaderName::from_static(name), value);
    }
    if let Some(key) = &provider.key {
        let (name, value) = credential(found.auth, key)?;
        spec = spec.secret(name, value);
    }
    spec.within = provider.connect_timeout;
    spec.limits =
        PortLimits { message_max: config.limits.provider_message_bytes_max, ..PortLimits::PROVIDER };
    Ok(Opener::Dial { dialer: dialer(provider)?, spec: Box::new(spec) })
}

fn credential(auth: realtime::Auth, key: &Secret) -> Result<(HeaderName, HeaderValue), PlanError> {
    let (name, text) = match auth {
        realtime::Auth::Bearer => ("authorization", format!("Bearer {}", key.expose())),
        realtime::Auth::ApiKeyHeader => ("api-key", key.expose().to_owned()),
    };
    let value =
        HeaderValue::try_from(text).map_err(|_| PlanError("the provider's key cannot stand in a header"))?;
    Ok((HeaderName::from_static(name), value))
}

/// One TLS configuration (and its resumption tickets) for all calls to public authorities; a private one is read anew.
fn dialer(provider: &Provider) -> Result<Dialer, PlanError> {
    static PUBLIC: std::sync::OnceLock<Dialer> = std::sync::OnceLock::new();
    match &provider.ca_pem {
        None => Ok(PUBLIC.get_or_init(Dialer::new).clone()),
        Some(pem) => Dialer::with_ca(pem).map_err(|_| PlanError("ca_file holds no certificate")),
    }
}

/// What a port to a client of the realtime API allows: a client may send a second of audio, or an image, at once, and is sent
/// whatever the model says faster than it plays; one that fell silent is let go while its provider's time is still short.
#[must_use]
pub fn client_port(limits: &config::Limits) -> PortLimits {
    let public = public_port(limits);
    PortLimits {
        message_max: public.message_max.max(1024 * 1024),
        high_water: 8 * 1024 * 1024,
        backlog_max: 32 * 1024 * 1024,
        ping_every: public.ping_every.min(Duration::from_secs(5)),
        dead_after: public.dead_after.min(Duration::from_secs(15)),
        ..public
    }
}

/// Whether a port of a public socket may do what `limits` say.
#[must_use]
pub fn public_port(limits: &config::Limits) -> PortLimits {
    PortLimits {
        message_max: limits.message_bytes_max,
        ping_every: limits.ping_interval,
        dead_after: limits.dead_after,
        ..PortLimits::PUBLIC
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    const NOBODY: Parties = Parties { direction: "inbound", caller: None, called: None, external_id: None };
    const PHONE: Phone<'_> = Phone { call_sid: "CA1", account_sid: "AC1", parties: &NOBODY };

    fn plan(list: &[(&str, &str)]) -> CallPlan {
        let mut sources = Sources::default();
        for (name, value) in list {
            sources.set(name, value);
        }
        let config = Config::parse(&sources).unwrap();
        let (tenant, route, provider) = config.route("default", "default").unwrap();
        let target = Target { tenant: &tenant, route: &route, provider: &provider };
        phone_call("call_1", target, PHONE, &config, Box::new(())).unwrap()
    }

    #[test]
    fn a_plan_from_one_key_opens_both_legs_and_dials_with_the_key() {
        let plan = plan(&[("OPENAI_API_KEY", "sk-secret")]);
        assert!(crate::calls::open(&plan.caller).is_ok());
        assert!(crate::calls::open(&plan.callee).is_ok());
        assert_eq!((plan.callee.ingress, plan.caller.egress), (Format::PCMU, Format::PCMU));
        let opener = format!("{:?}", plan.opener);
        assert!(opener.contains("wss://api.openai.com/v1/realtime?model=gpt-realtime-2.1"), "{opener}");
        assert!(opener.contains("Sensitive") && !opener.contains("sk-secret"), "{opener}");
        assert!(
            !serde_json::to_string(&plan.callee).unwrap().contains("sk-secret"),
            "recordings hold no key"
        );
    }

    #[test]
    fn a_call_is_recorded_if_its_route_says_so_and_announced_only_then() {
        const RECORDING: &str = "PATCHBAY__TENANTS__DEFAULT__ROUTES__DEFAULT__RECORDING__";
        let recorded = |list: &[(&str, &str)]| {
            let names: Vec<_> = list.iter().map(|(key, _)| format!("{RECORDING}{key}")).collect();
            let mut all = vec![("OPENAI_API_KEY", "sk-x")];
            all.extend(names.iter().zip(list).map(|(name, (_, value))| (name.as_str(), *value)));
            let plan = plan(&all);
            (plan.recording, plan.config.records, plan.config.announces)
        };
        assert_eq!(recorded(&[]), (None, false, false));
        assert_eq!(recorded(&[("ANNOUNCE", "true")]), (None, false, false));
        let order =
            |folder: &str| Some(Order { folder: std::path::absolute(folder).unwrap(), rate_hz: 8_000 });
        assert_eq!(recorded(&[("ENABLED", "true")]), (order("recordings"), true, false));
        let all = [("ENABLED", "true"), ("ANNOUNCE", "true"), ("FOLDER", "/srv/sound")];
        assert_eq!(recorded(&all), (order("/srv/sound"), true, true));
    }

    #[test]
    fn azure_is_dialled_at_its_deployment_in_both_shapes() {
        let mut list = vec![
            ("AZURE_ENDPOINT", "https://res.openai.azure.com/openai/v1/"),
            ("AZURE_API_KEY", "k"),
            ("AZURE_DEPLOYMENT", "my deployment"),
        ];
        let current = format!("{:?}", plan(&list).opener);
        assert!(
            current.contains("wss://res.openai.azure.com/openai/v1/realtime?model=my%20deployment"),
            "{current}"
        );
        assert!(current.contains("api-key"), "{current}");
        list.push(("API_VERSION", "2025-04-01-preview"));
        let dated = plan(&list);
        assert!(crate::calls::open(&dated.callee).is_ok());
        let dated = format!("{:?}", dated.opener);
        assert!(
            dated.contains("/openai/realtime?api-version=2025-04-01-preview&deployment=my%20deployment"),
            "{dated}"
        );
    }

    #[test]
    fn pcm_forces_transcoding_and_what_does_not_interrupt_does_not_at_the_provider() {
        let plan = plan(&[
            ("OPENAI_API_KEY", "sk-x"),
            ("PATCHBAY__TENANTS__DEFAULT__ROUTES__DEFAULT__AUDIO", "pcm"),
            ("PATCHBAY__TENANTS__DEFAULT__ROUTES__DEFAULT__BARGE_IN", "dtmf"),
            ("PATCHBAY__TENANTS__DEFAULT__ROUTES__DEFAULT__TURN_DETECTION__TYPE", "semantic_vad"),
            ("PATCHBAY__TENANTS__DEFAULT__ROUTES__DEFAULT__GREETING", ""),
        ]);
        assert_eq!(plan.callee.ingress, Format::L16_24K);
        assert_eq!(plan.callee.config["turn_detection"]["type"], "semantic_vad");
        assert_eq!(plan.callee.config["turn_detection"]["interrupt_response"], false);
        assert!(crate::calls::open(&plan.callee).is_ok());
        assert!(!plan.config.greets);
    }
}
