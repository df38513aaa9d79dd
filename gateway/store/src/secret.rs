//! What must not be printed, by type: [`Secret`] for keys and tokens, [`Private`] for personal data.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key or token of the configuration, and where it came from. Prints the latter.
#[derive(Clone)]
pub struct Secret {
    value: SecretString,
    source: Box<str>,
}

impl Secret {
    /// A secret and, in words, where it came from.
    #[must_use]
    pub fn new(value: String, source: &str) -> Self {
        Self { value: value.into(), source: source.into() }
    }

    /// The secret itself: for a header or a keyed hash, never for a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[redacted: {}]", self.source)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// Personal data: a number, a transcript, an address. Prints `[private]`; equality and order work.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Private<T>(T);

impl<T> Private<T> {
    /// Marks `value` as personal.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself: for the wire, never for a log.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[private]")
    }
}

impl<T> fmt::Display for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[private]")
    }
}

/// Serialises personal data in clear: rows are written out for their owner, and into the sealed spill, and nowhere else.
/// For a field of a row: `#[serde(with = "revealed")]`.
pub(crate) mod revealed {
    use super::{Deserialize, Deserializer, Private, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        value: &Private<impl Serialize>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.reveal().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<Private<T>, D::Error> {
        T::deserialize(deserializer).map(Private::new)
    }
}

/// The same for what may be absent.
pub(crate) mod revealed_option {
    use super::{Deserialize, Deserializer, Private, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Private<impl Serialize>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(Private::reveal).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<Option<Private<T>>, D::Error> {
        Option::<T>::deserialize(deserializer).map(|value| value.map(Private::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_secret_nor_personal_data_can_be_printed() {
        let secret = Secret::new("sk-very-secret".into(), "env OPENAI_API_KEY");
        assert_eq!(format!("{secret:?}"), "[redacted: env OPENAI_API_KEY]");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted: env OPENAI_API_KEY]\"");
        let number = Private::new("+4930123456".to_owned());
        assert_eq!(format!("{number} {number:?} {:?}", Some(&number)), "[private] [private] Some([private])");
        assert_eq!(number.reveal(), "+4930123456");
    }
}
