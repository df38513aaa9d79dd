//! Keys as the store keeps them.

use patchbay_store::{KeyRow as Stored, UnixMs};

use super::api_key::KeyRow;
use super::scope::Scopes;

impl From<Stored> for KeyRow {
    /// A word that is no permission of this version gives none. A key ends at the start of its last second.
    fn from(stored: Stored) -> Self {
        let seconds = |at: UnixMs| u64::try_from(at.0.div_euclid(1000)).unwrap_or_default();
        Self {
            scopes: Scopes::of_words(stored.scopes.iter().map(String::as_str)),
            created_at: seconds(stored.created_at),
            expires_at: stored.expires_at.map(seconds),
            revoked_at: stored.revoked_at.map(seconds),
            id: stored.id,
            tenant: stored.tenant,
            sha256: stored.sha256,
            name: stored.name,
        }
    }
}

impl From<&KeyRow> for Stored {
    fn from(row: &KeyRow) -> Self {
        let ms = |seconds: u64| UnixMs(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX));
        Self {
            id: row.id.clone(),
            tenant: row.tenant.clone(),
            sha256: row.sha256,
            scopes: row.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            name: row.name.clone(),
            created_at: ms(row.created_at),
            expires_at: row.expires_at.map(ms),
            revoked_at: row.revoked_at.map(ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::api_key::{ApiKey, KeyTable, Shown};
    use crate::credential::scope::Scope;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_key_comes_back_from_the_store_as_it_went() {
        let (key, row) = ApiKey::mint("t", "ci", [Scope::CallsRead, Scope::Admin].into_iter().collect(), NOW);
        let row = KeyRow { expires_at: Some(NOW + 10), ..row };
        let stored = Stored::from(&row);
        assert_eq!(stored.scopes, ["calls:read", "admin"]);
        assert!(!format!("{stored:?}").contains(key.expose()));
        assert_eq!(KeyRow::from(stored.clone()), row);
        let later = Stored { scopes: vec!["calls:read".into(), "calls:delete".into()], ..stored.clone() };
        assert_eq!(KeyRow::from(later).scopes, [Scope::CallsRead].into_iter().collect());
        let revoked = Stored { revoked_at: Some(UnixMs(0)), ..stored };
        assert!(KeyTable::new([revoked.into()]).find(&Shown::new(key.expose()), NOW).is_none());
    }
}
