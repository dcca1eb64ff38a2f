//! What several suites need.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

pub(crate) mod application;
pub(crate) mod caller;
pub(crate) mod cluster;
pub(crate) mod codes;
pub(crate) mod commands;
pub(crate) mod crowd;
pub(crate) mod fault;
pub(crate) mod hsm;
pub(crate) mod modules;
pub(crate) mod oathtool;
pub(crate) mod piv;
#[cfg(feature = "piv")]
pub(crate) mod piv_card;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod requests;
pub(crate) mod responder;
pub(crate) mod rows;
pub(crate) mod security_key;
pub(crate) mod server;
pub(crate) mod skipped;
pub(crate) mod store;
mod template;
pub(crate) mod webdriver;

/// Writes a file that only its owner can read.
pub(crate) fn write_secret(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
