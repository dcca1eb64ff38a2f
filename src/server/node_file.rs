//! The file in the state folder that names this machine's node. A second line names the process that was it last.

use std::path::Path;

use anyhow::Context as _;
use signet_core::keys::hexadecimal;
use signet_core::random::{OsRandom, bytes};
use signet_state_file::{Access, LockedFile};

pub(super) const NODE_FILE: &str = "node-id";

/// The id of the node whose state folder this is; at the first use a fresh one becomes it.
/// Errors: why the file can't be used.
pub(super) fn node_id(state_folder: &Path) -> anyhow::Result<String> {
    if let Some(known) = known_node_id(state_folder)? {
        return Ok(known);
    }
    let path = state_folder.join(NODE_FILE);
    let unusable = || format!("{} can't be used", path.display());
    let locked = LockedFile::open(&path, Access::InPlace).with_context(unusable)?;
    // Another process may have been faster.
    if let Some(known) = known_node_id(state_folder)? {
        return Ok(known);
    }
    let fresh = hexadecimal(&bytes::<16>(&OsRandom));
    locked.replace(fresh.as_bytes()).with_context(unusable)?;
    Ok(fresh)
}

/// The id of the node, where a server has run from this state folder.
/// Errors: why the file can't be read.
pub(crate) fn known_node_id(state_folder: &Path) -> anyhow::Result<Option<String>> {
    let path = state_folder.join(NODE_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} can't be read", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_nodes_id() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(known_node_id(folder.path()).unwrap(), None);
        let id = node_id(folder.path()).unwrap();
        assert_eq!(id.len(), 32);
        assert_eq!(node_id(folder.path()).unwrap(), id);
        std::fs::write(folder.path().join(NODE_FILE), format!("{id}\nsomething else\n")).unwrap();
        assert_eq!(known_node_id(folder.path()).unwrap(), Some(id));
    }
}
