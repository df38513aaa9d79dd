//! The configuration: parse → build → run. Parsing has no side effects but reading what [`Sources`] names.
//!
//! Layers, the last wins: the defaults (`config/patchbay.toml`, built in), the user's file, the plain variables of
//! `.env.example`, and `PATCHBAY__SECTION__KEY`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use patchbay_core::PriceList;
use serde::{Serialize, Serializer};

use crate::credential::api_key::KeyTable;

mod bot;
mod credentials;
mod fault;
mod jwt;
mod layers;
mod page;
mod prices;
mod provider;
mod public_url;
mod recording;
mod reload;
mod retention;
mod route;
mod section;
mod sources;
mod spend;
mod storage;
mod tenant;
#[cfg(test)]
mod tests;
mod tree;
mod webrtc;

pub use credentials::CredentialSettings;
pub use fault::{Fault, Faults, Place};
pub use jwt::{JwtIssuer, JwtKeys};
pub use page::PageSettings;
pub use prices::{Prices, TELEPHONE, WrittenPrice};
pub use provider::{Auth, Provider, ProviderKind};
pub use public_url::PublicUrl;
pub(crate) use public_url::{host_of, is_loopback_host};
pub use recording::{Recording, RecordingFormat};
pub use reload::{Reload, watch};
pub use retention::TenantRetention;
pub use route::{AudioChoice, BargeIn, NoiseReduction, Route, TurnDetection};
use section::Section;
pub use sources::{Kept, Origin, Sources, SourcesError, TenantText};
pub use spend::{Period, Policy, SpendLimit};
pub use storage::{DatabaseUrl, Storage};
pub use tenant::{Tenant, TenantLimits, TwilioAccount};
pub(crate) use tenant::{is_e164, is_sid};
pub use webrtc::WebRtc;

/// Everything that can be configured, checked.
#[derive(Debug, Serialize)]
pub struct Config {
    /// Listeners, shutdown, logs.
    pub server: Server,
    /// Bounds of this machine.
    pub limits: Limits,
    /// What identifying callers needs.
    pub credentials: CredentialSettings,
    /// The page at `/`.
    pub page: PageSettings,
    /// The tenants' own keys.
    #[serde(skip)]
    pub api_keys: KeyTable,
    /// Where calls, usage and identities are kept.
    pub storage: Storage,
    /// Where WebRTC's media goes.
    pub webrtc: WebRtc,
    /// By name.
    pub providers: BTreeMap<String, Arc<Provider>>,
    /// By name.
    pub tenants: BTreeMap<String, Arc<Tenant>>,
    /// What providers charge.
    pub prices: Prices,
    /// What the operator should know: sentences for the log.
    #[serde(skip)]
    pub notices: Vec<String>,
    /// Files that were read, to be watched.
    #[serde(skip)]
    pub files: Vec<PathBuf>,
}

/// Listeners, shutdown, logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Server {
    /// The public listener.
    pub listen: SocketAddr,
    /// `/metrics` and `/admin`.
    pub admin_listen: SocketAddr,
    /// How the outside reaches us; `None`: a loopback listener's own address.
    pub public_url: Option<PublicUrl>,
    /// How long after SIGTERM calls may end by themselves.
    #[serde(rename = "drain_handoff_s", serialize_with = "as_seconds")]
    pub drain_handoff: Duration,
    /// When we exit after SIGTERM.
    #[serde(rename = "drain_deadline_s", serialize_with = "as_seconds")]
    pub drain_deadline: Duration,
    /// A level or a `tracing` filter.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Where calls are recorded for `patchbay replay`; `None`: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recordings: Option<PathBuf>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Bounds of this machine. Defaults and reasons: reference/reliability.md §2.2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Calls at once.
    pub calls_max: u32,
    /// Calls begun in a second.
    pub calls_started_per_second_max: u32,
    /// Calls at once of one caller's number or one user.
    pub connections_per_user_max: u32,
    /// Calls begun in a minute by one caller's number or one user.
    pub requests_per_minute_max: u32,
    /// What transcoding may cost at once, in units of 100 µs of CPU a second.
    pub transcoding_units_max: u32,
    /// Public connections at once.
    pub sockets_max: usize,
    /// From accept to the end of the request's header.
    #[serde(rename = "header_timeout_ms", serialize_with = "as_millis")]
    pub header_timeout: Duration,
    /// Bytes of a request's header.
    pub header_bytes_max: usize,
    /// Lines of a request's header.
    pub headers_max: usize,
    /// For answering a request.
    #[serde(rename = "request_timeout_ms", serialize_with = "as_millis")]
    pub request_timeout: Duration,
    /// Body of a Twilio webhook.
    pub webhook_bytes_max: usize,
    /// Any other body.
    pub body_bytes_max: usize,
    /// From the upgrade of a media socket to its `start`.
    #[serde(rename = "start_timeout_ms", serialize_with = "as_millis")]
    pub start_timeout: Duration,
    /// One WebSocket message on a public socket.
    pub message_bytes_max: usize,
    /// One WebSocket message from a provider.
    pub provider_message_bytes_max: usize,
    /// Between two pings.
    #[serde(rename = "ping_interval_s", serialize_with = "as_seconds")]
    pub ping_interval: Duration,
    /// Nothing heard for this long: dead.
    #[serde(rename = "dead_after_s", serialize_with = "as_seconds")]
    pub dead_after: Duration,
    /// How long a media address waits for its one use.
    #[serde(rename = "media_token_s", serialize_with = "as_seconds")]
    pub media_token: Duration,
}

/// A route with whose it is and who answers.
pub type Found = (Arc<Tenant>, Arc<Route>, Arc<Provider>);

impl Config {
    /// Understands what `sources` hold.
    ///
    /// # Errors
    /// Every fault with its place and what to write instead. Never a secret.
    pub fn parse(sources: &Sources) -> Result<Self, Faults> {
        layers::parse(sources)
    }

    /// The public address once the public listener is bound to `bound`.
    #[must_use]
    pub fn public_url(&self, bound: SocketAddr) -> PublicUrl {
        self.server.public_url.clone().unwrap_or_else(|| PublicUrl::of_loopback(bound))
    }

    /// A route with what it needs.
    #[must_use]
    pub fn route(&self, tenant: &str, route: &str) -> Option<Found> {
        let tenant = self.tenants.get(tenant)?;
        let route = tenant.routes.get(route)?;
        if let Some(bot) = &route.bot {
            return Some((tenant.clone(), route.clone(), tenant.bot(bot)));
        }
        let provider =
            tenant.providers.get(&route.provider).or_else(|| self.providers.get(&route.provider))?;
        Some((tenant.clone(), route.clone(), provider.clone()))
    }

    /// A route whose calls `bot` answers, whoever else answers them.
    #[must_use]
    pub fn route_to_bot(&self, tenant: &str, route: &str, bot: &str) -> Option<Found> {
        let tenant = self.tenants.get(tenant)?;
        let route = Route { bot: Some(bot.to_owned()), ..(**tenant.routes.get(route)?).clone() };
        Some((tenant.clone(), Arc::new(route), tenant.bot(bot)))
    }

    /// How long a tenant's rows are kept: as the machine says, or shorter if the tenant says so.
    #[must_use]
    pub fn retention(&self, tenant: &Tenant) -> patchbay_store::Retention {
        tenant.retention.within(self.storage.retention)
    }

    /// What a tenant's calls cost: its own prices, and for what they do not say everybody's.
    #[must_use]
    pub fn prices_of(&self, tenant: &Tenant) -> Arc<PriceList> {
        if tenant.prices.list.is_empty() {
            return Arc::clone(&self.prices.list);
        }
        Arc::new(tenant.prices.list.over(Arc::clone(&self.prices.list)))
    }

    /// The effective configuration as TOML, secrets redacted.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("every field has a TOML form")
    }
}

impl Server {
    fn read(section: &mut Section<'_>) -> Self {
        let listen = section.parsed("listen", "127.0.0.1:8080", |text| address(text, 8080));
        let admin = section.parsed("admin_listen", "127.0.0.1:9090", |text| address(text, 9090));
        let public_url = section.optional("public_url", "https://voice.example.com").and_then(|text| {
            let complain = |(what, advice): (String, String)| {
                section.fault(&text.place, format!("`{}` {what}", section.name("public_url")), advice);
            };
            PublicUrl::parse(&text.value).map_err(complain).ok()
        });
        let place = listen.as_ref().map(|listen| listen.place.clone());
        let listen = listen.map_or(UNREAD, |listen| listen.value);
        if let (Some(place), None) = (place, &public_url)
            && !listen.ip().is_loopback()
        {
            let what = format!(
                "`server.listen` is {listen}, which others can reach, and `server.public_url` is missing"
            );
            section.fault(
                &place,
                what,
                "write public_url = \"https://YOUR.HOST\", or listen = \"127.0.0.1:8080\"",
            );
        }
        let handoff_place = section.place_of("drain_handoff_s");
        let handoff = section.integer("drain_handoff_s", 0..=86_400);
        let deadline = section.integer("drain_deadline_s", 1..=86_400);
        if let (Some(handoff), Some(deadline)) = (handoff, deadline)
            && handoff >= deadline
        {
            let what = "`server.drain_handoff_s` is not before `server.drain_deadline_s`";
            section.fault(
                &handoff_place,
                what,
                format!("write drain_handoff_s = {}", deadline.saturating_sub(45)),
            );
        }
        let formats = [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)];
        Self {
            listen,
            admin_listen: admin.map_or(UNREAD, |admin| admin.value),
            public_url,
            drain_handoff: Duration::from_secs(handoff.unwrap_or_default()),
            drain_deadline: Duration::from_secs(deadline.unwrap_or_default()),
            log_level: section
                .parsed("log_level", "info", log_filter)
                .map_or_else(String::new, |level| level.value),
            log_format: section.choice("log_format", &formats).map_or(LogFormat::Auto, |format| format.value),
            recordings: section
                .optional("recordings", "/var/lib/patchbay/recordings")
                .map(|path| path.value.into()),
        }
    }
}

/// Stands for an address that could not be read; the fault that was noted keeps it from being used.
const UNREAD: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn address(text: &str, port: u16) -> Result<SocketAddr, (String, String)> {
    let fail = || {
        let what = "takes an IP address and a port (a host name only if it is localhost)";
        (what.to_owned(), format!("write listen = \"127.0.0.1:{port}\""))
    };
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric.parse().map_err(|_| fail())
}

fn log_filter(text: &str) -> Result<String, (String, String)> {
    let known = |level: &str| {
        let level = level.rsplit('=').next().unwrap_or(level);
        ["off", "error", "warn", "info", "debug", "trace"].contains(&level)
    };
    let valid = text.split(',').all(known) && text.parse::<tracing_subscriber::filter::Targets>().is_ok();
    let fail = || ("takes a log level".to_owned(), "write log_level = \"info\"".to_owned());
    valid.then(|| text.to_owned()).ok_or_else(fail)
}

impl Limits {
    fn read(section: &mut Section<'_>) -> Self {
        let ping_interval = seconds(section, "ping_interval_s", 1..=3600);
        let dead_after_place = section.place_of("dead_after_s");
        let dead_after = seconds(section, "dead_after_s", 2..=7200);
        if dead_after <= ping_interval {
            let what = "`limits.dead_after_s` is not longer than `limits.ping_interval_s`";
            let advice = format!("write dead_after_s = {}", ping_interval.as_secs() * 2 + 5);
            section.fault(&dead_after_place, what, advice);
        }
        Self {
            calls_max: count(section, "calls_max", 1..=100_000),
            calls_started_per_second_max: count(section, "calls_started_per_second_max", 1..=10_000),
            connections_per_user_max: count(section, "connections_per_user_max", 1..=100_000),
            requests_per_minute_max: count(section, "requests_per_minute_max", 1..=1_000_000),
            transcoding_units_max: count(section, "transcoding_units_max", 0..=1_000_000),
            sockets_max: size(section, "sockets_max", 1..=1_000_000),
            header_timeout: millis(section, "header_timeout_ms", 100..=60_000),
            header_bytes_max: size(section, "header_bytes_max", 8192..=1_048_576),
            headers_max: size(section, "headers_max", 16..=1024),
            request_timeout: millis(section, "request_timeout_ms", 100..=14_000),
            webhook_bytes_max: size(section, "webhook_bytes_max", 4096..=1_048_576),
            body_bytes_max: size(section, "body_bytes_max", 4096..=67_108_864),
            start_timeout: millis(section, "start_timeout_ms", 100..=60_000),
            message_bytes_max: size(section, "message_bytes_max", 4096..=1_048_576),
            provider_message_bytes_max: size(section, "provider_message_bytes_max", 65_536..=67_108_864),
            ping_interval,
            dead_after,
            media_token: seconds(section, "media_token_s", 5..=600),
        }
    }
}

/// A whole number; 0 stands for one that could not be read, and is never used.
fn count(section: &mut Section<'_>, key: &'static str, range: std::ops::RangeInclusive<u64>) -> u32 {
    section.integer(key, range).and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

fn size(section: &mut Section<'_>, key: &'static str, range: std::ops::RangeInclusive<u64>) -> usize {
    section.integer(key, range).and_then(|number| usize::try_from(number).ok()).unwrap_or_default()
}

fn seconds(section: &mut Section<'_>, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_secs(section.integer(key, range).unwrap_or_default())
}

fn millis(section: &mut Section<'_>, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_millis(section.integer(key, range).unwrap_or_default())
}

fn as_seconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(span.as_secs())
}

fn as_millis<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
