//! A bot that a tenant configures: one that speaks Twilio's protocol, and is dialled at its address.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::provider::{Auth, Provider, ProviderKind};
use super::public_url::{host_of, is_loopback_host};
use super::section::Section;

const CONNECT_TIMEOUT_MS: u64 = 2000;
const EXAMPLE: &str = "wss://bot.example.com/media";
/// Twilio's own bound for the name and the value of one `<Parameter>`.
const PARAMETER_BYTES_MAX: usize = 500;

/// The bots of a tenant's section.
pub(super) fn read_bots(section: &mut Section<'_>) -> BTreeMap<String, Arc<Provider>> {
    let mut bots = BTreeMap::new();
    for (name, mut inner) in section.named("bots") {
        let bot = read(&name, &mut inner);
        inner.finish();
        bots.insert(name, Arc::new(bot));
    }
    bots
}

fn read(name: &str, section: &mut Section<'_>) -> Provider {
    if section.choice("protocol", &[("twilio", ())]).is_none() && !section.has_fault_below() {
        let what = format!("`{}` lacks its protocol", section.path());
        section.fault(section.place(), what, "write protocol = \"twilio\"");
    }
    let cleartext = section.switch("cleartext").unwrap_or(false);
    let url = section.parsed("url", EXAMPLE, |text| bot_url(text, cleartext)).map(|url| url.value);
    if url.is_none() && !section.has_fault_below() {
        let what = format!("`{}` lacks its url", section.path());
        section.fault(section.place(), what, format!("write url = \"{EXAMPLE}\""));
    }
    let ca = section.file("ca_file", "/etc/patchbay/ca.pem");
    let (ca_file, ca_pem) = ca.map_or((None, None), |(path, pem)| (Some(path), Some(pem)));
    Provider {
        base_url: url.unwrap_or_default(),
        key: section.secret("auth_token", "BOT_AUTH_TOKEN"),
        ca_file,
        ca_pem,
        connect_timeout: Duration::from_millis(
            section.integer("connect_timeout_ms", 100..=10_000).unwrap_or(CONNECT_TIMEOUT_MS),
        ),
        parameters: read_parameters(section),
        ..Provider::of_bot(name, ProviderKind::TwilioBot)
    }
}

/// Whatever names the bot's own code asks for.
fn read_parameters(outer: &mut Section<'_>) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    for (name, text) in outer.texts_by_name("parameters", "value") {
        if name.len() + text.value.len() >= PARAMETER_BYTES_MAX {
            let what = format!("`{}.parameters.{name}` is too long for Twilio's protocol", outer.path());
            outer.fault(&text.place, what, "write fewer than 500 bytes, the name included");
        }
        parameters.insert(name, text.value);
    }
    parameters
}

fn bot_url(text: &str, cleartext: bool) -> Result<String, (String, String)> {
    let fail = |what: &str, advice: &str| Err((what.to_owned(), advice.to_owned()));
    let write = format!("write url = \"{EXAMPLE}\"");
    let Some((scheme @ ("ws" | "wss"), rest)) = text.split_once("://") else {
        return fail("begins with wss://", &write);
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || "#@<>\"".contains(c);
    if host_of(rest).is_empty() || rest.contains(odd) || !text.is_ascii() {
        return fail("takes a host and a path, without user or fragment", &write);
    }
    if scheme == "ws" && !cleartext && !is_loopback_host(host_of(rest)) {
        return fail(
            "would send the call in clear",
            "write wss://, or cleartext = true if that network is yours alone",
        );
    }
    Ok(text.to_owned())
}

impl Provider {
    /// A bot as whoever answers.
    pub(super) fn of_bot(name: &str, kind: ProviderKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            base_url: String::new(),
            model: String::new(),
            key: None,
            auth: Auth::Bearer,
            api_version: None,
            ca_file: None,
            ca_pem: None,
            connect_timeout: Duration::from_millis(CONNECT_TIMEOUT_MS),
            parameters: BTreeMap::new(),
        }
    }
}
