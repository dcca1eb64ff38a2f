//! What is issued: access tokens as JWTs (RFC 9068, RFC 7519). What is accepted is the verifier's to say.

pub mod access;

pub use access::{AccessToken, Authenticator, PersonFacts};
