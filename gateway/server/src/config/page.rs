//! The page at `/`: whom it talks to, and whether strangers may.

use std::num::NonZeroU32;

use serde::Serialize;

use super::count;
use super::section::Section;

/// The page at `/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageSettings {
    /// Whether whoever opens the page gets a token: then strangers talk at the tenant's expense.
    pub open: bool,
    /// Whose route.
    pub tenant: String,
    /// Which.
    pub route: String,
    /// Tokens that one address gets in a minute.
    pub tokens_per_minute_max: NonZeroU32,
}

impl PageSettings {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let named =
            |text: Option<super::section::Located<String>>| text.map(|text| text.value).unwrap_or_default();
        Self {
            open: section.switch("open").unwrap_or_default(),
            tenant: named(section.text("tenant", "default")),
            route: named(section.text("route", "default")),
            tokens_per_minute_max: NonZeroU32::new(count(section, "tokens_per_minute_max", 1..=1_000_000))
                .unwrap_or(NonZeroU32::MIN),
        }
    }
}
