//! JWS and JWK (RFC 7515, 7517, 7518, 7638, 8037): pure, without input or output.
//!
//! A compact JWS arrives as an [`UnverifiedJws`], whose payload nobody can read; verification consumes it and
//! returns a [`VerifiedJws`], which nothing else can construct.

#![forbid(unsafe_code)]

pub mod algorithm;
pub mod clock;
pub mod compact;
pub mod header;
pub mod jwk;
pub mod public_key;
mod roca;
mod spki_der;
pub mod strict_json;
pub mod unverified;
pub mod verified;

pub use algorithm::Algorithm;
pub use compact::{assemble, signing_input};
pub use header::Header;
pub use jwk::{Jwk, JwkSet, KeyId, PublicKey};
pub use unverified::{JwsError, UnverifiedJws};
pub use verified::{VerifiedJws, VerifyingKey, WrongSignature};
