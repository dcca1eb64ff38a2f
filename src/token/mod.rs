//! What is issued and what is accepted: access tokens as JWTs (RFC 9068, RFC 7519, RFC 8725).

pub mod accepted;
pub mod access;

pub use accepted::{AcceptedAudiences, Policy, Refusal, VerifiedClaims, accept};
pub use access::{ACCESS_TOKEN_TYPE, AccessToken, PersonFacts};
