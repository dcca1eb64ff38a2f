//! What is issued and what is accepted: access tokens as JWTs (RFC 9068, RFC 7519, RFC 8725).

pub mod accepted;
pub mod access;
mod claim;
pub mod level;
pub mod policy;

pub use accepted::{Refusal, VerifiedClaims, accept};
pub use access::{ACCESS_TOKEN_TYPE, AccessToken, Authenticator, PersonFacts};
pub use level::Level;
pub use policy::{AcceptedAudiences, Policy};
