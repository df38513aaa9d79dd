//! How long rows are kept.

use serde::Serialize;

use crate::error::StoreError;
use crate::row::UnixMs;
use crate::store::{Horizon, Store};

/// Days that a tenant's rows are kept. Defaults: reference/reliability.md §5.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Retention {
    /// Transcripts.
    pub transcripts_days: u32,
    /// Calls and legs, with sealed numbers.
    pub calls_days: u32,
    /// Usage, which names nobody once its calls are gone.
    pub usage_days: u32,
    /// Recordings, which go from the call while its row stays.
    pub recordings_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { transcripts_days: 30, calls_days: 395, usage_days: 2_555, recordings_days: 30 }
    }
}

/// What a sweep deleted, in rows of all tenants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Tenants that were looked at.
    pub tenants: u64,
    /// Calls deleted.
    pub calls: u64,
    /// Items of transcripts deleted.
    pub transcripts: u64,
    /// Usage rows deleted.
    pub usage: u64,
    /// Recordings that no call names any more.
    pub recordings: u64,
}

/// Days in which every machine learns that a recording is gone.
const GONE_DAYS: u32 = 90;

/// Deletes what is too old, tenant by tenant; to be called hourly. `retention_of` answers a tenant's, deleted tenants
/// among them.
///
/// # Errors
/// A fault of the store; tenants before it were swept.
pub async fn sweep(
    store: &dyn Store,
    now: UnixMs,
    retention_of: impl Fn(&str) -> Retention + Send,
) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    for tenant in store.tenants_with_rows().await? {
        let retention = retention_of(&tenant);
        let horizon = Horizon {
            transcripts: now.minus_days(retention.transcripts_days),
            calls: now.minus_days(retention.calls_days),
            usage: now.minus_days(retention.usage_days),
            recordings: now.minus_days(retention.recordings_days),
            gone: now.minus_days(GONE_DAYS),
        };
        let gone = store.retain(&tenant, &horizon).await?;
        swept.tenants += 1;
        swept.calls += gone.calls;
        swept.transcripts += gone.transcripts;
        swept.usage += gone.usage;
        swept.recordings += gone.recordings;
    }
    Ok(swept)
}
