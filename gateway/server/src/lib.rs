//! The `patchbay` binary as a library.
pub mod transport;
