//! PostgreSQL: for many machines.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{Column, Postgres, Row as _, TypeInfo, ValueRef};

use crate::error::StoreError;
use crate::sql::database::{Database, Dialect, Purpose, Transaction};
use crate::sql::value::{Row, Value, bound, values};
use crate::store::Answer;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Most connections of one machine: the journal has one, the API the others.
const CONNECTIONS: u32 = 8;
/// What machines that migrate agree to lock: "patchbay" in ASCII.
const SCHEMA_LOCK: i64 = 0x7061_7463_6862_6179;

/// A server that is elsewhere.
pub(crate) struct PostgresServer {
    pool: PgPool,
}

impl PostgresServer {
    /// Connects to it.
    ///
    /// # Errors
    /// The address cannot be understood, or nobody answers there.
    pub(crate) async fn open(url: &str) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(|_| StoreError::Address {
            what: "storage.url is no address of PostgreSQL".to_owned(),
            advice: "postgres://USER:PASSWORD@HOST:5432/NAME",
        })?;
        let options = options
            .application_name("patchbay")
            // A statement that hangs, or waits for a lock, is not to hold up the rest.
            .options([("lock_timeout", "2s"), ("statement_timeout", "30s")]);
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(CONNECT);
        let pool = pool.connect_with(options).await.map_err(|error| fault(&error))?;
        Ok(Self { pool })
    }
}

impl Database for PostgresServer {
    fn begin(&self, purpose: Purpose) -> Answer<'_, Box<dyn Transaction>> {
        Box::pin(async move {
            let tx = self.pool.begin().await.map_err(|error| fault(&error))?;
            let mut tx: Box<dyn Transaction> = Box::new(PostgresTransaction { tx });
            match purpose {
                Purpose::Read => {
                    let sql = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
                    tx.execute(sql.into(), values![]).await?;
                }
                Purpose::Write => {}
                Purpose::Migrate => {
                    tx.rows(
                        "SELECT 1 FROM (SELECT pg_advisory_xact_lock($1)) AS held".into(),
                        values![SCHEMA_LOCK],
                    )
                    .await?;
                }
            }
            Ok(tx)
        })
    }

    fn dialect(&self) -> Dialect {
        Dialect { int: "BIGINT", bytes: "BYTEA", table_suffix: "" }
    }

    fn back_up(&self, _version: i64) -> Answer<'_, ()> {
        // Whoever runs the server backs it up.
        Box::pin(std::future::ready(Ok(())))
    }

    fn tidy(&self) -> Answer<'_, ()> {
        // Dead rows are reused after autovacuum; what was personal in them is sealed.
        Box::pin(std::future::ready(Ok(())))
    }
}

struct PostgresTransaction {
    tx: sqlx::Transaction<'static, Postgres>,
}

fn query(sql: Cow<'static, str>, values: Vec<Value>) -> Query<'static, Postgres, PgArguments> {
    bound!(sql, values)
}

impl Transaction for PostgresTransaction {
    fn execute(&mut self, sql: Cow<'static, str>, values: Vec<Value>) -> Answer<'_, u64> {
        Box::pin(async move {
            let done = query(sql, values).execute(&mut *self.tx).await;
            done.map(|done| done.rows_affected()).map_err(|error| fault(&error))
        })
    }

    fn rows(&mut self, sql: Cow<'static, str>, values: Vec<Value>) -> Answer<'_, Vec<Row>> {
        Box::pin(async move {
            let rows = query(sql, values).fetch_all(&mut *self.tx).await;
            rows.and_then(|rows| rows.iter().map(row).collect()).map_err(|error| fault(&error))
        })
    }

    fn commit(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async move { self.tx.commit().await.map_err(|error| fault(&error)) })
    }
}

fn row(row: &PgRow) -> Result<Row, sqlx::Error> {
    let value = |column: &sqlx::postgres::PgColumn| {
        let at = column.ordinal();
        let raw = row.try_get_raw(at)?;
        let kind = raw.type_info().name().to_owned();
        Ok(match kind.as_str() {
            _ if raw.is_null() => Value::Int(None),
            "TEXT" => Value::Text(row.try_get(at)?),
            "BYTEA" => Value::Bytes(row.try_get(at)?),
            "INT4" => Value::Int(row.try_get::<Option<i32>, _>(at)?.map(i64::from)),
            _ => Value::Int(row.try_get(at)?),
        })
    };
    Ok(Row::new(row.columns().iter().map(value).collect::<Result<Vec<_>, sqlx::Error>>()?))
}

/// What PostgreSQL's SQLSTATE means for us (PostgreSQL 15, appendix A). Its message names no values; its detail would.
fn fault(error: &sqlx::Error) -> StoreError {
    let sqlx::Error::Database(database) = error else {
        let reason = error.to_string();
        return match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                StoreError::Corrupt { place: "row".to_owned(), reason }
            }
            sqlx::Error::Encode(_) | sqlx::Error::Configuration(_) => StoreError::Refused { reason },
            _ => StoreError::Away { reason },
        };
    };
    let reason = database.message().to_owned();
    let place = || "PostgreSQL".to_owned();
    let code = database.code().unwrap_or_default().into_owned();
    match code.as_str() {
        "53100" => StoreError::Full { reason },
        "55P03" | "40001" | "40P01" => StoreError::Locked { reason },
        "3D000" | "42501" | "25006" => StoreError::Missing { place: place(), reason },
        _ => match code.get(..2).unwrap_or_default() {
            "28" => StoreError::Missing { place: place(), reason },
            "08" | "53" | "57" | "58" => StoreError::Away { reason },
            "XX" => StoreError::Corrupt { place: place(), reason },
            _ => StoreError::Refused { reason },
        },
    }
}
