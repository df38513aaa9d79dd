//! The bot's Ed25519 key and the tokens that it signs (BotAuth).

use std::fmt;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::backoff::random;
use crate::error::Error;

/// How long a token is good for; the gateway takes at most 300 s.
pub(crate) const TOKEN_LIFE: Duration = Duration::from_secs(240);
/// PKCS #8 of an Ed25519 key, up to its 32 secret bytes (RFC 8410 §7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A bot's private key. `Debug` shows its thumbprint.
pub struct BotKey {
    pair: Ed25519KeyPair,
    secret: [u8; 32],
    thumbprint: String,
}

impl BotKey {
    /// A new key.
    #[must_use]
    pub fn generate() -> Self {
        Self::from_secret(random())
    }

    /// A key from PKCS #8 in PEM (`openssl genpkey -algorithm ed25519`) or from a private JWK.
    ///
    /// # Errors
    /// [`Error::Setting`] if it is neither.
    pub fn load(text: &str) -> Result<Self, Error> {
        let secret = if text.trim_start().starts_with('{') { from_jwk(text) } else { from_pem(text) };
        let wrong = || Error::Setting("the key is no Ed25519 key in PEM (PKCS #8) or JWK".to_owned());
        secret.map(Self::from_secret).ok_or_else(wrong)
    }

    /// As [`load`](Self::load), from a file.
    ///
    /// # Errors
    /// [`Error::Setting`] if it cannot be read, or is no key.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text =
            std::fs::read_to_string(path).map_err(|e| Error::Setting(format!("{}: {e}", path.display())))?;
        Self::load(&text)
    }

    fn from_secret(secret: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&secret).expect("any 32 bytes are an Ed25519 key");
        // RFC 7638: SHA-256 of the required members in order.
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, public(&pair).to_string().as_bytes()));
        Self { pair, secret, thumbprint }
    }

    /// The public key as a JWK, for `POST /v1/bots`.
    #[must_use]
    pub fn jwk(&self) -> Value {
        public(&self.pair)
    }

    /// RFC 7638; the `kid` of every token.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The private key as PKCS #8 in PEM, to be kept.
    #[must_use]
    pub fn pem(&self) -> String {
        let der = STANDARD.encode([PKCS8.as_slice(), &self.secret].concat());
        format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n")
    }

    /// A token that says "I am this bot" to the gateway at `audience`, from `now` (since 1970) for 240 s.
    #[must_use]
    pub fn token(&self, bot_id: &str, audience: &str, now: Duration) -> String {
        let (iat, exp) = (now.as_secs(), (now + TOKEN_LIFE).as_secs());
        let (name, jti) = (format!("bot:{bot_id}"), URL_SAFE_NO_PAD.encode(random::<16>()));
        self.sign(
            &json!({ "alg": "EdDSA", "kid": self.thumbprint, "typ": "bot+jwt" }),
            &json!({ "iss": name, "sub": name, "aud": audience, "iat": iat, "exp": exp, "jti": jti }),
        )
    }

    pub(crate) fn sign(&self, head: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(head), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

impl fmt::Debug for BotKey {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "BotKey({})", self.thumbprint)
    }
}

fn public(pair: &Ed25519KeyPair) -> Value {
    json!({ "crv": "Ed25519", "kty": "OKP", "x": URL_SAFE_NO_PAD.encode(pair.public_key()) })
}

fn from_jwk(text: &str) -> Option<[u8; 32]> {
    let jwk: Value = serde_json::from_str(text).ok()?;
    let secret = URL_SAFE_NO_PAD.decode(jwk["d"].as_str()?).ok()?;
    if jwk["crv"] == "Ed25519" { secret.try_into().ok() } else { None }
}

fn from_pem(text: &str) -> Option<[u8; 32]> {
    let body = text.split_once("-----BEGIN PRIVATE KEY-----")?.1.split_once("-----END")?.0;
    let der = STANDARD.decode(body.split_whitespace().collect::<String>()).ok()?;
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok()?;
    // Both versions of the form have the secret at the same place; ring has checked the rest.
    der.get(PKCS8.len()..PKCS8.len() + 32)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_token_says_who_to_whom_and_for_how_long() {
        let key = BotKey::generate();
        let token = key.token("echo", "https://gw.example", Duration::from_secs(1000));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let parts: Vec<Value> = signed
            .split('.')
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        assert_eq!(parts[0], json!({ "alg": "EdDSA", "kid": key.thumbprint(), "typ": "bot+jwt" }));
        assert!(parts[1]["jti"].as_str().unwrap().len() >= 16);
        let mut claims = parts[1].clone();
        claims.as_object_mut().unwrap().remove("jti");
        let told = json!({ "iss": "bot:echo", "sub": "bot:echo", "aud": "https://gw.example", "iat": 1000, "exp": 1240 });
        assert_eq!(claims, told);
        let public = URL_SAFE_NO_PAD.decode(key.jwk()["x"].as_str().unwrap()).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ED25519, public).verify(signed.as_bytes(), &signature).unwrap();
    }

    #[test]
    fn a_key_is_read_from_pem_and_from_jwk_and_never_shown() {
        // RFC 8037 appendix A.
        let jwk = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let key = BotKey::load(jwk).unwrap();
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(BotKey::load(&key.pem()).unwrap().thumbprint(), key.thumbprint());
        assert_eq!(format!("{key:?}"), format!("BotKey({})", key.thumbprint()));
        for text in ["", "{}", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(BotKey::load(text).is_err(), "{text}");
        }
    }
}
