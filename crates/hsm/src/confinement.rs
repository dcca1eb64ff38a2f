//! What a worker may do on its machine beside its work.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How much is taken from the worker before it loads its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Sandbox {
    /// Nothing beyond core dumps and debuggers, for a module that needs more than the others leave it.
    Off,
    /// What the kernel offers of: no new privileges, no capabilities, no other programs, no dangerous system calls, no
    /// network.
    #[default]
    Standard,
    /// All of it, and nothing writable but what is named; a kernel that lacks a part is refused.
    Strict,
}

/// The limits of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confinement {
    /// How much.
    pub sandbox: Sandbox,
    /// Whether the module talks over the network to its HSM.
    pub network: bool,
    /// The files and folders that the module writes to. `None`: anything that its user may, unless the sandbox is
    /// strict.
    pub writable: Option<Vec<PathBuf>>,
}
