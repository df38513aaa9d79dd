//! The provider's own account of a connection, for tests to compare with the gateway's.

use patchbay_core::MediaTime;

/// Everything that happened, as the provider saw it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Configurations accepted.
    pub updates: u32,
    /// Appends taken.
    pub appends: u64,
    /// Audio bytes appended.
    pub appended_bytes: u64,
    /// The audio itself, if the script records: at most ten minutes.
    pub appended: Vec<u8>,
    /// Turns of the caller.
    pub commits: u32,
    /// Input buffers cleared on request.
    pub clears: u32,
    /// Answers begun.
    pub responses: Vec<Response>,
    /// `response.cancel` received, whether there was something to cancel or not.
    pub cancels: u32,
    /// Truncations asked for.
    pub truncations: Vec<Truncation>,
    /// Items deleted on request.
    pub deletions: Vec<String>,
    /// Items of the conversation, in order: seeded, spoken, heard.
    pub items: Vec<Item>,
    /// Error codes that we answered.
    pub errors: Vec<String>,
    /// Usage reported in all.
    pub usage: Usage,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its id.
    pub id: String,
    /// `in_progress`, `completed`, `cancelled`, `failed`.
    pub status: &'static str,
    /// Instructions that it was asked with.
    pub instructions: Option<String>,
    /// Audio sent.
    pub sent: MediaTime,
}

/// One truncation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Of which item.
    pub item: String,
    /// To which length.
    pub audio_end_ms: u64,
    /// What we had sent of it.
    pub sent: MediaTime,
    /// Whether it was done.
    pub accepted: bool,
}

/// One item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// `user`, `assistant` or `system`.
    pub role: String,
    /// Text or transcript.
    pub text: String,
    /// Audio that we sent of it; zero for one that was not spoken by us.
    pub sent: MediaTime,
}

/// Tokens reported, all responses and transcriptions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Text tokens in.
    pub text_in: u64,
    /// Audio tokens in.
    pub audio_in: u64,
    /// Text tokens out.
    pub text_out: u64,
    /// Audio tokens out.
    pub audio_out: u64,
}
