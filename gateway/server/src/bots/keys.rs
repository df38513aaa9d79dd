//! Bots and their keys: from the store into use.

use std::time::Duration;

use patchbay_core::BotId;
use patchbay_store::{BotKeyRow, BotRow, StoreError, UnixMs};

use crate::app::App;
use crate::credential::bot_key::{BotKeys, PublicKey};

/// How often the store is asked for what other machines changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Keys of one bot: the new one and the old ones of a rotation.
pub const KEYS_MAX: usize = 4;

/// Why a key was not added.
#[derive(Debug, thiserror::Error)]
pub enum NotAdded {
    /// The bot has as many as it may.
    #[error("the bot has four keys: take one back first")]
    TooMany,
    /// The store says no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Uses what the store has.
///
/// # Errors
/// A store that cannot be read; then what was in use stays.
pub async fn load(app: &App) -> Result<(), StoreError> {
    let store = &app.archive.store;
    let (bots, keys) = (store.bots(None).await?, store.bot_keys(None).await?);
    app.credentials.use_bots(BotKeys::new(&bots, &keys));
    Ok(())
}

/// Follows what other machines change, for ever. The caller owns the task.
pub async fn follow(app: &App) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // A store that is away is told of by the journal; what was in use stays in use.
        let _ = load(app).await;
    }
}

/// Makes a bot known, with a key, and answers its keys.
///
/// # Errors
/// [`NotAdded`]
pub async fn add(
    app: &App,
    bot: &BotId,
    name: Option<&str>,
    key: &PublicKey,
) -> Result<Vec<String>, NotAdded> {
    let known = app.credentials.bots().bot(bot).cloned().unwrap_or_default();
    if known.kids.len() >= KEYS_MAX && !known.kids.contains(&key.kid) {
        return Err(NotAdded::TooMany);
    }
    let (store, now) = (&app.archive.store, UnixMs::now());
    let (tenant, id) = (bot.tenant().to_owned(), bot.name().to_owned());
    let row = BotKeyRow {
        kid: key.kid.clone(),
        tenant: tenant.clone(),
        bot: id.clone(),
        jwk: key.jwk.clone(),
        created_at: now,
        revoked_at: None,
    };
    store.put_bot_key(&row).await?;
    let name = name.map_or(known.name, str::to_owned);
    store.put_bot(&BotRow { id, tenant, name, created_at: now, revoked_at: None }).await?;
    audit(app, bot, "bot.key.put", &key.kid).await?;
    load(app).await?;
    Ok(app.credentials.bots().bot(bot).map(|bot| bot.kids.clone()).unwrap_or_default())
}

/// Takes a key back, or the bot with all of them; whether there was one. Its leases end with its last key.
///
/// # Errors
/// The store's.
pub async fn remove(app: &App, bot: &BotId, kid: Option<&str>) -> Result<bool, StoreError> {
    let (store, now) = (&app.archive.store, UnixMs::now());
    let was_there = match kid {
        Some(kid) => store.revoke_bot_key(bot.tenant(), bot.name(), kid, now).await?,
        None => store.revoke_bot(bot.tenant(), bot.name(), now).await?,
    };
    audit(app, bot, if kid.is_some() { "bot.key.revoke" } else { "bot.revoke" }, kid.unwrap_or(bot.name()))
        .await?;
    load(app).await?;
    let is_left = app.credentials.bots().bot(bot).is_some_and(|bot| !bot.kids.is_empty());
    if !is_left {
        app.bots.unregister(bot, None);
    }
    Ok(was_there)
}

async fn audit(app: &App, bot: &BotId, action: &str, target: &str) -> Result<(), StoreError> {
    match &app.registry {
        Some(registry) => registry.audit(bot.tenant(), action, target, None, None).await,
        None => Ok(()),
    }
}
