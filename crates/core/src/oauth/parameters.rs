//! The parameters of a form-encoded request: each at most once but `resource`, none with control characters (RFC 6749 §3.2, RFC 8707 §2).

use std::collections::BTreeMap;

use data_encoding::HEXLOWER_PERMISSIVE;

use super::OAuthError;
use crate::secret::SecretText;

/// The parameters of one request. They may hold passwords and tokens: `Debug` shows the names only.
#[derive(Default)]
pub struct Parameters(BTreeMap<String, Vec<SecretText>>);

/// The one parameter that a request may have several of (RFC 8707 §2).
const REPEATED: &str = "resource";

impl Parameters {
    /// The most parameters that a request may have.
    const MOST: usize = 64;

    /// Parses `application/x-www-form-urlencoded` text.
    /// Errors: [`OAuthError::InvalidRequest`] for a parameter given twice, for bytes that are not UTF-8, and for NUL,
    /// CR or LF.
    pub fn parse(body: &[u8]) -> Result<Self, OAuthError> {
        let mut parameters: BTreeMap<String, Vec<SecretText>> = BTreeMap::new();
        let mut count = 0;
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=').map(decode);
            let (name, value) = (halves.next().transpose()?, halves.next().transpose()?);
            let (name, value) = (name.unwrap_or_default(), value.unwrap_or_default());
            let is_repeated = name == REPEATED;
            let values = parameters.entry(name).or_default();
            if !values.is_empty() && !is_repeated {
                return Err(OAuthError::InvalidRequest("a parameter is given twice"));
            }
            values.push(SecretText::new(value));
            count += 1;
            if count > Self::MOST {
                return Err(OAuthError::InvalidRequest("the request has too many parameters"));
            }
        }
        Ok(Self(parameters))
    }

    /// A parameter's value. "Parameters sent without a value MUST be treated as if they were omitted" (RFC 6749 §3.2).
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of a parameter that may be given several times.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(SecretText::expose).filter(|value| !value.is_empty())
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

/// Decodes one name or value of form-urlencoded text strictly: no malformed escape, no overlong or broken UTF-8.
pub fn decode(text: &[u8]) -> Result<String, OAuthError> {
    let bytes = percent_decoded(text, b' ').ok_or(OAuthError::InvalidRequest("the request is not form-urlencoded"))?;
    if bytes.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return Err(OAuthError::InvalidRequest("a parameter has a control character"));
    }
    String::from_utf8(bytes).map_err(|_| OAuthError::InvalidRequest("a parameter is not UTF-8"))
}

/// The bytes of percent-encoded text (RFC 3986 §2.1), with `plus` in the place of each `+`; `None` for a malformed escape.
pub(crate) fn percent_decoded(text: &[u8], plus: u8) -> Option<Vec<u8>> {
    // Of one piece: no copy of a password is left behind as it grows.
    let mut bytes = Vec::with_capacity(text.len());
    for (place, part) in text.split(|byte| *byte == b'%').enumerate() {
        let (escaped, plain) = if place == 0 { (&[][..], part) } else { part.split_at_checked(2)? };
        bytes.extend(HEXLOWER_PERMISSIVE.decode(escaped).ok()?);
        bytes.extend(plain.iter().map(|byte| if *byte == b'+' { plus } else { *byte }));
    }
    Some(bytes)
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
        assert!(refused(b"Resource=1&Resource=2"));
    }

    #[test]
    fn a_resource_may_be_given_several_times_and_nothing_else() {
        let parameters = Parameters::parse(b"resource=a&x=1&re%73ource=b&resource=").unwrap();
        assert_eq!(parameters.all("resource").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(parameters.all("x").collect::<Vec<_>>(), ["1"]);
        assert!(refused("resource=a&".repeat(65).as_bytes()));
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
