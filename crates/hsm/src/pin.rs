//! Where a PIN may come from: RFC 7512 §2.4 `pin-source`, without the command form.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the worker reads the PIN. The PIN itself is never in a configuration, an argument or the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PinSource {
    /// A regular file that only its owner can read.
    File(PathBuf),
    /// A systemd credential: the file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A person types it at the controlling terminal.
    Prompt,
}
