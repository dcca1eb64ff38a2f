//! `[admin]`: how operators reach a server that runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::section::{Map, Section};
use super::{ConfigError, StoreConfig};
use signet_core::admin::{AdminScope, AdminScopes};

pub(super) const KEYS: &[&str] = &["socket", "group", "operators"];

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// `socket`: the Unix socket on which the server takes commands.
    pub socket: PathBuf,
    /// `group`: whose members may use it beside the server's own account and root.
    pub group: Option<String>,
    /// `[admin.operators]`: which scopes of the deployment an account has, by its name or number; all of them where it is not named.
    pub operators: BTreeMap<String, AdminScopes>,
}

impl AdminConfig {
    pub(super) fn read(mut section: Section<'_>, store: &StoreConfig) -> Result<Self, ConfigError> {
        let socket = section.path("socket", "the path of a Unix socket")?;
        let socket = socket.unwrap_or_else(|| store.folder().join("admin.sock"));
        // `sun_path` with its NUL (unix(7)).
        if socket.as_os_str().len() > 107 {
            let problem = format!("{} is longer than the 107 bytes that a socket's path can have", socket.display());
            return Err(section.unusable("socket", problem));
        }
        let operators = section.map("operators")?;
        Ok(Self {
            socket,
            group: section.text("group", "the name of a system group")?,
            operators: operators.map(operators_of).transpose()?.unwrap_or_default(),
        })
    }
}

fn operators_of(map: Map) -> Result<BTreeMap<String, AdminScopes>, ConfigError> {
    let lists = map.lists("a list of scopes, e.g. [\"admin:users\"],")?;
    let read =
        |(account, scopes): (String, Vec<String>)| match scopes.iter().find(|scope| AdminScope::named(scope).is_none())
        {
            None => Ok((account, AdminScopes::among(&scopes))),
            Some(unknown) => Err(ConfigError::Unusable {
                key: format!("`admin.operators.{account}`"),
                problem: format!("there is no scope `{unknown}` of the deployment; those that are begin with admin:"),
            }),
        };
    lists.into_iter().map(read).collect()
}
