//! A provider of realtime models.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::as_millis;
use super::fault::Place;
use super::public_url::{host_of, is_loopback_host};
use super::section::Section;
use crate::secret::Secret;

/// A provider of realtime models: what to dial, and with which key.
#[derive(Clone, Debug, Serialize)]
pub struct Provider {
    /// Its name in the configuration.
    #[serde(skip)]
    pub name: String,
    /// Which dialect it speaks.
    pub kind: ProviderKind,
    /// `https://…` without a slash at the end; empty for the parrot.
    pub base_url: String,
    /// Model, or Azure's deployment; empty for the parrot.
    pub model: String,
    /// `None` for the parrot.
    pub key: Option<Secret>,
    /// How the key is shown.
    pub auth: Auth,
    /// Of Azure's preview only.
    pub api_version: Option<String>,
    /// A private authority in PEM, instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// What that file held.
    #[serde(skip)]
    pub ca_pem: Option<Vec<u8>>,
    /// Of one attempt.
    #[serde(rename = "connect_timeout_ms", serialize_with = "as_millis")]
    pub connect_timeout: Duration,
    /// What a bot is told of every call.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

/// Which dialect a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// OpenAI.
    #[serde(rename = "openai")]
    OpenAi,
    /// Azure OpenAI, `/openai/v1`.
    Azure,
    /// Azure OpenAI's dated preview API.
    AzurePreview,
    /// Somebody else who speaks OpenAI's dialect.
    #[serde(rename = "openai-compatible")]
    Compatible,
    /// The built-in AI.
    Parrot,
    /// A bot that speaks Twilio's protocol.
    TwilioBot,
    /// A bot that registers with the gateway.
    Bot,
}

/// How a key is shown to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// `Authorization: Bearer`.
    Bearer,
    /// `api-key`.
    ApiKey,
}

const KINDS: [(&str, ProviderKind); 5] = [
    ("openai", ProviderKind::OpenAi),
    ("azure", ProviderKind::Azure),
    ("azure_preview", ProviderKind::AzurePreview),
    ("openai-compatible", ProviderKind::Compatible),
    ("parrot", ProviderKind::Parrot),
];

const OPENAI_URL: &str = "https://api.openai.com/v1";
const OPENAI_MODEL: &str = "gpt-realtime-2.1";
const CONNECT_TIMEOUT_MS: u64 = 2000;

impl ProviderKind {
    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Azure | Self::AzurePreview => "AZURE_API_KEY",
            _ => "OPENAI_API_KEY",
        }
    }

    fn auth(self) -> Auth {
        match self {
            Self::Azure | Self::AzurePreview => Auth::ApiKey,
            _ => Auth::Bearer,
        }
    }
}

impl Provider {
    pub(super) fn read(name: &str, section: &mut Section<'_>) -> Option<Self> {
        let named = KINDS.iter().find(|(word, _)| *word == name).map(|(_, kind)| *kind);
        let before = section.fault_count();
        let given = section.choice("kind", &KINDS);
        let Some(kind) = given.map(|kind| kind.value).or(named) else {
            if section.fault_count() > before {
                return None;
            }
            let what = format!("`{}` lacks its kind", section.path());
            section.fault(section.place(), what, "write kind = \"openai\" or \"azure\" or \"azure_preview\" or \"openai-compatible\" or \"parrot\"");
            return None;
        };
        let ca = section.file("ca_file", "/etc/patchbay/ca.pem");
        let (ca_file, ca_pem) = ca.map_or((None, None), |(path, pem)| (Some(path), Some(pem)));
        let auths = [("api-key", Auth::ApiKey), ("bearer", Auth::Bearer)];
        let provider = Self {
            name: name.to_owned(),
            kind,
            base_url: read_base_url(kind, section),
            model: read_model(kind, section),
            key: section.secret("key", kind.variable()),
            auth: section.choice("auth", &auths).map_or(kind.auth(), |auth| auth.value),
            api_version: section.optional("api_version", "2025-04-01-preview").map(|version| version.value),
            ca_file,
            ca_pem,
            connect_timeout: Duration::from_millis(
                section.integer("connect_timeout_ms", 100..=10_000).unwrap_or(CONNECT_TIMEOUT_MS),
            ),
            parameters: BTreeMap::new(),
        };
        provider.check(section);
        Some(provider)
    }

    /// What only shows when the keys are seen together.
    fn check(&self, section: &Section<'_>) {
        let here = section.place();
        if self.kind != ProviderKind::Parrot && self.key.is_none() && !section.has_fault_below() {
            let what = format!("`{}` lacks its key", section.path());
            section.fault(here, what, format!("write key = {{ env = \"{}\" }}", self.kind.variable()));
        }
        match (self.kind, &self.api_version) {
            (ProviderKind::AzurePreview, None) => {
                let what = format!("`{}` lacks its api_version", section.path());
                section.fault(here, what, "write api_version = \"2025-04-01-preview\", or kind = \"azure\"");
            }
            (ProviderKind::AzurePreview, Some(_)) | (_, None) => {}
            (_, Some(_)) => {
                let what = format!("`{}` takes api_version only as azure_preview", section.path());
                section.fault(here, what, "remove it, or write kind = \"azure_preview\"");
            }
        }
    }
}

fn read_base_url(kind: ProviderKind, section: &mut Section<'_>) -> String {
    let cleartext = section.switch("cleartext").unwrap_or(false);
    let example = match kind {
        ProviderKind::Azure | ProviderKind::AzurePreview => "https://RESOURCE.openai.azure.com",
        _ => OPENAI_URL,
    };
    let default = match kind {
        ProviderKind::OpenAi => Some(OPENAI_URL),
        ProviderKind::Parrot | ProviderKind::Bot => Some(""),
        _ => None,
    };
    let before = section.fault_count();
    let read = section.parsed("base_url", example, |text| base_url(text, cleartext, example));
    match read.map(|url| url.value).or_else(|| default.map(str::to_owned)) {
        Some(url) => without_api_path(kind, &url).to_owned(),
        None => {
            if section.fault_count() == before {
                let what = format!("`{}` lacks its base_url", section.path());
                section.fault(section.place(), what, advice_for_url(kind, section, example));
            }
            String::new()
        }
    }
}

/// Whoever configures Azure by plain variables is told the plain variable.
fn advice_for_url(kind: ProviderKind, section: &Section<'_>, example: &str) -> String {
    let write = format!("write base_url = \"{example}\"");
    match (kind, section.place()) {
        (ProviderKind::Azure | ProviderKind::AzurePreview, Place::Variable(_)) => {
            format!("set AZURE_ENDPOINT, or {write}")
        }
        _ => write,
    }
}

/// Azure's portal shows the endpoint with the API's path; we add that ourselves.
fn without_api_path(kind: ProviderKind, url: &str) -> &str {
    match kind {
        ProviderKind::Azure | ProviderKind::AzurePreview => {
            url.trim_end_matches("/openai/v1").trim_end_matches("/openai")
        }
        _ => url,
    }
}

fn base_url(text: &str, cleartext: bool, example: &str) -> Result<String, (String, String)> {
    let fail = |what: &str, advice: String| Err((what.to_owned(), advice));
    let text = text.trim_end_matches('/');
    // ws:// and wss:// are what some SDKs call the same place.
    let text = match text.split_once("://") {
        Some(("ws", rest)) => format!("http://{rest}"),
        Some(("wss", rest)) => format!("https://{rest}"),
        _ => text.to_owned(),
    };
    let Some((scheme @ ("http" | "https"), rest)) = text.split_once("://") else {
        return fail("begins with https://", format!("write base_url = \"{example}\""));
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || "?#@<>\"".contains(c);
    if host_of(rest).is_empty() || rest.contains(odd) {
        return fail(
            "takes a host and a path, without user, query or fragment",
            format!("write base_url = \"{example}\""),
        );
    }
    if scheme == "http" && !cleartext && !is_loopback_host(host_of(rest)) {
        let advice = "write https://, or cleartext = true if that network is yours alone".to_owned();
        return fail("would send the key in clear", advice);
    }
    Ok(text)
}

fn read_model(kind: ProviderKind, section: &mut Section<'_>) -> String {
    let given = section.optional("model", OPENAI_MODEL).map(|model| model.value);
    given.unwrap_or_else(|| match kind {
        ProviderKind::OpenAi => OPENAI_MODEL.into(),
        ProviderKind::Parrot | ProviderKind::TwilioBot | ProviderKind::Bot => String::new(),
        ProviderKind::Azure | ProviderKind::AzurePreview | ProviderKind::Compatible => {
            let what = format!("`{}` lacks its model (at Azure: the name of the deployment)", section.path());
            section.fault(section.place(), what, "write model = \"NAME\"");
            String::new()
        }
    })
}
