//! [`VerifyingKey`]: checks a signature with the one algorithm that it was made for.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{SubjectPublicKeyInfoDer, alg_id};
use secrecy::{ExposeSecret, SecretSlice};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::secret::Secret;

/// Shortest secret of HS256, in bytes (RFC 7518 §3.2).
pub const SECRET_LENGTH_MIN: usize = 32;

/// How a token is signed. Chosen by the configuration, never by the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Algorithm {
    /// HMAC with SHA-256: one secret on both sides.
    #[serde(rename = "HS256")]
    Hs256,
    /// RSA with PKCS #1 v1.5 and SHA-256, 2,048 to 8,192 bits.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// Whether a token, or a key of a JWKS, of this `alg` is meant. RFC 9864 §2.2 renames EdDSA to Ed25519.
    #[must_use]
    pub fn is_named(self, name: &str) -> bool {
        match self {
            Self::Hs256 => name == "HS256",
            Self::Rs256 => name == "RS256",
            Self::Es256 => name == "ES256",
            Self::EdDsa => matches!(name, "EdDSA" | "Ed25519"),
        }
    }
}

/// A key of one algorithm. There is no way to use it with another.
#[derive(Clone)]
pub struct VerifyingKey(Material);

#[derive(Clone)]
enum Material {
    Hmac(SecretSlice<u8>),
    /// The key as PKCS #1 has it.
    RsaDer(Vec<u8>),
    RsaParts {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// The uncompressed point.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl VerifyingKey {
    /// A secret for HS256.
    ///
    /// # Errors
    /// Too short, or a public key that everybody has.
    pub fn of_secret(secret: Secret) -> Result<Self, &'static str> {
        if secret.expose().contains("-----BEGIN") {
            return Err("is a key in PEM, which is no secret between two: use public_key and its algorithm");
        }
        if secret.expose().len() < SECRET_LENGTH_MIN {
            return Err("is shorter than 32 bytes, and can be guessed from one token");
        }
        Ok(Self(Material::Hmac(secret.expose().as_bytes().to_vec().into())))
    }

    #[cfg(test)]
    pub(super) fn of_bytes(secret: Vec<u8>) -> Self {
        Self(Material::Hmac(secret.into()))
    }

    /// A public key in PEM (`BEGIN PUBLIC KEY`, RFC 7468 §13).
    ///
    /// # Errors
    /// Not such a key, or one of another algorithm.
    pub fn of_pem(algorithm: Algorithm, pem: &str) -> Result<Self, &'static str> {
        let unread = "is not a public key in PEM (-----BEGIN PUBLIC KEY-----)";
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| unread)?;
        let (kind, bits) = split_spki(&spki).ok_or(unread)?;
        let wrong = Err("is a key of another algorithm");
        let material = match algorithm {
            Algorithm::Hs256 => return Err("is for RS256, ES256 and EdDSA: HS256 takes secret"),
            Algorithm::Rs256 if kind == alg_id::RSA_ENCRYPTION.as_ref() => Material::RsaDer(bits.to_vec()),
            Algorithm::Es256 if kind == alg_id::ECDSA_P256.as_ref() => Material::P256(bits.to_vec()),
            Algorithm::EdDsa if kind == alg_id::ED25519.as_ref() => Material::Ed25519(bits.to_vec()),
            _ => return wrong,
        };
        Ok(Self(material))
    }

    /// A public key of a JWKS (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2). `None` for a key of another kind, algorithm or use, for
    /// a secret, and for one that gives its private half away.
    #[must_use]
    pub fn of_jwk(algorithm: Algorithm, jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let absent_or = |name: &str, fits: &dyn Fn(&str) -> bool| match jwk.get(name) {
            None => true,
            Some(value) => value.as_str().is_some_and(fits),
        };
        let may_verify = match jwk.get("key_ops") {
            None => true,
            Some(Value::Array(list)) => list.iter().any(|op| op == "verify"),
            Some(_) => false,
        };
        let is_secret =
            ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| jwk.contains_key(*name));
        let alg_fits = absent_or("alg", &|alg| algorithm.is_named(alg));
        if is_secret || !may_verify || !alg_fits || !absent_or("use", &|used| used == "sig") {
            return None;
        }
        let number = |name: &str| text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let sized = |name: &str| number(name).filter(|bytes| bytes.len() == 32);
        let material = match (algorithm, text("kty")?, text("crv")) {
            (Algorithm::Rs256, "RSA", _) => {
                let (modulus, exponent) = (number("n")?, number("e")?);
                let fits =
                    (256..=1024).contains(&modulus.len()) && modulus[0] != 0 && exponent.first() > Some(&0);
                fits.then_some(Material::RsaParts { modulus, exponent })?
            }
            (Algorithm::Es256, "EC", Some("P-256")) => {
                Material::P256([&[4][..], &sized("x")?, &sized("y")?].concat())
            }
            (Algorithm::EdDsa, "OKP", Some("Ed25519")) => Material::Ed25519(sized("x")?),
            _ => return None,
        };
        Some(Self(material))
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Material::Hmac(secret) => {
                let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret())
                    .expect("HMAC takes a key of any length");
                mac.update(message);
                mac.verify_slice(signature).is_ok()
            }
            Material::RsaDer(key) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature).is_ok()
            }
            Material::RsaParts { modulus, exponent } => RsaPublicKeyComponents { n: modulus, e: exponent }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            Material::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature).is_ok()
            }
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Material::Hmac(_) => "VerifyingKey(HS256)",
            Material::RsaDer(_) | Material::RsaParts { .. } => "VerifyingKey(RS256)",
            Material::P256(_) => "VerifyingKey(ES256)",
            Material::Ed25519(_) => "VerifyingKey(EdDSA)",
        })
    }
}

/// The algorithm and the key within a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7): a sequence of a sequence and a bit string.
fn split_spki(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 0x03;
    let (outer, rest) = take(SEQUENCE, der)?;
    let (kind, after) = take(SEQUENCE, outer)?;
    let (bits, end) = take(BIT_STRING, after)?;
    // The first byte counts the bits that are not used: none.
    let bits = bits.strip_prefix(&[0])?;
    (rest.is_empty() && end.is_empty()).then_some((kind, bits))
}

/// One element of DER: what is in it, and what follows it.
fn take(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7F => (usize::from(length), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), &rest[2..]),
        _ => return None,
    };
    (first == tag && rest.len() >= length).then(|| rest.split_at(length))
}

#[cfg(test)]
mod tests;
