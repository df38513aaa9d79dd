//! The stores, from outside: one suite over memory, SQLite and PostgreSQL, and what happens to each when it fails.

mod places;
mod postgres;
mod rows;
mod suite;
