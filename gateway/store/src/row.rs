//! What is kept of a call.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::secret::{Private, revealed, revealed_option};
use crate::usage::UsageRow;

/// Milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// Milliseconds of a day.
    pub const DAY: i64 = 86_400_000;

    /// The wall clock's time.
    #[must_use]
    pub fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
    }

    /// So many days earlier.
    #[must_use]
    pub const fn minus_days(self, days: u32) -> Self {
        Self(self.0.saturating_sub((days as i64).saturating_mul(Self::DAY)))
    }

    /// The UTC day it falls into, counted from 1970-01-01.
    #[must_use]
    pub const fn day(self) -> i64 {
        self.0.div_euclid(Self::DAY)
    }
}

/// A call, so far or in all. Written again when it changes: the row with the higher revision stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRow {
    /// `call_…`
    pub id: String,
    /// Whose call.
    pub tenant: String,
    /// By which route.
    pub route: String,
    /// The user that a credential named.
    #[serde(with = "revealed_option")]
    pub user: Option<Private<String>>,
    /// `inbound`, `outbound`, `browser`, `bot`.
    pub direction: String,
    /// The number or address that called.
    #[serde(with = "revealed_option")]
    pub caller: Option<Private<String>>,
    /// The number or address that was called.
    #[serde(with = "revealed_option")]
    pub called: Option<Private<String>>,
    /// When it began.
    pub started_at: UnixMs,
    /// When it ended; `None`: it runs, or its machine died.
    pub ended_at: Option<UnixMs>,
    /// Why it ended, as a word.
    pub outcome: Option<String>,
    /// Why it ended, as a sentence.
    pub outcome_detail: Option<String>,
    /// By its name in the configuration.
    pub provider: Option<String>,
    /// The provider's name of it.
    pub model: Option<String>,
    /// From when each answer was owed to its first audio.
    pub answered_after_ms: Vec<u32>,
    /// What was interrupted.
    pub cuts: Vec<CutRow>,
    /// Times the provider was dialled again.
    pub redials: u32,
    /// Keys that were pressed.
    #[serde(with = "revealed")]
    pub dtmf: Private<String>,
    /// Millionths of a US dollar, so far.
    pub cost_micro_usd: i64,
    /// The file with its sound, on the machine that took the call.
    pub recording: Option<String>,
    /// Grows with each writing of this call.
    pub revision: u64,
}

/// How much of an utterance was heard when it was interrupted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutRow {
    /// Milliseconds into the call.
    pub at_ms: u64,
    /// The provider's id of the utterance.
    pub item: Option<String>,
    /// Milliseconds that the listener heard.
    pub heard_ms: u64,
    /// Milliseconds that went out.
    pub sent_ms: u64,
    /// Milliseconds that the provider sent.
    pub received_ms: u64,
}

/// One leg of a call. A later writing replaces an earlier one; one without an end never replaces one with an end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegRow {
    /// Whose call.
    pub tenant: String,
    /// Of which call.
    pub call: String,
    /// Within the call.
    pub leg: u8,
    /// `twilio`, `realtime`, `webrtc`, …
    pub kind: String,
    /// What the other side calls it: a `CallSid`, a provider's `sess_…`.
    pub external_id: Option<String>,
    /// `PCMU/8000`, …
    pub format: Option<String>,
    /// When it came up.
    pub started_at: UnixMs,
    /// When it went down.
    pub ended_at: Option<UnixMs>,
    /// The WebSocket close code.
    pub close_code: Option<u16>,
    /// Bytes of audio from the peer.
    pub bytes_in: Option<u64>,
    /// Bytes of audio to the peer.
    pub bytes_out: Option<u64>,
}

/// One item of a transcript. Written again when its cut position or text becomes known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscriptRow {
    /// Whose call.
    pub tenant: String,
    /// Of which call.
    pub call: String,
    /// Its place in the call.
    pub seq: u32,
    /// The provider's id of it.
    pub item: Option<String>,
    /// `user` or `assistant`.
    pub role: String,
    /// Milliseconds into the call.
    pub at_ms: u64,
    /// What was said.
    #[serde(with = "revealed")]
    pub text: Private<String>,
    /// Milliseconds that were heard, if it was interrupted.
    pub heard_ms: Option<u64>,
}

/// A call with all that is kept of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallPage {
    /// The call.
    pub call: CallRow,
    /// Its legs, by number.
    pub legs: Vec<LegRow>,
    /// What was said, in order.
    pub transcript: Vec<TranscriptRow>,
    /// What was used, in order.
    pub usage: Vec<UsageRow>,
}

/// What the journal writes. Writing it twice is as writing it once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// A call's record.
    Call(CallRow),
    /// A leg's record.
    Leg(LegRow),
    /// An item of a transcript.
    Transcript(TranscriptRow),
    /// A metered fact.
    Usage(UsageRow),
}

impl Entry {
    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &str {
        match self {
            Self::Call(row) => &row.tenant,
            Self::Leg(row) => &row.tenant,
            Self::Transcript(row) => &row.tenant,
            Self::Usage(row) => &row.tenant,
        }
    }

    /// Of which call it speaks.
    #[must_use]
    pub fn call(&self) -> &str {
        match self {
            Self::Call(row) => &row.id,
            Self::Leg(row) => &row.call,
            Self::Transcript(row) => &row.call,
            Self::Usage(row) => &row.call,
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(row) => row.fmt(f),
            Self::Leg(row) => row.fmt(f),
            Self::Transcript(row) => row.fmt(f),
            Self::Usage(row) => row.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_personal_field_of_a_row_can_be_printed() {
        let secret = || Private::new("canary".to_owned());
        let call = CallRow {
            user: Some(secret()),
            caller: Some(secret()),
            called: Some(secret()),
            dtmf: secret(),
            ..CallRow::default()
        };
        let transcript = TranscriptRow { text: secret(), ..TranscriptRow::default() };
        let usage = UsageRow { user: Some(secret()), ..UsageRow::default() };
        let printed = format!("{:?} {:?} {:?}", Entry::Call(call), Entry::Transcript(transcript), usage);
        assert!(!printed.contains("canary"), "{printed}");
        assert_eq!(printed.matches("[private]").count(), 6, "{printed}");
    }

    #[test]
    fn an_entry_read_back_from_json_is_the_same() {
        let call = CallRow {
            id: "call_1".into(),
            caller: Some(Private::new("+4930".into())),
            dtmf: Private::new("12#".into()),
            cuts: vec![CutRow { at_ms: 1, heard_ms: 2, ..CutRow::default() }],
            ..CallRow::default()
        };
        let entry = Entry::Call(call);
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry);
    }
}
