//! [`BotKeys`]: the public keys of every bot, by thumbprint.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use patchbay_core::BotId;
use patchbay_store::{BotKeyRow, BotRow};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::verifying_key::{Algorithm, VerifyingKey};

/// A public key that a bot signs with.
#[derive(Clone, Debug)]
pub struct BotKey {
    /// Whose.
    pub bot: BotId,
    /// What verifies.
    pub key: VerifyingKey,
}

/// A bot that its tenant made known.
#[derive(Clone, Debug, Default)]
pub struct KnownBot {
    /// What its owner calls it.
    pub name: String,
    /// Its keys, the oldest first.
    pub kids: Vec<String>,
}

/// Every bot that is known, and its keys. Replaced as a whole, never changed.
#[derive(Debug, Default)]
pub struct BotKeys {
    by_kid: HashMap<String, BotKey>,
    bots: BTreeMap<BotId, KnownBot>,
}

impl BotKeys {
    /// Of the store's rows. What was taken back, or cannot be read by this version, opens nothing.
    #[must_use]
    pub fn new(bots: &[BotRow], keys: &[BotKeyRow]) -> Self {
        let mut table = Self::default();
        for row in bots.iter().filter(|row| row.revoked_at.is_none()) {
            if let Ok(id) = BotId::new(&row.tenant, &row.id) {
                table.bots.insert(id, KnownBot { name: row.name.clone(), kids: Vec::new() });
            }
        }
        for row in keys.iter().filter(|row| row.revoked_at.is_none()) {
            table.add(row);
        }
        table
    }

    fn add(&mut self, row: &BotKeyRow) -> Option<()> {
        let bot = BotId::new(&row.tenant, &row.bot).ok()?;
        let public = PublicKey::read(&serde_json::from_str(&row.jwk).ok()?).ok()?;
        self.bots.get_mut(&*bot)?.kids.push(row.kid.clone());
        self.by_kid.insert(row.kid.clone(), BotKey { bot, key: public.key });
        Some(())
    }

    /// The key of that thumbprint.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<&BotKey> {
        self.by_kid.get(kid)
    }

    /// A bot (`TENANT/NAME`).
    #[must_use]
    pub fn bot(&self, id: &str) -> Option<&KnownBot> {
        self.bots.get(id)
    }

    /// A tenant's bots by name, those after `after`.
    pub fn of_tenant<'b>(
        &'b self,
        tenant: &'b str,
        after: &'b str,
    ) -> impl Iterator<Item = (&'b BotId, &'b KnownBot)> {
        // `/` is before every letter of a name, so that the bots of a tenant stand together.
        let from = format!("{tenant}/{after}");
        let all =
            self.bots.range::<str, _>((std::ops::Bound::Excluded(from.as_str()), std::ops::Bound::Unbounded));
        all.take_while(move |(id, _)| id.tenant() == tenant)
    }
}

/// An Ed25519 key as its owner gives it.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// RFC 7638 thumbprint: its name.
    pub kid: String,
    /// What is kept of it: the members that the thumbprint is made of.
    pub jwk: String,
    /// What verifies.
    pub key: VerifyingKey,
}

impl PublicKey {
    /// Reads a JWK (RFC 8037 §2).
    ///
    /// # Errors
    /// What is wrong with it, for its owner.
    pub fn read(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        if jwk.contains_key("d") {
            return Err(
                "`jwk` holds the private half of the key (`d`): send the public one, and make a new key",
            );
        }
        let unread = "`jwk` is an Ed25519 public key: {\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"…\"}";
        let key = VerifyingKey::of_jwk(Algorithm::EdDsa, jwk).ok_or(unread)?;
        let x = jwk.get("x").and_then(Value::as_str).ok_or(unread)?;
        // RFC 7638 §3.2, RFC 8037 §2: these members, in this order, without blanks.
        let jwk = json!({ "crv": "Ed25519", "kty": "OKP", "x": x }).to_string();
        Ok(Self { kid: URL_SAFE_NO_PAD.encode(Sha256::digest(jwk.as_bytes())), jwk, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037 §A.2 and §A.3.
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

    fn read(jwk: Value) -> Result<PublicKey, &'static str> {
        PublicKey::read(jwk.as_object().unwrap())
    }

    #[test]
    fn a_key_is_named_by_its_thumbprint_whatever_else_stands_beside_it() {
        let plain = read(json!({ "kty": "OKP", "crv": "Ed25519", "x": X })).unwrap();
        assert_eq!(plain.kid, THUMBPRINT);
        let dressed =
            json!({ "kid": "mine", "use": "sig", "alg": "Ed25519", "x": X, "crv": "Ed25519", "kty": "OKP" });
        let dressed = read(dressed).unwrap();
        assert_eq!((dressed.kid, dressed.jwk), (plain.kid, plain.jwk));
    }

    #[test]
    fn a_private_key_and_keys_of_other_kinds_are_refused_in_words() {
        let private = json!({ "kty": "OKP", "crv": "Ed25519", "x": X, "d": X });
        assert!(read(private).unwrap_err().contains("private half"));
        for bad in [
            json!({}),
            json!({ "kty": "OKP", "crv": "X25519", "x": X }),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "AAAA" }),
            json!({ "kty": "RSA", "n": X, "e": "AQAB" }),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": X, "alg": "RS256" }),
        ] {
            assert!(read(bad.clone()).unwrap_err().contains("Ed25519"), "{bad}");
        }
    }

    #[test]
    fn a_tenants_bots_stand_together_and_those_that_were_taken_back_are_not_there() {
        let bot = |tenant: &str, id: &str, is_gone: bool| BotRow {
            id: id.into(),
            tenant: tenant.into(),
            revoked_at: is_gone.then_some(patchbay_store::UnixMs(1)),
            ..BotRow::default()
        };
        let rows = [bot("a", "x", false), bot("a-b", "y", false), bot("a", "z", true), bot("a", "w", false)];
        let keys = BotKeys::new(&rows, &[]);
        let names =
            |after: &str| keys.of_tenant("a", after).map(|(id, _)| id.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(""), ["w", "x"]);
        assert_eq!(names("w"), ["x"]);
        assert!(keys.bot("a/z").is_none());
    }
}
