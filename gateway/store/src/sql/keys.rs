//! Gateway API keys.

use super::SqlStore;
use super::database::Purpose;
use super::value::{Row, values};
use crate::error::StoreError;
use crate::identity::KeyRow;
use crate::row::UnixMs;

const KEY: &str = "SELECT id, tenant, sha256, scopes, name, created_at, expires_at, revoked_at FROM keys";

pub(super) async fn put(store: &SqlStore, key: &KeyRow) -> Result<(), StoreError> {
    let mut tx = store.begin(Purpose::Write).await?;
    let scopes = serde_json::to_string(&key.scopes).expect("a list of text has a JSON form");
    let values = values![
        &key.id,
        &key.tenant,
        key.sha256.as_slice(),
        scopes.as_str(),
        &key.name,
        key.created_at,
        key.expires_at,
        key.revoked_at,
    ];
    let sql = "INSERT INTO keys (id, tenant, sha256, scopes, name, created_at, expires_at, revoked_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING";
    let inserted = tx.execute(sql.into(), values).await?;
    if inserted == 0 {
        return Err(StoreError::Conflict { what: "the key's id".to_owned() });
    }
    tx.commit().await
}

pub(super) async fn list(store: &SqlStore, tenant: &str) -> Result<Vec<KeyRow>, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let sql = format!("{KEY} WHERE tenant = $1 ORDER BY created_at, id");
    tx.rows(sql.into(), values![tenant]).await?.into_iter().map(key).collect()
}

pub(super) async fn one(store: &SqlStore, id: &str) -> Result<Option<KeyRow>, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let rows = tx.rows(format!("{KEY} WHERE id = $1").into(), values![id]).await?;
    rows.into_iter().next().map(key).transpose()
}

pub(super) async fn revoke(store: &SqlStore, tenant: &str, id: &str, at: UnixMs) -> Result<bool, StoreError> {
    let mut tx = store.begin(Purpose::Write).await?;
    let sql = "UPDATE keys SET revoked_at = $3 WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL";
    let revoked = tx.execute(sql.into(), values![tenant, id, at]).await?;
    tx.commit().await?;
    Ok(revoked > 0)
}

fn key(mut row: Row) -> Result<KeyRow, StoreError> {
    let damaged = |reason: &str| StoreError::Corrupt { place: "table keys".into(), reason: reason.into() };
    Ok(KeyRow {
        id: row.text()?,
        tenant: row.text()?,
        sha256: row.bytes()?.try_into().map_err(|_| damaged("a hash is not 32 bytes"))?,
        scopes: serde_json::from_str(&row.text()?).map_err(|_| damaged("scopes are not a JSON list"))?,
        name: row.text()?,
        created_at: row.at()?,
        expires_at: row.at_or_none()?,
        revoked_at: row.at_or_none()?,
    })
}
