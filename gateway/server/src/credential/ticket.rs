//! [`TicketKeys`]: the gateway's own signature under what it checked of a caller (reference/browser.md §6.6).
//!
//! The keys are made from the gateway's signing keys, so that every machine with the same ones signs alike, and nothing
//! more has to be kept: the first signs, all are published.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::bot_key::PublicKey;
use super::signing::{Purpose, SigningKeys};

/// Ed25519 keys of this gateway, at least one.
pub struct TicketKeys(Vec<TicketKey>);

struct TicketKey {
    pair: Ed25519KeyPair,
    kid: String,
    x: String,
}

impl TicketKeys {
    /// From the gateway's signing keys.
    #[must_use]
    pub fn new(keys: &SigningKeys<'_>) -> Self {
        let of_seed = |seed: [u8; 32]| {
            let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("32 bytes are a seed of Ed25519");
            let x = URL_SAFE_NO_PAD.encode(pair.public_key());
            let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
            let public = PublicKey::read(jwk.as_object().expect("it was made as an object"));
            TicketKey { pair, kid: public.expect("it was made as an Ed25519 key").kid, x }
        };
        Self(keys.derive(Purpose::CallTicket).map(of_seed).collect())
    }

    /// A JWS of `claims` (RFC 7515 §7.1), of the kind `typ`.
    #[must_use]
    pub fn sign(&self, typ: &str, claims: &Value) -> String {
        let key = self.0.first().expect("there is always a key");
        let header = json!({ "typ": typ, "alg": "EdDSA", "kid": key.kid });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = key.pair.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The public halves (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> Value {
        let public = |key: &TicketKey| json!({ "kty": "OKP", "crv": "Ed25519", "x": key.x, "kid": key.kid, "alg": "EdDSA", "use": "sig" });
        json!({ "keys": self.0.iter().map(public).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::signing::OwnKey;
    use crate::credential::token::Jws;
    use crate::credential::verifying_key::{Algorithm, VerifyingKey};
    use crate::secret::Secret;

    #[test]
    fn what_is_signed_verifies_with_what_is_published_also_after_a_rotation() {
        let own = OwnKey::new();
        let secret = |text: &str| Secret::new(text.into(), "test");
        let old = TicketKeys::new(&SigningKeys::new(&[secret("old")], &own));
        let signed = old.sign("call-ticket+jwt", &json!({ "jti": "call_1" }));
        let jws = Jws::parse(&signed).unwrap();
        let verifies = |keys: &TicketKeys| {
            let jwks = keys.jwks();
            let named =
                jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] == jws.kid().unwrap().unwrap());
            let key =
                named.map(|key| VerifyingKey::of_jwk(Algorithm::EdDsa, key.as_object().unwrap()).unwrap());
            key.is_some_and(|key| jws.verify(Algorithm::EdDsa, &key))
        };
        assert!(verifies(&old));
        assert!(verifies(&TicketKeys::new(&SigningKeys::new(&[secret("new"), secret("old")], &own))));
        assert!(!verifies(&TicketKeys::new(&SigningKeys::new(&[secret("new")], &own))));
        assert!(!jws.is_jwt_of("bot+jwt") && jws.is_jwt_of("call-ticket+jwt"));
    }
}
