//! The key that wraps all others.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::secret::Secret;

const ADVICE: &str = "set PATCHBAY_MASTER_KEY to 32 bytes in base64, as `openssl rand -base64 32` makes them";

/// 256 bits from `PATCHBAY_MASTER_KEY` or from a key file beside a SQLite database. Never printed, never stored.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// Understands 32 bytes in base64.
    ///
    /// # Errors
    /// [`StoreError::Key`], which says how to make one.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new);
        let key = bytes.ok().and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
        key.map(|key| Self(Zeroizing::new(key))).ok_or_else(|| StoreError::Key {
            what: "the master key is not 32 bytes in base64".to_owned(),
            advice: ADVICE,
        })
    }

    /// A new one, by chance.
    ///
    /// # Errors
    /// The system has no source of chance.
    pub fn random() -> Result<Self, StoreError> {
        random_bytes().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// The master key for the database at `url`: the configured one; else, for SQLite, the file `PATH.key` beside the
    /// database, which is made (0600) if there is neither file nor database; for memory one by chance.
    ///
    /// # Errors
    /// None is configured and PostgreSQL needs one; the key file cannot be read or made; a database is there, and its
    /// key file is not.
    pub fn for_database(url: &str, configured: Option<&Secret>) -> Result<Self, StoreError> {
        if let Some(secret) = configured {
            return Self::parse(secret.expose());
        }
        match url.strip_prefix("sqlite://") {
            Some(path) => Self::beside(Path::new(path)),
            None if url == "memory:" => Self::random(),
            None => Err(StoreError::Key {
                what: "PostgreSQL holds sealed personal data, and there is no master key".to_owned(),
                advice: ADVICE,
            }),
        }
    }

    fn beside(database: &Path) -> Result<Self, StoreError> {
        let file = key_file(database);
        match std::fs::read_to_string(&file) {
            Ok(text) => Self::parse(&text).map_err(|_| unusable(&file, "it holds no 32 bytes in base64")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !database.exists() => {
                let key = Self::random()?;
                key.write_to(&file).map_err(|error| unusable(&file, &error.to_string()))?;
                Ok(key)
            }
            Err(error) => Err(unusable(&file, &error.to_string())),
        }
    }

    /// Writes a file that only its owner may read, and that is not there yet.
    fn write_to(&self, file: &Path) -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(file)?;
        let text = Zeroizing::new(STANDARD.encode(*self.0));
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    }

    /// Writes the key to `PATH.key.new` beside a SQLite database, to take the key file's place after `keys rotate`.
    ///
    /// # Errors
    /// The file cannot be written, or an earlier rotation left one.
    pub fn stage_beside(&self, database: &Path) -> Result<StagedKey, StoreError> {
        let file = key_file(database);
        let mut new = file.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        self.write_to(&new).map_err(|error| unusable(&new, &error.to_string()))?;
        Ok(StagedKey { new, file })
    }

    /// A key for one purpose.
    pub(crate) fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        keyed_hash(&self.0, purpose.as_bytes())
    }
}

/// A key file that waits for its place.
#[derive(Debug)]
pub struct StagedKey {
    new: PathBuf,
    file: PathBuf,
}

impl StagedKey {
    /// The database is wrapped with it: it takes the old one's place.
    ///
    /// # Errors
    /// The file cannot be moved; both are there still.
    pub fn put_in_place(self) -> Result<(), StoreError> {
        std::fs::rename(&self.new, &self.file).map_err(|error| unusable(&self.new, &error.to_string()))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted: master key]")
    }
}

/// HMAC-SHA-256.
pub(crate) fn keyed_hash(key: &[u8; 32], text: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Key {
        what: format!("the system gave no random bytes: {error}"),
        advice: "see that /dev/urandom can be read",
    })?;
    Ok(bytes)
}

fn key_file(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".key");
    name.into()
}

fn unusable(file: &Path, reason: &str) -> StoreError {
    StoreError::Key {
        what: format!("the key file {} cannot be used: {reason}", file.display()),
        advice: "put it back from a backup, or set PATCHBAY_MASTER_KEY; without it, what is sealed cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_key_that_is_not_32_bytes_in_base64_is_refused_with_advice() {
        for text in ["", "secret", "c2hvcnQ=", &STANDARD.encode([7; 31]), &STANDARD.encode([7; 33])] {
            let error = MasterKey::parse(text).unwrap_err().to_string();
            assert!(error.contains("openssl rand -base64 32"), "{error}");
            assert!(text.is_empty() || !error.contains(text), "the key itself must not be printed");
        }
        assert!(MasterKey::parse(&STANDARD.encode([7; 32])).is_ok());
    }

    #[test]
    fn sqlite_without_a_master_key_makes_a_key_file_only_its_owner_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("patchbay.db");
        let url = format!("sqlite://{}", path.display());
        let made = MasterKey::for_database(&url, None).unwrap();
        let file = folder.path().join("patchbay.db.key");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&path, "a database").unwrap();
        let read = MasterKey::for_database(&url, None).unwrap();
        assert_eq!(*made.derive("x"), *read.derive("x"));
        std::fs::remove_file(&file).unwrap();
        let error = MasterKey::for_database(&url, None).unwrap_err().to_string();
        assert!(error.contains("put it back from a backup"), "{error}");
    }

    #[test]
    fn postgresql_without_a_master_key_is_refused_with_advice() {
        let error = MasterKey::for_database("postgres://localhost/x", None).unwrap_err().to_string();
        assert!(error.contains("PATCHBAY_MASTER_KEY"), "{error}");
    }
}
