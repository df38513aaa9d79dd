//! What operators changed: a chain in which no link can be altered or removed unseen.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::row::UnixMs;

/// A change, before it is chained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditDraft {
    /// Whose things were changed; `None`: the machine's.
    pub tenant: Option<String>,
    /// When.
    pub at: UnixMs,
    /// Who: the id of a key, or `operator`.
    pub actor: String,
    /// What was done: `tenant.put`, `key.revoke`, …
    pub action: String,
    /// To what.
    pub target: String,
    /// SHA-256 in hex of what was there before.
    pub before: Option<String>,
    /// SHA-256 in hex of what is there now.
    pub after: Option<String>,
}

/// A link of the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Its place, from 1.
    pub seq: u64,
    /// Whose things were changed.
    pub tenant: Option<String>,
    /// When.
    pub at: UnixMs,
    /// Who.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub target: String,
    /// SHA-256 in hex of what was there before.
    pub before: Option<String>,
    /// SHA-256 in hex of what is there now.
    pub after: Option<String>,
    /// The hash of the link before; empty in the first.
    pub previous: String,
    /// SHA-256 in hex of all of the above.
    pub hash: String,
}

impl AuditRow {
    /// Chains `draft` to `last`.
    #[must_use]
    pub fn after(last: Option<&Self>, draft: AuditDraft) -> Self {
        let mut row = Self {
            seq: last.map_or(1, |last| last.seq + 1),
            tenant: draft.tenant,
            at: draft.at,
            actor: draft.actor,
            action: draft.action,
            target: draft.target,
            before: draft.before,
            after: draft.after,
            previous: last.map_or_else(String::new, |last| last.hash.clone()),
            hash: String::new(),
        };
        row.hash = row.reckoned();
        row
    }

    /// Whether this link is unaltered and follows `last`.
    #[must_use]
    pub fn follows(&self, last: Option<&Self>) -> bool {
        let previous = last.map_or("", |last| last.hash.as_str());
        self.seq == last.map_or(1, |last| last.seq + 1)
            && self.previous == previous
            && self.hash == self.reckoned()
    }

    fn reckoned(&self) -> String {
        let unhashed = Self { hash: String::new(), ..self.clone() };
        let text = serde_json::to_vec(&unhashed).expect("a row of text and numbers has a JSON form");
        hex(&Sha256::digest(&text))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_altered_link_of_the_audit_chain_is_seen() {
        let draft = |action: &str| AuditDraft { action: action.into(), ..AuditDraft::default() };
        let first = AuditRow::after(None, draft("tenant.put"));
        let second = AuditRow::after(Some(&first), draft("key.revoke"));
        assert!(first.follows(None) && second.follows(Some(&first)));
        let altered = AuditRow { actor: "somebody else".into(), ..first.clone() };
        assert!(!altered.follows(None));
        let removed = second.follows(None);
        assert!(!removed);
    }
}
