//! Writing what the journal brings: one transaction, every statement idempotent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::SqlStore;
use super::database::{Purpose, Transaction};
use super::value::{Value, count, money, values};
use crate::error::StoreError;
use crate::row::{CallRow, Entry, LegRow, TranscriptRow, UnixMs};
use crate::seal::{TenantKeys, user_row};
use crate::secret::Private;
use crate::store::{check_batch, normal_number};
use crate::usage::UsageRow;

/// See [`crate::Store::write`].
pub(super) async fn write(store: &SqlStore, entries: &[Entry]) -> Result<(), StoreError> {
    check_batch(entries)?;
    let mut keys = BTreeMap::new();
    for tenant in entries.iter().map(Entry::tenant).collect::<BTreeSet<_>>() {
        keys.insert(tenant, store.ring.to_seal(&*store.database, tenant).await?);
    }
    let mut writing = Writing {
        tx: store.begin(Purpose::Write).await?,
        users: BTreeSet::new(),
        forgotten: BTreeSet::new(),
        now: UnixMs::now(),
    };
    writing.look_who_is_forgotten(entries).await?;
    for entry in entries {
        if !writing.is_forgotten(entry) {
            writing.write(&keys[entry.tenant()], entry).await?;
        }
    }
    let mut usage = Vec::new();
    for row in surest(entries) {
        usage.push(writing.usage_values(&keys[row.tenant.as_str()], row).await?);
    }
    writing.usage(usage).await?;
    writing.tx.commit().await
}

/// One batch on its way.
struct Writing {
    tx: Box<dyn Transaction>,
    /// Hashes whose names this batch has stored.
    users: BTreeSet<Vec<u8>>,
    /// Calls, with their tenants, of persons who were forgotten while the call ran.
    forgotten: BTreeSet<(String, String)>,
    now: UnixMs,
}

impl Writing {
    /// Who was forgotten while their call ran is not written back by what the call tells later.
    async fn look_who_is_forgotten(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        // Most of what is written is usage that names nobody.
        let personal =
            entries.iter().filter(|entry| !matches!(entry, Entry::Usage(row) if row.user.is_none()));
        for tenant in personal.map(Entry::tenant).collect::<BTreeSet<_>>() {
            let sql = "SELECT call_id FROM gone WHERE tenant = $1 AND may_write = 1";
            for mut row in self.tx.rows(sql.into(), values![tenant]).await? {
                self.forgotten.insert((tenant.to_owned(), row.text()?));
            }
        }
        Ok(())
    }

    /// Usage is kept, without the user.
    fn is_forgotten(&self, entry: &Entry) -> bool {
        !matches!(entry, Entry::Usage(_)) && self.has_forgotten(entry.tenant(), entry.call())
    }

    fn has_forgotten(&self, tenant: &str, call: &str) -> bool {
        !self.forgotten.is_empty() && self.forgotten.contains(&(tenant.to_owned(), call.to_owned()))
    }

    async fn write(&mut self, keys: &Arc<TenantKeys>, entry: &Entry) -> Result<(), StoreError> {
        match entry {
            Entry::Call(row) => self.call(keys, row).await,
            Entry::Leg(row) => self.leg(row).await,
            Entry::Transcript(row) => self.transcript(keys, row).await,
            // Together, at the end: most of what is written is usage.
            Entry::Usage(_) => Ok(()),
        }
    }

    async fn call(&mut self, keys: &TenantKeys, row: &CallRow) -> Result<(), StoreError> {
        let user_hash = self.user(keys, &row.tenant, row.user.as_ref()).await?;
        let sealed = |column, text: Option<&Private<String>>| {
            text.map(|text| keys.seal("calls", &row.id, column, text.reveal())).transpose()
        };
        let hashed = |text: Option<&Private<String>>| text.map(|text| number_hash(keys, text));
        let dtmf = Some(&row.dtmf).filter(|dtmf| !dtmf.reveal().is_empty());
        let values = values![
            &row.tenant,
            &row.id,
            &row.route,
            user_hash,
            &row.direction,
            sealed("caller", row.caller.as_ref())?,
            hashed(row.caller.as_ref()),
            sealed("called", row.called.as_ref())?,
            hashed(row.called.as_ref()),
            row.started_at,
            row.ended_at,
            &row.outcome,
            &row.outcome_detail,
            &row.provider,
            &row.model,
            json(&row.answered_after_ms).as_str(),
            json(&row.cuts).as_str(),
            row.redials,
            sealed("dtmf", dtmf)?,
            money(row.cost_micro_usd),
            &row.recording,
            i64::try_from(row.revision).unwrap_or(i64::MAX),
        ];
        let sql = "INSERT INTO calls (tenant, id, route, user_hash, direction, caller, caller_hash, called, \
                   called_hash, started_at, ended_at, outcome, outcome_detail, provider, model, \
                   answered_after_ms, cuts, redials, dtmf, cost_micro_usd, recording, revision) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
                   $19, $20, $21, $22) ON CONFLICT (tenant, id) DO UPDATE SET route = excluded.route, \
                   user_hash = excluded.user_hash, direction = excluded.direction, caller = excluded.caller, \
                   caller_hash = excluded.caller_hash, called = excluded.called, \
                   called_hash = excluded.called_hash, started_at = excluded.started_at, \
                   ended_at = excluded.ended_at, outcome = excluded.outcome, \
                   outcome_detail = excluded.outcome_detail, provider = excluded.provider, \
                   model = excluded.model, answered_after_ms = excluded.answered_after_ms, \
                   cuts = excluded.cuts, redials = excluded.redials, dtmf = excluded.dtmf, \
                   cost_micro_usd = excluded.cost_micro_usd, recording = excluded.recording, \
                   revision = excluded.revision \
                   WHERE excluded.revision >= calls.revision";
        self.tx.execute(sql.into(), values).await.map(drop)
    }

    async fn leg(&mut self, row: &LegRow) -> Result<(), StoreError> {
        let values = values![
            &row.tenant,
            &row.call,
            i64::from(row.leg),
            &row.kind,
            &row.external_id,
            &row.format,
            row.started_at,
            row.ended_at,
            row.close_code.map(i64::from),
            row.bytes_in.map(count),
            row.bytes_out.map(count),
        ];
        let sql = "INSERT INTO legs (tenant, call_id, leg, kind, external_id, format, started_at, ended_at, \
                   close_code, bytes_in, bytes_out) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
                   ON CONFLICT (tenant, call_id, leg) DO UPDATE SET kind = excluded.kind, \
                   external_id = excluded.external_id, format = excluded.format, \
                   started_at = excluded.started_at, ended_at = excluded.ended_at, \
                   close_code = excluded.close_code, bytes_in = excluded.bytes_in, \
                   bytes_out = excluded.bytes_out WHERE excluded.ended_at IS NOT NULL OR legs.ended_at IS NULL";
        self.tx.execute(sql.into(), values).await.map(drop)
    }

    async fn transcript(&mut self, keys: &TenantKeys, row: &TranscriptRow) -> Result<(), StoreError> {
        let sealed =
            keys.seal("transcripts", &transcript_row(&row.call, row.seq), "body", row.text.reveal())?;
        let values = values![
            &row.tenant,
            &row.call,
            row.seq,
            &row.item,
            &row.role,
            count(row.at_ms),
            sealed,
            row.heard_ms.map(count),
            self.now,
        ];
        let sql = "INSERT INTO transcripts (tenant, call_id, seq, item, role, at_ms, body, heard_ms, stored_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (tenant, call_id, seq) \
                   DO UPDATE SET item = excluded.item, role = excluded.role, at_ms = excluded.at_ms, \
                   body = excluded.body, heard_ms = excluded.heard_ms";
        self.tx.execute(sql.into(), values).await.map(drop)
    }

    async fn usage_values(&mut self, keys: &TenantKeys, row: &UsageRow) -> Result<Vec<Value>, StoreError> {
        let user = row.user.as_ref().filter(|_| !self.has_forgotten(&row.tenant, &row.call));
        let user_hash = self.user(keys, &row.tenant, user).await?;
        Ok(values![
            &row.provider,
            &row.provider_session,
            &row.kind,
            &row.source,
            &row.tenant,
            user_hash,
            &row.route,
            &row.call,
            &row.model,
            row.at,
            count(row.tokens.text_in),
            count(row.tokens.text_in_cached),
            count(row.tokens.audio_in),
            count(row.tokens.audio_in_cached),
            count(row.tokens.text_out),
            count(row.tokens.audio_out),
            count(row.duration_ms),
            &row.price_version,
            money(row.cost_micro_usd),
            row.quality.as_str(),
        ])
    }

    async fn usage(&mut self, mut rows: Vec<Vec<Value>>) -> Result<(), StoreError> {
        while !rows.is_empty() {
            // Two forms of the statement, so that both stay prepared.
            let count = if rows.len() < USAGE_TOGETHER { 1 } else { USAGE_TOGETHER };
            let values = rows.drain(..count).flatten().collect();
            self.tx.execute(usage_sql(count).into(), values).await?;
        }
        Ok(())
    }

    /// The hash of a user, whose sealed name is stored beside.
    async fn user(
        &mut self,
        keys: &TenantKeys,
        tenant: &str,
        user: Option<&Private<String>>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(user) = user else { return Ok(None) };
        let hash = user_hash(keys, user);
        if self.users.insert(hash.clone()) {
            let sealed = keys.seal("users", &user_row(&hash), "name", user.reveal())?;
            let sql = "INSERT INTO users (tenant, user_hash, name) VALUES ($1, $2, $3) \
                       ON CONFLICT (tenant, user_hash) DO NOTHING";
            self.tx.execute(sql.into(), values![tenant, hash.clone(), sealed]).await?;
        }
        Ok(Some(hash))
    }
}

/// Usage rows that one statement writes.
const USAGE_TOGETHER: usize = 25;

/// Of each key the row that stays, as if they had been written one after the other: one statement may not touch a row
/// twice.
fn surest(entries: &[Entry]) -> Vec<&UsageRow> {
    let mut kept: Vec<&UsageRow> = Vec::new();
    let mut places = BTreeMap::new();
    for entry in entries {
        let Entry::Usage(row) = entry else { continue };
        let key = [&row.provider, &row.provider_session, &row.kind, &row.source];
        match places.get(&key) {
            None => {
                places.insert(key, kept.len());
                kept.push(row);
            }
            Some(&at) => {
                let old: &UsageRow = kept[at];
                if old.tenant == row.tenant && row.quality.replaces(old.quality) {
                    kept[at] = row;
                }
            }
        }
    }
    kept
}

fn usage_sql(rows: usize) -> String {
    let columns = [
        "provider",
        "provider_session",
        "kind",
        "source",
        "tenant",
        "user_hash",
        "route",
        "call_id",
        "model",
        "at",
        "text_in",
        "text_in_cached",
        "audio_in",
        "audio_in_cached",
        "text_out",
        "audio_out",
        "duration_ms",
        "price_version",
        "cost_micro_usd",
        "quality",
    ];
    let row = |row: usize| {
        let places = (1..=columns.len()).map(|column| format!("${}", row * columns.len() + column));
        format!("({})", places.collect::<Vec<_>>().join(", "))
    };
    let values = (0..rows).map(row).collect::<Vec<_>>().join(", ");
    let replaced = columns[5..].iter().map(|column| format!("{column} = excluded.{column}"));
    format!(
        "INSERT INTO usage ({}) VALUES {values} ON CONFLICT (provider, provider_session, kind, source) \
         DO UPDATE SET {} WHERE usage.tenant = excluded.tenant AND usage.quality = 'estimated' \
         AND excluded.quality <> 'estimated'",
        columns.join(", "),
        replaced.collect::<Vec<_>>().join(", "),
    )
}

pub(super) fn user_hash(keys: &TenantKeys, user: &Private<String>) -> Vec<u8> {
    keys.hash("user", user.reveal())
}

pub(super) fn number_hash(keys: &TenantKeys, number: &Private<String>) -> Vec<u8> {
    keys.hash("number", &normal_number(number.reveal()))
}

pub(super) fn transcript_row(call: &str, seq: u32) -> String {
    format!("{call}#{seq}")
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("a list of numbers and text has a JSON form")
}
