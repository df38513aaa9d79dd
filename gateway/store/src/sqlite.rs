//! SQLite: the embedded default.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Column, Row as _, Sqlite, TypeInfo, ValueRef};

use crate::error::StoreError;
use crate::sql::database::{Database, Dialect, Purpose, Transaction};
use crate::sql::value::{Row, Value, bound, values};
use crate::store::Answer;

/// How long a writer waits for another.
const BUSY: Duration = Duration::from_secs(5);
/// Larger files are not looked through at the start: it would take longer than starting may.
const CHECKED_BYTES_MAX: u64 = 1 << 30;

/// A database file. WAL, and every commit is synced: the journal groups what it writes.
pub(crate) struct SqliteFile {
    pool: SqlitePool,
    path: PathBuf,
}

impl SqliteFile {
    /// Opens the file, or makes it (0600).
    ///
    /// # Errors
    /// It cannot be opened, or it is damaged.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let is_new = make(path).map_err(|error| missing(path, &error.to_string()))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            // What is deleted is overwritten, so that forgetting leaves nothing in free pages.
            .pragma("secure_delete", "ON");
        let pool =
            SqlitePoolOptions::new().max_connections(4).acquire_timeout(BUSY).connect_with(options).await;
        let pool = pool.map_err(|error| fault(path, &error))?;
        let file = Self { pool, path: path.to_owned() };
        if !is_new {
            file.check().await?;
        }
        Ok(file)
    }

    /// Looks through the file for damage.
    async fn check(&self) -> Result<(), StoreError> {
        let bytes = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if bytes > CHECKED_BYTES_MAX {
            return Ok(());
        }
        let found = sqlx::query("PRAGMA integrity_check(1)").fetch_one(&self.pool).await;
        let found = found.and_then(|row| row.try_get::<String, _>(0)).map_err(|error| self.fault(&error))?;
        if found == "ok" {
            return Ok(());
        }
        Err(StoreError::Corrupt { place: self.path.display().to_string(), reason: found })
    }

    fn fault(&self, error: &sqlx::Error) -> StoreError {
        fault(&self.path, error)
    }

    async fn run(&self, sql: &'static str) -> Result<(), StoreError> {
        sqlx::query(sql).execute(&self.pool).await.map(drop).map_err(|error| self.fault(&error))
    }

    async fn copy_to(&self, copy: &Path) -> Result<(), StoreError> {
        let mut partial = copy.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let unwritten = |error: std::io::Error| missing(&partial, &error.to_string());
        remove(&partial).map_err(unwritten)?;
        make(&partial).map_err(unwritten)?;
        let target = partial.to_string_lossy().into_owned();
        let copied = sqlx::query("VACUUM INTO $1").bind(target).execute(&self.pool).await;
        copied.map_err(|error| self.fault(&error))?;
        std::fs::rename(&partial, copy).map_err(unwritten)
    }
}

impl Database for SqliteFile {
    fn begin(&self, purpose: Purpose) -> Answer<'_, Box<dyn Transaction>> {
        Box::pin(async move {
            let how = if purpose == Purpose::Read { "BEGIN" } else { "BEGIN IMMEDIATE" };
            let connection = self.pool.acquire().await.map_err(|error| self.fault(&error))?;
            let mut tx = SqliteTransaction { connection: Some(connection), path: self.path.clone() };
            tx.execute(how.into(), values![]).await?;
            Ok(Box::new(tx) as Box<dyn Transaction>)
        })
    }

    fn dialect(&self) -> Dialect {
        Dialect { int: "INTEGER", bytes: "BLOB", table_suffix: "STRICT" }
    }

    fn back_up(&self, version: i64) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut copy = self.path.as_os_str().to_owned();
            copy.push(format!(".before-{}", version + 1));
            self.copy_to(Path::new(&copy)).await
        })
    }

    fn tidy(&self) -> Answer<'_, ()> {
        // The log still holds pages as they were.
        Box::pin(self.run("PRAGMA wal_checkpoint(TRUNCATE)"))
    }
}

/// A transaction that is begun and ended in words. sqlx's own counts what is open, and does not learn that SQLite undoes
/// a transaction by itself when the disk is full: that connection could begin no other.
struct SqliteTransaction {
    /// `None`: committed.
    connection: Option<PoolConnection<Sqlite>>,
    path: PathBuf,
}

impl SqliteTransaction {
    fn connection(&mut self) -> &mut PoolConnection<Sqlite> {
        self.connection.as_mut().expect("a transaction is not used after its commit")
    }
}

impl Drop for SqliteTransaction {
    fn drop(&mut self) {
        if let (Some(mut connection), Ok(runtime)) =
            (self.connection.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(async move {
                if sqlx::query("ROLLBACK").execute(&mut *connection).await.is_err() {
                    // Whatever state it is in, nobody shall meet it.
                    let _ = connection.close().await;
                }
            });
        }
    }
}

fn query(sql: Cow<'static, str>, values: Vec<Value>) -> Query<'static, Sqlite, SqliteArguments> {
    bound!(sql, values)
}

impl Transaction for SqliteTransaction {
    fn execute(&mut self, sql: Cow<'static, str>, values: Vec<Value>) -> Answer<'_, u64> {
        Box::pin(async move {
            let done = query(sql, values).execute(&mut **self.connection()).await;
            done.map(|done| done.rows_affected()).map_err(|error| fault(&self.path, &error))
        })
    }

    fn rows(&mut self, sql: Cow<'static, str>, values: Vec<Value>) -> Answer<'_, Vec<Row>> {
        Box::pin(async move {
            let rows = query(sql, values).fetch_all(&mut **self.connection()).await;
            let rows = rows.and_then(|rows| rows.iter().map(row).collect());
            rows.map_err(|error| fault(&self.path, &error))
        })
    }

    fn commit(mut self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async move {
            self.execute("COMMIT".into(), values![]).await?;
            self.connection = None;
            Ok(())
        })
    }
}

fn row(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let value = |column: &sqlx::sqlite::SqliteColumn| {
        let at = column.ordinal();
        let raw = row.try_get_raw(at)?;
        let kind = raw.type_info().name().to_owned();
        Ok(match kind.as_str() {
            _ if raw.is_null() => Value::Int(None),
            "TEXT" => Value::Text(row.try_get_unchecked(at)?),
            "BLOB" => Value::Bytes(row.try_get_unchecked(at)?),
            _ => Value::Int(row.try_get_unchecked(at)?),
        })
    };
    Ok(Row::new(row.columns().iter().map(value).collect::<Result<Vec<_>, sqlx::Error>>()?))
}

/// Whether it was not there.
fn make(path: &Path) -> std::io::Result<bool> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn missing(path: &Path, reason: &str) -> StoreError {
    StoreError::Missing { place: path.display().to_string(), reason: reason.to_owned() }
}

/// What SQLite's result codes mean for us (<https://www.sqlite.org/rescode.html>); an extended code keeps the primary
/// one in its low byte.
fn fault(path: &Path, error: &sqlx::Error) -> StoreError {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const READONLY: i32 = 8;
    const IOERR: i32 = 10;
    const CORRUPT: i32 = 11;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    const NOTADB: i32 = 26;
    let place = || path.display().to_string();
    let reason = error.to_string();
    let sqlx::Error::Database(database) = error else {
        return match error {
            sqlx::Error::PoolTimedOut => StoreError::Locked { reason },
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                StoreError::Corrupt { place: place(), reason }
            }
            sqlx::Error::Encode(_) | sqlx::Error::Configuration(_) => StoreError::Refused { reason },
            _ => StoreError::Away { reason },
        };
    };
    let reason = database.message().to_owned();
    let code = database.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default();
    match code & 0xff {
        BUSY | LOCKED => StoreError::Locked { reason },
        FULL => StoreError::Full { reason },
        IOERR => StoreError::Away { reason },
        CORRUPT | NOTADB => StoreError::Corrupt { place: place(), reason },
        CANTOPEN | READONLY => StoreError::Missing { place: place(), reason },
        _ => StoreError::Refused { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::schema;
    use crate::{Entry, MasterKey, UsageRow};

    fn used() -> [Entry; 1] {
        [Entry::Usage(UsageRow { tenant: "t".into(), cost_micro_usd: 7, ..UsageRow::default() })]
    }

    #[tokio::test]
    async fn a_database_with_rows_is_backed_up_before_it_is_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("patchbay.db");
        let url = format!("sqlite://{}", path.display());
        let master = MasterKey::random().unwrap();
        let old = SqliteFile::open(&path).await.unwrap();
        schema::migrate(&old, false, Some(1)).await.unwrap();
        let store = crate::sql::SqlStore::open(Box::new(old), &master).await.unwrap();
        crate::Store::write(&store, &used()).await.unwrap();
        drop(store);

        let store = crate::open(&url, &master).await.unwrap();
        assert_eq!(store.schema_version().await.unwrap(), schema::known());
        assert_eq!(store.spent("t", crate::UnixMs(0)).await.unwrap(), 7);
        let backup = SqliteFile::open(&folder.path().join("patchbay.db.before-2")).await.unwrap();
        let backup = crate::sql::SqlStore::open(Box::new(backup), &master).await.unwrap();
        assert_eq!(crate::Store::schema_version(&backup).await.unwrap(), 1);
        assert_eq!(crate::Store::spent(&backup, "t", crate::UnixMs(0)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_new_database_is_not_backed_up_and_migrating_again_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("patchbay.db").display());
        for _ in 0..2 {
            assert_eq!(crate::migrate(&url, false).await.unwrap(), schema::known());
        }
        let backups = std::fs::read_dir(folder.path()).unwrap();
        let backups =
            backups.filter(|file| file.as_ref().unwrap().path().to_string_lossy().contains("before"));
        assert_eq!(backups.count(), 0);
    }
}
