//! What can go wrong, by who can do something about it.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::attestation::TicketFault;

/// Why a verb failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The gateway refused.
    #[error("{0}")]
    Refused(Refusal),
    /// Another instance of this bot was quicker, or was given the call.
    #[error("the call is taken")]
    CallTaken,
    /// The call was accepted too late: an offer stands for 5 s, or until the caller gives up.
    #[error("the offer has expired")]
    OfferExpired,
    /// The call is over: nothing can be sent any more.
    #[error("the call is over")]
    CallEnded,
    /// The gateway cannot be reached, or stopped in the middle.
    #[error("the connection is lost: {0}")]
    Lost(String),
    /// No byte came in time.
    #[error("no byte came in time")]
    Silent,
    /// What should be a packet or a stream of packets is none.
    #[error("not a packet: {0}")]
    Framing(String),
    /// The ticket proves nothing.
    #[error("the ticket: {0}")]
    Ticket(TicketFault),
    /// The key, or the gateway's address, is none.
    #[error("{0}")]
    Setting(String),
}

/// What the gateway said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of HTTP.
    pub status: u16,
    /// The gateway's own, `bot_not_found` for example.
    pub code: String,
    /// For people.
    pub message: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} {}: {}", self.status, self.code, self.message)
    }
}

impl Refusal {
    /// Whether it is worth to try again.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.status, 401 | 408 | 409 | 425 | 429 | 500..)
    }

    /// Whether there is no such call any more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.status, 404 | 410)
    }

    /// Whether what was asked for is no more.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.status, 404 | 409 | 410)
    }
}

impl Error {
    /// The error that an answer tells, whatever its body is.
    pub(crate) fn of(status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        let told: Value = serde_json::from_slice(body).unwrap_or_default();
        let told = &told["error"];
        let code = told["code"].as_str().or(told["type"].as_str()).unwrap_or("unknown");
        match code {
            "call_taken" => return Self::CallTaken,
            "offer_expired" => return Self::OfferExpired,
            _ => {}
        }
        let seconds = retry_after.and_then(|text| text.parse::<f64>().ok());
        Self::Refused(Refusal {
            status,
            code: code.to_owned(),
            message: told["message"].as_str().unwrap_or_default().to_owned(),
            retry_after: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }
}
