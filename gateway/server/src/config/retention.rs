//! How long a tenant's rows are kept.

use patchbay_store::Retention;
use serde::Serialize;

use super::section::Section;

/// What a tenant says: days, zero for never. What it leaves out is as the machine's `[storage]` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TenantRetention {
    /// What was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcripts_days: Option<u32>,
    /// Calls and their legs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_days: Option<u32>,
    /// Usage, which names nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_days: Option<u32>,
    /// Recordings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recordings_days: Option<u32>,
}

impl TenantRetention {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let mut days = |key| section.integer(key, 0..=36_500).and_then(|days| u32::try_from(days).ok());
        Self {
            transcripts_days: days("transcripts_days"),
            calls_days: days("calls_days"),
            usage_days: days("usage_days"),
            recordings_days: days("recordings_days"),
        }
    }

    /// Never longer than `most`, and no recording longer than its call, which is how it is found.
    #[must_use]
    pub fn within(self, most: Retention) -> Retention {
        let shorter = |said: Option<u32>, most: u32| said.map_or(most, |said| said.min(most));
        let calls_days = shorter(self.calls_days, most.calls_days);
        Retention {
            transcripts_days: shorter(self.transcripts_days, most.transcripts_days),
            calls_days,
            usage_days: shorter(self.usage_days, most.usage_days),
            recordings_days: shorter(self.recordings_days, most.recordings_days).min(calls_days),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_may_keep_less_and_never_more() {
        let most = Retention { recordings_days: 500, ..Retention::default() };
        let said = TenantRetention {
            transcripts_days: Some(0),
            calls_days: Some(1_000),
            ..TenantRetention::default()
        };
        let kept = said.within(most);
        assert_eq!(kept.recordings_days, 395, "a recording outlives its call");
        assert_eq!((kept.transcripts_days, kept.calls_days, kept.usage_days), (0, 395, 2_555));
    }
}
