//! [`SigningKeys`]: what the gateway signs its own tokens with.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use crate::secret::Secret;

/// Length of a tag, in bytes.
pub const TAG_LENGTH: usize = 32;

/// What a tag is for. A tag made for one purpose is none for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Client secrets, `ek_…`.
    ClientSecret,
    /// What was checked of a caller, told to a bot.
    CallTicket,
    /// Names of callers that mean nothing to anybody but one bot.
    Pseudonym,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::ClientSecret => b"patchbay client secret v1",
            Self::CallTicket => b"patchbay call ticket v1",
            Self::Pseudonym => b"patchbay pseudonym v1",
        }
    }
}

/// A secret of this process alone, for a gateway that has no `PATCHBAY_SIGNING_KEY`.
pub struct OwnKey([u8; 32]);

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnKey([redacted])")
    }
}

impl OwnKey {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        Self(crate::id::random())
    }
}

impl Default for OwnKey {
    fn default() -> Self {
        Self::new()
    }
}

/// One or two secrets: the first signs, all verify, so that they can be rotated without a gap.
pub struct SigningKeys<'k>(Vec<&'k [u8]>);

impl<'k> SigningKeys<'k> {
    /// The configured secrets, or the process's own.
    #[must_use]
    pub fn new(configured: &'k [Secret], process: &'k OwnKey) -> Self {
        let keys: Vec<_> = configured.iter().map(|key| key.expose().as_bytes()).collect();
        Self(if keys.is_empty() { vec![&process.0] } else { keys })
    }

    /// The tag of `message` (HMAC-SHA-256, RFC 2104).
    #[must_use]
    pub fn sign(&self, purpose: Purpose, message: &[u8]) -> [u8; TAG_LENGTH] {
        tag(self.0.first().expect("there is always a key"), purpose, message)
    }

    /// A key of its own for `purpose` out of each secret, in their order.
    pub fn derive(&self, purpose: Purpose) -> impl Iterator<Item = [u8; TAG_LENGTH]> {
        self.0.iter().map(move |secret| mac(secret, purpose.label()))
    }

    /// Whether `given` is the tag of `message` under one of the keys. Every key is tried, in constant time.
    #[must_use]
    pub fn verify(&self, purpose: Purpose, message: &[u8], given: &[u8]) -> bool {
        let fits = |key: &&[u8]| tag(key, purpose, message).as_slice().ct_eq(given);
        self.0.iter().map(fits).fold(Choice::from(0), |any, one| any | one).into()
    }
}

impl fmt::Debug for SigningKeys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({})", self.0.len())
    }
}

/// The purpose's own key comes from the secret first: what is signed for one purpose says nothing about another's key.
fn tag(secret: &[u8], purpose: Purpose, message: &[u8]) -> [u8; TAG_LENGTH] {
    let key = mac(secret, purpose.label());
    mac(&key, message)
}

fn mac(key: &[u8], message: &[u8]) -> [u8; TAG_LENGTH] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.into(), "test")
    }

    #[test]
    fn the_mac_is_hmac_sha_256() {
        // RFC 4231 §4.3.
        let tag = mac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(crate::id::hex(&tag), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn both_keys_of_a_rotation_verify_and_the_first_signs() {
        let process = OwnKey::new();
        let (old, both, new) = ([secret("old")], [secret("new"), secret("old")], [secret("new")]);
        let sign = |keys| SigningKeys::new(keys, &process).sign(Purpose::ClientSecret, b"m");
        let verify =
            |keys, tag: [u8; 32]| SigningKeys::new(keys, &process).verify(Purpose::ClientSecret, b"m", &tag);
        assert!(verify(&both, sign(&old)), "tokens of before the rotation go on");
        assert_eq!(sign(&both), sign(&new));
        assert!(!verify(&new, sign(&old)), "once the old key is gone, so are its tokens");
    }

    #[test]
    fn without_a_key_each_process_has_its_own() {
        let (one, two) = (OwnKey::new(), OwnKey::new());
        let tag = SigningKeys::new(&[], &one).sign(Purpose::ClientSecret, b"m");
        assert!(SigningKeys::new(&[], &one).verify(Purpose::ClientSecret, b"m", &tag));
        assert!(!SigningKeys::new(&[], &two).verify(Purpose::ClientSecret, b"m", &tag));
        assert!(!SigningKeys::new(&[], &one).verify(Purpose::ClientSecret, b"m", &tag[..31]));
        assert!(!SigningKeys::new(&[], &one).verify(Purpose::ClientSecret, b"m", b""));
    }
}
