//! Endpoint protocols without IO: one file each. See `patchbay_core::Leg` for the contract.
//!
//! A new endpoint is one new file and one word in the list below.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod bucket;
pub mod client_events;
pub mod ear;
mod endpoint;
pub mod shape;
mod words;

pub use endpoint::{ConfigError, EndpointDef, Media, Open, Transport};

endpoint::endpoints! { bot, bot_twilio, browser_ws, parrot, realtime, sideband, twilio, webrtc }

/// The endpoint of that kind.
#[must_use]
pub fn endpoint(kind: &str) -> Option<&'static EndpointDef> {
    ENDPOINTS.iter().copied().find(|def| def.kind == kind)
}
