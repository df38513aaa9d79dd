//! The hot path in: finds the audio of a `response.output_audio.delta` without a JSON tree and without decoding it.
//!
//! The scanner reads one flat object whose values are plain strings and numbers. Everything else (an escape, a nested
//! value, a key twice, a malformed byte) is left to the full parser, so it can be slow but never wrong.

use bytes::Bytes;

use crate::client_events::Scanner;

/// What an audio delta says. Ids are opaque; the audio is base64 text, not yet checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AudioDelta<'a> {
    pub(super) response: &'a str,
    pub(super) item: &'a str,
    /// Which of the response's items.
    pub(super) output: u32,
    pub(super) part: u32,
    pub(super) audio: Bytes,
}

/// The names of an audio delta: GA and beta.
pub(super) const NAMES: [&str; 2] = ["response.output_audio.delta", "response.audio.delta"];

/// Reads `message` as an audio delta, or `None`: another event, or one that needs the full parser.
pub(super) fn scan(message: &Bytes) -> Option<AudioDelta<'_>> {
    let mut scanner = Scanner::new(message);
    let (mut kind, mut response, mut item, mut audio) = (None, None, None, None);
    let (mut part, mut output) = (None, None);
    scanner.expect(b'{')?;
    loop {
        let key = scanner.string()?;
        scanner.expect(b':')?;
        let fresh = match key {
            b"type" => {
                let name = scanner.string()?;
                if !NAMES.iter().any(|known| known.as_bytes() == name) {
                    return None;
                }
                kind.replace(()).is_none()
            }
            b"response_id" => response.replace(scanner.string()?).is_none(),
            b"item_id" => item.replace(scanner.string()?).is_none(),
            b"delta" => audio.replace(scanner.string()?).is_none(),
            b"output_index" => output.replace(scanner.number()?).is_none(),
            b"content_index" => part.replace(scanner.number()?).is_none(),
            _ => {
                scanner.skip()?;
                true
            }
        };
        if !fresh {
            return None;
        }
        match scanner.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    scanner.end()?;
    kind?;
    Some(AudioDelta {
        response: std::str::from_utf8(response?).ok()?,
        item: std::str::from_utf8(item?).ok()?,
        output: output.unwrap_or(0),
        part: part?,
        audio: message.slice_ref(audio?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn message(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    const DELTA: &str = r#"{"type":"response.output_audio.delta","event_id":"event_1","response_id":"resp_1",
        "item_id":"item_1","output_index":0,"content_index":2,"delta":"/////w=="}"#;

    #[test]
    fn a_delta_is_sliced_out_of_its_message() {
        let message = message(DELTA);
        let delta = scan(&message).unwrap();
        assert_eq!((delta.response, delta.item, delta.part), ("resp_1", "item_1", 2));
        assert_eq!(&delta.audio[..], b"/////w==");
        assert!(message.as_ptr_range().contains(&delta.audio.as_ptr()), "not copied");
    }

    #[test]
    fn what_is_unusual_is_left_to_the_full_parser() {
        for text in [
            r#"{"type":"response.done","response":{}}"#,
            r#"{"type":"response.audio.delta","response_id":"r","item_id":"i","content_index":0,"delta":"a\/"}"#,
            r#"{"type":"response.audio.delta","response_id":"r","item_id":"i","content_index":0}"#,
            r#"{"type":"response.audio.delta","response_id":"r","item_id":"i","content_index":-1,"delta":""}"#,
            r#"{"type":"response.audio.delta","response_id":"r","item_id":"i","content_index":0.5,"delta":""}"#,
            r#"{"type":"response.audio.delta","response_id":"r","item_id":"i","content_index":01,"delta":""}"#,
            r#"{"type":"response.audio.delta","response_id":"r","item_id":"i","content_index":0,"delta":null}"#,
            r#"{"type":"response.audio.delta","delta":"","delta":"","response_id":"r","item_id":"i","content_index":0}"#,
            r#"{"type":"response.audio.delta","response_id":"r","item_id":"i","content_index":0,"delta":""} x"#,
            r#"{"type":"response.audio.delta","response_id":"r","item_id":"i","content_index":0,"delta":"",}"#,
            r#"{"type":"response.audio.delta","x":{"delta":"AA=="},"response_id":"r","item_id":"i","content_index":0,"delta":""}"#,
            "", "{", "{}", "[]", "{\"type\":", "\u{feff}{}",
        ] {
            assert_eq!(scan(&message(text)), None, "{text}");
        }
    }

    /// Keys in any order, with extras, white space and either name.
    fn deltas() -> impl Strategy<Value = String> {
        let fields = Just(vec![
            r#""type":"response.audio.delta""#.to_owned(),
            r#""response_id" : "resp_x""#.to_owned(),
            r#""item_id":"item_ü""#.to_owned(),
            r#""content_index": 7"#.to_owned(),
            r#""delta":"QUJD""#.to_owned(),
            r#""obfuscation":"a{b}:,""#.to_owned(),
            "\"output_index\"\n:0".to_owned(),
        ])
        .prop_shuffle();
        fields.prop_map(|fields| format!(" {{{}}}\n", fields.join(" ,\t")))
    }

    proptest! {
        #[test]
        fn the_order_of_keys_does_not_matter(text in deltas()) {
            let message = message(&text);
            let delta = scan(&message).unwrap();
            prop_assert_eq!((delta.response, delta.item, delta.part), ("resp_x", "item_ü", 7));
            prop_assert_eq!(&delta.audio[..], b"QUJD");
        }

        #[test]
        fn it_never_reads_other_than_the_full_parser(
            text in deltas(), at in 0usize..200, byte in prop::sample::select(b"\"\\{}[]:,0a \x00".to_vec()),
        ) {
            let mut mutant = text.into_bytes();
            let at = at % mutant.len();
            if mutant[at].is_ascii() {
                mutant[at] = byte;
            }
            let message = Bytes::from(mutant);
            if let Some(delta) = scan(&message) {
                let tree: Value = serde_json::from_slice(&message).unwrap_or(Value::Null);
                if !tree.is_null() {
                    prop_assert_eq!(tree["item_id"].as_str(), Some(delta.item));
                    prop_assert_eq!(tree["response_id"].as_str(), Some(delta.response));
                    prop_assert_eq!(tree["content_index"].as_u64(), Some(u64::from(delta.part)));
                    prop_assert_eq!(tree["delta"].as_str().unwrap().as_bytes(), &delta.audio[..]);
                }
            }
        }
    }
}
