//! Refusals and faults (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong, in words that a person can act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// The kind in words.
    #[schema(example = "there is no such thing")]
    pub title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 404)]
    pub status: u16,
    /// What happened this time, and what to do.
    #[schema(example = "there is no user `ann`; `signet user list` shows those that are")]
    pub detail: String,
}

/// The kinds of problems, as the URN that `type` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum ProblemKind {
    /// 400, 413, 415, 422: the request is not one that this operation takes, or says what can't be.
    #[serde(rename = "urn:signet:problem:invalid-request")]
    Invalid,
    /// 401: whoever asks has no credentials that hold.
    #[serde(rename = "urn:signet:problem:unauthenticated")]
    Unauthenticated,
    /// 403: whoever asks may not do this.
    #[serde(rename = "urn:signet:problem:forbidden")]
    Forbidden,
    /// 404: there is no such thing.
    #[serde(rename = "urn:signet:problem:not-found")]
    NotFound,
    /// 405: what is there does not take this method.
    #[serde(rename = "urn:signet:problem:method-not-allowed")]
    MethodNotAllowed,
    /// 409: it does not fit to what is there: a name that is taken, a state that forbids it.
    #[serde(rename = "urn:signet:problem:conflict")]
    Conflict,
    /// 412: it was changed by somebody else meanwhile.
    #[serde(rename = "urn:signet:problem:changed-meanwhile")]
    ChangedMeanwhile,
    /// 503: the HSM or the store does not answer; the same request may be made again.
    #[serde(rename = "urn:signet:problem:unavailable")]
    Unavailable,
}

impl ProblemKind {
    /// The kind in words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Invalid => "the request can't be taken",
            Self::Unauthenticated => "who asks is not known",
            Self::Forbidden => "this is not allowed",
            Self::NotFound => "there is no such thing",
            Self::MethodNotAllowed => "this method does not work here",
            Self::Conflict => "it does not fit to what is there",
            Self::ChangedMeanwhile => "it was changed meanwhile",
            Self::Unavailable => "the service can't do this at the moment",
        }
    }
}

impl Problem {
    /// A problem of this kind and status.
    #[must_use]
    pub fn new(kind: ProblemKind, status: u16, detail: impl Into<String>) -> Self {
        Self { kind, title: kind.title().to_owned(), status, detail: detail.into() }
    }
}
