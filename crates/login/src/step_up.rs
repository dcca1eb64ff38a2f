//! What a sign-in must have proved: as a person asks for it, or as a resource server's challenge does (RFC 9470).

use std::time::Duration;

use signet_jose::clock::Timestamp;
use signet_verify::Level;

use crate::error::{LoginError, Result};
use crate::tokens::Tokens;

/// What is asked for. The default asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// One of these must be the token's `acr`; any where there is none.
    acr_values: Vec<String>,
    /// How long ago the person may have signed in.
    max_age: Option<Duration>,
}

impl Wanted {
    /// Puts together what was asked for. Of Signet's own levels a higher one does, too.
    pub(crate) fn new(acr: &[String], max_age: Option<u64>, challenge: Option<&str>) -> Result<Self> {
        let challenged = match challenge {
            Some(text) => {
                Self::of_challenge(text).map_err(|error| LoginError::Usage(format!("--challenge: {error}")))?
            }
            None => Self::default(),
        };
        let reaching = acr.iter().flat_map(|acr| match Level::of_acr(acr) {
            Some(level) => level.and_above().map(str::to_owned).collect(),
            None => vec![acr.clone()],
        });
        let max_age = max_age.map(Duration::from_secs).into_iter().chain(challenged.max_age).min();
        Ok(Self { acr_values: reaching.chain(challenged.acr_values).collect(), max_age })
    }

    /// Reads the value of a `WWW-Authenticate` header (RFC 9470 §3).
    fn of_challenge(text: &str) -> std::result::Result<Self, String> {
        let parameters = bearer_parameters(text).ok_or("a challenge of the scheme Bearer is expected")?;
        let parameter = |name: &str| {
            parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        match parameter("error") {
            Some("insufficient_user_authentication") => {}
            other => {
                return Err(format!("it asks for no other sign-in, but says `{}`", other.unwrap_or_default()));
            }
        }
        let max_age =
            parameter("max_age").map(str::parse).transpose().map_err(|_| "its max_age is not a number of seconds")?;
        Ok(Self {
            acr_values: parameter("acr_values").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            max_age: max_age.map(Duration::from_secs),
        })
    }

    /// The value of `acr_values`.
    pub(crate) fn acr_values(&self) -> Option<String> {
        (!self.acr_values.is_empty()).then(|| self.acr_values.join(" "))
    }

    /// Whether the kept token tells a sign-in that suffices. It came from its issuer over TLS, and who uses it asks its
    /// verifier: nothing is granted here. A token that can't be read suffices for nothing.
    pub(crate) fn is_met_by(&self, tokens: &Tokens, now: Timestamp) -> bool {
        if *self == Self::default() {
            return true;
        }
        let proof = Proof::of(tokens);
        let is_high = self.acr_values.is_empty() || proof.acr.is_some_and(|acr| self.acr_values.contains(&acr));
        let is_recent = self.max_age.is_none_or(|age| proof.at.is_some_and(|at| at.plus(age) >= now));
        is_high && is_recent
    }

    /// What is asked for, for a person.
    pub(crate) fn text(&self) -> String {
        let level = self.acr_values.first().map(|first| format!("{first} or what is as good"));
        let age = self.max_age.map(|age| format!("a sign-in of the last {} s", age.as_secs()));
        let asked: Vec<_> = level.into_iter().chain(age).collect();
        if asked.is_empty() { "more than that".to_owned() } else { asked.join(" and ") }
    }
}

/// What the kept token says was proved.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) acr: Option<String>,
    pub(crate) at: Option<Timestamp>,
}

impl Proof {
    pub(crate) fn of(tokens: &Tokens) -> Self {
        let Ok(view) = signet_verify::inspect(&tokens.access_token) else { return Self::default() };
        let claims = view.unverified_claims;
        Self {
            acr: claims["acr"].as_str().map(str::to_owned),
            at: claims["auth_time"].as_i64().map(Timestamp::from_unix_seconds),
        }
    }
}

/// The parameters of the first challenge, where it is of the scheme Bearer (RFC 9110 §11.2): tokens or quoted strings.
fn bearer_parameters(text: &str) -> Option<Vec<(String, String)>> {
    let text = text.trim();
    let text = match text.split_once(':') {
        Some((name, value)) if name.eq_ignore_ascii_case("www-authenticate") => value.trim(),
        _ => text,
    };
    let (scheme, mut rest) = text.split_once(' ')?;
    let mut parameters = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.trim_start().split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let (value, after) = after.split_at(after.find([',', ' ']).unwrap_or(after.len()));
                (value.to_owned(), after)
            }
        };
        parameters.push((name.trim().to_owned(), value));
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    scheme.eq_ignore_ascii_case("bearer").then_some(parameters)
}

/// A quoted string up to its closing mark, and what comes after it.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let (mut value, mut characters) = (String::new(), quoted.char_indices());
    loop {
        match characters.next()? {
            (place, '"') => return Some((value, &quoted[place + 1..])),
            (_, '\\') => value.push(characters.next()?.1),
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const AT: Timestamp = Timestamp::from_unix_seconds(1000);

    fn tokens(claims: &str) -> Tokens {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let access_token = format!("{}.{}.AAAA", part(r#"{"alg":"ES256"}"#), part(claims));
        Tokens { access_token, refresh_token: None, scope: String::new(), expires_at: 0 }
    }

    fn wanted(acr: &[&str], max_age: Option<u64>) -> Wanted {
        Wanted::new(&acr.iter().map(ToString::to_string).collect::<Vec<_>>(), max_age, None).unwrap()
    }

    #[test]
    fn a_sign_in_suffices_by_level_and_age() {
        let strong = tokens(r#"{"acr":"urn:signet:aal3","auth_time":990}"#);
        let weak = tokens(r#"{"acr":"urn:signet:aal2","auth_time":990}"#);
        let none = tokens("{}");
        for (wanted, of_strong, of_weak, of_none) in [
            (wanted(&[], None), true, true, true),
            (wanted(&["urn:signet:aal2"], None), true, true, false),
            (wanted(&["urn:signet:aal3"], None), true, false, false),
            (wanted(&["urn:other"], None), false, false, false),
            (wanted(&[], Some(10)), true, true, false),
            (wanted(&[], Some(9)), false, false, false),
            (wanted(&["urn:signet:aal2"], Some(9)), false, false, false),
        ] {
            let found = [&strong, &weak, &none].map(|tokens| wanted.is_met_by(tokens, AT));
            assert_eq!(found, [of_strong, of_weak, of_none], "{wanted:?}");
        }
        let opaque = Tokens { access_token: "opaque".to_owned(), ..none };
        assert!(!wanted(&["urn:signet:aal2"], None).is_met_by(&opaque, AT));
    }

    #[test]
    fn a_challenge_says_what_would_do() {
        let challenge = |text: &str| Wanted::new(&[], None, Some(text));
        let expected = Wanted {
            acr_values: vec!["urn:signet:aal3".to_owned(), "a\"b".to_owned()],
            max_age: Some(Duration::from_secs(60)),
        };
        let text = r#"Bearer realm="a, b", error="insufficient_user_authentication", acr_values="urn:signet:aal3 a\"b", max_age="60""#;
        assert_eq!(challenge(text).unwrap(), expected);
        assert_eq!(challenge(&format!("WWW-Authenticate: {text}")).unwrap(), expected);
        let plain = "bearer error=insufficient_user_authentication,max_age=60";
        assert_eq!(challenge(plain).unwrap(), Wanted { acr_values: Vec::new(), ..expected });
        for bad in [
            "",
            "Bearer",
            "Basic realm=\"x\"",
            "Bearer error=\"invalid_token\"",
            "Bearer error=\"insufficient_user_authentication\", max_age=\"soon\"",
            "Bearer error=\"insufficient_user_authentication",
        ] {
            assert!(challenge(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_challenge_panics(text: String) {
            let _ = bearer_parameters(&format!("Bearer {text}"));
        }
    }
}
