//! The use cases, each with the tests of its rules: of time, of order, of who may do what. They run in this process, in
//! milliseconds each, and wait for nothing.
//!
//! # How to write one
//!
//! ```ignore
//! #[tokio::test]
//! async fn a_session_ends_after_fifteen_minutes_without_use() {
//!     let app = InProcess::new().await;          // a deployment: real store, HSM tokens in memory
//!     let ann = app.person("ann").await;         // a user with a password and an authenticator app
//!     let secret = app.session(&ann).await;      // who signed in by the app's next code
//!     app.pass(IDLE + SECOND).await;             // the one way in which time goes by
//!     assert!(app.live(&secret).await.is_none());
//! }
//! ```
//!
//! `app.issuer` and `app.signet` are what HTTP, pages and commands call: call the use case there. [`support`] says what else
//! a test can do: have HSM tokens fail, lie or wait (`app.hsms`), read the audit log (`app.reasons("sign_in")`), start
//! another process on the same store (`app.another_process()`). A new use case comes into [`list`], with its test.
//!
//! What is promised of the real HSM, of processes and of HTTP is tested in the suite beside this one (`tests/main.rs`).

#![expect(clippy::unwrap_used, reason = "a test that can't go on says so by panicking")]

mod accounts;
mod algorithms;
mod audit;
mod authority;
mod backups;
mod clients;
mod custody;
mod directory;
mod factors;
mod four_eyes;
mod hsm_logins;
mod hsm_membership;
mod idempotency;
mod issuing;
mod joining;
mod key_ring;
mod list;
mod nodes;
mod operators;
mod otp_validation;
mod own_password;
mod piv;
mod readiness;
mod refresh;
mod renewal;
mod restoring;
mod sessions;
mod settings;
mod sign_in;
mod support;
mod wrapped;
mod yubico_remote;
