//! The only PKCS#11 code: `signet serve` talks to `signet hsm-worker` in frames over an inherited socketpair.
//!
//! | room | decides |
//! |---|---|
//! | [`supervisor`] | which worker gets a request, when a worker is started again, and when it never is |
//! | [`worker`] | the process that holds the module, the PIN and the sessions |
//! | `wire` | the frames between the two |
//! | `blob` | what a sealed secret looks like at rest |
//! | `confinement`, `environment` | what a worker may do on its machine |
//! | [`pin`] | where a PIN may come from (RFC 7512 §2.4) |
//!
//! The server's process never loads a module and never sees a PIN.

mod blob;
mod confinement;
pub mod environment;
pub mod pin;
pub mod supervisor;
mod wire;
pub mod worker;

pub use confinement::{Confinement, Sandbox};
pub use pin::PinSource;
pub use supervisor::{HsmConfig, HsmEvent, HsmGroup, Reconfigured};
