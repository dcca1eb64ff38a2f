//! The use cases: judge, then act. HTTP, pages and the command line call the same functions.
//!
//! | module | decides |
//! |---|---|
//! | [`sign_in`] | who a person is: password and factor judged together |
//! | [`sessions`] | how long a browser's sign-in holds |
//! | [`issuing`] | which token leaves, and what one that left is worth |
//! | [`clients`] | who a piece of software is, and what it may ask for |
//! | [`accounts`] | who the users are |
//! | [`factors`] | what a person proves themselves by |
//! | [`otp_validation`] | whether an OTP that another service was shown is good |
//! | [`key_ring`] | which keys sign, from when to when |
//! | [`hsm_membership`] | which HSM tokens belong to the deployment, and what is sealed for each |
//! | [`custody`] | where every key lies, and whether each signature has its record |
//! | [`audit`] | what is written of each decision |
//! | [`readiness`] | whether tokens can be issued now |
//!
//! Each is made of structs that take the ports they need in their constructor; one gets another only there, so that no
//! cycle can be built. [`Deployment`] is the process's, [`Issuer`] one tenant's, and [`Issuers`] finds the issuer of a
//! request. Everything that is decided is written to the audit log in the commit of the change, or before the token
//! leaves. It names no HTTP server, no database and no PKCS#11 module.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod audit;
mod base;
pub mod clients;
pub mod custody;
mod deployment;
mod deployment_secret;
pub mod directory;
pub mod error;
pub mod factors;
mod hashing;
pub mod hsm_membership;
mod ids;
mod issuer;
pub mod issuing;
pub mod key_ring;
mod names;
pub mod otp_validation;
mod ports;
pub mod readiness;
mod rows;
pub mod sessions;
pub mod settings;
pub mod sign_in;
mod signed_state;

pub use deployment::Deployment;
pub use directory::Directory;
pub use error::{ChangeError, InitialiseError, MembershipError, SignInError, Unavailable};
pub use issuer::{Issuer, Issuers};
pub use ports::Ports;
pub use settings::{KeySettings, Settings};
