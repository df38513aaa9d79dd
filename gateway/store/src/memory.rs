//! A store in memory: for tests, and for a gateway that keeps nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::audit::{AuditDraft, AuditRow};
use crate::error::StoreError;
use crate::identity::{BotKeyRow, BotRow, KeyRow, RouteRow, SecretName, TenantRow};
use crate::row::{CallPage, CallRow, Entry, LegRow, TranscriptRow, UnixMs};
use crate::secret::Secret;
use crate::store::{
    Answer, CallFilter, Cursor, Forgotten, Gone, Horizon, Page, Retained, Store, Subject, check_batch,
    check_user_scope, normal_number,
};
use crate::usage::{Group, UsageQuery, UsageRow, UsageSum};

/// Rows in memory. The lock protects all of them, for the time of one operation; no call ever takes it.
#[derive(Default)]
pub struct MemoryStore {
    rows: Mutex<Rows>,
    away: AtomicBool,
}

/// `(tenant, id)`.
type Owned = (String, String);

#[derive(Default)]
struct Rows {
    calls: BTreeMap<Owned, CallRow>,
    legs: BTreeMap<(String, String, u8), LegRow>,
    transcripts: BTreeMap<(String, String, u32), TranscriptRow>,
    usage: BTreeMap<[String; 4], UsageRow>,
    /// And whether its call had no end: what it still tells must not bring the person back.
    gone: BTreeMap<Owned, (Gone, bool)>,
    keys: BTreeMap<String, KeyRow>,
    tenants: BTreeMap<String, TenantRow>,
    routes: BTreeMap<Owned, RouteRow>,
    secrets: BTreeMap<Owned, (UnixMs, Secret)>,
    bots: BTreeMap<Owned, BotRow>,
    bot_keys: BTreeMap<String, BotKeyRow>,
    audit: Vec<AuditRow>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on every operation fails as if the database were away, or no longer.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    fn answer<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Rows) -> Result<T, StoreError>,
    ) -> Answer<'static, T> {
        let answer = if self.away.load(Ordering::Relaxed) {
            Err(StoreError::Away { reason: "it was told to be".to_owned() })
        } else {
            operation(&mut self.rows.lock().expect("no operation on rows panics"))
        };
        Box::pin(std::future::ready(answer))
    }
}

impl Store for MemoryStore {
    fn write<'a>(&'a self, entries: &'a [Entry]) -> Answer<'a, ()> {
        self.answer(|rows| {
            check_batch(entries)?;
            entries.iter().for_each(|entry| rows.write(entry));
            Ok(())
        })
    }

    fn calls<'a>(
        &'a self,
        filter: &'a CallFilter,
        page: &'a Page,
    ) -> Answer<'a, (Vec<CallRow>, Option<String>)> {
        self.answer(|rows| rows.page_of_calls(filter, page))
    }

    fn call<'a>(&'a self, tenant: &'a str, id: &'a str) -> Answer<'a, Option<CallPage>> {
        self.answer(|rows| Ok(rows.call(tenant, id)))
    }

    fn usage<'a>(&'a self, query: &'a UsageQuery) -> Answer<'a, Vec<UsageSum>> {
        self.answer(|rows| rows.sums(query))
    }

    fn spent<'a>(&'a self, tenant: &'a str, since: UnixMs) -> Answer<'a, i64> {
        let query = UsageQuery { tenant: Some(tenant.into()), from: Some(since), ..UsageQuery::default() };
        self.answer(|rows| Ok(rows.sums(&query)?.first().map_or(0, |sum| sum.cost_micro_usd)))
    }

    fn put_key<'a>(&'a self, key: &'a KeyRow) -> Answer<'a, ()> {
        self.answer(|rows| {
            if rows.keys.contains_key(&key.id) {
                return Err(StoreError::Conflict { what: "the key's id".into() });
            }
            rows.keys.insert(key.id.clone(), key.clone());
            Ok(())
        })
    }

    fn keys<'a>(&'a self, tenant: &'a str) -> Answer<'a, Vec<KeyRow>> {
        self.answer(|rows| {
            let mut keys: Vec<_> = rows.keys.values().filter(|key| key.tenant == tenant).cloned().collect();
            keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
            Ok(keys)
        })
    }

    fn key<'a>(&'a self, id: &'a str) -> Answer<'a, Option<KeyRow>> {
        self.answer(|rows| Ok(rows.keys.get(id).cloned()))
    }

    fn revoke_key<'a>(&'a self, tenant: &'a str, id: &'a str, at: UnixMs) -> Answer<'a, bool> {
        self.answer(|rows| {
            let key = rows.keys.get_mut(id).filter(|key| key.tenant == tenant && key.revoked_at.is_none());
            Ok(key.map(|key| key.revoked_at = Some(at)).is_some())
        })
    }

    fn put_tenant<'a>(&'a self, name: &'a str, document: &'a str, expected: Option<u64>) -> Answer<'a, u64> {
        self.answer(|rows| {
            let old = rows.tenants.get(name);
            let seen = old.filter(|old| old.deleted_at.is_none()).map(|old| old.revision);
            if seen != expected {
                return Err(StoreError::Conflict { what: format!("the tenant `{name}`") });
            }
            let revision = old.map_or(0, |old| old.revision) + 1;
            let row = TenantRow { name: name.into(), document: document.into(), revision, deleted_at: None };
            rows.tenants.insert(row.name.clone(), row);
            Ok(revision)
        })
    }

    fn tenants(&self) -> Answer<'_, Vec<TenantRow>> {
        self.answer(|rows| {
            Ok(rows.tenants.values().filter(|row| row.deleted_at.is_none()).cloned().collect())
        })
    }

    fn delete_tenant<'a>(&'a self, name: &'a str, at: UnixMs) -> Answer<'a, bool> {
        self.answer(|rows| Ok(rows.delete_tenant(name, at)))
    }

    fn put_route<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        document: &'a str,
        expected: Option<u64>,
    ) -> Answer<'a, u64> {
        self.answer(|rows| {
            let key = owned(tenant, name);
            let seen = rows.routes.get(&key).map(|old| old.revision);
            if seen != expected {
                return Err(StoreError::Conflict { what: format!("the route `{name}`") });
            }
            let revision = seen.unwrap_or(0) + 1;
            let row =
                RouteRow { tenant: tenant.into(), name: name.into(), document: document.into(), revision };
            rows.routes.insert(key, row);
            Ok(revision)
        })
    }

    fn routes<'a>(&'a self, tenant: &'a str) -> Answer<'a, Vec<RouteRow>> {
        self.answer(|rows| Ok(rows.routes.values().filter(|row| row.tenant == tenant).cloned().collect()))
    }

    fn delete_route<'a>(&'a self, tenant: &'a str, name: &'a str) -> Answer<'a, bool> {
        self.answer(|rows| Ok(rows.routes.remove(&owned(tenant, name)).is_some()))
    }

    fn put_secret<'a>(&'a self, tenant: &'a str, name: &'a str, secret: &'a Secret) -> Answer<'a, ()> {
        self.answer(|rows| {
            rows.secrets.insert(owned(tenant, name), (UnixMs::now(), secret.clone()));
            Ok(())
        })
    }

    fn secret<'a>(&'a self, tenant: &'a str, name: &'a str) -> Answer<'a, Option<Secret>> {
        self.answer(|rows| Ok(rows.secrets.get(&owned(tenant, name)).map(|(_, secret)| secret.clone())))
    }

    fn secrets<'a>(&'a self, tenant: &'a str) -> Answer<'a, Vec<SecretName>> {
        self.answer(|rows| {
            let own = rows.secrets.iter().filter(|((owner, _), _)| owner == tenant);
            let named = own.map(|((tenant, name), (put_at, _))| SecretName {
                tenant: tenant.clone(),
                name: name.clone(),
                put_at: *put_at,
            });
            Ok(named.collect())
        })
    }

    fn delete_secret<'a>(&'a self, tenant: &'a str, name: &'a str) -> Answer<'a, bool> {
        self.answer(|rows| Ok(rows.secrets.remove(&owned(tenant, name)).is_some()))
    }

    fn put_bot<'a>(&'a self, bot: &'a BotRow) -> Answer<'a, ()> {
        self.answer(|rows| {
            let key = owned(&bot.tenant, &bot.id);
            let created_at = rows.bots.get(&key).map_or(bot.created_at, |old| old.created_at);
            rows.bots.insert(key, BotRow { created_at, revoked_at: None, ..bot.clone() });
            Ok(())
        })
    }

    fn bots<'a>(&'a self, tenant: Option<&'a str>) -> Answer<'a, Vec<BotRow>> {
        let is_asked = |bot: &&BotRow| tenant.is_none_or(|tenant| bot.tenant == tenant);
        self.answer(|rows| Ok(rows.bots.values().filter(is_asked).cloned().collect()))
    }

    fn bot<'a>(&'a self, tenant: &'a str, id: &'a str) -> Answer<'a, Option<BotRow>> {
        self.answer(|rows| Ok(rows.bots.get(&owned(tenant, id)).cloned()))
    }

    fn revoke_bot<'a>(&'a self, tenant: &'a str, id: &'a str, at: UnixMs) -> Answer<'a, bool> {
        self.answer(|rows| {
            let own = rows.bot_keys.values_mut().filter(|key| key.tenant == tenant && key.bot == id);
            own.for_each(|key| key.revoked_at = key.revoked_at.or(Some(at)));
            let bot = rows.bots.get_mut(&owned(tenant, id)).filter(|bot| bot.revoked_at.is_none());
            Ok(bot.map(|bot| bot.revoked_at = Some(at)).is_some())
        })
    }

    fn put_bot_key<'a>(&'a self, key: &'a BotKeyRow) -> Answer<'a, ()> {
        self.answer(|rows| {
            let old = rows.bot_keys.get(&key.kid);
            let is_free = |old: &BotKeyRow| {
                old.revoked_at.is_some() || (&old.tenant, &old.bot) == (&key.tenant, &key.bot)
            };
            if old.is_some_and(|old| !is_free(old)) {
                return Err(StoreError::Conflict { what: "the key's thumbprint".into() });
            }
            let created_at = old.map_or(key.created_at, |old| old.created_at);
            rows.bot_keys.insert(key.kid.clone(), BotKeyRow { created_at, revoked_at: None, ..key.clone() });
            Ok(())
        })
    }

    fn bot_keys<'a>(&'a self, tenant: Option<&'a str>) -> Answer<'a, Vec<BotKeyRow>> {
        let is_asked = |key: &&BotKeyRow| tenant.is_none_or(|tenant| key.tenant == tenant);
        self.answer(|rows| {
            let mut keys: Vec<_> = rows.bot_keys.values().filter(is_asked).cloned().collect();
            keys.sort_by(|a, b| (a.created_at, &a.kid).cmp(&(b.created_at, &b.kid)));
            Ok(keys)
        })
    }

    fn revoke_bot_key<'a>(
        &'a self,
        tenant: &'a str,
        bot: &'a str,
        kid: &'a str,
        at: UnixMs,
    ) -> Answer<'a, bool> {
        self.answer(|rows| {
            let key = rows.bot_keys.get_mut(kid).filter(|key| key.tenant == tenant && key.bot == bot);
            let key = key.filter(|key| key.revoked_at.is_none());
            Ok(key.map(|key| key.revoked_at = Some(at)).is_some())
        })
    }

    fn append_audit(&self, draft: AuditDraft) -> Answer<'_, AuditRow> {
        self.answer(|rows| {
            let row = AuditRow::after(rows.audit.last(), draft);
            rows.audit.push(row.clone());
            Ok(row)
        })
    }

    fn audit<'a>(&'a self, tenant: Option<&'a str>, after: u64, limit: u32) -> Answer<'a, Vec<AuditRow>> {
        self.answer(|rows| {
            let own = |row: &&AuditRow| tenant.is_none() || row.tenant.as_deref() == tenant;
            let later = rows.audit.iter().filter(|row| row.seq > after).filter(own);
            Ok(later.take(limit.min(crate::PAGE_MAX) as usize).cloned().collect())
        })
    }

    fn forget<'a>(&'a self, tenant: &'a str, subject: &'a Subject) -> Answer<'a, Forgotten> {
        self.answer(|rows| Ok(rows.forget(tenant, subject)))
    }

    fn retain<'a>(&'a self, tenant: &'a str, horizon: &'a Horizon) -> Answer<'a, Retained> {
        self.answer(|rows| Ok(rows.retain(tenant, horizon)))
    }

    fn gone<'a>(&'a self, since: UnixMs, after: &'a str) -> Answer<'a, Vec<Gone>> {
        self.answer(|rows| Ok(rows.gone(since, after)))
    }

    fn tenants_with_rows(&self) -> Answer<'_, Vec<String>> {
        self.answer(|rows| {
            let calls = rows.calls.values().map(|row| &row.tenant);
            let all = calls.chain(rows.usage.values().map(|row| &row.tenant));
            let all = all.chain(rows.transcripts.values().map(|row| &row.tenant));
            Ok(all.cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect())
        })
    }

    fn rotate_tenant<'a>(&'a self, _tenant: &'a str) -> Answer<'a, u64> {
        self.answer(|_| Ok(0))
    }

    fn health(&self) -> Answer<'_, ()> {
        self.answer(|_| Ok(()))
    }

    fn schema_version(&self) -> Answer<'_, i64> {
        self.answer(|_| Ok(0))
    }
}

fn owned(tenant: &str, id: &str) -> Owned {
    (tenant.to_owned(), id.to_owned())
}

mod rows;
