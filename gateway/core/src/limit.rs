//! Limits of one call, as values. Each bounds a wait, a queue or an expense.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::MediaTime;

/// Limits of one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How long the caller's transport may take to come, from the start of the call.
    pub caller_wait: Duration,
    /// How long a call waits for a caller whose transport broke.
    pub detached_max: Duration,
    /// How much of the caller's audio is kept for a callee that is being dialled again.
    pub held_max: MediaTime,
    /// How long audio for a callee that is up may queue before the oldest is dropped.
    pub live_max: MediaTime,
    /// Longest call.
    pub call_max: Duration,
    /// Age at which the callee's connection is renewed at the next quiet moment (OpenAI's cap is 60 min).
    pub rotate_after: Duration,
    /// Age at which it is renewed even while someone speaks.
    pub rotate_by: Duration,
    /// Dials in a row that may fail.
    pub redial_attempts: u32,
    /// How long dialling again may take in all.
    pub redial_span: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            caller_wait: Duration::from_secs(60),
            detached_max: Duration::from_secs(30),
            held_max: MediaTime::from_ms(8_000),
            live_max: MediaTime::from_ms(200),
            call_max: Duration::from_secs(4 * 3600),
            rotate_after: Duration::from_secs(50 * 60),
            rotate_by: Duration::from_secs(55 * 60),
            redial_attempts: 3,
            redial_span: Duration::from_secs(6),
        }
    }
}
