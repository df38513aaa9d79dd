//! The store over a SQL database: operations that are written once for SQLite and PostgreSQL.

use crate::audit::{AuditDraft, AuditRow};
use crate::error::StoreError;
use crate::identity::{BotKeyRow, BotRow, KeyRow, RouteRow, SecretName, TenantRow};
use crate::master_key::MasterKey;
use crate::row::{CallPage, CallRow, Entry, UnixMs};
use crate::secret::Secret;
use crate::store::{Answer, CallFilter, Forgotten, Gone, Horizon, Page, Retained, Store, Subject};
use crate::usage::{UsageQuery, UsageSum};

mod audit;
mod bots;
mod calls;
pub(crate) mod database;
mod forget;
mod keys;
mod ring;
mod rotate;
pub(crate) mod schema;
mod secrets;
mod tenants;
mod usage;
pub(crate) mod value;
mod write;

use database::{Database, Purpose, Transaction};
use ring::KeyRing;
pub(crate) use rotate::rotate_master;

/// A database and the keys to what is sealed in it.
pub(crate) struct SqlStore {
    database: Box<dyn Database>,
    ring: KeyRing,
}

impl SqlStore {
    /// Over a migrated database that `master` sealed, or that is new.
    ///
    /// # Errors
    /// Another master key sealed it.
    pub(crate) async fn open(database: Box<dyn Database>, master: &MasterKey) -> Result<Self, StoreError> {
        let ring = KeyRing::new(master.clone());
        ring.check(&*database).await?;
        Ok(Self { database, ring })
    }

    async fn begin(&self, purpose: Purpose) -> Result<Box<dyn Transaction>, StoreError> {
        self.database.begin(purpose).await
    }
}

impl Store for SqlStore {
    fn write<'a>(&'a self, entries: &'a [Entry]) -> Answer<'a, ()> {
        Box::pin(write::write(self, entries))
    }

    fn calls<'a>(
        &'a self,
        filter: &'a CallFilter,
        page: &'a Page,
    ) -> Answer<'a, (Vec<CallRow>, Option<String>)> {
        Box::pin(calls::page(self, filter, page))
    }

    fn call<'a>(&'a self, tenant: &'a str, id: &'a str) -> Answer<'a, Option<CallPage>> {
        Box::pin(calls::one(self, tenant, id))
    }

    fn usage<'a>(&'a self, query: &'a UsageQuery) -> Answer<'a, Vec<UsageSum>> {
        Box::pin(usage::sums(self, query))
    }

    fn spent<'a>(&'a self, tenant: &'a str, since: UnixMs) -> Answer<'a, i64> {
        Box::pin(usage::spent(self, tenant, since))
    }

    fn put_key<'a>(&'a self, key: &'a KeyRow) -> Answer<'a, ()> {
        Box::pin(keys::put(self, key))
    }

    fn keys<'a>(&'a self, tenant: &'a str) -> Answer<'a, Vec<KeyRow>> {
        Box::pin(keys::list(self, tenant))
    }

    fn key<'a>(&'a self, id: &'a str) -> Answer<'a, Option<KeyRow>> {
        Box::pin(keys::one(self, id))
    }

    fn revoke_key<'a>(&'a self, tenant: &'a str, id: &'a str, at: UnixMs) -> Answer<'a, bool> {
        Box::pin(keys::revoke(self, tenant, id, at))
    }

    fn put_tenant<'a>(&'a self, name: &'a str, document: &'a str, expected: Option<u64>) -> Answer<'a, u64> {
        Box::pin(tenants::put(self, name, document, expected))
    }

    fn tenants(&self) -> Answer<'_, Vec<TenantRow>> {
        Box::pin(tenants::list(self))
    }

    fn delete_tenant<'a>(&'a self, name: &'a str, at: UnixMs) -> Answer<'a, bool> {
        Box::pin(tenants::delete(self, name, at))
    }

    fn put_route<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        document: &'a str,
        expected: Option<u64>,
    ) -> Answer<'a, u64> {
        Box::pin(tenants::put_route(self, tenant, name, document, expected))
    }

    fn routes<'a>(&'a self, tenant: &'a str) -> Answer<'a, Vec<RouteRow>> {
        Box::pin(tenants::routes(self, tenant))
    }

    fn delete_route<'a>(&'a self, tenant: &'a str, name: &'a str) -> Answer<'a, bool> {
        Box::pin(tenants::delete_route(self, tenant, name))
    }

    fn put_secret<'a>(&'a self, tenant: &'a str, name: &'a str, secret: &'a Secret) -> Answer<'a, ()> {
        Box::pin(secrets::put(self, tenant, name, secret))
    }

    fn secret<'a>(&'a self, tenant: &'a str, name: &'a str) -> Answer<'a, Option<Secret>> {
        Box::pin(secrets::one(self, tenant, name))
    }

    fn secrets<'a>(&'a self, tenant: &'a str) -> Answer<'a, Vec<SecretName>> {
        Box::pin(secrets::list(self, tenant))
    }

    fn delete_secret<'a>(&'a self, tenant: &'a str, name: &'a str) -> Answer<'a, bool> {
        Box::pin(secrets::delete(self, tenant, name))
    }

    fn put_bot<'a>(&'a self, bot: &'a BotRow) -> Answer<'a, ()> {
        Box::pin(bots::put(self, bot))
    }

    fn bots<'a>(&'a self, tenant: Option<&'a str>) -> Answer<'a, Vec<BotRow>> {
        Box::pin(bots::list(self, tenant))
    }

    fn bot<'a>(&'a self, tenant: &'a str, id: &'a str) -> Answer<'a, Option<BotRow>> {
        Box::pin(bots::one(self, tenant, id))
    }

    fn revoke_bot<'a>(&'a self, tenant: &'a str, id: &'a str, at: UnixMs) -> Answer<'a, bool> {
        Box::pin(bots::revoke(self, tenant, id, at))
    }

    fn put_bot_key<'a>(&'a self, key: &'a BotKeyRow) -> Answer<'a, ()> {
        Box::pin(bots::put_key(self, key))
    }

    fn bot_keys<'a>(&'a self, tenant: Option<&'a str>) -> Answer<'a, Vec<BotKeyRow>> {
        Box::pin(bots::keys(self, tenant))
    }

    fn revoke_bot_key<'a>(
        &'a self,
        tenant: &'a str,
        bot: &'a str,
        kid: &'a str,
        at: UnixMs,
    ) -> Answer<'a, bool> {
        Box::pin(bots::revoke_key(self, [tenant, bot, kid], at))
    }

    fn append_audit(&self, draft: AuditDraft) -> Answer<'_, AuditRow> {
        Box::pin(audit::append(self, draft))
    }

    fn audit<'a>(&'a self, tenant: Option<&'a str>, after: u64, limit: u32) -> Answer<'a, Vec<AuditRow>> {
        Box::pin(audit::list(self, tenant, after, limit))
    }

    fn forget<'a>(&'a self, tenant: &'a str, subject: &'a Subject) -> Answer<'a, Forgotten> {
        Box::pin(forget::forget(self, tenant, subject))
    }

    fn retain<'a>(&'a self, tenant: &'a str, horizon: &'a Horizon) -> Answer<'a, Retained> {
        Box::pin(forget::retain(self, tenant, horizon))
    }

    fn gone<'a>(&'a self, since: UnixMs, after: &'a str) -> Answer<'a, Vec<Gone>> {
        Box::pin(forget::gone(self, since, after))
    }

    fn tenants_with_rows(&self) -> Answer<'_, Vec<String>> {
        Box::pin(tenants::with_rows(self))
    }

    fn rotate_tenant<'a>(&'a self, tenant: &'a str) -> Answer<'a, u64> {
        Box::pin(rotate::rotate_tenant(self, tenant))
    }

    fn health(&self) -> Answer<'_, ()> {
        Box::pin(async { self.schema_version().await.map(drop) })
    }

    fn schema_version(&self) -> Answer<'_, i64> {
        Box::pin(async {
            let mut tx = self.begin(Purpose::Read).await?;
            schema::version(&mut *tx).await
        })
    }
}
