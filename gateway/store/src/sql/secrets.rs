//! Sealed secrets of tenants: their providers' keys.

use super::SqlStore;
use super::database::Purpose;
use super::value::{Row, values};
use crate::error::StoreError;
use crate::identity::SecretName;
use crate::row::UnixMs;
use crate::secret::Secret;

pub(super) async fn put(
    store: &SqlStore,
    tenant: &str,
    name: &str,
    secret: &Secret,
) -> Result<(), StoreError> {
    let keys = store.ring.to_seal(&*store.database, tenant).await?;
    let sealed = keys.seal("secrets", name, "body", secret.expose())?;
    let mut tx = store.begin(Purpose::Write).await?;
    let sql = "INSERT INTO secrets (tenant, name, body, put_at) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (tenant, name) DO UPDATE SET body = excluded.body, put_at = excluded.put_at";
    tx.execute(sql.into(), values![tenant, name, sealed, UnixMs::now()]).await?;
    tx.commit().await
}

pub(super) async fn one(store: &SqlStore, tenant: &str, name: &str) -> Result<Option<Secret>, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let sql = "SELECT body FROM secrets WHERE tenant = $1 AND name = $2";
    let rows = tx.rows(sql.into(), values![tenant, name]).await?;
    let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
    let sealed = row.bytes()?;
    let keys = store.ring.to_open(&mut *tx, tenant).await?;
    let keys = keys.ok_or_else(|| StoreError::Corrupt {
        place: "table tenant_keys".to_owned(),
        reason: "a tenant has a secret and no key".to_owned(),
    })?;
    let plain = keys.unseal("secrets", name, "body", &sealed)?;
    Ok(Some(Secret::new(plain, &format!("sealed as `{name}`"))))
}

pub(super) async fn list(store: &SqlStore, tenant: &str) -> Result<Vec<SecretName>, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let sql = "SELECT tenant, name, put_at FROM secrets WHERE tenant = $1 ORDER BY name";
    let rows = tx.rows(sql.into(), values![tenant]).await?;
    let named = |mut row: Row| Ok(SecretName { tenant: row.text()?, name: row.text()?, put_at: row.at()? });
    rows.into_iter().map(named).collect()
}

pub(super) async fn delete(store: &SqlStore, tenant: &str, name: &str) -> Result<bool, StoreError> {
    let mut tx = store.begin(Purpose::Write).await?;
    let sql = "DELETE FROM secrets WHERE tenant = $1 AND name = $2";
    let deleted = tx.execute(sql.into(), values![tenant, name]).await?;
    tx.commit().await?;
    store.database.tidy().await?;
    Ok(deleted > 0)
}
