//! The hot path in: reads one flat JSON object, whose values are plain strings and numbers, without a tree and without
//! decoding it. Everything else (an escape, a nested value, a key twice, a malformed byte) is left to the full parser, so it can
//! be slow but never wrong.

use bytes::Bytes;
use memchr::memchr2;

/// The audio of an `input_audio_buffer.append`, base64 and not yet checked; `None`: another event, or one that needs the full
/// parser.
pub(super) fn append(message: &Bytes) -> Option<Bytes> {
    let mut scanner = Scanner::new(message);
    let (mut kind, mut audio) = (None, None);
    scanner.expect(b'{')?;
    loop {
        let key = scanner.string()?;
        scanner.expect(b':')?;
        let fresh = match key {
            b"type" if scanner.string()? == b"input_audio_buffer.append" => kind.replace(()).is_none(),
            b"type" => return None,
            b"audio" => audio.replace(scanner.string()?).is_none(),
            _ => scanner.skip().is_some(),
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
    Some(message.slice_ref(audio?))
}

/// Over bytes: the transport has checked that a text is UTF-8, and who takes audio looks at each byte anyway.
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is not white space (RFC 8259 §2), consumed.
    pub(crate) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text;
        while matches!(bytes.get(self.at)?, b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    pub(crate) fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// A string without escapes.
    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let rest = self.text.get(self.at..)?;
        let end = memchr2(b'"', b'\\', rest)?;
        if rest[end] == b'\\' {
            return None;
        }
        self.at += end + 1;
        rest.get(..end)
    }

    /// A plain unsigned number, at most nine digits.
    pub(crate) fn number(&mut self) -> Option<u32> {
        self.peek()?;
        let rest = self.text.get(self.at..)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let plain = digits == 1 || (digits > 1 && digits < 10 && rest[0] != b'0');
        if !plain || matches!(rest.get(digits), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        self.at += digits;
        Some(rest[..digits].iter().fold(0, |sum, byte| sum * 10 + u32::from(byte - b'0')))
    }

    pub(crate) fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            _ => self.number().map(drop),
        }
    }

    pub(crate) fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Bytes> {
        append(&Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn audio_is_sliced_out_of_its_message() {
        for text in [
            r#"{"type":"input_audio_buffer.append","audio":"AAAA"}"#,
            r#" { "audio" : "AAAA", "event_id":"e", "type":"input_audio_buffer.append" } "#,
        ] {
            assert_eq!(read(text).as_deref(), Some(&b"AAAA"[..]));
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_full_parser() {
        for text in [
            "",
            "{}",
            r#"{"type":"input_audio_buffer.commit","audio":"AAAA"}"#,
            r#"{"type":"input_audio_buffer.append"}"#,
            r#"{"type":"input_audio_buffer.append","audio":"AA\/A"}"#,
            r#"{"type":"input_audio_buffer.append","audio":"AAAA","audio":"BBBB"}"#,
            r#"{"type":"input_audio_buffer.append","audio":null}"#,
            r#"{"type":"input_audio_buffer.append","audio":"AAAA"}x"#,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
