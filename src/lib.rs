//! Signet: a token service whose every private key lives in a PKCS#11 HSM, and a verifier that needs nobody.
//!
//! # Rooms
//!
//! | module | decides |
//! |---|---|
//! | [`jose`] | JWS and JWK: how a token is parsed, and what counts as verified |
//! | [`token`] | what is issued and what is accepted |
//! | [`verify`] | the verifier for resource servers |
//! | `oauth` | the RFCs' decisions: clients, scopes, errors, discovery, grants |
//! | `mfa` | what proves a person: factors, lockout, the resulting authentication |
//! | `keys` | key identity, the key ring's states, custody, the joints to the HSM |
//! | `store` | contracts, one per noun; `store::sqlite` implements them |
//! | `hsm` | the only PKCS#11 code: wire, worker, supervisor |
//! | `service` | use cases |
//! | `http` | router and endpoints |
//! | `ui` | the pages' templates and assets |
//! | `cli` | commands; wires the adapters together |
//! | `config` | the configuration file, one file a section |
//!
//! # The import rule
//!
//! Imports point inward only, and `tests/import_rules.rs` fails on a `use` that does not:
//! `cli → {config, http, service} → store contracts → {oauth, token, mfa} → keys → jose → {clock, random, secret}`.
//! `hsm` and `store::sqlite` implement inner contracts; only `cli` names them.

#![deny(unsafe_code)]

pub mod clock;
pub mod jose;
pub mod random;
pub mod secret;
pub mod token;
#[cfg(feature = "verify")]
pub mod verify;

#[cfg(feature = "server")]
pub mod audit;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod hsm;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod keys;
#[cfg(feature = "server")]
pub mod mfa;
#[cfg(feature = "server")]
pub mod oauth;
#[cfg(feature = "server")]
pub mod service;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
mod ui;
