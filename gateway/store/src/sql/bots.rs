//! Bots and their keys.

use super::SqlStore;
use super::database::Purpose;
use super::value::{Row, values};
use crate::error::StoreError;
use crate::identity::{BotKeyRow, BotRow};
use crate::row::UnixMs;

const BOT: &str = "SELECT id, tenant, name, created_at, revoked_at FROM bots";
const KEY: &str = "SELECT kid, tenant, bot, jwk, created_at, revoked_at FROM bot_keys";

pub(super) async fn put(store: &SqlStore, bot: &BotRow) -> Result<(), StoreError> {
    let mut tx = store.begin(Purpose::Write).await?;
    let sql = "INSERT INTO bots (tenant, id, name, jwk, created_at) VALUES ($1, $2, $3, '', $4) \
               ON CONFLICT (tenant, id) DO UPDATE SET name = excluded.name, revoked_at = NULL";
    tx.execute(sql.into(), values![&bot.tenant, &bot.id, &bot.name, bot.created_at]).await?;
    tx.commit().await
}

pub(super) async fn list(store: &SqlStore, tenant: Option<&str>) -> Result<Vec<BotRow>, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let rows = match tenant {
        Some(tenant) => tx.rows(format!("{BOT} WHERE tenant = $1 ORDER BY id").into(), values![tenant]).await,
        None => tx.rows(format!("{BOT} ORDER BY tenant, id").into(), values![]).await,
    };
    rows?.into_iter().map(bot).collect()
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
    let sql = "UPDATE bot_keys SET revoked_at = $3 WHERE tenant = $1 AND bot = $2 AND revoked_at IS NULL";
    tx.execute(sql.into(), values![tenant, id, at]).await?;
    tx.commit().await?;
    Ok(revoked > 0)
}

/// A key that somebody took back may be anybody's again.
pub(super) async fn put_key(store: &SqlStore, key: &BotKeyRow) -> Result<(), StoreError> {
    let mut tx = store.begin(Purpose::Write).await?;
    let sql = "INSERT INTO bot_keys (kid, tenant, bot, jwk, created_at) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (kid) DO UPDATE SET tenant = excluded.tenant, bot = excluded.bot, jwk = excluded.jwk, \
               revoked_at = NULL WHERE bot_keys.revoked_at IS NOT NULL \
               OR (bot_keys.tenant = excluded.tenant AND bot_keys.bot = excluded.bot)";
    let values = values![&key.kid, &key.tenant, &key.bot, &key.jwk, key.created_at];
    if tx.execute(sql.into(), values).await? == 0 {
        return Err(StoreError::Conflict { what: "the key's thumbprint".to_owned() });
    }
    tx.commit().await
}

pub(super) async fn keys(store: &SqlStore, tenant: Option<&str>) -> Result<Vec<BotKeyRow>, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let rows = match tenant {
        Some(tenant) => {
            let sql = format!("{KEY} WHERE tenant = $1 ORDER BY created_at, kid");
            tx.rows(sql.into(), values![tenant]).await
        }
        None => tx.rows(format!("{KEY} ORDER BY created_at, kid").into(), values![]).await,
    };
    rows?.into_iter().map(key).collect()
}

/// `[tenant, bot, kid]`
pub(super) async fn revoke_key(store: &SqlStore, named: [&str; 3], at: UnixMs) -> Result<bool, StoreError> {
    let [tenant, bot, kid] = named;
    let mut tx = store.begin(Purpose::Write).await?;
    let sql = "UPDATE bot_keys SET revoked_at = $4 \
               WHERE tenant = $1 AND bot = $2 AND kid = $3 AND revoked_at IS NULL";
    let revoked = tx.execute(sql.into(), values![tenant, bot, kid, at]).await?;
    tx.commit().await?;
    Ok(revoked > 0)
}

fn bot(mut row: Row) -> Result<BotRow, StoreError> {
    Ok(BotRow {
        id: row.text()?,
        tenant: row.text()?,
        name: row.text()?,
        created_at: row.at()?,
        revoked_at: row.at_or_none()?,
    })
}

fn key(mut row: Row) -> Result<BotKeyRow, StoreError> {
    Ok(BotKeyRow {
        kid: row.text()?,
        tenant: row.text()?,
        bot: row.text()?,
        jwk: row.text()?,
        created_at: row.at()?,
        revoked_at: row.at_or_none()?,
    })
}
