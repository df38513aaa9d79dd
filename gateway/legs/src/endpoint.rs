//! What the gateway knows about an endpoint kind: one `static` in the endpoint's own file.

use patchbay_core::{Format, Leg};
use serde_json::Value;

/// How a leg of this kind gets its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The peer connects to us.
    Accepted,
    /// We connect to the peer.
    Dialled,
    /// The leg lives inside the gateway: it has no wire, and is opened at once.
    Inside,
}

/// The formats that negotiation chose for one leg, seen from the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// From the peer to us.
    pub ingress: Format,
    /// From us to the peer.
    pub egress: Format,
}

/// A configuration that an endpoint refuses: `serde_json`'s words, which name the key.
#[derive(Debug, thiserror::Error)]
#[error("{kind}: {reason}")]
pub struct ConfigError {
    /// The endpoint kind.
    pub kind: &'static str,
    /// What is wrong and what to write instead.
    pub reason: String,
}

/// Makes a leg.
pub type Open = fn(config: &Value, media: Media) -> Result<Box<dyn Leg>, ConfigError>;

/// Everything the gateway knows about an endpoint kind.
pub struct EndpointDef {
    /// Its name in configuration, recordings and metrics.
    pub kind: &'static str,
    /// How it gets its transport.
    pub transport: Transport,
    /// Formats that the peer can send, best first.
    pub sends: &'static [Format],
    /// Formats that the peer can receive, best first.
    pub receives: &'static [Format],
    /// Makes a leg from the endpoint's own configuration (JSON of its `Config`, unknown keys refused).
    pub open: Open,
}

/// The one list of endpoints.
macro_rules! endpoints {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name;)*
        /// Every endpoint kind of this build.
        pub static ENDPOINTS: &[&$crate::endpoint::EndpointDef] = &[$(&$name::ENDPOINT),*];
    };
}
pub(crate) use endpoints;
