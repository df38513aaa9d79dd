//! Reading calls back.

use super::SqlStore;
use super::database::{Purpose, Transaction};
use super::ring::Opened;
use super::usage::UsageReader;
use super::value::{Row, values};
use super::write::{transcript_row, user_hash};
use crate::error::StoreError;
use crate::row::{CallPage, CallRow, LegRow, TranscriptRow};
use crate::seal::{TenantKeys, user_row};
use crate::secret::Private;
use crate::store::{CallFilter, Cursor, Page, check_user_scope};

const CALL: &str = "SELECT c.tenant, c.id, c.route, c.user_hash, u.name, c.direction, c.caller, c.called, \
                    c.started_at, c.ended_at, c.outcome, c.outcome_detail, c.provider, c.model, \
                    c.answered_after_ms, c.cuts, c.redials, c.dtmf, c.cost_micro_usd, c.recording, c.revision FROM calls c \
                    LEFT JOIN users u ON u.tenant = c.tenant AND u.user_hash = c.user_hash";

/// See [`crate::Store::calls`].
pub(super) async fn page(
    store: &SqlStore,
    filter: &CallFilter,
    page: &Page,
) -> Result<(Vec<CallRow>, Option<String>), StoreError> {
    check_user_scope(filter.tenant.as_deref(), filter.user.as_ref())?;
    let after = page.after.as_deref().map(Cursor::parse).transpose()?;
    let after = after.unwrap_or(Cursor { started_at: i64::MAX, id: String::new() });
    let mut tx = store.begin(Purpose::Read).await?;
    let mut opened = Opened::new(&store.ring);
    let user = match (&filter.tenant, &filter.user) {
        (Some(tenant), Some(user)) => match store.ring.to_open(&mut *tx, tenant).await? {
            Some(keys) => Some(user_hash(&keys, user)),
            None => return Ok((Vec::new(), None)),
        },
        _ => None,
    };
    let limit = page.rows();
    let wanted = i64::try_from(limit + 1).expect("a page is small");
    let sql = format!(
        "{CALL} WHERE ($1 IS NULL OR c.tenant = $1) AND ($2 IS NULL OR c.user_hash = $2) \
         AND (c.started_at < $3 OR (c.started_at = $3 AND c.id < $4)) \
         ORDER BY c.started_at DESC, c.id DESC LIMIT $5"
    );
    let values = values![&filter.tenant, user, after.started_at, &after.id, wanted];
    let rows = tx.rows(sql.into(), values).await?;
    let mut calls = Vec::with_capacity(rows.len());
    for row in rows {
        calls.push(call(&mut *tx, &mut opened, row).await?);
    }
    let more = calls.len() > limit;
    calls.truncate(limit);
    let next = calls.last().filter(|_| more).map(Cursor::of);
    Ok((calls, next))
}

/// See [`crate::Store::call`].
pub(super) async fn one(store: &SqlStore, tenant: &str, id: &str) -> Result<Option<CallPage>, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let mut opened = Opened::new(&store.ring);
    let sql = format!("{CALL} WHERE c.tenant = $1 AND c.id = $2");
    let rows = tx.rows(sql.into(), values![tenant, id]).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let call = call(&mut *tx, &mut opened, row).await?;
    let keys = opened.of(&mut *tx, tenant).await?;
    let legs = legs(&mut *tx, tenant, id).await?;
    let transcript = transcript(&mut *tx, &keys, tenant, id).await?;
    let usage = UsageReader { tenant, keys: &keys }.of_call(&mut *tx, id).await?;
    Ok(Some(CallPage { call, legs, transcript, usage }))
}

async fn call(
    tx: &mut dyn Transaction,
    opened: &mut Opened<'_>,
    mut row: Row,
) -> Result<CallRow, StoreError> {
    let tenant = row.text()?;
    let id = row.text()?;
    let keys = opened.of(tx, &tenant).await?;
    let open = |column, sealed: Option<Vec<u8>>| {
        sealed.map(|sealed| keys.unseal("calls", &id, column, &sealed).map(Private::new)).transpose()
    };
    Ok(CallRow {
        route: row.text()?,
        user: user(&keys, &mut row)?,
        direction: row.text()?,
        caller: open("caller", row.bytes_or_none()?)?,
        called: open("called", row.bytes_or_none()?)?,
        started_at: row.at()?,
        ended_at: row.at_or_none()?,
        outcome: row.text_or_none()?,
        outcome_detail: row.text_or_none()?,
        provider: row.text_or_none()?,
        model: row.text_or_none()?,
        answered_after_ms: from_json(&row.text()?)?,
        cuts: from_json(&row.text()?)?,
        redials: row.unsigned()?,
        dtmf: open("dtmf", row.bytes_or_none()?)?.unwrap_or_default(),
        cost_micro_usd: row.int()?,
        recording: row.text_or_none()?,
        revision: row.unsigned()?,
        tenant,
        id,
    })
}

/// A user from their hash and their sealed name, which is gone if they were forgotten.
pub(super) fn user(keys: &TenantKeys, row: &mut Row) -> Result<Option<Private<String>>, StoreError> {
    let (hash, name) = (row.bytes_or_none()?, row.bytes_or_none()?);
    let both = hash.zip(name);
    both.map(|(hash, name)| keys.unseal("users", &user_row(&hash), "name", &name).map(Private::new))
        .transpose()
}

async fn legs(tx: &mut dyn Transaction, tenant: &str, call: &str) -> Result<Vec<LegRow>, StoreError> {
    let sql = "SELECT leg, kind, external_id, format, started_at, ended_at, close_code, bytes_in, bytes_out \
               FROM legs WHERE tenant = $1 AND call_id = $2 ORDER BY leg";
    let rows = tx.rows(sql.into(), values![tenant, call]).await?;
    let leg = |mut row: Row| {
        Ok(LegRow {
            tenant: tenant.to_owned(),
            call: call.to_owned(),
            leg: row.unsigned()?,
            kind: row.text()?,
            external_id: row.text_or_none()?,
            format: row.text_or_none()?,
            started_at: row.at()?,
            ended_at: row.at_or_none()?,
            close_code: row.unsigned_or_none()?,
            bytes_in: row.unsigned_or_none()?,
            bytes_out: row.unsigned_or_none()?,
        })
    };
    rows.into_iter().map(leg).collect()
}

async fn transcript(
    tx: &mut dyn Transaction,
    keys: &TenantKeys,
    tenant: &str,
    call: &str,
) -> Result<Vec<TranscriptRow>, StoreError> {
    let sql = "SELECT seq, item, role, at_ms, body, heard_ms FROM transcripts \
               WHERE tenant = $1 AND call_id = $2 ORDER BY seq";
    let rows = tx.rows(sql.into(), values![tenant, call]).await?;
    let item = |mut row: Row| {
        let seq = row.unsigned()?;
        Ok(TranscriptRow {
            tenant: tenant.to_owned(),
            call: call.to_owned(),
            seq,
            item: row.text_or_none()?,
            role: row.text()?,
            at_ms: row.unsigned()?,
            text: Private::new(keys.unseal(
                "transcripts",
                &transcript_row(call, seq),
                "body",
                &row.bytes()?,
            )?),
            heard_ms: row.unsigned_or_none()?,
        })
    };
    rows.into_iter().map(item).collect()
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Corrupt {
        place: "table calls".to_owned(),
        reason: "a list is not the JSON that was written".to_owned(),
    })
}
