//! Reads as much TwiML as a caller needs: `<Connect><Stream>` with its `<Parameter>`s, `<Redirect>` and `<Hangup>`.

use std::collections::BTreeMap;

/// What Twilio would do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Verb {
    /// Opens a media stream and waits for its end.
    Stream { url: String, parameters: BTreeMap<String, String> },
    /// Asks for more TwiML.
    Redirect { url: String },
    /// Ends the call.
    Hangup,
}

/// The verbs of a document, in order. Others (`Say`, `Pause`) take no time here and are left out.
///
/// # Errors
/// No `<Response>`, or a tag that does not end.
pub(in crate::cli) fn verbs(document: &str) -> Result<Vec<Verb>, BadTwiml> {
    let mut verbs = Vec::new();
    let mut is_redirect = false;
    let mut in_response = false;
    let mut rest = document;
    while let Some(at) = rest.find('<') {
        if std::mem::take(&mut is_redirect) {
            verbs.push(Verb::Redirect { url: unescaped(rest[..at].trim()) });
        }
        let end = end_of_tag(&rest[at..]).ok_or(BadTwiml)? + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        match name(tag) {
            "Response" => in_response = true,
            "Stream" => {
                let url = attribute(tag, "url").unwrap_or_default();
                verbs.push(Verb::Stream { url, parameters: BTreeMap::new() });
            }
            "Parameter" => {
                if let (Some(Verb::Stream { parameters, .. }), Some(name)) =
                    (verbs.last_mut(), attribute(tag, "name"))
                {
                    parameters.insert(name, attribute(tag, "value").unwrap_or_default());
                }
            }
            "Redirect" => is_redirect = true,
            "Hangup" | "Reject" => verbs.push(Verb::Hangup),
            _ => {}
        }
    }
    if in_response { Ok(verbs) } else { Err(BadTwiml) }
}

/// Not TwiML.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not TwiML")]
pub struct BadTwiml;

fn name(tag: &str) -> &str {
    tag.trim_end_matches('/').split(char::is_whitespace).next().unwrap_or_default()
}

/// The `>` that ends a tag: not one within quotes.
fn end_of_tag(markup: &str) -> Option<usize> {
    let mut quote = None;
    markup.char_indices().find_map(|(at, c)| match (c, quote) {
        ('>', None) => Some(at),
        ('"' | '\'', None) => {
            quote = Some(c);
            None
        }
        (c, Some(open)) if c == open => {
            quote = None;
            None
        }
        _ => None,
    })
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut rest = tag;
    while let Some((before, after)) = rest.split_once('=') {
        let found = before.split_whitespace().last() == Some(name);
        let after = after.trim_start();
        let quote = after.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let (value, behind) = after[1..].split_once(quote)?;
        if found {
            return Some(unescaped(value));
        }
        rest = behind;
    }
    None
}

/// The five entities of XML 1.0 §4.6 and numeric references.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let reference = after.split_once(';').and_then(|(name, behind)| Some((character(name)?, behind)));
        let (c, behind) = reference.unwrap_or(('&', after));
        out.push(c);
        rest = behind;
    }
    out + rest
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let hex = number.strip_prefix(['x', 'X']);
            let code = hex.map_or_else(|| number.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())?;
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_with_parameters_and_its_redirect_are_read() {
        let document = r#"<?xml version="1.0" encoding="UTF-8"?><Response><Say>hi</Say><Connect>
            <Stream statusCallback='x>y' url="wss://h/t?a=1&amp;b=2"><Parameter name="k" value="&#x41;&lt;"/></Stream>
            </Connect><Redirect method="POST"> https://h/resume/1 </Redirect></Response>"#;
        let parameters = BTreeMap::from([("k".to_owned(), "A<".to_owned())]);
        assert_eq!(
            verbs(document),
            Ok(vec![
                Verb::Stream { url: "wss://h/t?a=1&b=2".into(), parameters },
                Verb::Redirect { url: "https://h/resume/1".into() },
            ])
        );
    }

    #[test]
    fn a_hang_up_is_read_and_what_is_no_twiml_refused() {
        assert_eq!(verbs("<Response><Say>sorry</Say><Hangup/></Response>"), Ok(vec![Verb::Hangup]));
        for document in ["", "{}", "<html></html>", "<Response", "<Response a=\">"] {
            assert_eq!(verbs(document), Err(BadTwiml), "{document}");
        }
    }
}
