//! `grant_type=password` (RFC 6749 §4.3), with the second factor in the same request: `otp`.

use super::{OAuthError, Parameters, Scopes};
use crate::secret::SecretText;

/// A person's name, password and code, judged together.
#[derive(Debug)]
pub struct PasswordRequest {
    /// The name as typed. It may be a password typed in the wrong field, so it prints nowhere.
    pub username: SecretText,
    /// The password.
    pub password: SecretText,
    /// The code; empty where none was shown, which is refused like a wrong one.
    pub otp: SecretText,
    /// What a PIV card signed, in the place of a code (see [`mfa::piv`](crate::mfa::piv)).
    pub piv: Option<SecretText>,
    /// The scopes asked for.
    pub scopes: Option<Scopes>,
    /// The audience asked for (RFC 8707).
    pub resource: Option<String>,
    /// The values of `acr` of which the client asks for one (RFC 9470 §4); none is asked for where this is empty.
    pub acr_values: Vec<String>,
}

impl PasswordRequest {
    /// A password and a code, and nothing asked for in particular.
    #[must_use]
    pub const fn with_code(username: SecretText, password: SecretText, otp: SecretText) -> Self {
        Self { username, password, otp, piv: None, scopes: None, resource: None, acr_values: Vec::new() }
    }

    pub(super) fn read(parameters: &Parameters) -> Result<Self, OAuthError> {
        let secret = |text: &str| SecretText::new(text.to_owned());
        if parameters.optional("otp").is_some() && parameters.optional("piv").is_some() {
            return Err(OAuthError::InvalidRequest("otp and piv are given: one of them is the second factor"));
        }
        Ok(Self {
            username: secret(parameters.required("username", "username is missing")?),
            password: secret(parameters.required("password", "password is missing")?),
            otp: secret(parameters.optional("otp").unwrap_or_default()),
            piv: parameters.optional("piv").map(secret),
            scopes: super::requested_scopes(parameters)?,
            resource: super::requested_resource(parameters),
            acr_values: words(parameters.optional("acr_values").unwrap_or_default()),
        })
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
