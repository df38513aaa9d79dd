//! Where calls, usage and identities are kept.

use std::path::{Path, PathBuf};

use patchbay_store::{MasterKey, Retention, SpillOptions, StoreError};
use serde::{Serialize, Serializer};

use super::Place;
use super::section::Section;
use crate::secret::Secret;

/// The address that stands for no database.
const MEMORY: &str = "memory:";

/// The section `storage`.
#[derive(Debug, Serialize)]
pub struct Storage {
    /// The database; `None`: memory, and nothing is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<DatabaseUrl>,
    /// What wraps all keys; `None`: a key file beside a SQLite database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_key: Option<Secret>,
    /// The folder of the spill, if it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spill: Option<PathBuf>,
    /// Mebibytes in the spill after which records are dropped.
    pub spill_mb_max: u64,
    /// How long rows are kept, unless a tenant says less.
    #[serde(flatten)]
    pub retention: Retention,
}

/// The address of a database, which may hold a password: it prints without.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The address itself: for connecting, never for a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The file, if it is SQLite's.
    #[must_use]
    pub fn sqlite_path(&self) -> Option<&Path> {
        self.0.strip_prefix("sqlite://").map(Path::new)
    }

    /// Where in the address a password begins and ends.
    fn password(&self) -> Option<std::ops::Range<usize>> {
        let begin = self.0.find("://")? + 3;
        let rest = &self.0[begin..];
        let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
        let at = authority.rfind('@')?;
        let colon = authority[..at].find(':')?;
        Some(begin + colon + 1..begin + at)
    }

    /// Without its password, and without its query, which may hold another.
    fn redacted(&self) -> String {
        let mut shown = self.0.clone();
        if let Some(password) = self.password() {
            shown.replace_range(password, "[redacted]");
        }
        match shown.find('?') {
            Some(query) if !shown.starts_with("sqlite:") => format!("{}?[redacted]", &shown[..query]),
            _ => shown,
        }
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.redacted())
    }
}

impl Storage {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let url = section.optional("url", "sqlite://patchbay.db").and_then(|url| {
            let parsed = parse(&url.value, &url.place);
            parsed.map_err(|(what, advice)| section.fault(&url.place, what, advice)).ok()
        });
        let master_place = section.place_of("master_key");
        let master_key = section.secret("master_key", "PATCHBAY_MASTER_KEY");
        if let Some(Err(error)) = master_key.as_ref().map(|key| MasterKey::parse(key.expose())) {
            let (what, advice) = fault_of(error);
            section.fault(&master_place, what, advice);
        }
        let mut days = |key| {
            let days = section.integer(key, 0..=36_500).unwrap_or_default();
            u32::try_from(days).unwrap_or_default()
        };
        let retention = Retention {
            transcripts_days: days("transcripts_days"),
            calls_days: days("calls_days"),
            usage_days: days("usage_days"),
            recordings_days: days("recordings_days"),
        };
        Self {
            url: url.filter(|url| url.0 != MEMORY),
            master_key,
            spill: section.optional("spill", "/var/lib/patchbay/spill").map(|path| path.value.into()),
            spill_mb_max: section.integer("spill_mb_max", 1..=1_048_576).unwrap_or_default(),
            retention,
        }
    }

    /// The address to open.
    #[must_use]
    pub fn address(&self) -> &str {
        self.url.as_ref().map_or(MEMORY, DatabaseUrl::expose)
    }

    /// The key to open it with; makes the key file of a new SQLite database.
    ///
    /// # Errors
    /// There is none, or it cannot be used: the error says what to do.
    pub fn master(&self) -> Result<MasterKey, StoreError> {
        MasterKey::for_database(self.address(), self.master_key.as_ref())
    }

    /// The spill of a database; memory has none.
    #[must_use]
    pub fn spill(&self) -> Option<SpillOptions> {
        let url = self.url.as_ref()?;
        let beside = || {
            let mut folder = url.sqlite_path().unwrap_or(Path::new("patchbay")).as_os_str().to_owned();
            folder.push(".spill");
            PathBuf::from(folder)
        };
        let folder = self.spill.clone().unwrap_or_else(beside);
        Some(SpillOptions { folder, bytes_max: self.spill_mb_max << 20 })
    }
}

fn parse(url: &str, place: &Place) -> Result<DatabaseUrl, (String, String)> {
    let known = ["sqlite://", "postgres://", "postgresql://"];
    let is_known = known.iter().any(|kind| url.starts_with(kind) && url.len() > kind.len());
    if !is_known && url != MEMORY {
        let what = "`storage.url` is the address of no database that is known";
        let advice =
            "write url = \"sqlite:///var/lib/patchbay/patchbay.db\" or \"postgres://USER@HOST/NAME\"";
        return Err((what.to_owned(), advice.to_owned()));
    }
    let url = DatabaseUrl(url.to_owned());
    if matches!(place, Place::File { .. }) && url.password().is_some() {
        let what = "`storage.url` holds a password, and a secret is never written here";
        return Err((what.to_owned(), "set DATABASE_URL to the whole address".to_owned()));
    }
    Ok(url)
}

fn fault_of(error: StoreError) -> (String, String) {
    match error {
        StoreError::Key { what, advice } => (what, advice.to_owned()),
        other => (other.to_string(), "see `patchbay check`".to_owned()),
    }
}
