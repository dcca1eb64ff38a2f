//! Signet: a token service whose every private key lives in a PKCS#11 HSM.
//!
//! | module | decides |
//! |---|---|
//! | [`cli`] | commands |
//! | `server` | hosting: wires the adapters together, works in the background, starts and stops |
//! | [`http`] | router and endpoints |
//! | `ui` | the pages' templates and assets |
//! | [`config`] | the configuration file, one file a section |

#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod http;
pub mod second_opinion;
mod server;
mod ui;
