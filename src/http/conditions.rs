//! What conditional requests name (RFC 9110 §8.8.3, §13.1): the whole grammar of `If-Match` and `If-None-Match`, in one place for every
//! address that sends an `ETag`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// The strong tag of what is served.
pub(super) fn tag_of(content: &[u8]) -> Option<HeaderValue> {
    // Base64 and quotation marks are a header's.
    HeaderValue::from_str(&format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(content)[..16]))).ok()
}

/// Whether `If-None-Match` names what is there: by weak comparison, as §13.1.2 has it. A field that is malformed names nothing.
pub(super) fn is_known(headers: &HeaderMap, tag: Option<&HeaderValue>) -> bool {
    names(headers, &header::IF_NONE_MATCH, tag, true)
}

/// Whether `If-Match` names what is there: by strong comparison, as §13.1.1 has it. A field that is malformed names nothing.
pub(super) fn is_meant(headers: &HeaderMap, tag: Option<&HeaderValue>) -> bool {
    names(headers, &header::IF_MATCH, tag, false)
}

fn names(headers: &HeaderMap, field: &HeaderName, tag: Option<&HeaderValue>, weakly: bool) -> bool {
    let Some(there) = tag.and_then(|tag| opaque(tag.as_bytes())) else { return false };
    let lines: Option<Vec<Vec<Named<'_>>>> = headers.get_all(field).iter().map(|line| list(line.as_bytes())).collect();
    let named: Vec<Named<'_>> = lines.unwrap_or_default().into_iter().flatten().collect();
    match named.as_slice() {
        [Named::Anything] => true,
        several => several.iter().any(|named| match named {
            Named::Tag { is_weak, opaque } => *opaque == there && (weakly || !is_weak),
            // It stands alone or it is no condition.
            Named::Anything => false,
        }),
    }
}

/// What a condition names.
enum Named<'l> {
    /// `*`: whatever is there.
    Anything,
    /// An entity tag.
    Tag { is_weak: bool, opaque: &'l [u8] },
}

/// The text of a tag between its quotation marks.
fn opaque(tag: &[u8]) -> Option<&[u8]> {
    tag.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// One line of a condition: tags with commas between them, which stand in tags too; `None` where it is malformed.
fn list(line: &[u8]) -> Option<Vec<Named<'_>>> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let (mut named, mut rest) = (Vec::new(), line);
    loop {
        // Empty elements are passed over (RFC 9110 §5.6.1.2).
        rest = &rest[rest.iter().take_while(|byte| is_blank(byte) || **byte == b',').count()..];
        if rest.is_empty() {
            return Some(named);
        }
        let after = match rest.strip_prefix(b"*") {
            Some(after) => {
                named.push(Named::Anything);
                after
            }
            None => {
                let (is_weak, quoted) = rest.strip_prefix(b"W/").map_or((false, rest), |quoted| (true, quoted));
                let text = quoted.strip_prefix(b"\"")?;
                let end = text.iter().position(|byte| *byte == b'"')?;
                let is_letter = |byte: &u8| *byte == 0x21 || (0x23..=0x7e).contains(byte) || *byte >= 0x80;
                if !text[..end].iter().all(is_letter) {
                    return None;
                }
                named.push(Named::Tag { is_weak, opaque: &text[..end] });
                &text[end + 1..]
            }
        };
        rest = &after[after.iter().take_while(|byte| is_blank(byte)).count()..];
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(field: HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(field.clone(), line.parse().unwrap());
        }
        headers
    }

    #[test]
    fn hazard_120_a_condition_is_read_by_its_whole_grammar() {
        let tag = HeaderValue::from_static("\"a\"");
        for (lines, weakly, strongly) in [
            (&["\"a\""][..], true, true),
            (&["W/\"a\""], true, false),
            (&["\"b\", \"a\""], true, true),
            (&["\"b\",W/\"a\""], true, false),
            (&[" , \"b\" ,\t\"a\" ,"], true, true),
            (&["\"b\"", "\"a\""], true, true),
            (&["\"b\"", "W/\"c\""], false, false),
            (&["\"x,\\\", \"a\""], true, true),
            (&["\"x, \"a\", y\""], false, false),
            (&["*"], true, true),
            (&["*", "\"b\""], false, false),
            (&["\"*\""], false, false),
            (&["a"], false, false),
            (&["w/\"a\""], false, false),
            (&["W/ \"a\""], false, false),
            (&["\"a\" \"b\""], false, false),
            (&["\"a"], false, false),
            (&[""], false, false),
            (&[], false, false),
        ] {
            assert_eq!(is_known(&with(header::IF_NONE_MATCH, lines), Some(&tag)), weakly, "{lines:?}");
            assert_eq!(is_meant(&with(header::IF_MATCH, lines), Some(&tag)), strongly, "{lines:?}");
        }
        assert!(!is_known(&with(header::IF_NONE_MATCH, &["*"]), None));
    }

    #[test]
    fn other_content_has_another_tag() {
        assert_eq!(tag_of(b"a"), tag_of(b"a"));
        assert_ne!(tag_of(b"a"), tag_of(b"b"));
    }
}
