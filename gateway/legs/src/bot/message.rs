//! The events that a bot sends, as JSON.

use patchbay_core::{Outbox, Role};
use serde::Deserialize;
use serde_json::Value;

use super::Kind;

/// Longest event, and longest parts of one, in bytes.
const EVENT_MAX: usize = 32 * 1024;
const NAME_MAX: usize = 256;
const DIGITS_MAX: usize = 32;

/// One event of a bot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// What the caller has not heard is not to be said.
    Clear {
        /// The number of the bot's next packet: what is still on its way with a lower one is not to be said either.
        #[serde(default)]
        next_seq: Option<u64>,
    },
    /// The caller speaks: as `clear`.
    SpeechStarted,
    /// Tell me when the caller has heard what I said so far.
    Mark {
        /// Comes back with the answer.
        name: Box<str>,
    },
    /// Keys for the other side.
    Dtmf {
        /// `0`–`9`, `*`, `#`, `A`–`D`.
        digits: Box<str>,
    },
    /// What was said, for the record and the caller's page.
    Transcript {
        /// By whom.
        role: Speaker,
        /// The words. Personal: never logged.
        text: Box<str>,
        /// Whether it is the whole; else the next piece.
        #[serde(default = "whole", rename = "final")]
        is_final: bool,
    },
    /// Formats from here on. The transport says it, on the bot's behalf.
    Audio {
        /// What the bot is to receive.
        #[serde(default)]
        receive: Option<Kind>,
        /// What the bot sends.
        #[serde(default)]
        send: Option<Kind>,
    },
}

fn whole() -> bool {
    true
}

/// Who spoke, in the words that bots use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The person.
    #[serde(alias = "caller", alias = "human")]
    User,
    /// The bot.
    #[serde(alias = "bot", alias = "model", alias = "agent")]
    Assistant,
}

impl From<Speaker> for Role {
    fn from(speaker: Speaker) -> Self {
        match speaker {
            Speaker::User => Self::Caller,
            Speaker::Assistant => Self::Model,
        }
    }
}

/// Why an event is none: a short token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Nonsense(pub &'static str);

impl Message {
    /// Reads an event.
    ///
    /// # Errors
    /// [`Nonsense`] for what is none of the protocol's, or longer than it may be.
    pub fn parse(text: &[u8]) -> Result<Self, Nonsense> {
        if text.len() > EVENT_MAX {
            return Err(Nonsense("event_too_long"));
        }
        let message = serde_json::from_slice(text).map_err(|_| Nonsense("malformed_event"))?;
        match &message {
            Self::Mark { name } if name.len() > NAME_MAX => Err(Nonsense("mark_too_long")),
            Self::Dtmf { digits } if !are_keys(digits) => Err(Nonsense("no_keys")),
            _ => Ok(message),
        }
    }
}

fn are_keys(digits: &str) -> bool {
    let is_key = |key: u8| key.is_ascii_digit() || (b'A'..=b'D').contains(&key) || key == b'*' || key == b'#';
    !digits.is_empty() && digits.len() <= DIGITS_MAX && digits.bytes().all(is_key)
}

/// Tells the bot.
pub(super) fn tell(event: &Value, out: &mut Outbox) {
    let text = event.to_string();
    out.text(|buffer| buffer.extend_from_slice(text.as_bytes()));
}
