//! Tenants that are managed at run time: from the store into the configuration in use.
//!
//! A change is tried before it is kept: the whole configuration is made anew with it, and what cannot be made is refused
//! with its place and what to write instead. Other machines on the same database follow within [`LOOK_EVERY`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use patchbay_store::{AuditDraft, KeyRow, Store, StoreError, TenantRow, UnixMs};
use tokio::sync::Mutex;

use crate::app::App;
use crate::config::{Kept, Reload, TenantText};
use crate::credential::Credentials;
use crate::secret::Secret;

/// How often the store is asked for what other machines changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Longest name of a tenant or of a secret, in bytes.
const NAME_MAX: usize = 64;
/// Longest text of a tenant, in bytes.
pub const TEXT_MAX: usize = 64 * 1024;

/// The store's tenants, keys and secrets, kept in use.
pub struct Registry {
    store: Arc<dyn Store>,
    reload: Arc<Reload>,
    /// One change at a time; it also holds what was read last.
    seen: Mutex<Option<Seen>>,
}

/// What was read from the store, to know whether something changed.
#[derive(Clone, PartialEq, Eq)]
struct Seen {
    tenants: Vec<TenantRow>,
    keys: Vec<KeyRow>,
    secrets: Vec<(String, String, UnixMs)>,
}

/// Why a change was refused.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A name that is none.
    #[error("{0:?} is no name: letters, digits, - and _, at most 64")]
    Name(String),
    /// Too long.
    #[error("a tenant's text has at most 64 KiB")]
    TooLong,
    /// There is no such tenant in the store.
    #[error("there is no tenant {0:?} in the database")]
    NoTenant(String),
    /// No configuration can be made of it.
    #[error("{0}")]
    Faults(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Registry {
    /// Over `store`; `reload` makes configurations.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, reload: Arc<Reload>) -> Self {
        Self { store, reload, seen: Mutex::default() }
    }

    /// The store itself.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Reads the store, and uses what it has.
    ///
    /// # Errors
    /// A store that cannot be read, or tenants of which no configuration can be made; then what was in use stays.
    pub async fn load(&self, credentials: &Credentials) -> Result<(), ChangeError> {
        let mut seen = self.seen.lock().await;
        self.load_into(&mut seen, credentials).await
    }

    async fn load_into(&self, seen: &mut Option<Seen>, credentials: &Credentials) -> Result<(), ChangeError> {
        let fresh = self.read(None).await?;
        if seen.as_ref() == Some(&fresh) {
            return Ok(());
        }
        let kept = Kept { tenants: texts(&fresh.tenants), sealed: self.unseal(&fresh).await? };
        self.reload.keep(kept).map_err(ChangeError::Faults)?;
        credentials.use_keys(fresh.keys.iter().cloned().map(Into::into));
        *seen = Some(fresh);
        Ok(())
    }

    /// What there is of all tenants, and of one that is about to come.
    async fn read(&self, coming: Option<&str>) -> Result<Seen, StoreError> {
        let tenants = self.store.tenants().await?;
        let names = tenants.iter().map(|tenant| tenant.name.clone()).chain(coming.map(str::to_owned));
        let names: BTreeSet<_> = names.chain(self.reload.tenants()).collect();
        let (mut keys, mut secrets) = (Vec::new(), Vec::new());
        for name in names {
            keys.extend(self.store.keys(&name).await?.into_iter().filter(|key| key.revoked_at.is_none()));
            let kept = self.store.secrets(&name).await?;
            secrets.extend(kept.into_iter().map(|secret| (secret.tenant, secret.name, secret.put_at)));
        }
        Ok(Seen { tenants, keys, secrets })
    }

    async fn unseal(&self, seen: &Seen) -> Result<BTreeMap<(String, String), Secret>, StoreError> {
        let mut sealed = BTreeMap::new();
        for (tenant, name, _) in &seen.secrets {
            if let Some(secret) = self.store.secret(tenant, name).await? {
                sealed.insert((tenant.clone(), name.clone()), secret);
            }
        }
        Ok(sealed)
    }

    /// Tenants of the store by name.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn tenants(&self) -> Result<Vec<TenantRow>, ChangeError> {
        Ok(self.store.tenants().await?)
    }

    /// Puts a tenant: `text` is what would stand below `[tenants.NAME]`. Answers its new revision.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing was changed.
    pub async fn put(
        &self,
        credentials: &Credentials,
        name: &str,
        text: &str,
        expected: Option<u64>,
    ) -> Result<u64, ChangeError> {
        check_name(name)?;
        if text.len() > TEXT_MAX {
            return Err(ChangeError::TooLong);
        }
        let mut seen = self.seen.lock().await;
        let fresh = self.read(Some(name)).await?;
        let mut tenants = texts(&fresh.tenants);
        tenants.retain(|tenant| tenant.name != name);
        tenants.push(TenantText { name: name.to_owned(), text: text.to_owned() });
        let tried = Kept { tenants, sealed: self.unseal(&fresh).await? };
        self.reload.parse_with(&tried).map_err(ChangeError::Faults)?;
        let before = fresh.tenants.iter().find(|tenant| tenant.name == name);
        let revision =
            self.store.put_tenant(name, text, expected.or(before.map(|tenant| tenant.revision))).await?;
        self.audit(name, "tenant.put", name, before.map(|tenant| tenant.document.as_str()), Some(text))
            .await?;
        self.load_into(&mut seen, credentials).await?;
        Ok(revision)
    }

    /// Deletes a tenant of the store. Its calls and usage stay until their time.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub async fn delete(&self, credentials: &Credentials, name: &str) -> Result<(), ChangeError> {
        let mut seen = self.seen.lock().await;
        if !self.store.delete_tenant(name, UnixMs::now()).await? {
            return Err(ChangeError::NoTenant(name.to_owned()));
        }
        self.audit(name, "tenant.delete", name, None, None).await?;
        self.load_into(&mut seen, credentials).await
    }

    /// Seals a secret of a tenant, for `{ sealed = "NAME" }`. The tenant may come later.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub async fn put_secret(
        &self,
        credentials: &Credentials,
        tenant: &str,
        name: &str,
        secret: &Secret,
    ) -> Result<(), ChangeError> {
        check_name(tenant)?;
        check_name(name)?;
        let mut seen = self.seen.lock().await;
        self.store.put_secret(tenant, name, secret).await?;
        self.audit(tenant, "secret.put", name, None, None).await?;
        self.load_into(&mut seen, credentials).await
    }

    /// Deletes a secret. A tenant that still names it makes this fail before anything is changed.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub async fn delete_secret(
        &self,
        credentials: &Credentials,
        tenant: &str,
        name: &str,
    ) -> Result<bool, ChangeError> {
        let mut seen = self.seen.lock().await;
        let fresh = self.read(Some(tenant)).await?;
        let mut sealed = self.unseal(&fresh).await?;
        sealed.remove(&(tenant.to_owned(), name.to_owned()));
        let tried = Kept { tenants: texts(&fresh.tenants), sealed };
        self.reload.parse_with(&tried).map_err(ChangeError::Faults)?;
        let was_there = self.store.delete_secret(tenant, name).await?;
        self.audit(tenant, "secret.delete", name, None, None).await?;
        self.load_into(&mut seen, credentials).await?;
        Ok(was_there)
    }

    /// Keeps a key that was just minted.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub async fn put_key(&self, credentials: &Credentials, key: &KeyRow) -> Result<(), ChangeError> {
        let mut seen = self.seen.lock().await;
        self.store.put_key(key).await?;
        self.audit(&key.tenant, "key.put", &key.id, None, None).await?;
        self.load_into(&mut seen, credentials).await
    }

    /// Takes a key back. It opens nothing from now on, here; within five seconds, anywhere.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub async fn revoke_key(
        &self,
        credentials: &Credentials,
        tenant: &str,
        id: &str,
    ) -> Result<bool, ChangeError> {
        let mut seen = self.seen.lock().await;
        let was_there = self.store.revoke_key(tenant, id, UnixMs::now()).await?;
        self.audit(tenant, "key.revoke", id, None, None).await?;
        self.load_into(&mut seen, credentials).await?;
        Ok(was_there)
    }

    /// Follows what other machines change, for ever. The caller owns the task.
    pub async fn follow(&self, app: &App) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let credentials = &app.credentials;
            // A store that is away is told of by the journal, once; what was in use stays in use.
            if let Err(ChangeError::Faults(faults)) = self.load(credentials).await {
                tracing::error!(%faults, "the database's tenants are bad, the old ones stay in use");
            }
            // What a tenant spent before it came to this machine; a store that is away is asked again.
            let _ = app.till.restore(&app.config(), UnixMs::now()).await;
        }
    }

    /// Every change is told to those who come later.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub async fn audit(
        &self,
        tenant: &str,
        action: &str,
        target: &str,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<(), StoreError> {
        let draft = AuditDraft {
            tenant: Some(tenant.to_owned()),
            at: UnixMs::now(),
            actor: "operator".to_owned(),
            action: action.to_owned(),
            target: target.to_owned(),
            before: before.map(digest),
            after: after.map(digest),
        };
        self.store.append_audit(draft).await.map(drop)
    }
}

fn texts(rows: &[TenantRow]) -> Vec<TenantText> {
    rows.iter().map(|row| TenantText { name: row.name.clone(), text: row.document.clone() }).collect()
}

fn check_name(name: &str) -> Result<(), ChangeError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_name = (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_plain);
    is_name.then_some(()).ok_or_else(|| ChangeError::Name(name.chars().take(NAME_MAX).collect()))
}

/// SHA-256 in hex.
fn digest(text: &str) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
