//! [`Usage`]: one metered fact, as a peer reports it.

use serde::{Deserialize, Serialize};

/// Usage as the peer reports it. Cached counts are a subset of the input counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// What was metered: `response` or `transcription`.
    pub kind: Box<str>,
    /// The peer's id of the connection (OpenAI: `session.id`); empty when it gave none.
    #[serde(default)]
    pub connection: Box<str>,
    /// The peer's id of the response or item; with `connection` and `kind` it makes the report count only once.
    pub key: Box<str>,
    /// Not the peer's own account but ours: the connection went before the peer gave one.
    #[serde(default)]
    pub estimated: bool,
    /// Text tokens in.
    pub text_in: u64,
    /// Of those, cached.
    pub text_in_cached: u64,
    /// Audio tokens in.
    pub audio_in: u64,
    /// Of those, cached.
    pub audio_in_cached: u64,
    /// Text tokens out.
    pub text_out: u64,
    /// Audio tokens out.
    pub audio_out: u64,
    /// Milliseconds, for what is billed by time.
    pub duration_ms: u64,
}
