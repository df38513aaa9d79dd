//! The `patchbay` binary as a library.
pub mod calls;
pub mod driver;
pub mod journal;
pub mod metrics;
pub mod prompts;
pub mod recorder;
pub mod transport;
