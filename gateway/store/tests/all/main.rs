//! The stores, from outside: one suite over memory, SQLite and PostgreSQL, and what happens to each when it fails.

#![expect(clippy::unwrap_used, reason = "a test")]

mod faults;
mod journal;
mod outage;
mod places;
mod postgres;
mod privacy;
mod rows;
mod small_disk;
mod suite;
mod tenants;
