//! The use cases: judge, then act. HTTP, pages and the command line call the same functions.
//!
//! | module | decides |
//! |---|---|
//! | [`sign_in`] | who a person is: password and factor judged together |
//! | [`sessions`] | how long a browser's sign-in holds |
//! | [`issuing`] | which token leaves, and what one that left is worth |
//! | [`clients`] | who a piece of software is, and what it may ask for |
//! | [`accounts`] | who the users are |
//! | [`person_grants`] | which clients hold tokens of a person |
//! | [`factors`] | what a person proves themselves by |
//! | [`operators`] | who an operator is by a token, and whom an operator may touch |
//! | [`four_eyes`] | whether what one operator adds waits for another |
//! | [`own_password`] | a person's own password |
//! | [`given_roles`] | which roles wait for another person |
//! | [`idempotency`] | whether a request was made before |
//! | [`otp_validation`] | whether an OTP that another service was shown is good |
//! | [`key_ring`] | which keys sign, from when to when |
//! | [`hsm_membership`] | which HSM tokens belong to the deployment, and what is sealed for each |
//! | [`nodes`] | which machines serve the deployment |
//! | [`hsm_logins`] | which node may present its PIN to an HSM token |
//! | [`custody`] | where every key lies, and whether each signature has its record |
//! | [`audit`] | what is written of each decision |
//! | [`restoring`] | what is ended again in a store that was restored |
//! | [`readiness`] | whether tokens can be issued now |
//!
//! Each is made of structs that take the ports they need in their constructor; one gets another only there, so that no
//! cycle can be built. [`Deployment`] is the process's, [`Issuer`] one tenant's, and [`Issuers`] finds the issuer of a
//! request. Everything that is decided is written to the audit log in the commit of the change, or before the token
//! leaves. It names no HTTP server, no database and no PKCS#11 module.

#![forbid(unsafe_code)]

#[macro_use]
mod base;

pub mod accounts;
pub mod allow_lists;
pub mod audit;
pub mod backups;
pub mod clients;
pub mod custody;
mod deployment;
mod deployment_secret;
pub mod directory;
pub mod error;
pub mod factors;
pub mod four_eyes;
pub mod given_roles;
mod hashing;
pub mod hsm_logins;
pub mod hsm_membership;
pub mod idempotency;
mod ids;
mod issuer;
pub mod issuing;
pub mod key_ring;
mod names;
pub mod nodes;
pub mod operators;
pub mod otp_validation;
pub mod own_password;
mod pages;
pub mod person_grants;
mod ports;
pub mod readiness;
pub mod refused_rows;
pub mod restoring;
mod rows;
pub mod sessions;
pub mod settings;
pub mod sign_in;
mod signed_state;

pub use deployment::Deployment;
pub use directory::Directory;
pub use error::{ChangeError, InitialiseError, JoinError, MembershipError, SignInError, Unavailable};
pub use issuer::{Issuer, Issuers};
pub use ports::Ports;
pub use settings::{ProcessSettings, Settings};

// What many modules name of one another.
use accounts::Accounts;
use audit::AuditTrail;
use base::Base;
use clients::authentication::{ClientAuthenticator, KnownClient};
use custody::balance::SignatureAccounts;
use custody::ledger::Ledger;
use directory::{RingKey, Snapshot};
use error::{TRIES, still_there};
use factors::enrolment::{FactorMaker, NewFactor, factor_added, factor_changed};
use factors::lifecycle::FactorLifecycle;
use factors::own::OwnFactors;
use four_eyes::FourEyes;
use given_roles::GivenRoles;
use hashing::Hashing;
use hsm_membership::members::Members;
use hsm_membership::reseal::ResealState;
use issuing::token_maker::TokenMaker;
use key_ring::key_maker::KeyMaker;
use key_ring::rotation::steps::KeyChanges;
use key_ring::signatures::Signatures;
use names::check_name;
use operators::rights::OperatorRights;
use readiness::ReadinessState;
use rows::{decoy_row, factor_row, password_row, row_of_factor};
use sessions::LiveSession;
use sign_in::decoys::Decoys;
use sign_in::matcher::CodeVerdict;
use sign_in::proofs::FactorProofs;
use sign_in::security_keys::KeyAnswer;
use sign_in::tries::Tries;
use sign_in::{SignIn, Surface};
use signed_state::SignedState;
