//! [`Replays`]: tokens that were used to register, until they expire.

use std::collections::{BTreeSet, HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::registering::NotRegistered;
use crate::credential::bot_token::BotPass;

/// Tokens at once.
const TOKENS_MAX: usize = 500_000;
/// Of one tenant: nobody's bots keep another's from registering.
const TENANT_TOKENS_MAX: usize = TOKENS_MAX / 4;

/// What is kept of a token: half of a hash of its key and its name.
type Mark = [u8; 16];

/// Bounded by count, each until its token expires.
#[derive(Debug, Default)]
pub(super) struct Replays {
    marks: HashSet<Mark>,
    by_end: BTreeSet<(u64, Mark, Box<str>)>,
    tenants: HashMap<Box<str>, usize>,
}

impl Replays {
    /// Takes the one use of a token, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// It was used, or there is no room to remember it.
    pub(super) fn take(&mut self, pass: &BotPass, now: u64) -> Result<(), NotRegistered> {
        self.expire(now);
        let tenant = pass.bot.tenant();
        let held = self.tenants.get(tenant).copied().unwrap_or_default();
        if self.marks.len() >= TOKENS_MAX || held >= TENANT_TOKENS_MAX {
            return Err(NotRegistered::TooManyTokens);
        }
        let mark = mark(pass);
        if !self.marks.insert(mark) {
            return Err(NotRegistered::Replayed);
        }
        self.by_end.insert((pass.expires_at, mark, tenant.into()));
        *self.tenants.entry(tenant.into()).or_default() += 1;
        Ok(())
    }

    fn expire(&mut self, now: u64) {
        while self.by_end.first().is_some_and(|(end, ..)| *end <= now) {
            let (_, mark, tenant) = self.by_end.pop_first().expect("it was just there");
            self.marks.remove(&mark);
            let held = self.tenants.get_mut(&tenant).expect("a token is charged to its tenant");
            *held -= 1;
            if *held == 0 {
                self.tenants.remove(&tenant);
            }
        }
    }
}

fn mark(pass: &BotPass) -> Mark {
    let hash = Sha256::new().chain_update(&pass.kid).chain_update([0]).chain_update(&pass.jti).finalize();
    hash[..16].try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use patchbay_core::BotId;

    use super::*;

    fn pass(tenant: &str, jti: &str, expires_at: u64) -> BotPass {
        BotPass { bot: BotId::new(tenant, "b").unwrap(), kid: "k".into(), jti: jti.into(), expires_at }
    }

    #[test]
    fn a_token_registers_once_until_it_has_expired_by_itself() {
        let mut replays = Replays::default();
        assert_eq!(replays.take(&pass("t", "1", 100), 0), Ok(()));
        assert_eq!(replays.take(&pass("t", "1", 100), 99), Err(NotRegistered::Replayed));
        assert_eq!(replays.take(&pass("t", "2", 100), 99), Ok(()));
        let other = BotPass { kid: "other".into(), ..pass("t", "1", 100) };
        assert_eq!(replays.take(&other, 99), Ok(()), "a name is its key's own");
        assert_eq!(replays.take(&pass("t", "1", 200), 100), Ok(()));
        assert_eq!((replays.marks.len(), replays.by_end.len()), (1, 1), "what expired is forgotten");
    }

    #[test]
    fn one_tenants_tokens_leave_room_for_anothers() {
        let mut replays = Replays::default();
        for n in 0..TENANT_TOKENS_MAX {
            replays.take(&pass("t", &n.to_string(), 100), 0).unwrap();
        }
        assert_eq!(replays.take(&pass("t", "more", 100), 0), Err(NotRegistered::TooManyTokens));
        assert_eq!(replays.take(&pass("u", "another", 100), 0), Ok(()));
        assert_eq!(replays.take(&pass("t", "more", 200), 100), Ok(()));
    }
}
