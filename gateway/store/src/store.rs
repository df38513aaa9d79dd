//! The seam to the stores.

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::audit::{AuditDraft, AuditRow};
use crate::error::StoreError;
use crate::identity::{BotKeyRow, BotRow, KeyRow, RouteRow, SecretName, TenantRow};
use crate::row::{CallPage, CallRow, Entry, UnixMs};
use crate::secret::{Private, Secret};
use crate::usage::{UsageQuery, UsageSum};

/// What an operation answers.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Durable state, as domain operations. A call never awaits one: the media path writes to the journal's queue.
///
/// Every operation on a tenant's rows takes the tenant, and reaches no other's. `None` where a tenant may be `None`
/// is the operator, who sees all.
pub trait Store: Send + Sync {
    /// Writes entries in one transaction. Idempotent: see the rows for what replaces what.
    ///
    /// # Errors
    /// More than [`crate::BATCH_MAX`] entries; a fault of the database, and then nothing was written.
    fn write<'a>(&'a self, entries: &'a [Entry]) -> Answer<'a, ()>;

    /// Calls, the latest first, and where the next page begins.
    fn calls<'a>(
        &'a self,
        filter: &'a CallFilter,
        page: &'a Page,
    ) -> Answer<'a, (Vec<CallRow>, Option<String>)>;
    /// A call with all that is kept of it.
    fn call<'a>(&'a self, tenant: &'a str, id: &'a str) -> Answer<'a, Option<CallPage>>;

    /// Sums of usage, ordered by what they are grouped by.
    fn usage<'a>(&'a self, query: &'a UsageQuery) -> Answer<'a, Vec<UsageSum>>;
    /// What a tenant spent since, in millionths of a US dollar.
    fn spent<'a>(&'a self, tenant: &'a str, since: UnixMs) -> Answer<'a, i64>;

    /// Keeps a new API key.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: the id is taken.
    fn put_key<'a>(&'a self, key: &'a KeyRow) -> Answer<'a, ()>;
    /// A tenant's keys by age, revoked ones too.
    fn keys<'a>(&'a self, tenant: &'a str) -> Answer<'a, Vec<KeyRow>>;
    /// The key of this id, whosever it is: the hash decides who that is.
    fn key<'a>(&'a self, id: &'a str) -> Answer<'a, Option<KeyRow>>;
    /// Takes a key back; whether there was one that was not revoked.
    fn revoke_key<'a>(&'a self, tenant: &'a str, id: &'a str, at: UnixMs) -> Answer<'a, bool>;

    /// Puts a tenant and answers its new revision. `expected`: the revision that is replaced; `None`: it is new, or
    /// was deleted.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: it has another revision.
    fn put_tenant<'a>(&'a self, name: &'a str, document: &'a str, expected: Option<u64>) -> Answer<'a, u64>;
    /// Tenants by name, without the deleted.
    fn tenants(&self) -> Answer<'_, Vec<TenantRow>>;
    /// Deletes a tenant and its routes, and revokes its keys and bots; its calls and usage stay until their time.
    /// Whether there was one.
    fn delete_tenant<'a>(&'a self, name: &'a str, at: UnixMs) -> Answer<'a, bool>;

    /// Puts a route and answers its new revision; `expected` as for a tenant.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: it has another revision.
    fn put_route<'a>(
        &'a self,
        tenant: &'a str,
        name: &'a str,
        document: &'a str,
        expected: Option<u64>,
    ) -> Answer<'a, u64>;
    /// A tenant's routes by name.
    fn routes<'a>(&'a self, tenant: &'a str) -> Answer<'a, Vec<RouteRow>>;
    /// Deletes a route; whether there was one.
    fn delete_route<'a>(&'a self, tenant: &'a str, name: &'a str) -> Answer<'a, bool>;

    /// Seals a tenant's secret, in the place of one of that name.
    fn put_secret<'a>(&'a self, tenant: &'a str, name: &'a str, secret: &'a Secret) -> Answer<'a, ()>;
    /// A tenant's secret.
    fn secret<'a>(&'a self, tenant: &'a str, name: &'a str) -> Answer<'a, Option<Secret>>;
    /// What secrets a tenant has, by name.
    fn secrets<'a>(&'a self, tenant: &'a str) -> Answer<'a, Vec<SecretName>>;
    /// Deletes a secret; whether there was one.
    fn delete_secret<'a>(&'a self, tenant: &'a str, name: &'a str) -> Answer<'a, bool>;

    /// Makes a bot known, or changes its name; it is no longer revoked.
    fn put_bot<'a>(&'a self, bot: &'a BotRow) -> Answer<'a, ()>;
    /// Bots by tenant and id, revoked ones too; of one tenant, or all.
    fn bots<'a>(&'a self, tenant: Option<&'a str>) -> Answer<'a, Vec<BotRow>>;
    /// A bot.
    fn bot<'a>(&'a self, tenant: &'a str, id: &'a str) -> Answer<'a, Option<BotRow>>;
    /// Takes a bot and its keys back; whether there was one that was not revoked.
    fn revoke_bot<'a>(&'a self, tenant: &'a str, id: &'a str, at: UnixMs) -> Answer<'a, bool>;
    /// Adds a key of a bot; one that was taken back is good again.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: it is another bot's.
    fn put_bot_key<'a>(&'a self, key: &'a BotKeyRow) -> Answer<'a, ()>;
    /// Keys of bots by age, revoked ones too; of one tenant, or all.
    fn bot_keys<'a>(&'a self, tenant: Option<&'a str>) -> Answer<'a, Vec<BotKeyRow>>;
    /// Takes a bot's key back; whether there was one that was not revoked.
    fn revoke_bot_key<'a>(
        &'a self,
        tenant: &'a str,
        bot: &'a str,
        kid: &'a str,
        at: UnixMs,
    ) -> Answer<'a, bool>;

    /// Chains a change to the audit.
    fn append_audit(&self, draft: AuditDraft) -> Answer<'_, AuditRow>;
    /// Links of the chain after `seq`, the oldest first; of one tenant, or all.
    fn audit<'a>(&'a self, tenant: Option<&'a str>, after: u64, limit: u32) -> Answer<'a, Vec<AuditRow>>;

    /// Forgets a person: their calls with legs and transcripts are deleted, usage stays without them.
    fn forget<'a>(&'a self, tenant: &'a str, subject: &'a Subject) -> Answer<'a, Forgotten>;
    /// Deletes what is too old.
    fn retain<'a>(&'a self, tenant: &'a str, horizon: &'a Horizon) -> Answer<'a, Retained>;
    /// Calls whose files are to be removed, noted since then: at most [`crate::PAGE_MAX`], by id, after `after`.
    fn gone<'a>(&'a self, since: UnixMs, after: &'a str) -> Answer<'a, Vec<Gone>>;
    /// Tenants that have any row of calls or usage, by name.
    fn tenants_with_rows(&self) -> Answer<'_, Vec<String>>;

    /// Gives the tenant a new key and seals all its rows with it; how many values were sealed again.
    fn rotate_tenant<'a>(&'a self, tenant: &'a str) -> Answer<'a, u64>;
    /// Whether the store can be read now.
    fn health(&self) -> Answer<'_, ()>;
    /// The schema's version; 0 for memory.
    fn schema_version(&self) -> Answer<'_, i64>;
}

/// Which calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// Of one tenant; `None`: of all, for the operator.
    pub tenant: Option<String>,
    /// Of one user.
    pub user: Option<Private<String>>,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What the page before answered as its next.
    pub after: Option<String>,
    /// Most rows; 1 to [`crate::PAGE_MAX`].
    pub limit: u32,
}

/// Who is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A number or address that called or was called.
    Number(Private<String>),
    /// A user that a credential named.
    User(Private<String>),
}

/// What was forgotten, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// Calls deleted.
    pub calls: u64,
    /// Legs deleted.
    pub legs: u64,
    /// Items of transcripts deleted.
    pub transcripts: u64,
    /// Usage rows that no longer name anybody.
    pub usage: u64,
    /// Recordings that no call names any more.
    pub recordings: u64,
}

/// Before when rows are deleted. A call's legs go with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Transcripts of calls that began before.
    pub transcripts: UnixMs,
    /// Calls that began before.
    pub calls: UnixMs,
    /// Usage reported before.
    pub usage: UnixMs,
    /// Recordings of calls that began before.
    pub recordings: UnixMs,
    /// Notes of calls that were gone before: every machine has seen them.
    pub gone: UnixMs,
}

/// What was deleted because it was too old, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Retained {
    /// Calls.
    pub calls: u64,
    /// Items of transcripts.
    pub transcripts: u64,
    /// Usage.
    pub usage: u64,
    /// Recordings that no call names any more.
    pub recordings: u64,
}

/// A call whose files are to be removed, by each machine that has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The call.
    pub call: String,
    /// The file with its sound.
    pub recording: Option<String>,
    /// Whether the person was forgotten; if not, the recording is too old.
    pub is_forgotten: bool,
    /// Since when.
    pub gone_at: UnixMs,
}

/// A number as it is compared: separators removed. An address: in lower case.
pub(crate) fn normal_number(number: &str) -> String {
    let is_number = !number.contains(|c: char| c.is_alphabetic() || c == '@');
    if is_number {
        number.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect()
    } else {
        number.trim().to_lowercase()
    }
}

/// Where a page of calls begins: after this one.
pub(crate) struct Cursor {
    pub(crate) started_at: i64,
    pub(crate) id: String,
}

impl Cursor {
    pub(crate) fn of(call: &CallRow) -> String {
        format!("{}.{}", call.started_at.0, call.id)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        let parts = text.split_once('.');
        let cursor =
            parts.and_then(|(at, id)| Some(Self { started_at: at.parse().ok()?, id: id.to_owned() }));
        cursor.ok_or_else(|| StoreError::invalid("`after` is not what a page answered as its next"))
    }
}

impl Page {
    pub(crate) fn rows(&self) -> usize {
        self.limit.clamp(1, crate::PAGE_MAX) as usize
    }
}

/// A user's id means something within a tenant only.
pub(crate) fn check_user_scope(
    tenant: Option<&str>,
    user: Option<&Private<String>>,
) -> Result<(), StoreError> {
    let scoped = tenant.is_some() || user.is_none();
    scoped.then_some(()).ok_or_else(|| StoreError::invalid("a user is asked for without their tenant"))
}

pub(crate) fn check_batch(entries: &[Entry]) -> Result<(), StoreError> {
    let fits = entries.len() <= crate::BATCH_MAX;
    fits.then_some(()).ok_or_else(|| StoreError::invalid("more entries than one write takes"))
}
