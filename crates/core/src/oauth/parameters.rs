//! The parameters of a form-encoded request: each at most once, none with control characters (RFC 6749 §3.2).

use std::collections::BTreeMap;

use super::OAuthError;
use crate::secret::SecretText;

/// The parameters of one request. They may hold passwords and tokens: `Debug` shows the names only.
#[derive(Default)]
pub struct Parameters(BTreeMap<String, SecretText>);

impl Parameters {
    /// The most parameters that a request may have.
    const MOST: usize = 64;

    /// Parses `application/x-www-form-urlencoded` text.
    /// Errors: [`OAuthError::InvalidRequest`] for a parameter given twice, for bytes that are not UTF-8, and for NUL,
    /// CR or LF.
    pub fn parse(body: &[u8]) -> Result<Self, OAuthError> {
        let mut parameters = BTreeMap::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let (name, value) = split_pair(pair);
            let (name, value) = (decode(name)?, decode(value)?);
            if parameters.insert(name, SecretText::new(value)).is_some() {
                return Err(OAuthError::InvalidRequest("a parameter is given twice"));
            }
            if parameters.len() > Self::MOST {
                return Err(OAuthError::InvalidRequest("the request has too many parameters"));
            }
        }
        Ok(Self(parameters))
    }

    /// A parameter's value. "Parameters sent without a value MUST be treated as if they were omitted" (RFC 6749 §3.2).
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(SecretText::expose).filter(|value| !value.is_empty())
    }

    /// A parameter that must be there; `missing` says so to the caller.
    /// Errors: [`OAuthError::InvalidRequest`] with `missing`.
    pub fn required(&self, name: &str, missing: &'static str) -> Result<&str, OAuthError> {
        self.optional(name).ok_or(OAuthError::InvalidRequest(missing))
    }
}

impl std::fmt::Debug for Parameters {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.0.keys()).finish()
    }
}

fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|byte| *byte == b'=') {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &[]),
    }
}

/// Decodes one name or value of form-urlencoded text strictly: no malformed escape, no overlong or broken UTF-8.
pub fn decode(text: &[u8]) -> Result<String, OAuthError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = (hex_digit(rest.next()), hex_digit(rest.next()));
                let (Some(high), Some(low)) = digits else {
                    return Err(OAuthError::InvalidRequest("the request is not form-urlencoded"));
                };
                high << 4 | low
            }
            other => *other,
        });
    }
    if bytes.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return Err(OAuthError::InvalidRequest("a parameter has a control character"));
    }
    String::from_utf8(bytes).map_err(|_| OAuthError::InvalidRequest("a parameter is not UTF-8"))
}

fn hex_digit(byte: Option<&u8>) -> Option<u8> {
    let digit = char::from(*byte?).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &[u8]) -> bool {
        matches!(Parameters::parse(body), Err(OAuthError::InvalidRequest(_)))
    }

    #[test]
    fn decodes_form_text() {
        let parameters = Parameters::parse("grant_type=password&username=a%20b+c%26&x=".as_bytes()).unwrap();
        assert_eq!(parameters.optional("username"), Some("a b c&"));
        assert_eq!(parameters.optional("x"), None, "an empty value is an omitted one");
        assert!(parameters.required("y", "y is missing").is_err());
    }

    #[test]
    fn refuses_a_parameter_given_twice_also_under_another_spelling() {
        assert!(refused(b"a=1&a=2"));
        assert!(refused(b"a=1&%61=1"));
    }

    #[test]
    fn refuses_control_characters_broken_escapes_and_overlong_utf_8() {
        for body in [&b"a=%00"[..], b"a=%0d%0a", b"a=%zz", b"a=%4", b"a=%c0%af", b"a=%ff", b"a=\xc0\xaf"] {
            assert!(refused(body), "{body:?}");
        }
    }

    #[test]
    fn refuses_very_many_parameters() {
        let body: String = (0..100).map(|number| format!("p{number}=1&")).collect();
        assert!(refused(body.as_bytes()));
    }

    #[test]
    fn debug_shows_names_only() {
        let parameters = Parameters::parse(b"password=hunter2").unwrap();
        assert_eq!(format!("{parameters:?}"), r#"["password"]"#);
    }
}
