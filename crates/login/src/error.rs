//! Why a sign-in, a refresh or a sign-out did not come about, in words that a person can act on.

use std::fmt::Display;

/// What went wrong. Each text says what to do, where anything can be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// An argument, or a line of standard input, can't be used.
    #[error("{0}")]
    Usage(String),
    /// No sign-in is kept.
    #[error("nobody is signed in: run `signet login --issuer URL --client-id ID`")]
    NotSignedIn,
    /// The issuer said no.
    #[error("{0}")]
    Refused(String),
    /// The issuer can't be asked, or does not answer as one.
    #[error("{0}")]
    Issuer(String),
    /// A file, the lock or the system's keyring does not do its part.
    #[error("{0}")]
    Keeping(String),
    /// The card does not do its part.
    #[error("{0}")]
    Card(String),
    /// The terminal can't be asked.
    #[error("{0}")]
    Terminal(String),
}

pub(crate) type Result<T> = std::result::Result<T, LoginError>;

/// Puts what was tried before the cause.
pub(crate) fn because<E: Display>(kind: fn(String) -> LoginError, tried: impl Display) -> impl FnOnce(E) -> LoginError {
    move |cause| kind(format!("{tried}: {cause}"))
}
