//! What can be wrong with a store, by what is to be done about it.

/// Why an operation failed. The text says what to do; it holds no row.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address of the database cannot be understood.
    #[error("{what}; write {advice}")]
    Address {
        /// What is wrong.
        what: String,
        /// What to write instead.
        advice: &'static str,
    },
    /// The database, or its folder, is not there or may not be opened.
    #[error(
        "the database {place} cannot be opened: {reason}. Create its folder, or correct storage.url and its rights"
    )]
    Missing {
        /// Where it was looked for, without a password.
        place: String,
        /// What the system said.
        reason: String,
    },
    /// The database cannot be reached, or did not answer in time. It is worth trying again.
    #[error(
        "the database is away: {reason}. Start it, or correct storage.url; what is written meanwhile is spilled"
    )]
    Away {
        /// What the system said.
        reason: String,
    },
    /// No room is left. It is worth trying again.
    #[error(
        "the disk of the database is full: {reason}. Free some space; what is written meanwhile is spilled"
    )]
    Full {
        /// What the database said.
        reason: String,
    },
    /// Another program holds the database. It is worth trying again.
    #[error(
        "the database is locked by another program: {reason}. One patchbay uses a SQLite file at a time; stop the other"
    )]
    Locked {
        /// What the database said.
        reason: String,
    },
    /// The file is damaged.
    #[error(
        "the database {place} is damaged: {reason}. Nothing was changed. Put a backup in its place, or move it away to begin anew"
    )]
    Corrupt {
        /// Which file.
        place: String,
        /// What was found.
        reason: String,
    },
    /// The schema was made by a later patchbay.
    #[error(
        "the database has schema {found}, and this patchbay knows up to {known}. Use the newer patchbay, or the backup made before migrating"
    )]
    Newer {
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The schema is older than what this patchbay needs.
    #[error("the database has schema {found}, and this patchbay needs {known}. Run `patchbay migrate`")]
    Older {
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A master key is missing, malformed, or not the one that sealed.
    #[error("{what}; {advice}")]
    Key {
        /// What is wrong.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// Somebody changed it in between: read again, then change.
    #[error("{what} was changed by somebody else in the meantime: read it again, then change it")]
    Conflict {
        /// What.
        what: String,
    },
    /// The caller asked for what makes no sense.
    #[error("{what}")]
    Invalid {
        /// What is wrong.
        what: String,
    },
    /// The database refused a statement: our bug, or a database that somebody altered.
    #[error(
        "the database refused: {reason}. This is a fault of patchbay, or of a database that was altered by hand; please report it"
    )]
    Refused {
        /// What the database said, without values.
        reason: String,
    },
    /// The spill's folder or a file of it cannot be used.
    #[error("the spill {place} cannot be used: {reason}. Correct storage.spill, its rights or its disk")]
    Spill {
        /// Where.
        place: String,
        /// What the system said.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same write may succeed later, without anybody changing it.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Full { .. } | Self::Locked { .. })
    }

    /// For metrics: one word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Address { .. } => "address",
            Self::Missing { .. } => "missing",
            Self::Away { .. } => "away",
            Self::Full { .. } => "full",
            Self::Locked { .. } => "locked",
            Self::Corrupt { .. } => "corrupt",
            Self::Newer { .. } => "newer",
            Self::Older { .. } => "older",
            Self::Key { .. } => "key",
            Self::Conflict { .. } => "conflict",
            Self::Invalid { .. } => "invalid",
            Self::Refused { .. } => "refused",
            Self::Spill { .. } => "spill",
        }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }
}
