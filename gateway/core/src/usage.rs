//! [`Usage`]: one metered fact, as a peer reports it; and [`Tokens`], of which most are made.

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
    /// How many tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Milliseconds, for what is billed by time.
    pub duration_ms: u64,
}

/// One number for each kind of token: how many, or what a million of them costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Of text in, cached ones among them.
    pub text_in: u64,
    /// Of cached text in: a part of `text_in`.
    pub text_in_cached: u64,
    /// Of audio in, cached ones among them.
    pub audio_in: u64,
    /// Of cached audio in: a part of `audio_in`.
    pub audio_in_cached: u64,
    /// Of text out.
    pub text_out: u64,
    /// Of audio out.
    pub audio_out: u64,
}

impl Tokens {
    /// Each number, in the order of the fields.
    #[must_use]
    pub const fn each(&self) -> [u64; 6] {
        [
            self.text_in,
            self.text_in_cached,
            self.audio_in,
            self.audio_in_cached,
            self.text_out,
            self.audio_out,
        ]
    }

    /// From numbers in the order of the fields.
    #[must_use]
    pub const fn of(each: [u64; 6]) -> Self {
        let [text_in, text_in_cached, audio_in, audio_in_cached, text_out, audio_out] = each;
        Self { text_in, text_in_cached, audio_in, audio_in_cached, text_out, audio_out }
    }
}
