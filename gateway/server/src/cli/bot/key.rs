//! [`SecretKey`]: a bot's own key in a file, and the tokens that it signs.

use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::credential::bot_key::PublicKey;
use crate::credential::bot_token::LIFETIME_MAX;

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410 §7).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// An Ed25519 key with its private half.
pub(super) struct SecretKey(Ed25519KeyPair);

impl SecretKey {
    /// Makes one and writes it as PKCS #8 in PEM, for its owner's eyes only. A file that is there stays as it is.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(super) fn make(path: &Path) -> Result<Self, String> {
        let seed: [u8; 32] = crate::id::random();
        let pem = STANDARD.encode([&PKCS8[..], &seed[..]].concat());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(path).and_then(|mut file| file.write_all(pem.as_bytes()));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(Ed25519KeyPair::from_seed_unchecked(&seed).expect("32 bytes are a seed of Ed25519")))
    }

    /// Reads PKCS #8 in PEM, or a private JWK (RFC 8037 §2).
    ///
    /// # Errors
    /// The file cannot be read, or is no such key.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let pair = of_pem(&bytes).or_else(|| of_jwk(&bytes));
        pair.map(Self).ok_or_else(|| format!("{} is no Ed25519 key in PEM (PKCS #8) or JWK", path.display()))
    }

    /// The public half.
    pub(super) fn jwk(&self) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(self.0.public_key()) })
    }

    /// A token of `bot` for `audience`, from now on, as long as one may live.
    pub(super) fn token(&self, bot: &str, audience: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let jwk = self.jwk();
        let public = PublicKey::read(jwk.as_object().expect("it was made as an object"));
        let kid = public.expect("it was made as an Ed25519 key").kid;
        let name = format!("bot:{bot}");
        let header = json!({ "typ": "bot+jwt", "alg": "EdDSA", "kid": kid });
        let claims = json!({
            "iss": name, "sub": name, "aud": audience, "iat": now, "exp": now + LIFETIME_MAX, "jti": crate::id::fresh(""),
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(signed.as_bytes())))
    }
}

fn of_pem(bytes: &[u8]) -> Option<Ed25519KeyPair> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(bytes).ok()?;
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).ok()
}

fn of_jwk(bytes: &[u8]) -> Option<Ed25519KeyPair> {
    let jwk: Value = serde_json::from_slice(bytes).ok()?;
    let is_ed25519 = jwk["kty"] == "OKP" && jwk["crv"] == "Ed25519";
    let seed = jwk["d"].as_str().filter(|_| is_ed25519)?;
    Ed25519KeyPair::from_seed_unchecked(&URL_SAFE_NO_PAD.decode(seed).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_made_is_read_back_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bot.pem");
        let made = SecretKey::make(&path).unwrap();
        assert_eq!(SecretKey::read(&path).unwrap().jwk(), made.jwk());
        assert!(SecretKey::make(&path).is_err(), "a key that is there stays");
        std::fs::write(&path, "nonsense").unwrap();
        assert!(SecretKey::read(&path).is_err());
    }

    #[test]
    fn a_jwk_is_read_too() {
        // RFC 8037 §A.1.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bot.jwk");
        let jwk = json!({
            "kty": "OKP", "crv": "Ed25519", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        });
        std::fs::write(&path, jwk.to_string()).unwrap();
        assert_eq!(SecretKey::read(&path).unwrap().jwk()["x"], jwk["x"]);
    }
}
