//! Bots.

use super::SqlStore;
use super::database::Purpose;
use super::value::{Row, values};
use crate::error::StoreError;
use crate::identity::BotRow;
use crate::row::UnixMs;

const BOT: &str = "SELECT id, tenant, name, jwk, created_at, revoked_at FROM bots";

pub(super) async fn put(store: &SqlStore, bot: &BotRow) -> Result<(), StoreError> {
    let mut tx = store.begin(Purpose::Write).await?;
    let sql = "INSERT INTO bots (tenant, id, name, jwk, created_at) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (tenant, id) DO UPDATE SET name = excluded.name, jwk = excluded.jwk, revoked_at = NULL";
    tx.execute(sql.into(), values![&bot.tenant, &bot.id, &bot.name, &bot.jwk, bot.created_at]).await?;
    tx.commit().await
}

pub(super) async fn list(store: &SqlStore, tenant: &str) -> Result<Vec<BotRow>, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let sql = format!("{BOT} WHERE tenant = $1 ORDER BY id");
    tx.rows(sql.into(), values![tenant]).await?.into_iter().map(bot).collect()
}

pub(super) async fn one(store: &SqlStore, tenant: &str, id: &str) -> Result<Option<BotRow>, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let sql = format!("{BOT} WHERE tenant = $1 AND id = $2");
    tx.rows(sql.into(), values![tenant, id]).await?.into_iter().next().map(bot).transpose()
}

pub(super) async fn revoke(store: &SqlStore, tenant: &str, id: &str, at: UnixMs) -> Result<bool, StoreError> {
    let mut tx = store.begin(Purpose::Write).await?;
    let sql = "UPDATE bots SET revoked_at = $3 WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL";
    let revoked = tx.execute(sql.into(), values![tenant, id, at]).await?;
    tx.commit().await?;
    Ok(revoked > 0)
}

fn bot(mut row: Row) -> Result<BotRow, StoreError> {
    Ok(BotRow {
        id: row.text()?,
        tenant: row.text()?,
        name: row.text()?,
        jwk: row.text()?,
        created_at: row.at()?,
        revoked_at: row.at_or_none()?,
    })
}
