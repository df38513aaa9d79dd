//! [`Grants`]: what this machine keeps of the client secrets it minted: settings, and uses that are left.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

/// For all settings of all tenants.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// For those of one: nobody's minting keeps another from it.
const TENANT_BYTES_MAX: usize = BYTES_MAX / 4;
/// What a grant costs besides its settings, roughly.
const GRANT_BYTES: usize = 512;

/// Names a grant. 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "&str", into = "String")]
pub struct GrantId([u8; 16]);

impl GrantId {
    /// A new one.
    #[must_use]
    pub fn fresh() -> Self {
        Self(crate::id::random())
    }
}

impl From<GrantId> for String {
    fn from(id: GrantId) -> Self {
        crate::id::hex(&id.0)
    }
}

impl TryFrom<&str> for GrantId {
    type Error = &'static str;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        let is_ours =
            text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_ours);
        number.map(|number| Self(number.to_be_bytes())).ok_or("32 hexadecimal digits")
    }
}

/// What is kept of one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whose.
    pub tenant: String,
    /// The settings as JSON text: a tree of it can take twenty times as much.
    pub settings: Option<Arc<str>>,
    /// Calls that may still be begun; `None`: as many as one likes.
    pub uses_left: Option<u32>,
    /// Seconds since 1970.
    pub expires_at: u64,
}

impl Grant {
    fn bytes(&self) -> usize {
        GRANT_BYTES + self.tenant.len() + self.settings.as_ref().map_or(0, |text| text.len())
    }
}

/// There is no room for another: wait until some expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many client secrets are waiting to be used")]
pub struct Full;

/// Every grant of this machine, bounded in bytes, each until it expires. The lock protects the books for one look-up.
#[derive(Debug, Default)]
pub struct Grants(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    grants: HashMap<GrantId, Grant>,
    by_end: BTreeSet<(u64, GrantId)>,
    bytes: usize,
    tenant_bytes: HashMap<String, usize>,
}

impl Grants {
    /// Keeps `grant` until it expires.
    ///
    /// # Errors
    /// [`Full`]
    pub fn keep(&self, id: GrantId, grant: Grant, now: u64) -> Result<(), Full> {
        let mut books = self.books();
        books.expire(now);
        let held = books.tenant_bytes.get(&grant.tenant).copied().unwrap_or_default();
        let bytes = grant.bytes();
        if books.bytes + bytes > BYTES_MAX || held + bytes > TENANT_BYTES_MAX {
            return Err(Full);
        }
        books.add(id, grant);
        Ok(())
    }

    /// What is kept of a secret, if it has not expired.
    #[must_use]
    pub fn get(&self, id: GrantId, now: u64) -> Option<Grant> {
        self.books().grants.get(&id).filter(|grant| grant.expires_at > now).cloned()
    }

    /// Takes one use. Of two who ask for the last one at once, one gets it.
    #[must_use]
    pub fn spend(&self, id: GrantId, now: u64) -> bool {
        let mut books = self.books();
        let grant = books.grants.get_mut(&id).filter(|grant| grant.expires_at > now);
        match grant.map(|grant| &mut grant.uses_left) {
            None | Some(Some(0)) => false,
            Some(Some(left)) => {
                *left -= 1;
                true
            }
            Some(None) => true,
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().expect("nobody panics while holding the books")
    }
}

impl Books {
    fn add(&mut self, id: GrantId, grant: Grant) {
        let bytes = grant.bytes();
        self.bytes += bytes;
        *self.tenant_bytes.entry(grant.tenant.clone()).or_default() += bytes;
        self.by_end.insert((grant.expires_at, id));
        self.grants.insert(id, grant);
    }

    fn expire(&mut self, now: u64) {
        while let Some((end, id)) = self.by_end.first().copied().filter(|(end, _)| *end <= now) {
            self.by_end.remove(&(end, id));
            let grant = self.grants.remove(&id).expect("what is listed by its end is there");
            self.bytes -= grant.bytes();
            let held = self.tenant_bytes.get_mut(&grant.tenant).expect("a grant is charged to its tenant");
            *held -= grant.bytes();
            if *held == 0 {
                self.tenant_bytes.remove(&grant.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(tenant: &str, uses_left: Option<u32>, expires_at: u64) -> Grant {
        Grant { tenant: tenant.into(), settings: Some("x".repeat(16 * 1024).into()), uses_left, expires_at }
    }

    #[test]
    fn a_use_is_spent_once_however_many_ask_at_once() {
        let (grants, id) = (Grants::default(), GrantId::fresh());
        grants.keep(id, grant("t", Some(3), 10), 0).unwrap();
        let spent = std::thread::scope(|scope| {
            let all: Vec<_> =
                (0..8).map(|_| scope.spawn(|| (0..100).filter(|_| grants.spend(id, 1)).count())).collect();
            all.into_iter().map(|one| one.join().unwrap()).sum::<usize>()
        });
        assert_eq!(spent, 3);
        assert!(grants.get(id, 1).is_some(), "who talks already may still hang up with it");
    }

    #[test]
    fn a_grant_ends_with_its_secret() {
        let (grants, id) = (Grants::default(), GrantId::fresh());
        grants.keep(id, grant("t", None, 10), 0).unwrap();
        assert!(grants.spend(id, 9) && grants.get(id, 9).is_some());
        assert!(!grants.spend(id, 10) && grants.get(id, 10).is_none());
        assert!(!grants.spend(GrantId::fresh(), 0), "an unknown one has no uses");
    }

    #[test]
    fn grants_are_bounded_per_tenant_and_forgotten_when_they_expire() {
        let grants = Grants::default();
        let fill = |tenant: &str, until: u64, now: u64| {
            (0..)
                .take_while(|_| grants.keep(GrantId::fresh(), grant(tenant, None, until), now).is_ok())
                .count()
        };
        let one = fill("t1", 100, 0);
        assert!((900..=1024).contains(&one), "{one} of 16 KiB in a quarter of 64 MiB");
        assert_eq!(fill("t2", 100, 0), one, "another tenant has its own share");
        fill("t3", 100, 0);
        fill("t4", 100, 0);
        assert!(fill("t5", 100, 0) < 4, "the machine has an end, but for what the shares leave over");
        assert_eq!(fill("t5", 200, 100), one, "what expired makes room");
        assert_eq!(grants.books().tenant_bytes.len(), 1);
    }
}
