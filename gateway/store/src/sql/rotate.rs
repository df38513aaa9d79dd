//! New keys: for one tenant, and the master key.

use super::SqlStore;
use super::database::{Database, Purpose, Transaction};
use super::ring::insert;
use super::value::{Row, Value, values};
use super::write::transcript_row;
use crate::error::StoreError;
use crate::master_key::MasterKey;
use crate::seal::{TenantKeys, unwrap_key, user_row, version_of, wrap_key, wrap_new};

/// Rows that one transaction seals again.
const ROWS: i64 = 500;

/// A sealed column: where it lies, how its row is named, and how it is found.
struct Column {
    table: &'static str,
    column: &'static str,
    /// The columns of its key after the tenant; the last orders.
    key: &'static [&'static str],
    /// What `key` makes of its row's name.
    row: fn(&[Value]) -> String,
}

static COLUMNS: [Column; 6] = [
    Column { table: "secrets", column: "body", key: &["name"], row: first_text },
    Column { table: "users", column: "name", key: &["user_hash"], row: first_hash },
    Column { table: "calls", column: "caller", key: &["id"], row: first_text },
    Column { table: "calls", column: "called", key: &["id"], row: first_text },
    Column { table: "calls", column: "dtmf", key: &["id"], row: first_text },
    Column { table: "transcripts", column: "body", key: &["call_id", "seq"], row: call_and_seq },
];

fn first_text(key: &[Value]) -> String {
    match key {
        [Value::Text(Some(text)), ..] => text.clone(),
        _ => String::new(),
    }
}

fn first_hash(key: &[Value]) -> String {
    match key {
        [Value::Bytes(Some(hash)), ..] => user_row(hash),
        _ => String::new(),
    }
}

fn call_and_seq(key: &[Value]) -> String {
    match key {
        [Value::Text(Some(call)), Value::Int(Some(seq))] => {
            transcript_row(call, u32::try_from(*seq).unwrap_or_default())
        }
        _ => String::new(),
    }
}

/// See [`crate::Store::rotate_tenant`]. Writers that hold the old key go on; what they seal is sealed again next time.
pub(super) async fn rotate_tenant(store: &SqlStore, tenant: &str) -> Result<u64, StoreError> {
    let old = store.ring.to_seal(&*store.database, tenant).await?;
    let version = old.current() + 1;
    let mut tx = store.begin(Purpose::Write).await?;
    insert(&mut *tx, tenant, version, wrap_new(&store.ring.master, tenant, version)?).await?;
    tx.commit().await?;
    store.ring.forget(tenant);
    let keys = store.ring.to_seal(&*store.database, tenant).await?;
    let mut sealed = 0;
    for column in &COLUMNS {
        sealed += column.seal_again(store, tenant, &keys).await?;
    }
    Ok(sealed)
}

impl Column {
    async fn seal_again(&self, store: &SqlStore, tenant: &str, keys: &TenantKeys) -> Result<u64, StoreError> {
        let mut sealed = 0;
        let mut offset = 0;
        loop {
            let mut tx = store.begin(Purpose::Write).await?;
            let rows = self.rows(&mut *tx, tenant, offset).await?;
            let last = rows.len() < usize::try_from(ROWS).expect("a small number");
            for row in rows {
                sealed += self.seal_row_again(&mut *tx, tenant, keys, row).await?;
            }
            tx.commit().await?;
            if last {
                return Ok(sealed);
            }
            offset += ROWS;
        }
    }

    async fn rows(
        &self,
        tx: &mut dyn Transaction,
        tenant: &str,
        offset: i64,
    ) -> Result<Vec<Row>, StoreError> {
        let Self { table, column, .. } = self;
        let key = self.key.join(", ");
        let sql = format!(
            "SELECT {column}, {key} FROM {table} WHERE tenant = $1 ORDER BY {key} LIMIT $2 OFFSET $3"
        );
        tx.rows(sql.into(), values![tenant, ROWS, offset]).await
    }

    /// Only if it is still what was read: a writer may have been quicker, and sealed it with the new key.
    async fn seal_row_again(
        &self,
        tx: &mut dyn Transaction,
        tenant: &str,
        keys: &TenantKeys,
        mut row: Row,
    ) -> Result<u64, StoreError> {
        let Some(old) = row.bytes_or_none()? else { return Ok(0) };
        if version_of(&old) == Some(keys.current()) {
            return Ok(0);
        }
        let mut values = row.rest();
        let named = (self.row)(&values);
        let plain = keys.unseal(self.table, &named, self.column, &old)?;
        let new = keys.seal(self.table, &named, self.column, &plain)?;
        let key = self.key.iter().enumerate().map(|(i, name)| format!(" AND {name} = ${}", i + 4));
        let Self { table, column, .. } = self;
        let sql = format!(
            "UPDATE {table} SET {column} = $1 WHERE tenant = $2 AND {column} = $3{}",
            key.collect::<String>()
        );
        let mut all = values![new, tenant, old];
        all.append(&mut values);
        tx.execute(sql.into(), all).await
    }
}

/// Wraps all keys with `new` instead of `old`, in one transaction; how many.
///
/// # Errors
/// `old` is not the key that wrapped them; then nothing was changed.
pub(crate) async fn rotate_master(
    database: &dyn Database,
    old: &MasterKey,
    new: &MasterKey,
) -> Result<u64, StoreError> {
    let mut tx = database.begin(Purpose::Migrate).await?;
    let rows = tx.rows("SELECT tenant, version, wrapped FROM tenant_keys".into(), values![]).await?;
    let count = rows.len() as u64;
    for mut row in rows {
        let (tenant, version) = (row.text()?, row.unsigned()?);
        let key = unwrap_key(old, &tenant, version, &row.bytes()?)?;
        let wrapped = wrap_key(new, &tenant, version, &key)?;
        let sql = "UPDATE tenant_keys SET wrapped = $1 WHERE tenant = $2 AND version = $3";
        tx.execute(sql.into(), values![wrapped, &tenant, version]).await?;
    }
    tx.commit().await?;
    Ok(count)
}
