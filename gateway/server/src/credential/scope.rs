//! What a credential may do.

use std::fmt;

use serde::{Serialize, Serializer};

/// One permission. A closed set: a word that is not here is no permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scope {
    /// To talk: open a call of one's own by WebSocket or WebRTC.
    RealtimeConnect,
    /// To read the tenant's calls.
    CallsRead,
    /// To make, steer and end the tenant's calls.
    CallsWrite,
    /// To mint client secrets.
    SecretsCreate,
    /// To read what was used and what it cost.
    UsageRead,
    /// To register bots.
    BotsWrite,
    /// To manage the tenant's keys, routes and limits.
    Admin,
}

impl Scope {
    /// Every permission there is.
    pub const ALL: [Self; 7] = [
        Self::RealtimeConnect,
        Self::CallsRead,
        Self::CallsWrite,
        Self::SecretsCreate,
        Self::UsageRead,
        Self::BotsWrite,
        Self::Admin,
    ];

    /// Its word, in keys, tokens and errors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RealtimeConnect => "realtime:connect",
            Self::CallsRead => "calls:read",
            Self::CallsWrite => "calls:write",
            Self::SecretsCreate => "secrets:create",
            Self::UsageRead => "usage:read",
            Self::BotsWrite => "bots:write",
            Self::Admin => "admin",
        }
    }

    /// The permission of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of permissions. None includes another: `admin` may not read calls unless it says so.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u16);

impl Scopes {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// The permissions of the words in `words` that are permissions; others are none (RFC 6749 §3.3 lets a server
    /// ignore them).
    #[must_use]
    pub fn of_words<'w>(words: impl IntoIterator<Item = &'w str>) -> Self {
        words.into_iter().filter_map(Scope::parse).collect()
    }

    /// Whether `scope` is among them.
    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Those that both have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// One by one, in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Scope::as_str)).finish()
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Scope::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_permission_gives_none() {
        assert_eq!(Scopes::of_words(["calls", "CALLS:READ", "calls:read ", "*", ""]), Scopes::NONE);
        let both = Scopes::of_words(["calls:read", "openid", "admin"]);
        assert_eq!(both.iter().collect::<Vec<_>>(), [Scope::CallsRead, Scope::Admin]);
    }

    #[test]
    fn no_permission_includes_another() {
        for held in Scope::ALL {
            let scopes: Scopes = [held].into_iter().collect();
            for asked in Scope::ALL {
                assert_eq!(scopes.has(asked), held == asked, "{held} {asked}");
            }
        }
    }
}
