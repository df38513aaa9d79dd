//! What identifying callers needs, for all tenants.

use std::num::NonZeroU32;

use serde::Serialize;

use super::count;
use super::section::Section;
use crate::secret::Secret;

/// Shortest signing key, in bytes: what `openssl rand -hex 16` writes.
const SIGNING_KEY_MIN: usize = 32;

/// What identifying callers needs, for all tenants.
#[derive(Clone, Debug, Serialize)]
pub struct CredentialSettings {
    /// What client secrets are signed with: the first signs, both verify. None: a key of the process's own.
    pub signing_keys: Vec<Secret>,
    /// Opens `/admin`; without it, only a loopback listener of this machine does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_key: Option<Secret>,
    /// Failures of one source in a minute; then it is answered 429.
    pub failures_per_minute_max: NonZeroU32,
}

impl CredentialSettings {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let place = section.place_of("signing_keys");
        let signing_keys = section.secrets("signing_keys", "PATCHBAY_SIGNING_KEY");
        let name = section.name("signing_keys");
        if signing_keys.len() > 2 {
            section.fault(
                &place,
                format!("`{name}` has more than 2 keys"),
                "write the new one, then the old one",
            );
        }
        if signing_keys.iter().any(|key| key.expose().len() < SIGNING_KEY_MIN) {
            let what = format!("`{name}` has a key of less than {SIGNING_KEY_MIN} characters");
            section.fault(&place, what, "make one with: openssl rand -hex 32");
        }
        let failures = count(section, "failures_per_minute_max", 1..=1_000_000);
        let admin_key = section.secret("admin_key", "PATCHBAY_ADMIN_KEY");
        Self {
            signing_keys,
            admin_key,
            failures_per_minute_max: NonZeroU32::new(failures).unwrap_or(NonZeroU32::MIN),
        }
    }
}
