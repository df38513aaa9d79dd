//! Values on their way to a database and back.

use std::vec::IntoIter;

use crate::error::StoreError;
use crate::row::UnixMs;

/// What both databases have in common. NULL has a type on its way in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

/// Makes the values of a statement.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::sql::value::Value::from($value)),*] };
}
pub(crate) use values;

/// Makes a statement of either database, its values bound. What is put together here is of this crate's own words;
/// whatever comes from outside is a value.
macro_rules! bound {
    ($sql:expr, $values:expr) => {{
        use $crate::sql::value::Value;
        let query = match $sql {
            std::borrow::Cow::Borrowed(sql) => sqlx::query(sql),
            std::borrow::Cow::Owned(sql) => sqlx::query(sqlx::AssertSqlSafe(sql)),
        };
        $values.into_iter().fold(query, |query, value| match value {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value),
        })
    }};
}
pub(crate) use bound;

/// Most that one count of a row may be: sums of a million million rows of it stay exact.
const COUNT_MAX: u64 = 1 << 40;

/// A count as it is stored. What no provider can mean is cut to what can be summed.
pub(crate) fn count(number: u64) -> i64 {
    i64::try_from(number.min(COUNT_MAX)).expect("2^40 fits")
}

/// Money as it is stored.
pub(crate) fn money(micro_usd: i64) -> i64 {
    micro_usd.clamp(-(1 << 50), 1 << 50)
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(Some(number.into()))
    }
}

impl From<UnixMs> for Value {
    fn from(at: UnixMs) -> Self {
        Self::Int(Some(at.0))
    }
}

impl From<Option<UnixMs>> for Value {
    fn from(at: Option<UnixMs>) -> Self {
        Self::Int(at.map(|at| at.0))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(without_nul(text)))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&Option<String>> for Value {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.as_deref().map(without_nul))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(without_nul))
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Some(bytes.to_vec()))
    }
}

impl From<Option<Vec<u8>>> for Value {
    fn from(bytes: Option<Vec<u8>>) -> Self {
        Self::Bytes(bytes)
    }
}

/// PostgreSQL's text holds no NUL, and one from outside must not make a batch impossible to write.
fn without_nul(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
}

/// A row that is read column by column, in the order of the statement.
pub(crate) struct Row(IntoIter<Value>);

impl Row {
    pub(crate) fn new(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    /// What was not read yet.
    pub(crate) fn rest(self) -> Vec<Value> {
        self.0.collect()
    }

    pub(crate) fn int_or_none(&mut self) -> Result<Option<i64>, StoreError> {
        match self.0.next() {
            Some(Value::Int(number)) => Ok(number),
            Some(Value::Text(None) | Value::Bytes(None)) => Ok(None),
            other => Err(unexpected("a number", other.as_ref())),
        }
    }

    pub(crate) fn text_or_none(&mut self) -> Result<Option<String>, StoreError> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(text),
            Some(Value::Int(None) | Value::Bytes(None)) => Ok(None),
            other => Err(unexpected("text", other.as_ref())),
        }
    }

    pub(crate) fn bytes_or_none(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.0.next() {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            Some(Value::Int(None) | Value::Text(None)) => Ok(None),
            other => Err(unexpected("bytes", other.as_ref())),
        }
    }

    pub(crate) fn int(&mut self) -> Result<i64, StoreError> {
        self.int_or_none()?.ok_or_else(|| unexpected("a number", None))
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.text_or_none()?.ok_or_else(|| unexpected("text", None))
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        self.bytes_or_none()?.ok_or_else(|| unexpected("bytes", None))
    }

    /// A number that cannot be negative, in any unsigned type.
    pub(crate) fn unsigned<T: TryFrom<i64>>(&mut self) -> Result<T, StoreError> {
        let number = self.int()?;
        T::try_from(number).map_err(|_| unexpected("a small number", Some(&Value::Int(Some(number)))))
    }

    pub(crate) fn unsigned_or_none<T: TryFrom<i64>>(&mut self) -> Result<Option<T>, StoreError> {
        let number = self.int_or_none()?;
        let fits = number.map(T::try_from).transpose();
        fits.map_err(|_| unexpected("a small number", Some(&Value::Int(number))))
    }

    pub(crate) fn at(&mut self) -> Result<UnixMs, StoreError> {
        self.int().map(UnixMs)
    }

    pub(crate) fn at_or_none(&mut self) -> Result<Option<UnixMs>, StoreError> {
        Ok(self.int_or_none()?.map(UnixMs))
    }
}

/// Says kinds only: a value may be personal.
fn unexpected(wanted: &str, found: Option<&Value>) -> StoreError {
    let found = match found {
        None => "nothing",
        Some(Value::Int(_)) => "a number",
        Some(Value::Text(_)) => "text",
        Some(Value::Bytes(_)) => "bytes",
    };
    StoreError::Corrupt {
        place: "row".to_owned(),
        reason: format!("{wanted} was expected, and {found} found"),
    }
}
