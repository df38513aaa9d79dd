//! Wires that a peer should not send, made from wires that it does: by bytes, and by JSON values.

use patchbay_core::{Packet, Wire};
use serde_json::{Value, json};

/// A generator whose numbers follow from its seed (SplitMix64, Steele et al. 2014).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`; zero when that is zero.
    pub(super) fn below(&mut self, bound: u16) -> u16 {
        u16::try_from(self.index(bound.into())).expect("an index is below its bound")
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// An index below `bound`; zero when that is zero.
    fn index(&mut self, bound: usize) -> usize {
        let index = self.next().checked_rem(bound as u64).unwrap_or(0);
        usize::try_from(index).expect("an index is below its bound")
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.index(of.len()))
    }

    /// At most `bound` random bytes.
    pub(super) fn bytes(&mut self, bound: usize) -> Vec<u8> {
        (0..self.index(bound + 1)).map(|_| self.byte()).collect()
    }
}

/// One of `samples`, broken. Text stays UTF-8, because the transport sees to that.
pub(super) fn mutated(samples: &[Wire], random: &mut Random) -> Wire {
    match random.pick(samples).cloned() {
        Some(Wire::Text(text)) => {
            let other = random.pick(samples).cloned();
            let broken = broken_text(&text, other.as_ref(), random);
            Wire::Text(String::from_utf8_lossy(&broken).into_owned().into())
        }
        Some(Wire::Binary(bytes)) => Wire::Binary(broken_bytes(&bytes, random).into()),
        Some(Wire::Packet(packet)) => Wire::Packet(broken_packet(packet, random)),
        Some(other) => other,
        None => Wire::Binary(random.bytes(64).into()),
    }
}

fn broken_text(text: &[u8], other: Option<&Wire>, random: &mut Random) -> Vec<u8> {
    match (random.below(10), serde_json::from_slice::<Value>(text)) {
        (0, _) => nested(random),
        (1, _) => spliced(text, other, random),
        (2..=6, Ok(mut value)) => {
            break_value(&mut value, random);
            value.to_string().into_bytes()
        }
        _ => broken_bytes(text, random),
    }
}

/// Late, early, doubled, cut or flipped.
fn broken_packet(mut packet: Packet, random: &mut Random) -> Packet {
    match random.below(6) {
        0 => packet.seq = packet.seq.saturating_sub(random.below(2_000).into()),
        1 => packet.seq = packet.seq.saturating_add(random.below(2_000).into()),
        2 => packet.time = packet.time.saturating_sub(random.next() >> random.below(64)),
        3 => packet.time = packet.time.saturating_add(random.next() >> random.below(64)),
        _ => packet.payload = broken_bytes(&packet.payload, random).into(),
    }
    packet
}

fn broken_bytes(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut broken = bytes.to_vec();
    for _ in 0..=random.below(3) {
        let place = random.index(broken.len().max(1)).min(broken.len());
        match random.below(4) {
            0 => broken.truncate(place),
            1 => broken.insert(place, random.byte()),
            2 if place < broken.len() => drop(broken.remove(place)),
            3 if place < broken.len() => broken[place] ^= 1 << random.below(8),
            _ => {}
        }
    }
    broken
}

fn nested(random: &mut Random) -> Vec<u8> {
    let unit = if random.below(2) == 0 { "[" } else { "{\"media\":" };
    unit.repeat(random.index(20_000)).into_bytes()
}

fn spliced(text: &[u8], other: Option<&Wire>, random: &mut Random) -> Vec<u8> {
    let Some(Wire::Text(other)) = other else { return text.to_vec() };
    let (head, tail) = (random.index(text.len() + 1), random.index(other.len() + 1));
    [&text[..head], &other[tail..]].concat()
}

/// Breaks one value somewhere inside: replaced, removed, or under another name.
fn break_value(value: &mut Value, random: &mut Random) {
    let is_here = random.below(4) == 0;
    match value {
        Value::Object(members) if !is_here && !members.is_empty() => {
            let place = random.index(members.len());
            let key = members.keys().nth(place).cloned().unwrap_or_default();
            match random.below(6) {
                0 => drop(members.remove(&key)),
                1 => {
                    let moved = members.remove(&key).unwrap_or_default();
                    members.insert(format!("{key}x"), moved);
                }
                _ => break_value(members.get_mut(&key).unwrap_or(&mut Value::Null), random),
            }
        }
        Value::Array(items) if !is_here && !items.is_empty() => {
            let place = random.index(items.len());
            break_value(&mut items[place], random);
        }
        _ => *value = odd_value(value, random),
    }
}

fn odd_value(old: &Value, random: &mut Random) -> Value {
    match random.below(14) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(1e308),
        5 => json!(i64::MIN),
        6 => json!(""),
        7 => json!("18446744073709551616"),
        8 => json!("\u{0}\u{feff}\"\\\u{10ffff}"),
        9 => json!("A".repeat(random.index(70_000))),
        10 => json!([old]),
        11 => json!({"event": old, "payload": "////"}),
        12 => json!(old.to_string()),
        _ => json!(random.next().to_string()),
    }
}
