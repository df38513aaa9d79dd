//! The seam between the operations, which are written once, and the two databases.

use std::borrow::Cow;

use super::value::{Row, Value};
use crate::store::Answer;

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Reads one state.
    Read,
    /// Writes; waits for other writers where the database has one at a time.
    Write,
    /// Changes the schema: alone.
    Migrate,
}

/// A database that understands `$1`, `ON CONFLICT` and `RETURNING`.
pub(crate) trait Database: Send + Sync {
    /// Begins a transaction, which ends by `commit`, or is undone when it is dropped.
    fn begin(&self, purpose: Purpose) -> Answer<'_, Box<dyn Transaction>>;
    /// The schema in this database's words.
    fn dialect(&self) -> Dialect;
    /// Copies everything aside before the schema changes from `version`, where that is ours to do.
    fn back_up(&self, version: i64) -> Answer<'_, ()>;
    /// Leaves nothing of deleted rows behind, where that is ours to do.
    fn tidy(&self) -> Answer<'_, ()>;
}

/// One transaction.
pub(crate) trait Transaction: Send {
    /// Runs a statement; how many rows it touched.
    fn execute(&mut self, sql: Cow<'static, str>, values: Vec<Value>) -> Answer<'_, u64>;
    /// Runs a statement that answers rows.
    fn rows(&mut self, sql: Cow<'static, str>, values: Vec<Value>) -> Answer<'_, Vec<Row>>;
    /// Makes it last.
    fn commit(self: Box<Self>) -> Answer<'static, ()>;
}

/// Words in which the two databases differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    pub(crate) int: &'static str,
    pub(crate) bytes: &'static str,
    pub(crate) table_suffix: &'static str,
}
