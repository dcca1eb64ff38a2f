//! Signet: a token service whose every private key lives in a PKCS#11 HSM.
//!
//! | module | decides |
//! |---|---|
//! | [`cli`] | commands |
//! | `server` | hosting: wires the adapters together, works in the background, starts and stops |
//! | [`http`] | router and endpoints |
//! | `ui` | the pages' templates and assets |
//! | [`config`] | the configuration file, one file a section |
//! | `causes` | how an error is said with its causes |

#![forbid(unsafe_code)]

mod causes;
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod http;
pub mod second_opinion;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod ui;
