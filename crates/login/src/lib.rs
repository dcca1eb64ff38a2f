//! Signs a person in at a terminal, and keeps the tokens for scripts.
//!
//! A client like any other, by discovery and the password grant: it decides what is asked for, what is kept and where,
//! and when a token is refreshed. It never reads a server's configuration, and never judges a token for anybody else.
//!
//! | module | decides |
//! |---|---|
//! | `command` | the commands and their order of steps |
//! | `authority` | how an issuer is found and asked |
//! | `step_up` | whether a kept sign-in suffices (RFC 9470) |
//! | `keep`, `keyring` | where tokens are kept |
//! | `card`, `prompt` | how a person proves themselves |
//! | `answer`, `error` | what is answered, in words |

#![forbid(unsafe_code)]

mod answer;
mod authority;
#[cfg(feature = "piv")]
mod card;
mod command;
mod error;
mod keep;
#[cfg_attr(not(feature = "keyring"), path = "keyring_absent.rs")]
mod keyring;
mod prompt;
mod step_up;
mod tokens;

pub use answer::{Answer, Status};
pub use command::{KeptToken, Login, Logout, kept_token};
pub use error::LoginError;
