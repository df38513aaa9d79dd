//! `application/x-www-form-urlencoded` (WHATWG URL §5): the pairs in their order, repeated names kept, because Twilio
//! signs all of them.

/// Decodes a body. Bytes that are not UTF-8 become U+FFFD.
#[must_use]
pub fn decode(body: &[u8]) -> Vec<(String, String)> {
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = at.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
            (unescaped(name), unescaped(value))
        })
        .collect()
}

fn unescaped(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            (byte, _) => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Encodes pairs.
pub fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs.into_iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_bodies_are_read_as_browsers_do() {
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(decode(b""), []);
        assert_eq!(
            decode(b"a=1&a=2&&b&=c&d=e=f"),
            pairs(&[("a", "1"), ("a", "2"), ("b", ""), ("", "c"), ("d", "e=f")])
        );
        assert_eq!(
            decode(b"x=%2b49+30%&y=%zz%4&z=%ff"),
            pairs(&[("x", "+49 30%"), ("y", "%zz%4"), ("z", "\u{FFFD}")])
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(pairs: Vec<(String, String)>) {
            let body = encode(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            prop_assert_eq!(decode(body.as_bytes()), pairs);
        }

        #[test]
        fn no_body_panics(body: Vec<u8>) {
            let _ = decode(&body);
        }
    }
}
