//! `[admin]`: how operators reach a server that runs.

use std::path::PathBuf;

use super::section::Section;
use super::{ConfigError, StoreConfig};

pub(super) const KEYS: &[&str] = &["socket", "group"];

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// `socket`: the Unix socket on which the server takes commands.
    pub socket: PathBuf,
    /// `group`: whose members may use it beside the server's own account and root.
    pub group: Option<String>,
}

impl AdminConfig {
    pub(super) fn read(section: &Section<'_>, store: &StoreConfig) -> Result<Self, ConfigError> {
        let socket = section.path("socket", "the path of a Unix socket")?;
        let socket = socket.unwrap_or_else(|| store.folder().join("admin.sock"));
        // `sun_path` with its NUL (unix(7)).
        if socket.as_os_str().len() > 107 {
            let problem = format!("{} is longer than the 107 bytes that a socket's path can have", socket.display());
            return Err(section.unusable("socket", problem));
        }
        Ok(Self { socket, group: section.text("group", "the name of a system group")? })
    }
}
