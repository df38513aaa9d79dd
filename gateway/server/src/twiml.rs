//! TwiML: what we answer to Twilio, and whether what a tenant wrote can be answered.

use std::fmt::Write;

/// Connects the caller to our media socket; when that closes, Twilio asks `resume_url` what to do next, so that a crash
/// or a deploy is a gap and not the end of a call (reference/reliability.md §3.2).
#[must_use]
pub fn connect(stream_url: &str, status_url: &str, resume_url: &str) -> String {
    document(&format!(
        "<Connect><Stream url=\"{}\" statusCallback=\"{}\"/></Connect><Redirect method=\"POST\">{}</Redirect>",
        escaped(stream_url),
        escaped(status_url),
        escaped(resume_url),
    ))
}

/// Ends the call.
#[must_use]
pub fn hang_up() -> String {
    document("<Hangup/>")
}

/// Connects the caller to `number`.
#[must_use]
pub fn dial(number: &str) -> String {
    document(&format!("<Dial>{}</Dial>", escaped(number)))
}

fn document(verbs: &str) -> String {
    format!("{DECLARATION}<Response>{verbs}</Response>")
}

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";

/// `text` as XML character data or attribute value; characters that XML 1.0 §2.2 forbids are dropped.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => {
                write!(out, "&#{};", u32::from(c)).expect("a String takes everything");
            }
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => {}
            c => out.push(c),
        }
    }
    out
}

/// Whether a tenant's document is one `<Response>` element, well-formed enough for Twilio, and short enough for its REST
/// API (4,000 characters).
///
/// # Errors
/// What is wrong: a phrase.
pub fn check(text: &str) -> Result<(), &'static str> {
    if text.chars().count() > 4000 {
        return Err("longer than 4,000 characters");
    }
    let text = text.trim();
    let mut rest = match text.strip_prefix("<?xml") {
        Some(after) => after.split_once("?>").ok_or("the XML declaration does not end")?.1.trim_start(),
        None => text,
    };
    if !rest.starts_with("<Response") {
        return Err("it begins with <Response>");
    }
    let mut open: Vec<&str> = Vec::new();
    while !rest.is_empty() {
        let (characters, markup) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
        check_references(characters)?;
        if open.is_empty() && !characters.trim().is_empty() {
            return Err("there is text outside of <Response>");
        }
        if markup.is_empty() {
            break;
        }
        rest = tag(markup, &mut open)?;
        if open.is_empty() && !rest.trim().is_empty() {
            return Err("there is something after </Response>");
        }
    }
    if open.is_empty() { Ok(()) } else { Err("an element is not closed") }
}

/// Reads one tag and answers what follows it.
fn tag<'t>(markup: &'t str, open: &mut Vec<&'t str>) -> Result<&'t str, &'static str> {
    if let Some(comment) = markup.strip_prefix("<!--") {
        return comment.split_once("-->").map(|(_, rest)| rest).ok_or("a comment does not end");
    }
    if markup.starts_with("<!") || markup.starts_with("<?") {
        return Err("only elements and comments are allowed");
    }
    let end = end_of_tag(markup).ok_or("a tag does not end")?;
    let (inside, rest) = (&markup[1..end], &markup[end + 1..]);
    if let Some(name) = inside.strip_prefix('/') {
        return if open.pop() == Some(name.trim_end()) {
            Ok(rest)
        } else {
            Err("an element is closed that is not open")
        };
    }
    let empty = inside.ends_with('/');
    let inside = inside.trim_end_matches('/');
    let name_end = inside.find(char::is_whitespace).unwrap_or(inside.len());
    let (name, attributes) = inside.split_at(name_end);
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == ':') {
        return Err("a tag has no proper name");
    }
    check_attributes(attributes)?;
    if !empty {
        open.push(name);
    }
    Ok(rest)
}

/// The `>` that ends a tag: not one within quotes.
fn end_of_tag(markup: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in markup.char_indices() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('>', None) => return Some(at),
            _ => {}
        }
    }
    None
}

fn check_attributes(text: &str) -> Result<(), &'static str> {
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or("an attribute has no value")?;
        let name = name.trim();
        if name.is_empty() || name.contains(|c: char| !(c.is_ascii_alphanumeric() || "-_:".contains(c))) {
            return Err("an attribute has no proper name");
        }
        let after = after.trim_start();
        let quote =
            after.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or("an attribute lacks quotes")?;
        let (value, after) = after[1..].split_once(quote).ok_or("an attribute's quotes do not end")?;
        if value.contains('<') {
            return Err("an attribute has a bare <; write &lt;");
        }
        check_references(value)?;
        rest = after.trim_start();
    }
    Ok(())
}

/// Every `&` begins a reference that XML knows without a DTD.
fn check_references(text: &str) -> Result<(), &'static str> {
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        rest = &rest[at + 1..];
        let known = rest.split_once(';').is_some_and(|(name, _)| {
            ["amp", "lt", "gt", "quot", "apos"].contains(&name)
                || name
                    .strip_prefix('#')
                    .is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_alphanumeric()))
        });
        if !known {
            return Err("there is a bare &; write &amp;");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_escaped() {
        let twiml = connect("wss://h/a?b&c", "https://h/\"s'", "https://h/<r>");
        assert_eq!(
            twiml,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Connect><Stream url=\"wss://h/a?b&amp;c\" \
             statusCallback=\"https://h/&quot;s&apos;\"/></Connect><Redirect method=\"POST\">https://h/&lt;r&gt;\
             </Redirect></Response>"
        );
        assert_eq!(check(&twiml), Ok(()));
        assert_eq!(check(&hang_up()), Ok(()));
    }

    #[test]
    fn good_fallbacks_pass() {
        for good in [
            "<Response/>",
            "<Response><Dial timeout='20'>+4930123</Dial></Response>",
            "<?xml version=\"1.0\"?>\n<Response> <!-- a > b --> <Say voice=\"x > y\">A &amp; B &#8212;</Say> </Response>\n",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_twilio_would_refuse_is_refused() {
        for bad in [
            "",
            "Sorry",
            "<Say>no response</Say>",
            "<Response>",
            "<Response><Say></Response>",
            "<Response></Response></Response>",
            "<Response/><Response/>",
            "<Response/>text",
            "<Response><Say>a & b</Say></Response>",
            "<Response><Say x=1/></Response>",
            "<Response><Say x/></Response>",
            "<Response><Say x=\"<\"/></Response>",
            "<Response><![CDATA[x]]></Response>",
            "<!DOCTYPE x><Response/>",
            "<Response><Say>&nope;</Say></Response>",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
