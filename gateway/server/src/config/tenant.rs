//! A tenant: owner of routes, quota and a Twilio account.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::bot::read_bots;
use super::jwt::JwtIssuer;
use super::prices::Prices;
use super::provider::{Provider, ProviderKind};
use super::retention::TenantRetention;
use super::route::{Route, RouteContext};
use super::section::{Located, Section};
use super::spend::SpendLimit;
use super::{count, host_of, is_loopback_host};
use crate::credential::origin::{AllowedOrigins, Origin};
use crate::secret::Secret;

/// Owner of configuration and quota; unit of isolation and billing.
#[derive(Clone, Debug, Serialize)]
pub struct Tenant {
    /// Its name in the configuration and in addresses.
    #[serde(skip)]
    pub name: String,
    /// A key with every permission.
    pub api_key: Option<Secret>,
    /// Pages whose scripts may come.
    pub allowed_origins: AllowedOrigins,
    /// Who vouches for its users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtIssuer>,
    /// Its quota.
    pub limits: TenantLimits,
    /// What it may spend.
    pub spend: SpendLimit,
    /// How long its rows are kept.
    pub retention: TenantRetention,
    /// Its account at Twilio.
    pub twilio: TwilioAccount,
    /// Its own, which go before everybody's.
    #[serde(skip_serializing_if = "Prices::is_empty")]
    pub prices: Prices,
    /// Its own, by name; they go before the gateway's of the same name.
    pub providers: BTreeMap<String, Arc<Provider>>,
    /// Bots that are dialled at an address, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bots: BTreeMap<String, Arc<Provider>>,
    /// By name.
    pub routes: BTreeMap<String, Arc<Route>>,
}

/// A tenant's quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantLimits {
    /// Calls at once.
    pub calls_max: u32,
    /// Calls begun in a minute.
    pub starts_per_minute_max: u32,
    /// What its transcoding may cost at once, in units of 100 µs of CPU a second.
    pub transcoding_units_max: u32,
    /// Longest call.
    #[serde(rename = "call_minutes_max", serialize_with = "as_minutes")]
    pub call_duration_max: Duration,
}

/// An account at Twilio.
#[derive(Clone, Debug, Serialize)]
pub struct TwilioAccount {
    /// `AC…`.
    pub account_sid: Option<String>,
    /// Primary, then secondary while they are rotated. None: webhooks on loopback only.
    pub auth_tokens: Vec<Secret>,
    /// `SK…`, for the REST API.
    pub api_key_sid: Option<String>,
    /// Of the API key.
    pub api_key_secret: Option<Secret>,
    /// Its numbers; none: any that a webhook names.
    pub numbers: Vec<String>,
    /// Where the REST API is, without a slash at the end.
    pub api_base_url: String,
    /// Whether a media socket without a signature is refused.
    pub require_stream_signature: bool,
}

impl Tenant {
    /// Whoever answers as this bot: one that the tenant configures, else one that registers.
    #[must_use]
    pub fn bot(&self, name: &str) -> Arc<Provider> {
        let registers = || Arc::new(Provider::of_bot(name, ProviderKind::Bot));
        self.bots.get(name).cloned().unwrap_or_else(registers)
    }

    pub(super) fn read(
        name: &str,
        section: &mut Section<'_>,
        providers: &BTreeMap<String, Arc<Provider>>,
        favourite: Option<&str>,
    ) -> Self {
        let api_key = section.secret("api_key", "PATCHBAY_API_KEY");
        let allowed_origins = allowed_origins(section);
        let jwt = with_section(section, "jwt", JwtIssuer::read);
        let limits = with_section(section, "limits", TenantLimits::read);
        let spend = with_section(section, "spend", SpendLimit::read);
        let retention = with_section(section, "retention", TenantRetention::read);
        let twilio = with_section(section, "twilio", TwilioAccount::read);
        let own = read_providers(section);
        let bots = read_bots(section);
        let mut all = providers.clone();
        all.extend(own.clone());
        // A tenant that brings one provider means it.
        let only = own.keys().next().filter(|_| own.len() == 1);
        let favourite = only.map(String::as_str).or(favourite);
        let providers = &all;
        let prices = Prices::read(section, providers, Some(name));
        let mut routes = BTreeMap::new();
        for (route_name, mut inner) in section.named("routes") {
            let context = RouteContext { tenant: name, name: &route_name, providers, favourite };
            let route = Route::read(&context, &mut inner);
            inner.finish();
            routes.insert(route_name, Arc::new(route));
        }
        Self {
            name: name.to_owned(),
            api_key,
            allowed_origins,
            jwt,
            limits,
            spend,
            retention,
            twilio,
            prices,
            providers: own,
            bots,
            routes,
        }
    }
}

/// Origins to the byte, or the one word `*`.
fn allowed_origins(section: &mut Section<'_>) -> AllowedOrigins {
    let written = section.texts("allowed_origins", "https://app.example.com");
    if let [only] = written.as_slice()
        && only.value == "*"
    {
        return AllowedOrigins::Any;
    }
    let read = |text: Located<String>| match Origin::parse(&text.value) {
        Ok(origin) => Some(origin),
        Err((what, instead)) => {
            let instead = instead.unwrap_or_else(|| "https://app.example.com".into());
            let what = format!("an origin of `{}` {what}", section.name("allowed_origins"));
            section.fault(
                &text.place,
                what,
                format!("write \"{instead}\", or [\"*\"] for every page there is"),
            );
            None
        }
    };
    let these: Vec<_> = written.into_iter().filter_map(read).collect();
    if these.is_empty() { AllowedOrigins::None } else { AllowedOrigins::These(these) }
}

/// The providers of a section: of a tenant, or of the gateway.
pub(super) fn read_providers(section: &mut Section<'_>) -> BTreeMap<String, Arc<Provider>> {
    let mut providers = BTreeMap::new();
    for (name, mut inner) in section.named("providers") {
        if let Some(provider) = Provider::read(&name, &mut inner) {
            inner.finish();
            providers.insert(name, Arc::new(provider));
        }
    }
    providers
}

fn with_section<T>(
    outer: &mut Section<'_>,
    key: &'static str,
    read: impl FnOnce(&mut Section<'_>) -> T,
) -> T {
    let mut inner = outer.section(key);
    let value = read(&mut inner);
    inner.finish();
    value
}

impl TenantLimits {
    fn read(section: &mut Section<'_>) -> Self {
        Self {
            calls_max: count(section, "calls_max", 1..=100_000),
            starts_per_minute_max: count(section, "starts_per_minute_max", 1..=1_000_000),
            transcoding_units_max: count(section, "transcoding_units_max", 0..=1_000_000),
            call_duration_max: Duration::from_secs(
                60 * section.integer("call_minutes_max", 1..=240).unwrap_or_default(),
            ),
        }
    }
}

impl TwilioAccount {
    fn read(section: &mut Section<'_>) -> Self {
        let account = Self {
            account_sid: sid(section, "account_sid", "AC"),
            auth_tokens: section.secrets("auth_tokens", "TWILIO_AUTH_TOKEN"),
            api_key_sid: sid(section, "api_key_sid", "SK"),
            api_key_secret: section.secret("api_key_secret", "TWILIO_API_KEY_SECRET"),
            numbers: numbers(section),
            api_base_url: section
                .parsed("api_base_url", "https://api.twilio.com", api_base_url)
                .map_or_else(String::new, |url| url.value),
            require_stream_signature: section.switch("require_stream_signature").unwrap_or_default(),
        };
        if account.auth_tokens.len() > 4 {
            section.fault(
                section.place(),
                "`auth_tokens` has more than 4 tokens",
                "write the primary and the secondary",
            );
        }
        if account.api_key_sid.is_some() != account.api_key_secret.is_some() && !section.has_fault_below() {
            let what = format!("`{}` has half of an API key", section.path());
            section.fault(section.place(), what, "write both api_key_sid and api_key_secret");
        }
        account
    }

    /// Whether it may be called by `number`, or call from it.
    #[must_use]
    pub fn has(&self, number: &str) -> bool {
        self.numbers.is_empty() || self.numbers.iter().any(|own| own == number)
    }

    /// User and password for the REST API: the API key, else the account's own.
    #[must_use]
    pub fn rest_credential(&self) -> Option<(&str, &Secret)> {
        match (&self.api_key_sid, &self.api_key_secret, &self.account_sid, self.auth_tokens.first()) {
            (Some(sid), Some(secret), Some(_), _) => Some((sid, secret)),
            (_, _, Some(sid), Some(token)) => Some((sid, token)),
            _ => None,
        }
    }
}

fn numbers(section: &mut Section<'_>) -> Vec<String> {
    let texts = section.texts("numbers", "+4930123456");
    let read = |text: Located<String>| {
        if is_e164(&text.value) {
            return Some(text.value);
        }
        let what = format!("`{}` takes numbers of + and 7 to 15 digits", section.name("numbers"));
        section.fault(&text.place, what, "write numbers = [\"+4930123456\"]");
        None
    };
    texts.into_iter().filter_map(read).collect()
}

/// + and 7 to 15 digits, the first not 0 (ITU-T E.164 §6).
#[must_use]
pub(crate) fn is_e164(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('+') else { return false };
    (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
}

fn sid(section: &mut Section<'_>, key: &'static str, prefix: &'static str) -> Option<String> {
    let example = format!("{prefix}00000000000000000000000000000000");
    let text = section.optional(key, &example)?;
    if is_sid(&text.value, prefix) {
        return Some(text.value);
    }
    let what = format!("`{}` takes {prefix} and 32 hexadecimal digits", section.name(key));
    section.fault(&text.place, what, format!("write {key} = \"{example}\" with your digits"));
    None
}

/// Whether `text` is one of Twilio's identifiers: two letters and 32 hexadecimal digits.
#[must_use]
pub(crate) fn is_sid(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn api_base_url(text: &str) -> Result<String, (String, String)> {
    let url = text.trim_end_matches('/');
    let fail = |what: &str| (what.to_owned(), "write api_base_url = \"https://api.twilio.com\"".to_owned());
    let (scheme, rest) = url.split_once("://").ok_or_else(|| fail("begins with https://"))?;
    let host = host_of(rest);
    let odd = |c: char| c.is_whitespace() || c.is_control() || "?#@<>\"".contains(c);
    if host.is_empty() || rest.contains(odd) {
        return Err(fail("takes a host, without user, query or fragment"));
    }
    match scheme {
        "https" => Ok(url.to_owned()),
        "http" if is_loopback_host(host) => Ok(url.to_owned()),
        "http" => Err(fail("would send the account's token in clear")),
        _ => Err(fail("begins with https://")),
    }
}

fn as_minutes<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(span.as_secs() / 60)
}
