//! [`ApiKey`]: `pbk_ID_SECRETCHECK`, a tenant's key to the gateway.
//!
//! `ID` is 12 letters and digits, public, to name a key in lists and logs. `SECRET` is 256 random bits in 43 letters and
//! digits. `CHECK` is the CRC-32 of all before it in 6 letters and digits, so that a scanner of leaked text tells a key
//! from chance without asking us. Of the whole only SHA-256 is kept: 256 random bits need no slow hash.

use std::collections::HashMap;
use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::scope::Scopes;
use crate::id::random;
use crate::secret::Secret;

/// What every key begins with.
pub const PREFIX: &str = "pbk_";

const ID_LENGTH: usize = 12;
const SECRET_LENGTH: usize = 43;
const CHECK_LENGTH: usize = 6;

/// A key that was just made. Shown once, then forgotten; [`KeyRow`] stays.
pub struct ApiKey(Secret);

impl ApiKey {
    /// Makes a key of `tenant` that is good from `now` on, in seconds since 1970, for ever unless the row is changed.
    #[must_use]
    pub fn mint(tenant: &str, name: &str, scopes: Scopes, now: u64) -> (Self, KeyRow) {
        let id = &base62(random::<16>())[..ID_LENGTH];
        let body = format!("{PREFIX}{id}_{}", base62(random::<32>()));
        let text = format!("{body}{}", check_of(&body));
        let row = KeyRow {
            id: id.to_owned(),
            tenant: tenant.to_owned(),
            sha256: Sha256::digest(text.as_bytes()).into(),
            scopes,
            name: name.to_owned(),
            created_at: now,
            expires_at: None,
            revoked_at: None,
        };
        (Self(Secret::new(text, "a new key")), row)
    }

    /// The key itself, to be shown once.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey([redacted])")
    }
}

/// Whether `text` has the form of a key of ours, with the right check: what a scanner asks.
#[must_use]
pub fn is_well_formed(text: &str) -> bool {
    let Some((id, tail)) = parts(text) else { return false };
    let letters = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric());
    if id.len() != ID_LENGTH || tail.len() != SECRET_LENGTH + CHECK_LENGTH || !letters(id) || !letters(tail) {
        return false;
    }
    let (body, check) = text.split_at(text.len() - CHECK_LENGTH);
    check_of(body) == check
}

/// Id, and secret with check.
fn parts(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(PREFIX)?.split_once('_')
}

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Public name of the key: what stands between `pbk_` and the secret.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// Of the whole key.
    pub sha256: [u8; 32],
    /// What it may do.
    pub scopes: Scopes,
    /// What people call it.
    pub name: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Seconds since 1970; from then on it is refused.
    pub expires_at: Option<u64>,
    /// Seconds since 1970; it is refused whatever the time.
    pub revoked_at: Option<u64>,
}

impl KeyRow {
    fn is_good_at(&self, now: u64) -> Choice {
        let is_over = self.expires_at.is_some_and(|end| end <= now) || self.revoked_at.is_some();
        Choice::from(u8::from(!is_over))
    }
}

/// Keys by their id, for one look-up and one comparison per request. Replaced as a whole, never changed.
#[derive(Clone, Debug, Default)]
pub struct KeyTable {
    by_id: HashMap<String, KeyRow>,
    /// Secrets of a tenant's own choice, from the configuration, which have no id: by their hash. Where a hash falls in
    /// the table says nothing of the secret.
    chosen: HashMap<[u8; 32], KeyRow>,
}

impl KeyTable {
    /// A table of `rows`.
    #[must_use]
    pub fn new(rows: impl IntoIterator<Item = KeyRow>) -> Self {
        let by_id = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        Self { by_id, chosen: HashMap::new() }
    }

    /// Adds a secret of the tenant's own choice, with every permission. Answers whose it already is, if it is another's.
    ///
    /// # Errors
    /// The name of the tenant that has the same secret.
    pub fn add_chosen(&mut self, tenant: &str, secret: &Secret) -> Result<(), String> {
        let sha256: [u8; 32] = Sha256::digest(secret.expose().as_bytes()).into();
        if let Some(other) = self.chosen.get(&sha256) {
            return Err(other.tenant.clone());
        }
        let row = KeyRow {
            id: format!("config:{tenant}"),
            tenant: tenant.to_owned(),
            sha256,
            scopes: Scopes::all(),
            name: "api_key of the configuration".into(),
            created_at: 0,
            expires_at: None,
            revoked_at: None,
        };
        self.chosen.insert(sha256, row);
        Ok(())
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len() + self.chosen.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key that `shown` is, if it is good at `now` (seconds since 1970). An unknown id costs what a known one does:
    /// one hash, two look-ups and one comparison, over a row that fits nothing.
    #[must_use]
    pub fn find(&self, shown: &Shown<'_>, now: u64) -> Option<&KeyRow> {
        let candidates = [self.by_id.get(shown.id), self.chosen.get(&shown.sha256)];
        let mut found = None;
        for candidate in candidates {
            let good = candidate.map_or(Choice::from(0), |row| row.is_good_at(now));
            if bool::from(fits(candidate, shown) & good) {
                found = candidate;
            }
        }
        found
    }
}

fn fits(candidate: Option<&KeyRow>, shown: &Shown<'_>) -> Choice {
    #[cfg(test)]
    tests::COMPARISONS.with(|count| count.set(count.get() + 1));
    candidate.map_or(&NOBODY, |row| &row.sha256).ct_eq(&shown.sha256)
}

/// What an unknown id is compared with.
const NOBODY: [u8; 32] = [0; 32];

/// A credential as it was shown, hashed once.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'s> {
    id: &'s str,
    sha256: [u8; 32],
}

impl<'s> Shown<'s> {
    /// Hashes `text`, whatever it is.
    #[must_use]
    pub fn new(text: &'s str) -> Self {
        let id = parts(text).map_or("", |(id, _)| id);
        Self { id, sha256: Sha256::digest(text.as_bytes()).into() }
    }
}

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A number of `SIZE` bytes, big end first, in letters and digits, all of them: 43 for 32 bytes, 22 for 16.
fn base62<const SIZE: usize>(mut number: [u8; SIZE]) -> String {
    // 62^43 > 2^256 and 62^22 > 2^128: log 256 / log 62 = 1.3436.
    let length = (SIZE * 13436).div_ceil(10_000);
    let mut digits = vec![0; length];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::from(divide(&mut number, 62))];
    }
    String::from_utf8(digits).expect("the digits are ASCII")
}

/// Divides a big-endian number in place, and answers the remainder.
fn divide(number: &mut [u8], by: u16) -> u8 {
    let rest = number.iter_mut().fold(0u16, |rest, byte| {
        let part = rest << 8 | u16::from(*byte);
        *byte = u8::try_from(part / by).expect("a remainder below the divisor leaves a quotient of one byte");
        part % by
    });
    u8::try_from(rest).expect("the divisor is below 256")
}

fn check_of(body: &str) -> String {
    let text = base62(crc32(body.as_bytes()).to_be_bytes());
    debug_assert_eq!(text.len(), CHECK_LENGTH);
    text
}

/// CRC-32 of ISO-HDLC, as in zlib and PNG (RFC 1952 §8).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::credential::scope::Scope;

    const NOW: u64 = 1_800_000_000;

    thread_local! {
        /// How many comparisons this thread has made: work is counted, not timed.
        pub(super) static COMPARISONS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }

    #[test]
    fn an_unknown_key_costs_as_many_comparisons_as_a_known_one() {
        let (key, row) = minted();
        let (stranger, _) = minted();
        let expired = KeyTable::new([KeyRow { expires_at: Some(1), ..row.clone() }]);
        let table = KeyTable::new([row.clone()]);
        let cost = |table: &KeyTable, shown: &str| {
            COMPARISONS.set(0);
            let _ = table.find(&Shown::new(shown), NOW);
            COMPARISONS.get()
        };
        let usual = cost(&table, key.expose());
        assert_eq!(usual, 2);
        let wrong_secret = format!("{PREFIX}{}_{}", row.id, parts(stranger.expose()).unwrap().1);
        for shown in [stranger.expose(), &wrong_secret, "", "pbk_", "ek_x.y", "anything"] {
            assert_eq!(cost(&table, shown), usual, "{shown}");
        }
        assert_eq!(cost(&expired, key.expose()), usual);
        assert_eq!(cost(&KeyTable::default(), key.expose()), usual, "even with no key at all");
    }

    fn minted() -> (ApiKey, KeyRow) {
        ApiKey::mint("t1", "ci", [Scope::CallsRead].into_iter().collect(), NOW)
    }

    #[test]
    fn the_check_is_crc_32() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(base62([0; 4]), "000000");
        assert_eq!(base62(u32::MAX.to_be_bytes()), "4gfFC3");
        assert_eq!(base62([0xFF; 32]).len(), SECRET_LENGTH);
    }

    #[test]
    fn a_key_is_found_by_itself_only_and_not_kept() {
        let (key, row) = minted();
        let text = key.expose().to_owned();
        assert!(is_well_formed(&text), "{text}");
        assert_eq!(text.len(), PREFIX.len() + ID_LENGTH + 1 + SECRET_LENGTH + CHECK_LENGTH);
        assert!(!format!("{row:?} {key:?}").contains(text.rsplit('_').next().unwrap()));
        let table = KeyTable::new([row.clone()]);
        assert_eq!(table.find(&Shown::new(&text), NOW), Some(&row));
        let (other, _) = minted();
        let swapped = format!("{PREFIX}{}_{}", row.id, parts(other.expose()).unwrap().1);
        for wrong in [other.expose(), &swapped, &text[..text.len() - 1], &format!("{text} "), "", &row.id] {
            assert_eq!(table.find(&Shown::new(wrong), NOW), None, "{wrong}");
        }
    }

    #[test]
    fn an_expired_or_revoked_key_is_refused() {
        let (key, row) = minted();
        let expiring = KeyTable::new([KeyRow { expires_at: Some(NOW + 10), ..row.clone() }]);
        let shown = Shown::new(key.expose());
        assert!(expiring.find(&shown, NOW + 9).is_some());
        assert!(expiring.find(&shown, NOW + 10).is_none(), "the moment it expires it is over");
        let revoked = KeyTable::new([KeyRow { revoked_at: Some(NOW + 100), ..row }]);
        assert!(revoked.find(&shown, NOW).is_none());
    }

    #[test]
    fn a_secret_of_ones_own_choice_opens_and_belongs_to_one_tenant() {
        let mut table = KeyTable::default();
        let secret = Secret::new("anything at all".into(), "test");
        table.add_chosen("t1", &secret).unwrap();
        assert_eq!(table.add_chosen("t2", &secret), Err("t1".into()));
        let found = table.find(&Shown::new("anything at all"), NOW).unwrap();
        assert_eq!((found.tenant.as_str(), found.scopes), ("t1", Scopes::all()));
        assert!(table.find(&Shown::new("anything at al"), NOW).is_none());
    }

    #[test]
    fn one_slip_of_a_leaked_key_fails_its_check() {
        let (key, _) = minted();
        for at in PREFIX.len()..key.expose().len() {
            let mut bytes = key.expose().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            assert!(!is_well_formed(std::str::from_utf8(&bytes).unwrap()), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_key_by_chance(text in ".{0,80}") {
            let (_, row) = minted();
            prop_assert!(!is_well_formed(&text));
            prop_assert!(KeyTable::new([row]).find(&Shown::new(&text), NOW).is_none());
        }

        #[test]
        fn a_number_in_letters_and_digits_is_that_number(bytes: [u8; 16]) {
            let value = base62(bytes).bytes().fold(0u128, |value, digit| {
                value.wrapping_mul(62).wrapping_add(DIGITS.iter().position(|d| *d == digit).unwrap() as u128)
            });
            prop_assert_eq!(value, u128::from_be_bytes(bytes));
        }
    }
}
