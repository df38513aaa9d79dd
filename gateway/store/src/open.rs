//! From an address to a store.

use std::path::Path;
use std::sync::Arc;

use crate::error::StoreError;
use crate::master_key::MasterKey;
use crate::memory::MemoryStore;
use crate::postgres::PostgresServer;
use crate::sql::database::Database;
use crate::sql::{SqlStore, schema};
use crate::sqlite::SqliteFile;
use crate::store::Store;

/// Opens the store at `url`: `memory:`, `sqlite://PATH` or `postgres://…`, with this patchbay's schema. What only
/// expands the schema is migrated by the way; what contracts it takes `patchbay migrate`.
///
/// # Errors
/// The address cannot be understood, or the database is missing, full, locked, damaged, newer, or sealed with another
/// master key: the error says which, and what to do.
pub async fn open(url: &str, master: &MasterKey) -> Result<Arc<dyn Store>, StoreError> {
    if url == "memory:" {
        return Ok(Arc::new(MemoryStore::new()));
    }
    let database = connect(url).await?;
    schema::migrate(&*database, true, None).await?;
    Ok(Arc::new(SqlStore::open(database, master).await?))
}

/// Brings the database at `url` to the latest schema, and answers its version. With `expand_only`, leaves out what a
/// patchbay that still serves could not bear.
///
/// # Errors
/// As [`open`]; then the schema is as it was.
pub async fn migrate(url: &str, expand_only: bool) -> Result<i64, StoreError> {
    if url == "memory:" {
        return Ok(0);
    }
    let database = connect(url).await?;
    schema::migrate(&*database, expand_only, None).await?;
    let mut tx = database.begin(crate::sql::database::Purpose::Read).await?;
    schema::version(&mut *tx).await
}

/// Wraps every tenant's keys with `new` instead of `old`, in one transaction; how many. Stop what writes first, or
/// restart it with the new key after.
///
/// # Errors
/// As [`open`]; `old` is not the key that sealed this database. Then nothing was changed.
pub async fn rotate_master(url: &str, old: &MasterKey, new: &MasterKey) -> Result<u64, StoreError> {
    if url == "memory:" {
        return Ok(0);
    }
    let database = connect(url).await?;
    schema::migrate(&*database, true, None).await?;
    crate::sql::rotate_master(&*database, old, new).await
}

async fn connect(url: &str) -> Result<Box<dyn Database>, StoreError> {
    if let Some(path) = url.strip_prefix("sqlite://").filter(|path| !path.is_empty()) {
        return Ok(Box::new(SqliteFile::open(Path::new(path)).await?));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Box::new(PostgresServer::open(url).await?));
    }
    Err(StoreError::Address {
        what: "storage.url is of no kind that is known".to_owned(),
        advice: "memory:, sqlite://PATH or postgres://USER:PASSWORD@HOST/NAME",
    })
}
