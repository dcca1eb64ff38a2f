//! The only PKCS#11 code: `signet serve` talks to `signet hsm-worker` in frames over an inherited socketpair.
//!
//! | room | decides |
//! |---|---|
//! | [`supervisor`] | which worker gets a request, when a worker is started again, and when it never is |
//! | [`worker`] | the process that holds the module, the PIN and the sessions |
//! | `wire` | the frames between the two |
//! | `blob` | what a sealed secret looks like at rest |
//! | [`config`] | what can be configured of an HSM token and its workers |
//! | [`environment`] | which variables a worker inherits |
//!
//! The server's process never loads a module and never sees a PIN.

mod blob;
pub mod config;
pub mod environment;
pub mod supervisor;
mod wire;
pub mod worker;

pub use config::{Confinement, HsmConfig, PinSource, Sandbox};
pub use supervisor::{Choice, HsmEvent, HsmGroup, Reconfigured};
