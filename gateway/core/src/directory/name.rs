//! Names within the directory.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

/// A bot of a tenant, as `TENANT/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BotId(Arc<str>);

/// Not a name of a bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bot's id has up to 64 of a-z, 0-9, - and _")]
pub struct BadBotId;

impl BotId {
    /// Longest name within the tenant, in bytes.
    pub const NAME_MAX: usize = 64;

    /// The bot `name` of `tenant`.
    ///
    /// # Errors
    /// [`BadBotId`]
    pub fn new(tenant: &str, name: &str) -> Result<Self, BadBotId> {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        let is_name = (1..=Self::NAME_MAX).contains(&name.len()) && name.bytes().all(is_plain);
        let is_tenant = !tenant.is_empty() && !tenant.contains('/');
        if is_name && is_tenant { Ok(Self(format!("{tenant}/{name}").into())) } else { Err(BadBotId) }
    }

    /// Whose.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.parts().0
    }

    /// Its name within the tenant.
    #[must_use]
    pub fn name(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').expect("a bot's id was made of two parts")
    }
}

impl Deref for BotId {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for BotId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// What the shell calls a call.
pub type CallName = Arc<str>;

/// Names a lease: 128 bits that the shell makes so that nobody can guess them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u128);

impl LeaseId {
    const PREFIX: &'static str = "lease_";
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:032x}", Self::PREFIX, self.0)
    }
}

/// Not the name of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lease is named lease_ and 32 hexadecimal digits")]
pub struct BadLeaseId;

impl FromStr for LeaseId {
    type Err = BadLeaseId;

    fn from_str(text: &str) -> Result<Self, BadLeaseId> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let digits = text.strip_prefix(Self::PREFIX).ok_or(BadLeaseId)?;
        let is_ours = digits.len() == 32 && digits.bytes().all(is_digit);
        let number = u128::from_str_radix(digits, 16).ok().filter(|_| is_ours);
        number.map(Self).ok_or(BadLeaseId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bot_is_named_within_its_tenant() {
        let bot = BotId::new("acme", "front-desk_2").unwrap();
        assert_eq!((bot.tenant(), bot.name(), &*bot), ("acme", "front-desk_2", "acme/front-desk_2"));
        let long = "x".repeat(65);
        for bad in ["", "a/b", "A", "ä", "a b", "a.b", &long] {
            assert_eq!(BotId::new("acme", bad), Err(BadBotId), "{bad}");
        }
        assert_eq!(BotId::new("", "a"), Err(BadBotId));
        assert_eq!(BotId::new("a/b", "c"), Err(BadBotId), "else it would be the bot b/c of a");
    }

    #[test]
    fn a_lease_has_one_spelling() {
        let lease = LeaseId(0xab);
        assert_eq!(lease.to_string().parse(), Ok(lease));
        let upper = lease.to_string().replace('b', "B");
        for bad in ["", "lease_", "lease_ab", "lease_+0000000000000000000000000000ab", upper.as_str()] {
            assert_eq!(bad.parse::<LeaseId>(), Err(BadLeaseId), "{bad}");
        }
    }
}
