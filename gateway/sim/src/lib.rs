//! The doubles: scripted peers on the wire without IO, a virtual clock, and faults.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod browser;
pub mod contract;
pub mod realtime;
pub mod twilio;
pub mod world;
