//! Migrations: numbered, embedded, forward only. What expands may run while the previous patchbay still serves;
//! what contracts may not.

use super::database::{Database, Dialect, Purpose, Transaction};
use super::value::values;
use crate::error::StoreError;
use crate::row::UnixMs;

/// What a migration does to a patchbay that does not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Expand,
    #[cfg_attr(not(test), expect(dead_code, reason = "the first that takes something away is yet to come"))]
    Contract,
}

struct Migration {
    version: i64,
    kind: Kind,
    sql: &'static str,
}

static MIGRATIONS: [Migration; 5] = [
    Migration { version: 1, kind: Kind::Expand, sql: include_str!("schema/0001_begin.sql") },
    Migration { version: 2, kind: Kind::Expand, sql: include_str!("schema/0002_legs_by_external_id.sql") },
    Migration { version: 3, kind: Kind::Expand, sql: include_str!("schema/0003_recordings.sql") },
    Migration { version: 4, kind: Kind::Expand, sql: include_str!("schema/0004_gone_that_may_write.sql") },
    Migration { version: 5, kind: Kind::Expand, sql: include_str!("schema/0005_bot_keys.sql") },
];

/// Brings the schema up to `up_to`, or to the latest.
///
/// # Errors
/// A newer schema; a fault of the database, and then nothing was changed.
pub(crate) async fn migrate(
    database: &dyn Database,
    expand_only: bool,
    up_to: Option<i64>,
) -> Result<(), StoreError> {
    let mut tx = database.begin(Purpose::Migrate).await?;
    let mut applied = applied(&mut *tx, database.dialect()).await?;
    if pending(&applied, expand_only, up_to).next().is_none() {
        return tx.commit().await;
    }
    if has_rows(&mut *tx, &applied).await? {
        tx.commit().await?;
        database.back_up(latest(&applied)).await?;
        tx = database.begin(Purpose::Migrate).await?;
        applied = self::applied(&mut *tx, database.dialect()).await?;
    }
    for migration in pending(&applied, expand_only, up_to) {
        apply(&mut *tx, migration, database.dialect()).await?;
    }
    tx.commit().await
}

/// The latest version that was applied; 0: none.
pub(crate) async fn version(tx: &mut dyn Transaction) -> Result<i64, StoreError> {
    let rows = tx.rows("SELECT COALESCE(MAX(version), 0) FROM schema_versions".into(), values![]).await?;
    rows.into_iter().next().map_or(Ok(0), |mut row| row.int())
}

fn pending(
    applied: &[i64],
    expand_only: bool,
    up_to: Option<i64>,
) -> impl Iterator<Item = &'static Migration> {
    MIGRATIONS
        .iter()
        .filter(move |migration| !applied.contains(&migration.version))
        .filter(move |migration| !expand_only || migration.kind == Kind::Expand)
        .filter(move |migration| up_to.is_none_or(|up_to| migration.version <= up_to))
}

/// The latest version that this patchbay knows.
pub(crate) fn known() -> i64 {
    MIGRATIONS[MIGRATIONS.len() - 1].version
}

fn latest(applied: &[i64]) -> i64 {
    applied.iter().copied().max().unwrap_or_default()
}

async fn applied(tx: &mut dyn Transaction, dialect: Dialect) -> Result<Vec<i64>, StoreError> {
    let create = "CREATE TABLE IF NOT EXISTS schema_versions (\
                  version {int} NOT NULL PRIMARY KEY, applied_at {int} NOT NULL) {strict}";
    tx.execute(in_words_of(dialect, create).into(), values![]).await?;
    let rows = tx.rows("SELECT version FROM schema_versions ORDER BY version".into(), values![]).await?;
    let applied = rows.into_iter().map(|mut row| row.int()).collect::<Result<Vec<_>, _>>()?;
    if latest(&applied) > known() {
        return Err(StoreError::Newer { found: latest(&applied), known: known() });
    }
    Ok(applied)
}

/// Whether there is anything that would be missed.
async fn has_rows(tx: &mut dyn Transaction, applied: &[i64]) -> Result<bool, StoreError> {
    if applied.is_empty() {
        return Ok(false);
    }
    let any = "SELECT 1 FROM calls UNION ALL SELECT 1 FROM usage UNION ALL SELECT 1 FROM tenants \
               UNION ALL SELECT 1 FROM keys UNION ALL SELECT 1 FROM secrets UNION ALL SELECT 1 FROM bots \
               UNION ALL SELECT 1 FROM audit LIMIT 1";
    Ok(!tx.rows(any.into(), values![]).await?.is_empty())
}

async fn apply(tx: &mut dyn Transaction, migration: &Migration, dialect: Dialect) -> Result<(), StoreError> {
    let sql = in_words_of(dialect, &without_comments(migration.sql));
    for statement in sql.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        tx.execute(statement.to_owned().into(), values![]).await?;
    }
    let applied = "INSERT INTO schema_versions (version, applied_at) VALUES ($1, $2)";
    tx.execute(applied.into(), values![migration.version, UnixMs::now()]).await?;
    Ok(())
}

fn without_comments(sql: &str) -> String {
    sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n")
}

fn in_words_of(dialect: Dialect, sql: &str) -> String {
    let sql = sql.replace("{int}", dialect.int).replace("{bytes}", dialect.bytes);
    sql.replace("{strict}", dialect.table_suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_gaps() {
        let versions: Vec<_> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(versions, (1..=known()).collect::<Vec<_>>());
    }

    #[test]
    fn expanding_leaves_out_what_contracts() {
        let all = pending(&[1], false, None).count();
        let expanding =
            pending(&[1], true, None).filter(|migration| migration.kind == Kind::Contract).count();
        assert_eq!((all, expanding), (MIGRATIONS.len() - 1, 0));
    }
}
