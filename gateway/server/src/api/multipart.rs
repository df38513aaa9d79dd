//! `multipart/form-data` (RFC 7578) of small forms, as SDKs send them.

/// The part of that name, without its headers. Nothing when the body is none, or has no such part.
pub(super) fn part<'a>(content_type: &str, body: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let boundary = format!("--{}", boundary(content_type)?);
    let mut rest = after(body, boundary.as_bytes())?;
    while let Some(section) = rest.strip_prefix(b"\r\n") {
        let head_end = find(section, b"\r\n\r\n")?;
        let content = &section[head_end + 4..];
        let end = find(content, format!("\r\n{boundary}").as_bytes())?;
        if is_named(&section[..head_end], name) {
            return Some(&content[..end]);
        }
        rest = &content[end + 2 + boundary.len()..];
    }
    None
}

/// RFC 2046 §5.1.1: up to 70 characters, perhaps quoted.
fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value.trim_matches('"'))
    })?;
    let is_form = kind.trim().eq_ignore_ascii_case("multipart/form-data");
    (is_form && (1..=70).contains(&value.len())).then_some(value)
}

fn is_named(head: &[u8], name: &str) -> bool {
    let head = String::from_utf8_lossy(head);
    head.split("\r\n").any(|line| {
        let Some((header, value)) = line.split_once(':') else { return false };
        let is_named = |parameter: &str| {
            let name_of = parameter.trim().strip_prefix("name=");
            name_of.is_some_and(|given| given.trim_matches('"') == name)
        };
        header.eq_ignore_ascii_case("content-disposition") && value.split(';').any(is_named)
    })
}

fn after<'a>(body: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    find(body, mark).map(|at| &body[at + mark.len()..])
}

fn find(body: &[u8], mark: &[u8]) -> Option<usize> {
    memchr::memmem::find(body, mark)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As `openai` npm 7.55.0 sends it (reference/browser.md §2.2).
    const FORM: &str = "--X1\r\nContent-Disposition: form-data; name=\"sdp\"; filename=\"\"\r\n\
        Content-Type: application/sdp\r\n\r\nv=0\r\ns=-\r\n\r\n--X1\r\n\
        Content-Disposition: form-data; name=\"session\"\r\n\r\n{}\r\n--X1--\r\n";
    const TYPE: &str = "multipart/form-data; boundary=X1";

    #[test]
    fn parts_are_found_by_name() {
        assert_eq!(part(TYPE, FORM.as_bytes(), "sdp"), Some(&b"v=0\r\ns=-\r\n"[..]));
        assert_eq!(part(TYPE, FORM.as_bytes(), "session"), Some(&b"{}"[..]));
        assert_eq!(
            part("Multipart/Form-Data; boundary=\"X1\"", FORM.as_bytes(), "session"),
            Some(&b"{}"[..])
        );
        assert_eq!(part(TYPE, FORM.as_bytes(), "name"), None);
        assert_eq!(part("multipart/form-data", FORM.as_bytes(), "sdp"), None);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in "(--X1|\r\n|: |name=\"sdp\"|Content-Disposition|[a-z;]){0,40}") {
            let _ = part(TYPE, body.as_bytes(), "sdp");
        }
    }
}
