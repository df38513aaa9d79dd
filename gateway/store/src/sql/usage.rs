//! Reading usage back, and summing it.

use std::collections::BTreeMap;

use patchbay_core::Tokens;

use super::SqlStore;
use super::calls::user;
use super::database::{Purpose, Transaction};
use super::ring::Opened;
use super::value::{Row, values};
use super::write::user_hash;
use crate::error::StoreError;
use crate::row::UnixMs;
use crate::seal::{TenantKeys, user_row};
use crate::secret::Private;
use crate::store::check_user_scope;
use crate::usage::{Group, Quality, UsageQuery, UsageRow, UsageSum};

/// See [`crate::Store::usage`].
pub(super) async fn sums(store: &SqlStore, query: &UsageQuery) -> Result<Vec<UsageSum>, StoreError> {
    check_user_scope(query.tenant.as_deref(), query.user.as_ref())?;
    let mut tx = store.begin(Purpose::Read).await?;
    let asked = match (&query.tenant, &query.user) {
        (Some(tenant), Some(user)) => {
            let keys = store.ring.to_open(&mut *tx, tenant).await?;
            // Nothing was ever sealed for this tenant, so no row names the user; no hash is empty.
            Some(keys.map_or_else(Vec::new, |keys| user_hash(&keys, user)))
        }
        _ => None,
    };
    let values = values![&query.tenant, asked, query.from, query.to];
    let rows = tx.rows(sum_sql(&query.group_by).into(), values).await?;
    let mut users = Users { opened: Opened::new(&store.ring), names: BTreeMap::new() };
    let mut sums = Vec::with_capacity(rows.len());
    for row in rows {
        sums.push(sum(&mut *tx, &mut users, query, row).await?);
    }
    sums.sort_by(|a, b| key(a).cmp(&key(b)));
    Ok(sums)
}

fn key(sum: &UsageSum) -> impl Ord + '_ {
    (&sum.tenant, &sum.user, &sum.route, &sum.model, sum.day)
}

/// What a group is in SQL. `by` comes from this list alone, never from outside.
const fn column(by: Group) -> &'static str {
    match by {
        Group::Tenant => "tenant",
        Group::User => "user_hash",
        Group::Route => "route",
        Group::Model => "model",
        Group::Day => "at / 86400000",
    }
}

const GROUPS: [Group; 5] = [Group::Tenant, Group::User, Group::Route, Group::Model, Group::Day];

fn sum_sql(group_by: &[Group]) -> String {
    let grouped = GROUPS.into_iter().filter(|group| group_by.contains(group)).map(column);
    let mut grouped: Vec<_> = grouped.collect();
    let summed = ["text_in", "text_in_cached", "audio_in", "audio_in_cached", "text_out", "audio_out"];
    let summed = summed.into_iter().chain(["duration_ms", "cost_micro_usd"]);
    let summed = summed.map(|column| format!("CAST(COALESCE(SUM({column}), 0) AS BIGINT)"));
    // A hash of a user belongs to one tenant; the least of one is that one.
    let columns = grouped.iter().map(|column| (*column).to_owned());
    let columns = columns
        .chain(["MIN(tenant)".to_owned(), "COUNT(*)".to_owned()])
        .chain([
            "CAST(COALESCE(SUM(CASE WHEN quality = 'estimated' THEN 1 ELSE 0 END), 0) AS BIGINT)".to_owned()
        ])
        .chain(summed)
        .collect::<Vec<_>>()
        .join(", ");
    let group_by = if grouped.is_empty() {
        String::new()
    } else {
        format!(" GROUP BY {}", std::mem::take(&mut grouped).join(", "))
    };
    format!(
        "SELECT {columns} FROM usage WHERE ($1 IS NULL OR tenant = $1) \
         AND ($2 IS NULL OR user_hash = $2) AND ($3 IS NULL OR at >= $3) AND ($4 IS NULL OR at < $4){group_by}"
    )
}

async fn sum(
    tx: &mut dyn Transaction,
    users: &mut Users<'_>,
    query: &UsageQuery,
    mut row: Row,
) -> Result<UsageSum, StoreError> {
    let by = |group| query.group_by.contains(&group);
    let tenant = if by(Group::Tenant) { Some(row.text()?) } else { None };
    let user_hash = if by(Group::User) { row.bytes_or_none()? } else { None };
    let route = if by(Group::Route) { Some(row.text()?) } else { None };
    let model = if by(Group::Model) { Some(row.text()?) } else { None };
    let day = if by(Group::Day) { Some(row.int()?) } else { None };
    let owner = row.text_or_none()?;
    let user = match (owner, user_hash) {
        (Some(owner), Some(hash)) => users.name(tx, &owner, &hash).await?,
        _ => None,
    };
    Ok(UsageSum {
        tenant,
        user,
        route,
        model,
        day,
        rows: row.unsigned()?,
        estimated_rows: row.unsigned()?,
        tokens: tokens(&mut row)?,
        duration_ms: row.unsigned()?,
        cost_micro_usd: row.int()?,
    })
}

/// Names of users, a tenant's at a time.
struct Users<'a> {
    opened: Opened<'a>,
    names: BTreeMap<String, BTreeMap<Vec<u8>, String>>,
}

impl Users<'_> {
    async fn name(
        &mut self,
        tx: &mut dyn Transaction,
        tenant: &str,
        hash: &[u8],
    ) -> Result<Option<Private<String>>, StoreError> {
        if !self.names.contains_key(tenant) {
            let names = self.read(tx, tenant).await?;
            self.names.insert(tenant.to_owned(), names);
        }
        Ok(self.names[tenant].get(hash).cloned().map(Private::new))
    }

    async fn read(
        &mut self,
        tx: &mut dyn Transaction,
        tenant: &str,
    ) -> Result<BTreeMap<Vec<u8>, String>, StoreError> {
        let keys = self.opened.of(tx, tenant).await?;
        let sql = "SELECT user_hash, name FROM users WHERE tenant = $1";
        let rows = tx.rows(sql.into(), values![tenant]).await?;
        let name = |mut row: Row| {
            let hash = row.bytes()?;
            let name = keys.unseal("users", &user_row(&hash), "name", &row.bytes()?)?;
            Ok((hash, name))
        };
        rows.into_iter().map(name).collect()
    }
}

/// See [`crate::Store::spent`].
pub(super) async fn spent(store: &SqlStore, tenant: &str, since: UnixMs) -> Result<i64, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let sql =
        "SELECT CAST(COALESCE(SUM(cost_micro_usd), 0) AS BIGINT) FROM usage WHERE tenant = $1 AND at >= $2";
    let rows = tx.rows(sql.into(), values![tenant, since]).await?;
    rows.into_iter().next().map_or(Ok(0), |mut row| row.int())
}

/// Reads a tenant's usage row by row.
pub(super) struct UsageReader<'a> {
    pub(super) tenant: &'a str,
    pub(super) keys: &'a TenantKeys,
}

impl UsageReader<'_> {
    /// The usage of one call, in order.
    pub(super) async fn of_call(
        &self,
        tx: &mut dyn Transaction,
        call: &str,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let sql = "SELECT g.provider, g.provider_session, g.kind, g.source, g.user_hash, u.name, g.route, \
                   g.call_id, g.model, g.at, g.text_in, g.text_in_cached, g.audio_in, g.audio_in_cached, \
                   g.text_out, g.audio_out, g.duration_ms, g.price_version, g.cost_micro_usd, g.quality \
                   FROM usage g LEFT JOIN users u ON u.tenant = g.tenant AND u.user_hash = g.user_hash \
                   WHERE g.tenant = $1 AND g.call_id = $2 ORDER BY g.at, g.kind, g.source";
        let rows = tx.rows(sql.into(), values![self.tenant, call]).await?;
        rows.into_iter().map(|row| self.row(row)).collect()
    }

    fn row(&self, mut row: Row) -> Result<UsageRow, StoreError> {
        Ok(UsageRow {
            provider: row.text()?,
            provider_session: row.text()?,
            kind: row.text()?,
            source: row.text()?,
            tenant: self.tenant.to_owned(),
            user: user(self.keys, &mut row)?,
            route: row.text()?,
            call: row.text()?,
            model: row.text()?,
            at: row.at()?,
            tokens: tokens(&mut row)?,
            duration_ms: row.unsigned()?,
            price_version: row.text_or_none()?,
            cost_micro_usd: row.int()?,
            quality: quality(&row.text()?)?,
        })
    }
}

/// In the order of the columns.
fn tokens(row: &mut Row) -> Result<Tokens, StoreError> {
    let mut each = [0; 6];
    for count in &mut each {
        *count = row.unsigned()?;
    }
    Ok(Tokens::of(each))
}

fn quality(text: &str) -> Result<Quality, StoreError> {
    Quality::parse(text).ok_or_else(|| StoreError::Corrupt {
        place: "table usage".to_owned(),
        reason: "a row has an unknown quality".to_owned(),
    })
}
