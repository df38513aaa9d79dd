//! Who may use the gateway: tenants with their routes, API keys and bots.

use serde::{Deserialize, Serialize};

use crate::row::UnixMs;

/// A tenant that is managed at run time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRow {
    /// Its name.
    pub name: String,
    /// Its configuration as JSON, without secrets.
    pub document: String,
    /// Grows by one with each change; what a reader saw is what it may change.
    pub revision: u64,
    /// When it was deleted.
    pub deleted_at: Option<UnixMs>,
}

/// A route of a tenant that is managed at run time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRow {
    /// Whose route.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// Its configuration as JSON.
    pub document: String,
    /// Grows by one with each change.
    pub revision: u64,
}

/// A gateway API key: what is kept of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The public part of the key.
    pub id: String,
    /// Whose key.
    pub tenant: String,
    /// Of the whole key. 256 bits of chance need no slow hash.
    pub sha256: [u8; 32],
    /// What it allows.
    pub scopes: Vec<String>,
    /// What its owner calls it.
    pub name: String,
    /// When it was made.
    pub created_at: UnixMs,
    /// When it ends by itself.
    pub expires_at: Option<UnixMs>,
    /// When it was taken back.
    pub revoked_at: Option<UnixMs>,
}

/// A sealed secret of a tenant, without the secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretName {
    /// Whose secret.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// When it was last put.
    pub put_at: UnixMs,
}

/// A bot that may register itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BotRow {
    /// Its id, which it signs with.
    pub id: String,
    /// Whose bot.
    pub tenant: String,
    /// What its owner calls it.
    pub name: String,
    /// When it was made known.
    pub created_at: UnixMs,
    /// When it was taken back.
    pub revoked_at: Option<UnixMs>,
}

/// A public key of a bot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BotKeyRow {
    /// Its thumbprint (RFC 7638), which names it everywhere: a key is one bot's.
    pub kid: String,
    /// Whose bot.
    pub tenant: String,
    /// Which bot.
    pub bot: String,
    /// The key as a JWK.
    pub jwk: String,
    /// When it was added.
    pub created_at: UnixMs,
    /// When it was taken back.
    pub revoked_at: Option<UnixMs>,
}
