//! Names of things inside one call. All are small and `Copy`; what the outside calls them stays in the legs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One live peer of one call. A leg that replaces another gets a new id, so that what the old one still sends is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LegId(pub u16);

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leg{}", self.0)
    }
}

/// Contiguous interruptible speech. Numbered upwards by the leg that speaks, in the order of first audio; the leg
/// remembers the provider's own id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UtteranceId(pub u32);

/// A position token whose echo confirms playback. A cut starts a new generation; echoes of older ones prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MarkId {
    /// How many cuts came before.
    pub generation: u32,
    /// Position within the generation, from 0.
    pub seq: u32,
}

impl fmt::Display for MarkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}.{}", self.generation, self.seq)
    }
}

/// A mark name that we did not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a mark of ours")]
pub struct ForeignMark;

impl FromStr for MarkId {
    type Err = ForeignMark;
    /// Parses `g<generation>.<seq>`, the inverse of `Display`.
    fn from_str(name: &str) -> Result<Self, ForeignMark> {
        let (generation, seq) = name.strip_prefix('g').and_then(|r| r.split_once('.')).ok_or(ForeignMark)?;
        let number = |digits: &str| match digits.as_bytes() {
            [b'0'..=b'9', ..] => digits.parse().map_err(|_| ForeignMark),
            _ => Err(ForeignMark),
        };
        Ok(Self { generation: number(generation)?, seq: number(seq)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_the_wire() {
        let mark = MarkId { generation: 7, seq: 4_000_000_000 };
        assert_eq!(mark.to_string().parse(), Ok(mark));
    }

    #[test]
    fn foreign_marks_are_refused() {
        for name in
            ["", "g", "g1", "1.2", "g1.", "g.1", "g1.2.3", "g-1.2", "g+1.2", "g1.99999999999", "responsePart"]
        {
            assert_eq!(name.parse::<MarkId>(), Err(ForeignMark), "{name}");
        }
    }
}
