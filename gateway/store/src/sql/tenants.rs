//! Tenants and their routes.

use super::SqlStore;
use super::database::Purpose;
use super::value::{Row, values};
use crate::error::StoreError;
use crate::identity::{RouteRow, TenantRow};
use crate::row::UnixMs;

pub(super) async fn put(
    store: &SqlStore,
    name: &str,
    document: &str,
    expected: Option<u64>,
) -> Result<u64, StoreError> {
    let mut tx = store.begin(Purpose::Write).await?;
    let sql = match expected {
        None => {
            "INSERT INTO tenants (name, document, revision) VALUES ($1, $2, 1) ON CONFLICT (name) \
             DO UPDATE SET document = excluded.document, revision = tenants.revision + 1, deleted_at = NULL \
             WHERE tenants.deleted_at IS NOT NULL AND $3 = 0 RETURNING revision"
        }
        Some(_) => {
            "UPDATE tenants SET document = $2, revision = revision + 1 \
             WHERE name = $1 AND revision = $3 AND deleted_at IS NULL RETURNING revision"
        }
    };
    let rows = tx.rows(sql.into(), values![name, document, revision(expected)]).await?;
    let Some(mut row) = rows.into_iter().next() else {
        return Err(StoreError::Conflict { what: format!("the tenant `{name}`") });
    };
    tx.commit().await?;
    row.unsigned()
}

/// A revision as it is compared; 0, which no row has, for none.
fn revision(expected: Option<u64>) -> i64 {
    expected.map_or(0, |expected| i64::try_from(expected).unwrap_or(i64::MAX))
}

pub(super) async fn list(store: &SqlStore) -> Result<Vec<TenantRow>, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let sql =
        "SELECT name, document, revision, deleted_at FROM tenants WHERE deleted_at IS NULL ORDER BY name";
    let rows = tx.rows(sql.into(), values![]).await?;
    let tenant = |mut row: Row| {
        Ok(TenantRow {
            name: row.text()?,
            document: row.text()?,
            revision: row.unsigned()?,
            deleted_at: row.at_or_none()?,
        })
    };
    rows.into_iter().map(tenant).collect()
}

pub(super) async fn delete(store: &SqlStore, name: &str, at: UnixMs) -> Result<bool, StoreError> {
    let mut tx = store.begin(Purpose::Write).await?;
    let sql = "UPDATE tenants SET deleted_at = $2 WHERE name = $1 AND deleted_at IS NULL";
    if tx.execute(sql.into(), values![name, at]).await? == 0 {
        return Ok(false);
    }
    for sql in [
        "UPDATE keys SET revoked_at = $2 WHERE tenant = $1 AND revoked_at IS NULL",
        "UPDATE bots SET revoked_at = $2 WHERE tenant = $1 AND revoked_at IS NULL",
        "UPDATE bot_keys SET revoked_at = $2 WHERE tenant = $1 AND revoked_at IS NULL",
    ] {
        tx.execute(sql.into(), values![name, at]).await?;
    }
    for sql in ["DELETE FROM routes WHERE tenant = $1", "DELETE FROM secrets WHERE tenant = $1"] {
        tx.execute(sql.into(), values![name]).await?;
    }
    tx.commit().await?;
    store.database.tidy().await?;
    Ok(true)
}

pub(super) async fn with_rows(store: &SqlStore) -> Result<Vec<String>, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let sql = "SELECT tenant FROM calls UNION SELECT tenant FROM usage UNION SELECT tenant FROM transcripts \
               ORDER BY tenant";
    let rows = tx.rows(sql.into(), values![]).await?;
    rows.into_iter().map(|mut row| row.text()).collect()
}

pub(super) async fn put_route(
    store: &SqlStore,
    tenant: &str,
    name: &str,
    document: &str,
    expected: Option<u64>,
) -> Result<u64, StoreError> {
    let mut tx = store.begin(Purpose::Write).await?;
    let sql = match expected {
        None => {
            "INSERT INTO routes (tenant, name, document, revision) SELECT $1, $2, $3, 1 WHERE $4 = 0 \
             ON CONFLICT (tenant, name) DO NOTHING RETURNING revision"
        }
        Some(_) => {
            "UPDATE routes SET document = $3, revision = revision + 1 \
             WHERE tenant = $1 AND name = $2 AND revision = $4 RETURNING revision"
        }
    };
    let rows = tx.rows(sql.into(), values![tenant, name, document, revision(expected)]).await?;
    let Some(mut row) = rows.into_iter().next() else {
        return Err(StoreError::Conflict { what: format!("the route `{name}`") });
    };
    tx.commit().await?;
    row.unsigned()
}

pub(super) async fn routes(store: &SqlStore, tenant: &str) -> Result<Vec<RouteRow>, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let sql = "SELECT tenant, name, document, revision FROM routes WHERE tenant = $1 ORDER BY name";
    let rows = tx.rows(sql.into(), values![tenant]).await?;
    let route = |mut row: Row| {
        Ok(RouteRow {
            tenant: row.text()?,
            name: row.text()?,
            document: row.text()?,
            revision: row.unsigned()?,
        })
    };
    rows.into_iter().map(route).collect()
}

pub(super) async fn delete_route(store: &SqlStore, tenant: &str, name: &str) -> Result<bool, StoreError> {
    let mut tx = store.begin(Purpose::Write).await?;
    let sql = "DELETE FROM routes WHERE tenant = $1 AND name = $2";
    let deleted = tx.execute(sql.into(), values![tenant, name]).await?;
    tx.commit().await?;
    Ok(deleted > 0)
}
