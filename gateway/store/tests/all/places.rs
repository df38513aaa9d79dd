//! Where the suite runs.

use std::sync::Arc;

use patchbay_store::{MasterKey, Store, open};

use crate::postgres::PostgresServer;

/// A kind of store, and what it needs while it is used.
pub(crate) enum Place {
    Memory,
    Sqlite { folder: tempfile::TempDir, databases: u32 },
    Postgres(Box<PostgresServer>),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite { folder: tempfile::tempdir().unwrap(), databases: 0 }
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(Box::new(PostgresServer::start()))
    }

    /// The address of a new database.
    pub(crate) fn database(&mut self) -> String {
        match self {
            Self::Memory => "memory:".to_owned(),
            Self::Sqlite { folder, databases } => {
                *databases += 1;
                format!("sqlite://{}/patchbay{databases}.db", folder.path().display())
            }
            Self::Postgres(server) => server.database(),
        }
    }

    /// A store over a new database.
    pub(crate) async fn store(&mut self) -> Arc<dyn Store> {
        let url = self.database();
        open(&url, &master()).await.unwrap()
    }
}

/// The master key of all tests.
pub(crate) fn master() -> MasterKey {
    MasterKey::parse("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap()
}
