//! Deleting: a person who wants to be forgotten, and what is too old.

use super::SqlStore;
use super::database::{Purpose, Transaction};
use super::value::{Row, values};
use super::write::{number_hash, user_hash};
use crate::error::StoreError;
use crate::row::UnixMs;
use crate::store::{Forgotten, Gone, Horizon, Retained, Subject};

/// See [`crate::Store::forget`].
pub(super) async fn forget(
    store: &SqlStore,
    tenant: &str,
    subject: &Subject,
) -> Result<Forgotten, StoreError> {
    let mut tx = store.begin(Purpose::Write).await?;
    let Some(keys) = store.ring.to_open(&mut *tx, tenant).await? else { return Ok(Forgotten::default()) };
    let (hash, calls) = match subject {
        Subject::Number(number) => {
            (number_hash(&keys, number), "tenant = $1 AND (caller_hash = $2 OR called_hash = $2)")
        }
        Subject::User(user) => (user_hash(&keys, user), "tenant = $1 AND user_hash = $2"),
    };
    let of_calls = format!("WHERE tenant = $1 AND call_id IN (SELECT id FROM calls WHERE {calls})");
    let mut run = async |sql: String| tx.execute(sql.into(), values![tenant, hash.clone()]).await;
    let mut usage =
        run(format!("UPDATE usage SET user_hash = NULL {of_calls} AND user_hash IS NOT NULL")).await?;
    if matches!(subject, Subject::User(_)) {
        usage += run("UPDATE usage SET user_hash = NULL WHERE tenant = $1 AND user_hash = $2".into()).await?;
    }
    let recordings = note_gone(&mut *tx, tenant, &hash, calls).await?;
    let mut run = async |sql: String| tx.execute(sql.into(), values![tenant, hash.clone()]).await;
    let forgotten = Forgotten {
        recordings,
        legs: run(format!("DELETE FROM legs {of_calls}")).await?,
        transcripts: run(format!("DELETE FROM transcripts {of_calls}")).await?,
        calls: run(format!("DELETE FROM calls WHERE {calls}")).await?,
        usage,
    };
    delete_unnamed_users(&mut *tx, tenant).await?;
    note(&mut *tx, tenant, hash, &forgotten).await?;
    tx.commit().await?;
    store.database.tidy().await?;
    Ok(forgotten)
}

/// Users that no row speaks of any more.
async fn delete_unnamed_users(tx: &mut dyn Transaction, tenant: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM users WHERE tenant = $1 \
               AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.tenant = $1 AND c.user_hash = users.user_hash) \
               AND NOT EXISTS (SELECT 1 FROM usage g WHERE g.tenant = $1 AND g.user_hash = users.user_hash)";
    tx.execute(sql.into(), values![tenant]).await.map(drop)
}

/// That it was done, without telling whom.
async fn note(
    tx: &mut dyn Transaction,
    tenant: &str,
    hash: Vec<u8>,
    forgotten: &Forgotten,
) -> Result<(), StoreError> {
    let counts = serde_json::to_string(forgotten).expect("numbers have a JSON form");
    let sql = "INSERT INTO deletions (tenant, subject_hash, done_at, counts) VALUES ($1, $2, $3, $4)";
    tx.execute(sql.into(), values![tenant, hash, UnixMs::now(), counts.as_str()]).await.map(drop)
}

/// See [`crate::Store::retain`].
pub(super) async fn retain(
    store: &SqlStore,
    tenant: &str,
    horizon: &Horizon,
) -> Result<Retained, StoreError> {
    let mut tx = store.begin(Purpose::Write).await?;
    let mut run =
        async |sql: &'static str, before: UnixMs| tx.execute(sql.into(), values![tenant, before]).await;
    // A transcript whose call never came goes by the time it was stored.
    let transcripts = "DELETE FROM transcripts WHERE tenant = $1 AND (call_id IN \
                       (SELECT id FROM calls WHERE tenant = $1 AND started_at < $2) OR (stored_at < $2 AND \
                       call_id NOT IN (SELECT id FROM calls WHERE tenant = $1)))";
    let of_old_calls = run(transcripts, horizon.transcripts).await?;
    let of_gone_calls = run(transcripts, horizon.calls).await?;
    run(
        "DELETE FROM legs WHERE tenant = $1 AND (started_at < $2 OR call_id IN \
         (SELECT id FROM calls WHERE tenant = $1 AND started_at < $2))",
        horizon.calls,
    )
    .await?;
    // Money outlives the call, and names nobody then.
    run(
        "UPDATE usage SET user_hash = NULL WHERE tenant = $1 AND at < $2 AND user_hash IS NOT NULL",
        horizon.calls,
    )
    .await?;
    run("DELETE FROM gone WHERE tenant = $1 AND gone_at < $2", horizon.gone).await?;
    let recordings = note_too_old(&mut *tx, tenant, horizon.recordings).await?;
    let mut run =
        async |sql: &'static str, before: UnixMs| tx.execute(sql.into(), values![tenant, before]).await;
    let retained = Retained {
        recordings,
        transcripts: of_old_calls + of_gone_calls,
        calls: run("DELETE FROM calls WHERE tenant = $1 AND started_at < $2", horizon.calls).await?,
        usage: run("DELETE FROM usage WHERE tenant = $1 AND at < $2", horizon.usage).await?,
    };
    delete_unnamed_users(&mut *tx, tenant).await?;
    tx.commit().await?;
    if retained != Retained::default() {
        store.database.tidy().await?;
    }
    Ok(retained)
}

/// Notes a person's calls, whose files are to be removed; how many recordings that are.
async fn note_gone(
    tx: &mut dyn Transaction,
    tenant: &str,
    subject_hash: &[u8],
    calls: &str,
) -> Result<u64, StoreError> {
    let sql = format!("SELECT COUNT(recording) FROM calls WHERE {calls}");
    let rows = tx.rows(sql.into(), values![tenant, subject_hash.to_vec()]).await?;
    let recordings = rows.into_iter().next().map_or(Ok(0), |mut row| row.unsigned())?;
    let sql = format!(
        "INSERT INTO gone (tenant, call_id, recording, is_forgotten, may_write, gone_at) \
         SELECT tenant, id, recording, 1, CASE WHEN ended_at IS NULL THEN 1 ELSE 0 END, $3 FROM calls \
         WHERE {calls} ON CONFLICT (tenant, call_id) DO UPDATE \
         SET recording = COALESCE(excluded.recording, gone.recording), is_forgotten = 1, \
         may_write = excluded.may_write, gone_at = excluded.gone_at"
    );
    tx.execute(sql.into(), values![tenant, subject_hash.to_vec(), UnixMs::now()]).await?;
    Ok(recordings)
}

/// Notes recordings of calls that began before; the calls stay. How many.
async fn note_too_old(tx: &mut dyn Transaction, tenant: &str, before: UnixMs) -> Result<u64, StoreError> {
    let old = "WHERE tenant = $1 AND started_at < $2 AND recording IS NOT NULL";
    let note = format!(
        "INSERT INTO gone (tenant, call_id, recording, is_forgotten, may_write, gone_at) \
         SELECT tenant, id, recording, 0, 0, $3 FROM calls {old} ON CONFLICT (tenant, call_id) DO UPDATE \
         SET recording = excluded.recording, gone_at = excluded.gone_at"
    );
    tx.execute(note.into(), values![tenant, before, UnixMs::now()]).await?;
    tx.execute(format!("UPDATE calls SET recording = NULL {old}").into(), values![tenant, before]).await
}

/// See [`crate::Store::gone`].
pub(super) async fn gone(store: &SqlStore, since: UnixMs, after: &str) -> Result<Vec<Gone>, StoreError> {
    let mut tx = store.begin(Purpose::Read).await?;
    let sql = "SELECT call_id, recording, is_forgotten, gone_at FROM gone \
               WHERE gone_at >= $1 AND call_id > $2 ORDER BY call_id LIMIT $3";
    let rows = tx.rows(sql.into(), values![since, after, i64::from(crate::PAGE_MAX)]).await?;
    let gone = |mut row: Row| {
        Ok(Gone {
            call: row.text()?,
            recording: row.text_or_none()?,
            is_forgotten: row.int()? != 0,
            gone_at: row.at()?,
        })
    };
    rows.into_iter().map(gone).collect()
}
