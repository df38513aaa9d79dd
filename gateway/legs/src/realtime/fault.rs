//! Which of the provider's errors and close codes mean what (`reference/realtime.md` §1.10, §5, 2026-11-20).

use patchbay_core::{Down, Fault, Refusal};

use super::wire::PeerError;

/// What an error event means for the leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// A race that both sides lose politely: nothing happened.
    Benign,
    /// The provider already answers: our request must wait.
    Busy,
    /// Worth counting.
    Complaint,
    /// The provider's cap on the length of a session.
    Expired,
    /// Another socket would fail the same way.
    Fatal,
}

/// Grades an error by its code **or** its type: OpenAI has changed one while keeping the other.
pub(super) fn severity(error: &PeerError) -> Severity {
    let code = error.code.as_deref().unwrap_or_default();
    let kind = error.kind.as_deref().unwrap_or_default();
    let is = |names: &[&str]| names.contains(&code) || names.contains(&kind);
    if is(FATAL) {
        Severity::Fatal
    } else if is(&["session_expired"]) {
        Severity::Expired
    } else if is(&["conversation_already_has_active_response"]) {
        Severity::Busy
    } else if is(BENIGN) {
        Severity::Benign
    } else {
        Severity::Complaint
    }
}

/// The name of an error as a short token: its code, else its type, else `unknown`.
pub(super) fn code_of(error: &PeerError) -> Box<str> {
    let named = error.code.as_deref().or(error.kind.as_deref());
    token(named.unwrap_or_default())
}

/// At most 64 characters that are safe as a metric label; else `unknown`.
fn token(name: &str) -> Box<str> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(safe) { "unknown".into() } else { name.into() }
}

const FATAL: &[&str] = &[
    "invalid_api_key",
    "insufficient_quota",
    "credit_balance_exhausted",
    "account_deactivated",
    "billing_hard_limit_reached",
    "billing_not_active",
    "model_not_found",
    "beta_api_shape_disabled",
    "unsupported_model",
    "unsupported_country_region_territory",
    "authentication_error",
    "permission_error",
    "DeploymentNotFound",
    "OpperationNotSupported",
    "OperationNotSupported",
];

/// Races around an interruption, and repeats of what has been done (§5 rules 3, 4, 5, 9).
const BENIGN: &[&str] = &[
    "response_cancel_not_active",
    "item_create_duplicate_item_id",
    "item_delete_invalid_item_id",
    "item_truncate_invalid_item_id",
    "item_retrieve_invalid_item_id",
    "unsupported_content_type",
    "input_audio_buffer_commit_empty",
];

/// What it means that the first `session.update` met an error: usually a setting that the provider does not take.
pub(super) fn down_by_rejection(error: &PeerError) -> Down {
    if is_rate_limit(error) {
        return Down::Refused { retry_after: None };
    }
    if error.kind.as_deref() == Some("server_error") {
        return Down::Lost { code: 1011 };
    }
    fatal(Fault::TenantConfig, &code_of(error))
}

/// Whether a failed response was refused for its rate: worth one more try after a pause.
pub(super) fn is_rate_limit(error: &PeerError) -> bool {
    [&error.code, &error.kind].into_iter().flatten().any(|name| name.contains("rate_limit"))
}

/// What a close by the provider means. Retry on 1001, 1005, 1006, 1011, 1012, 1013 (N755 `internal/ws.ts`); a 1000 that
/// we did not ask for is a loss too, never the end of the call.
pub(super) fn down_by_close(code: u16, reason: &str, was_up: bool) -> Down {
    match code {
        1001 if was_up => Down::Expired,
        1002 | 1003 | 1007 | 1009 | 1010 => fatal(Fault::PeerIncompatible, &format!("close_{code}")),
        1008 => fatal(Fault::TenantConfig, "close_1008"),
        4000..=4999 => fatal(Fault::TenantConfig, &by_reason(code, reason)),
        _ => Down::Lost { code },
    }
}

/// The reason of a private close code often starts with, or is, the error's code.
fn by_reason(code: u16, reason: &str) -> String {
    let words = reason.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let known = words.into_iter().find(|word| FATAL.contains(word));
    known.map_or_else(|| format!("close_{code}"), str::to_owned)
}

/// What a refused dial means: only 408, 429 and 5xx are worth another try.
pub(super) fn down_by_refusal(refusal: &Refusal) -> Down {
    match refusal {
        Refusal::Status { status: 408 | 429 | 500..=599, retry_after } => {
            Down::Refused { retry_after: *retry_after }
        }
        Refusal::Status { status, .. } => fatal(Fault::TenantConfig, &format!("http_{status}")),
        Refusal::Unreachable | Refusal::Timeout => Down::Lost { code: LOST },
        Refusal::Tls => fatal(Fault::PeerIncompatible, "tls"),
    }
}

pub(super) fn fatal(fault: Fault, code: &str) -> Down {
    Down::Fatal { fault, code: code.into() }
}

/// A connection that ended without a close (RFC 6455 §7.4.1), and what we call a provider that fell silent.
pub(super) const LOST: u16 = 1006;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn error(kind: &str, code: &str) -> PeerError {
        let some = |s: &str| (!s.is_empty()).then(|| s.into());
        PeerError { kind: some(kind), code: some(code), event_id: None }
    }

    #[test]
    fn an_error_is_known_by_its_code_or_by_its_type() {
        assert_eq!(severity(&error("invalid_request_error", "insufficient_quota")), Severity::Fatal);
        assert_eq!(severity(&error("insufficient_quota", "")), Severity::Fatal);
        assert_eq!(severity(&error("x", "session_expired")), Severity::Expired);
        assert_eq!(severity(&error("", "response_cancel_not_active")), Severity::Benign);
        assert_eq!(severity(&error("invalid_request_error", "invalid_value")), Severity::Complaint);
    }

    #[test]
    fn a_code_that_is_no_token_is_not_repeated() {
        assert_eq!(&*code_of(&error("t", "bad value: +49 30 1234")), "unknown");
        assert_eq!(&*code_of(&error("server_error", "")), "server_error");
    }

    #[test]
    fn close_codes_decide_whether_another_try_is_worth_it() {
        for code in [1000, 1005, 1006, 1011, 1012, 1013, 1014] {
            assert_eq!(down_by_close(code, "", true), Down::Lost { code });
        }
        assert_eq!(down_by_close(1001, "", true), Down::Expired);
        assert_eq!(down_by_close(1001, "", false), Down::Lost { code: 1001 }, "else a refusal would loop uncounted");
        for code in [1002, 1003, 1007, 1008, 1009, 1010, 4001] {
            assert!(matches!(down_by_close(code, "", true), Down::Fatal { .. }), "{code}");
        }
        let down = down_by_close(4000, "invalid_request_error.beta_api_shape_disabled", true);
        assert_eq!(down, fatal(Fault::TenantConfig, "beta_api_shape_disabled"));
    }

    #[test]
    fn refused_dials_are_graded() {
        let status = |status, secs: u64| Refusal::Status { status, retry_after: Some(Duration::from_secs(secs)) };
        for code in [408, 429, 500, 502, 503, 504] {
            let wait = Some(Duration::from_secs(7));
            assert_eq!(down_by_refusal(&status(code, 7)), Down::Refused { retry_after: wait });
        }
        for code in [301, 400, 401, 403, 404] {
            let expected = fatal(Fault::TenantConfig, &format!("http_{code}"));
            assert_eq!(down_by_refusal(&status(code, 7)), expected);
        }
        assert_eq!(down_by_refusal(&Refusal::Timeout), Down::Lost { code: 1006 });
        assert!(matches!(down_by_refusal(&Refusal::Tls), Down::Fatal { .. }));
    }
}
