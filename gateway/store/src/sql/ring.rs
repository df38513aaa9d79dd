//! The tenants' keys: made at the first write, kept in memory, read anew for reading.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::database::{Database, Purpose, Transaction};
use super::value::values;
use crate::error::StoreError;
use crate::master_key::MasterKey;
use crate::row::UnixMs;
use crate::seal::{SALT, TenantKeys, unwrap_key, wrap_new};

/// No tenant has this name: under it lies a key that only tells whether the master key is the right one.
const NOBODY: &str = "";

/// The keys to a database. The lock protects the keys that were unwrapped, for the time of a look-up.
pub(super) struct KeyRing {
    pub(super) master: MasterKey,
    unwrapped: Mutex<BTreeMap<String, Arc<TenantKeys>>>,
}

impl KeyRing {
    pub(super) fn new(master: MasterKey) -> Self {
        Self { master, unwrapped: Mutex::default() }
    }

    /// Whether the master key is the one that this database was sealed with; a new database takes it.
    pub(super) async fn check(&self, database: &dyn Database) -> Result<(), StoreError> {
        let mut tx = database.begin(Purpose::Read).await?;
        let mut wrapped = wrapped(&mut *tx, NOBODY).await?;
        drop(tx);
        if wrapped.is_empty() {
            let mut tx = database.begin(Purpose::Write).await?;
            insert(&mut *tx, NOBODY, SALT, wrap_new(&self.master, NOBODY, SALT)?).await?;
            wrapped = self::wrapped(&mut *tx, NOBODY).await?;
            tx.commit().await?;
        }
        for (version, bytes) in wrapped {
            unwrap_key(&self.master, NOBODY, version, &bytes)?;
        }
        Ok(())
    }

    /// The keys to seal with, made if the tenant has none. They are committed before they are used.
    pub(super) async fn to_seal(
        &self,
        database: &dyn Database,
        tenant: &str,
    ) -> Result<Arc<TenantKeys>, StoreError> {
        if tenant == NOBODY {
            return Err(StoreError::invalid("a row without a tenant"));
        }
        if let Some(keys) = self.lock().get(tenant) {
            return Ok(keys.clone());
        }
        let mut tx = database.begin(Purpose::Read).await?;
        let found = self.to_open(&mut *tx, tenant).await?;
        drop(tx);
        let keys = match found {
            Some(keys) => keys,
            None => self.make(database, tenant).await?,
        };
        self.lock().insert(tenant.to_owned(), keys.clone());
        Ok(keys)
    }

    async fn make(&self, database: &dyn Database, tenant: &str) -> Result<Arc<TenantKeys>, StoreError> {
        let mut tx = database.begin(Purpose::Write).await?;
        for version in [SALT, 1] {
            insert(&mut *tx, tenant, version, wrap_new(&self.master, tenant, version)?).await?;
        }
        let keys = self.to_open(&mut *tx, tenant).await?;
        tx.commit().await?;
        keys.ok_or_else(|| StoreError::Refused { reason: "keys that were inserted are not there".to_owned() })
    }

    /// The keys as they are stored now: another machine may have rotated them. `None`: nothing was ever sealed.
    pub(super) async fn to_open(
        &self,
        tx: &mut dyn Transaction,
        tenant: &str,
    ) -> Result<Option<Arc<TenantKeys>>, StoreError> {
        let wrapped = wrapped(tx, tenant).await?;
        Ok(TenantKeys::unwrap(&self.master, tenant, wrapped)?.map(Arc::new))
    }

    /// Forgets what was unwrapped for `tenant`, because it was rotated.
    pub(super) fn forget(&self, tenant: &str) {
        self.lock().remove(tenant);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<TenantKeys>>> {
        self.unwrapped.lock().expect("no look-up of keys panics")
    }
}

/// The keys of many tenants, while one page is read.
pub(super) struct Opened<'a> {
    ring: &'a KeyRing,
    keys: BTreeMap<String, Option<Arc<TenantKeys>>>,
}

impl<'a> Opened<'a> {
    pub(super) fn new(ring: &'a KeyRing) -> Self {
        Self { ring, keys: BTreeMap::new() }
    }

    /// The keys of a tenant that has sealed rows.
    pub(super) async fn of(
        &mut self,
        tx: &mut dyn Transaction,
        tenant: &str,
    ) -> Result<Arc<TenantKeys>, StoreError> {
        if !self.keys.contains_key(tenant) {
            let keys = self.ring.to_open(tx, tenant).await?;
            self.keys.insert(tenant.to_owned(), keys);
        }
        self.keys[tenant].clone().ok_or_else(|| StoreError::Corrupt {
            place: "table tenant_keys".to_owned(),
            reason: "a tenant has sealed rows and no key".to_owned(),
        })
    }
}

async fn wrapped(tx: &mut dyn Transaction, tenant: &str) -> Result<Vec<(u32, Vec<u8>)>, StoreError> {
    let sql = "SELECT version, wrapped FROM tenant_keys WHERE tenant = $1 ORDER BY version";
    let rows = tx.rows(sql.into(), values![tenant]).await?;
    rows.into_iter().map(|mut row| Ok((row.unsigned()?, row.bytes()?))).collect()
}

/// Whoever was first stays.
pub(super) async fn insert(
    tx: &mut dyn Transaction,
    tenant: &str,
    version: u32,
    wrapped: Vec<u8>,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO tenant_keys (tenant, version, wrapped, created_at) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (tenant, version) DO NOTHING";
    tx.execute(sql.into(), values![tenant, version, wrapped, UnixMs::now()]).await.map(drop)
}
