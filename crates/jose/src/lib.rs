//! JWS and JWK (RFC 7515, 7517, 7518, 7638, 8037): pure, without input or output.
//!
//! It decides how a token, a key and a header are read, and what counts as verified. A compact JWS arrives as an
//! [`UnverifiedJws`], whose payload nobody can read; verification consumes it and returns a [`VerifiedJws`], which nothing
//! else can construct. A key is checked when it is made, and is for one algorithm: a token's header is compared with it,
//! never followed.
//!
//! It never decides what a token's claims allow, never finds or fetches a key, never holds a private one, and knows neither
//! `none` nor HMAC. Signing is left to others: [`signing_input`] says what is signed, and [`assemble`] puts it together.

#![forbid(unsafe_code)]
#![warn(clippy::missing_errors_doc)]

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
pub use jwk::{Jwk, JwkSet, KeyId, LeftOut, PublicKey};
pub use unverified::{JwsError, UnverifiedJws};
pub use verified::{VerifiedJws, VerifyingKey, WrongSignature};
