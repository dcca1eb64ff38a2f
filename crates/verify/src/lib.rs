//! Verifies access tokens (RFC 9068) in the process of the service that is asked: it needs a JWKS and nobody else.
//!
//! It decides whether a token is an access token of one issuer, for this audience, in force now, and who its person and
//! client are. It never asks the issuer about a token, so a revoked one verifies until it expires (`introspection` asks);
//! it never follows a key or algorithm that the token itself names, and never reads claims before the signature verified.
//!
//! ```
//! use signet_verify::Verifier;
//! # fn example(jwks: &str, token: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::builder("https://issuer.example").audience("https://api.example").build_from_text(jwks)?;
//! let claims = verifier.verify_now(token)?;
//! println!("{} may {:?}", claims.subject(), claims.scopes());
//! # Ok(())
//! # }
//! ```
//!
//! | feature | adds |
//! |---|---|
//! | `jwks` (default) | `JwksSource`: the JWKS from a URL or file, kept current; [`Verifier::verify`] then waits where a token names a new key |
//! | `bearer` | module `bearer`: a request's token (RFC 6750), judged by scopes, roles and sign-in (RFC 9470), and what a refusal answers |
//! | `axum` | module `axum`: a layer and an extractor for axum, or any other tower service |
//! | `introspection` | module `introspection`: a client that asks the issuer what a token is worth now (RFC 7662) |
//!
//! Without features it is pure: no input or output, no runtime. [`inspect`] shows a token without verifying it, for people
//! to read.

#![forbid(unsafe_code)]
#![warn(clippy::missing_errors_doc)]

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "bearer")]
pub mod bearer;
mod claim;
pub mod claims;
#[cfg(feature = "https")]
mod https;
mod inspect;
#[cfg(feature = "introspection")]
pub mod introspection;
mod key_set;
mod level;
#[cfg(feature = "jwks")]
mod live;
mod policy;
#[cfg(feature = "jwks")]
mod source;
mod verifier;

pub use claims::{ACCESS_TOKEN_TYPE, Refusal, VerifiedClaims, accept};
pub use inspect::{NotInspectable, UnverifiedView, inspect};
pub use key_set::JwksError;
pub use level::Level;
pub use policy::{AcceptedAudiences, Policy};
#[cfg(feature = "jwks")]
pub use source::JwksSource;
pub use verifier::{Verifier, VerifierBuilder, VerifyError};
