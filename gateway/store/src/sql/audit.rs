//! The chain of what operators changed.

use super::SqlStore;
use super::database::{Purpose, Transaction};
use super::value::{Row, values};
use crate::audit::{AuditDraft, AuditRow};
use crate::error::StoreError;

const LINK: &str =
    "SELECT seq, tenant, at, actor, action, target, before_hash, after_hash, previous, hash FROM audit";

/// Times that another machine may be quicker to take the next place.
const TRIES: u32 = 10;

pub(super) async fn append(store: &SqlStore, draft: AuditDraft) -> Result<AuditRow, StoreError> {
    for _ in 0..TRIES {
        let mut tx = store.begin(Purpose::Write).await?;
        let rows = tx.rows(format!("{LINK} ORDER BY seq DESC LIMIT 1").into(), values![]).await?;
        let last = rows.into_iter().next().map(link).transpose()?;
        let row = AuditRow::after(last.as_ref(), draft.clone());
        if insert(&mut *tx, &row).await? {
            tx.commit().await?;
            return Ok(row);
        }
    }
    Err(StoreError::Locked { reason: "others write the audit all the time".to_owned() })
}

async fn insert(tx: &mut dyn Transaction, row: &AuditRow) -> Result<bool, StoreError> {
    let values = values![
        i64::try_from(row.seq).unwrap_or(i64::MAX),
        &row.tenant,
        row.at,
        &row.actor,
        &row.action,
        &row.target,
        &row.before,
        &row.after,
        &row.previous,
        &row.hash,
    ];
    let sql = "INSERT INTO audit (seq, tenant, at, actor, action, target, before_hash, after_hash, previous, hash) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (seq) DO NOTHING";
    Ok(tx.execute(sql.into(), values).await? > 0)
}

pub(super) async fn list(
    store: &SqlStore,
    tenant: Option<&str>,
    after: u64,
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let sql = format!("{LINK} WHERE ($1 IS NULL OR tenant = $1) AND seq > $2 ORDER BY seq LIMIT $3");
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let rows = tx.rows(sql.into(), values![tenant, after, limit.min(crate::PAGE_MAX)]).await?;
    rows.into_iter().map(link).collect()
}

fn link(mut row: Row) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        seq: row.unsigned()?,
        tenant: row.text_or_none()?,
        at: row.at()?,
        actor: row.text()?,
        action: row.text()?,
        target: row.text()?,
        before: row.text_or_none()?,
        after: row.text_or_none()?,
        previous: row.text()?,
        hash: row.text()?,
    })
}
