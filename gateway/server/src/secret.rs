//! What must not be printed, by type. It lies in the store's crate, because rows hold it too.

pub use patchbay_store::{Private, Secret};
