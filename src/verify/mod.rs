//! The verifier for resource servers: it needs a JWKS and nobody else.
//!
//! ```no_run
//! # async fn example(token: &str) -> Result<(), Box<dyn std::error::Error>> {
//! use signet::verify::{JwksSource, Verifier};
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

pub mod axum;
pub mod bearer;
mod inspect;
mod key_set;
mod live;
#[cfg(feature = "server")]
mod second_opinion;
mod source;
mod verifier;

pub use inspect::{NotInspectable, UnverifiedView, inspect};
#[cfg(feature = "server")]
pub use second_opinion::Disagreement;
pub use source::{JwksError, JwksSource};
pub use verifier::{Verifier, VerifierBuilder, VerifyError};

pub use crate::token::{Level, VerifiedClaims};
