//! The stores: what is kept of calls, money and identities, in memory, in SQLite or in PostgreSQL.
//!
//! [`Store`] is a trait of domain operations. The media path never calls it: it pushes an [`Entry`] into the journal,
//! which writes batches, and spills to a local file while the database is away. Personal columns and provider keys are
//! sealed with a key of their tenant, which the master key wraps.

mod audit;
mod error;
mod identity;
mod master_key;
mod memory;
mod open;
mod postgres;
mod queue;
mod retention;
mod row;
mod seal;
mod secret;
mod spill;
mod sql;
mod sqlite;
mod store;
mod usage;
mod writer;

pub use audit::{AuditDraft, AuditRow};
pub use error::StoreError;
pub use identity::{BotKeyRow, BotRow, KeyRow, RouteRow, SecretName, TenantRow};
pub use master_key::{MasterKey, StagedKey};
pub use memory::MemoryStore;
pub use open::{migrate, open, rotate_master};
pub use queue::{Counters, Lane};
pub use retention::{Retention, Swept, sweep};
pub use row::{CallPage, CallRow, CutRow, Entry, LegRow, TranscriptRow, UnixMs};
pub use secret::{Private, Secret};
pub use spill::SpillOptions;
pub use store::{Answer, CallFilter, Forgotten, Gone, Horizon, Page, Retained, Store, Subject};
pub use usage::{Group, Quality, UsageQuery, UsageRow, UsageSum};
pub use writer::Writer;

/// Most entries that one [`Store::write`] takes.
pub const BATCH_MAX: usize = 500;

/// Most rows that one page holds.
pub const PAGE_MAX: u32 = 500;
