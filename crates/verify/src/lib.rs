//! The verifier for resource servers: it needs a JWKS and nobody else.
//!
//! ```no_run
//! # async fn example(token: &str) -> Result<(), Box<dyn std::error::Error>> {
//! use signet_verify::{JwksSource, Verifier};
//!
//! let source: JwksSource = "https://issuer.example/oauth2/jwks".parse()?;
//! let verifier = Verifier::builder("https://issuer.example").audience("https://api.example").build(source).await?;
//! let claims = verifier.verify(token).await?;
//! println!("{} may {:?}", claims.subject(), claims.scopes());
//! # Ok(())
//! # }
//! ```
//!
//! [`axum`] holds a layer and an extractor. [`inspect`] shows a token without verifying it, for people to read.

#![forbid(unsafe_code)]

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "jwks")]
pub mod bearer;
mod claim;
pub mod claims;
mod inspect;
#[cfg(feature = "jwks")]
mod key_set;
mod level;
#[cfg(feature = "jwks")]
mod live;
mod policy;
#[cfg(feature = "jwks")]
mod source;
#[cfg(feature = "jwks")]
mod verifier;

pub use claims::{ACCESS_TOKEN_TYPE, Refusal, VerifiedClaims, accept};
pub use inspect::{NotInspectable, UnverifiedView, inspect};
pub use level::Level;
pub use policy::{AcceptedAudiences, Policy};
#[cfg(feature = "jwks")]
pub use source::{JwksError, JwksSource};
#[cfg(feature = "jwks")]
pub use verifier::{Verifier, VerifierBuilder, VerifyError};
