//! Labels of metrics: each has few values.

use prometheus_client::encoding::EncodeLabelSet;

/// Distinct error codes of providers that get a series of their own; the rest is `other`.
pub(super) const KNOWN_CODES: &[&str] = &[
    "session_expired",
    "invalid_api_key",
    "insufficient_quota",
    "rate_limit_exceeded",
    "inference_rate_limit_exceeded",
    "model_not_found",
    "server_error",
    "invalid_value",
    "conversation_already_has_active_response",
    "response_cancel_not_active",
    "unreachable",
    "no_answer",
    "lost",
    "refused",
    "expired",
];

/// One label of a fixed set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    pub(super) reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Kind {
    pub(super) kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Code {
    pub(super) code: String,
}

/// A model of the configuration: what a peer says is never a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Tokens {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Provider {
    pub(super) provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Limit {
    pub(super) limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Request {
    pub(super) route: String,
    pub(super) code: u16,
}
