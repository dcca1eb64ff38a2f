//! What a person shows to sign in, before anything is judged.

use crate::secret::SecretText;

/// A name, a password and a second factor, judged together.
#[derive(Debug)]
pub struct Credentials {
    /// The name as typed. It may be a password typed in the wrong field, so it prints nowhere.
    pub username: SecretText,
    /// The password.
    pub password: SecretText,
    /// What was shown beside it.
    pub second: SecondFactor,
}

/// What is shown beside a password in text.
#[derive(Debug)]
pub enum SecondFactor {
    /// A code; empty where none was shown, which is refused like a wrong one.
    Code(SecretText),
    /// What a PIV card signed, in the place of a code (see [`piv`](super::piv)).
    Card(SecretText),
}
