//! [`Token`]: a JWT taken apart, strictly, and not believed yet.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::strict_json;
use super::verifying_key::{Algorithm, VerifyingKey};

/// Longest token, in bytes.
pub const LENGTH_MAX: usize = 4096;
/// Longest `kid`, in bytes. It is a key into a map, never a path or a query.
const KID_MAX: usize = 256;

/// Headers that would bring a key, or change what is signed: refused, whatever they hold. (RFC 7515 §4.1.2–4.1.6 and §4.1.11,
/// RFC 7516 §4.1.3, RFC 7797 §3.)
const REFUSED: [&str; 7] = ["jku", "jwk", "x5u", "x5c", "crit", "zip", "b64"];

/// A compact JWS (RFC 7515 §7.1), taken apart.
#[derive(Debug)]
pub struct Jws<'t> {
    header: Map<String, Value>,
    payload: Vec<u8>,
    signed: &'t str,
    signature: Vec<u8>,
}

impl<'t> Jws<'t> {
    /// Takes `text` apart: three parts in base64url without padding or stray bits, the first an object without repeated
    /// names.
    #[must_use]
    pub fn parse(text: &'t str) -> Option<Self> {
        if text.len() > LENGTH_MAX {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header = strict_json::object(&decode(header)?)?;
        if REFUSED.iter().any(|name| header.contains_key(*name)) {
            return None;
        }
        Some(Self { header, payload: decode(payload)?, signed, signature: decode(signature)? })
    }

    /// Which key is meant, if it says so.
    ///
    /// # Errors
    /// Not a text of a sensible length.
    pub fn kid(&self) -> Result<Option<&str>, BadKid> {
        match self.header.get("kid") {
            None => Ok(None),
            Some(Value::String(kid)) if kid.len() <= KID_MAX => Ok(Some(kid)),
            Some(_) => Err(BadKid),
        }
    }

    /// Whether it says that it is signed with `algorithm`, and is, with `key`.
    #[must_use]
    pub fn verify(&self, algorithm: Algorithm, key: &VerifyingKey) -> bool {
        let alg = self.header.get("alg").and_then(Value::as_str);
        alg.is_some_and(|alg| algorithm.is_named(alg)) && key.verify(self.signed.as_bytes(), &self.signature)
    }

    /// RFC 8725 §3.11: another kind of token, signed with the same key, is no JWT.
    fn is_jwt(&self) -> bool {
        !self.header.contains_key("typ") || self.is_jwt_of("jwt") || self.is_jwt_of("at+jwt")
    }

    /// Whether it says that it is of this kind, which is in lower case.
    #[must_use]
    pub fn is_jwt_of(&self, kind: &str) -> bool {
        let said = self.header.get("typ").and_then(Value::as_str).map(str::to_ascii_lowercase);
        said.is_some_and(|said| said.strip_prefix("application/").unwrap_or(&said) == kind)
    }
}

/// A `kid` that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadKid;

/// A JWS whose payload is an object of claims.
#[derive(Debug)]
pub struct Token<'t> {
    jws: Jws<'t>,
    claims: Map<String, Value>,
}

impl<'t> Token<'t> {
    /// Whether `text` looks like one, so that it is worth a try.
    #[must_use]
    pub fn is_like(text: &str) -> bool {
        text.bytes().filter(|b| *b == b'.').count() == 2
    }

    /// Takes `text` apart; no name of a claim is there twice.
    #[must_use]
    pub fn parse(text: &'t str) -> Option<Self> {
        Self::of_jws(Jws::parse(text).filter(Jws::is_jwt)?)
    }

    /// As [`parse`](Self::parse), for a token of another kind (`typ`), which is in lower case.
    #[must_use]
    pub fn parse_as(text: &'t str, kind: &str) -> Option<Self> {
        Self::of_jws(Jws::parse(text).filter(|jws| jws.is_jwt_of(kind))?)
    }

    fn of_jws(jws: Jws<'t>) -> Option<Self> {
        let claims = strict_json::object(&jws.payload)?;
        Some(Self { jws, claims })
    }

    /// Which key is meant, if it says so.
    ///
    /// # Errors
    /// Not a text of a sensible length.
    pub fn kid(&self) -> Result<Option<&str>, BadKid> {
        self.jws.kid()
    }

    /// A claim, before anybody knows whether it is true.
    #[must_use]
    pub fn unverified(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    /// What it claims, once its signature is found to be `key`'s.
    #[must_use]
    pub fn verify(self, algorithm: Algorithm, key: &VerifyingKey) -> Option<Map<String, Value>> {
        self.jws.verify(algorithm, key).then_some(self.claims)
    }
}

#[cfg(test)]
mod tests;
