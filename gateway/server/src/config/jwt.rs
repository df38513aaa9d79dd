//! Who may vouch for a tenant's users.

use std::time::Duration;

use axum::http::Uri;
use serde::{Serialize, Serializer};

use super::section::{Located, Section};
use super::{host_of, is_loopback_host};
use crate::credential::verifying_key::{Algorithm, VerifyingKey};

/// An issuer of JWTs for a tenant's users, and what its tokens must say.
#[derive(Clone, Debug, Serialize)]
pub struct JwtIssuer {
    /// The one way of signing that is accepted.
    pub algorithm: Algorithm,
    /// What verifies.
    pub keys: JwtKeys,
    /// `iss`, to the byte.
    pub issuer: String,
    /// What `aud` must name.
    pub audience: String,
    /// How far clocks may differ.
    #[serde(rename = "leeway_seconds", serialize_with = "super::as_seconds")]
    pub leeway: Duration,
    /// The claim that names the user.
    pub user_claim: String,
    /// The claim that holds the user's permissions; without one, a user may talk and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes_claim: Option<String>,
}

/// What verifies an issuer's tokens.
#[derive(Clone, Debug)]
pub enum JwtKeys {
    /// One key, here.
    Fixed(VerifyingKey),
    /// A JWKS.
    Url(Uri),
}

impl Serialize for JwtKeys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(key) => serializer.collect_str(&format_args!("{key:?}")),
            Self::Url(url) => serializer.collect_str(url),
        }
    }
}

const ALGORITHMS: [(&str, Algorithm); 4] = [
    ("RS256", Algorithm::Rs256),
    ("ES256", Algorithm::Es256),
    ("EdDSA", Algorithm::EdDsa),
    ("HS256", Algorithm::Hs256),
];

impl JwtIssuer {
    /// `None` when the tenant has no such section, or a faulty one.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        if section.is_empty() {
            return None;
        }
        let algorithm =
            needed(section, "algorithm", "RS256", |section| section.choice("algorithm", &ALGORITHMS));
        let keys = read_keys(section, algorithm.as_ref().map(|algorithm| algorithm.value));
        let issuer = needed(section, "issuer", "https://login.example.com/", |section| {
            section.optional("issuer", "https://login.example.com/")
        });
        let audience =
            needed(section, "audience", "patchbay", |section| section.optional("audience", "patchbay"));
        let leeway = section.integer("leeway_seconds", 0..=300).unwrap_or(30);
        let user_claim =
            section.optional("user_claim", "sub").map_or_else(|| "sub".into(), |claim| claim.value);
        let scopes_claim = section.optional("scopes_claim", "scope").map(|claim| claim.value);
        Some(Self {
            algorithm: algorithm?.value,
            keys: keys?,
            issuer: issuer?.value,
            audience: audience?.value,
            leeway: Duration::from_secs(leeway),
            user_claim,
            scopes_claim,
        })
    }
}

/// Reads `key`, and complains when it is not there at all.
fn needed<T>(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    read: impl FnOnce(&mut Section<'_>) -> Option<Located<T>>,
) -> Option<Located<T>> {
    let (faults, place) = (section.fault_count(), section.place().clone());
    let found = read(section);
    if found.is_none() && section.fault_count() == faults {
        section.fault(
            &place,
            format!("`{}` is missing", section.name(key)),
            format!("write {key} = \"{example}\""),
        );
    }
    found
}

fn read_keys(section: &mut Section<'_>, algorithm: Option<Algorithm>) -> Option<JwtKeys> {
    let faults = section.fault_count();
    let (url_place, secret_place, public_place) =
        (section.place_of("jwks_url"), section.place_of("secret"), section.place_of("public_key"));
    let url = section.parsed("jwks_url", "https://login.example.com/jwks.json", jwks_url);
    let secret = section.secret("secret", "JWT_SECRET");
    let public = section.secret("public_key", "JWT_PUBLIC_KEY");
    if section.fault_count() > faults {
        return None;
    }
    let (algorithm, path) = (algorithm?, section.path().to_owned());
    let made = match (url, secret, public) {
        (Some(url), None, None) if algorithm == Algorithm::Hs256 => {
            Err((url.place, "jwks_url", "publishes keys, and HS256 has a secret"))
        }
        (Some(url), None, None) => Ok(JwtKeys::Url(url.value)),
        (None, Some(_), None) if algorithm != Algorithm::Hs256 => {
            Err((secret_place, "secret", "is for HS256; this algorithm takes jwks_url or public_key"))
        }
        (None, Some(secret), None) => match VerifyingKey::of_secret(secret) {
            Ok(key) => Ok(JwtKeys::Fixed(key)),
            Err(what) => Err((secret_place, "secret", what)),
        },
        (None, None, Some(pem)) => match VerifyingKey::of_pem(algorithm, pem.expose()) {
            Ok(key) => Ok(JwtKeys::Fixed(key)),
            Err(what) => Err((public_place, "public_key", what)),
        },
        _ => {
            let what = format!("`{path}` takes one of jwks_url, public_key and secret");
            let advice = "write jwks_url = \"https://login.example.com/jwks.json\"";
            section.fault(
                if url_place == *section.place() { section.place() } else { &url_place },
                what,
                advice,
            );
            return None;
        }
    };
    let complain = |(place, key, what): (super::Place, &'static str, &'static str)| {
        let advice = "see tenants.NAME.jwt in config/patchbay.toml";
        section.fault(&place, format!("`{}` {what}", section.name(key)), advice);
    };
    made.map_err(complain).ok()
}

fn jwks_url(text: &str) -> Result<Uri, (String, String)> {
    let fail =
        |what: &str| (what.to_owned(), "write jwks_url = \"https://login.example.com/jwks.json\"".to_owned());
    let uri: Uri = text.parse().map_err(|_| fail("takes an address"))?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.is_empty() || authority.contains('@') || text.contains('#') {
        return Err(fail("takes an address with a host, without user and fragment"));
    }
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_loopback_host(host_of(authority)) => Ok(uri),
        Some("http") => Err(fail("would fetch keys in clear, and anybody on the way could put theirs in")),
        _ => Err(fail("begins with https://")),
    }
}

#[cfg(test)]
mod tests;
