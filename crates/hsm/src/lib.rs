//! The way to the HSM tokens, and the only PKCS#11 code: `signet serve` talks to `signet hsm-worker` in frames over an
//! inherited socketpair, or over a socket that systemd made.
//!
//! It decides which HSM token and which worker gets a request, when a worker is started again and when it never is,
//! whether a PIN may be presented, whether a key is in custody when it is used, and what a key may sign.
//!
//! It never decides what is signed or sealed, nor which keys a deployment has; it keeps no database and knows no network
//! protocol. The server's side never loads a module and never sees a PIN.
//!
//! | module | decides |
//! |---|---|
//! | [`supervisor`] | which worker gets a request, when a worker is started again, and when it never is |
//! | [`worker`] | the process that holds the module, the PIN and the sessions |
//! | `wire` | the frames between the two |
//! | `blob` | what a sealed secret looks like at rest |
//! | [`config`] | what can be configured of an HSM token and its workers |
//! | [`environment`] | which variables a worker inherits |
//!
//! `unsafe` stands in four modules of [`worker`] alone, where the bindings offer no other way; each block says why it is
//! sound.

mod blob;
pub mod config;
pub mod environment;
pub mod supervisor;
mod wire;
pub mod worker;

pub use config::{Confinement, HsmConfig, PinSource, Sandbox};
pub use supervisor::{Choice, HsmEvent, HsmGroup, Reconfigured};
