//! `grant_type=password` (RFC 6749 §4.3), with the second factor in the same request: `otp`.

use std::collections::BTreeSet;

use super::{OAuthError, Parameters, Scopes};
use crate::mfa::{Credentials, SecondFactor};
use crate::secret::SecretText;

/// A person's name, password and second factor, and what is asked for with them.
#[derive(Debug)]
pub struct PasswordRequest {
    /// What the person showed.
    pub credentials: Credentials,
    /// The scopes asked for.
    pub scopes: Option<Scopes>,
    /// The audiences asked for (RFC 8707); all of the client's where none.
    pub resources: BTreeSet<String>,
    /// The values of `acr` of which the client asks for one (RFC 9470 §4); none is asked for where this is empty.
    pub acr_values: Vec<String>,
}

impl PasswordRequest {
    pub(super) fn read(parameters: &Parameters) -> Result<Self, OAuthError> {
        let secret = |text: &str| SecretText::new(text.to_owned());
        let second = match (parameters.optional("otp"), parameters.optional("piv")) {
            (Some(_), Some(_)) => {
                return Err(OAuthError::InvalidRequest("otp and piv are given: one of them is the second factor"));
            }
            (None, Some(signed)) => SecondFactor::Card(secret(signed)),
            (code, None) => SecondFactor::Code(secret(code.unwrap_or_default())),
        };
        let username = secret(parameters.required("username", "username is missing")?);
        let password = secret(parameters.required("password", "password is missing")?);
        Ok(Self {
            credentials: Credentials { username, password, second },
            scopes: super::requested_scopes(parameters)?,
            resources: super::requested_resources(parameters),
            acr_values: words(parameters.optional("acr_values").unwrap_or_default()),
        })
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
