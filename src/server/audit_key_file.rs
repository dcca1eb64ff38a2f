//! The file of `audit.public_key`: the audit keys' public halves, by which this node judges the audit log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use signet_core::keys::KeyPurpose;
use signet_jose::{Jwk, JwkSet};
use signet_service::Deployment;
use signet_store::Keys as _;
use signet_store_sql::SqlStore;

/// That file, of an open deployment. What stands there stays: the file judges the store, and is not made from it.
pub(crate) struct AuditKeyFile {
    path: PathBuf,
    store: Arc<SqlStore>,
    signet: Arc<Deployment>,
}

impl AuditKeyFile {
    pub(super) fn new(path: PathBuf, store: Arc<SqlStore>, signet: Arc<Deployment>) -> Self {
        Self { path, store, signet }
    }

    /// Adds the public halves of audit keys that were made just now, and says where the file is. Where it is gone, a key must sign in
    /// its HSM to be written again.
    /// Errors: it can't be read or written, or a key does not sign.
    pub(crate) async fn add(&self, made: &[String]) -> anyhow::Result<PathBuf> {
        let mut known = match self.read()? {
            Some(known) => known,
            None => self.signing(made).await?,
        };
        let keys = self.store.keys().await?.into_iter().filter(|key| key.purpose == KeyPurpose::AuditSigning);
        let is_new = |jwk: &Jwk| made.iter().any(|kid| kid == jwk.key_id.as_str());
        let new: Vec<Jwk> = keys.filter_map(|key| key.public).filter(is_new).collect();
        if !new.is_empty() || !self.path.exists() {
            known.extend(new);
            replace(&self.path, known)?;
        }
        Ok(self.path.clone())
    }

    /// Adds the audit key of the node that vouched for this one: the log is judged by it here, too.
    /// Errors: the file can't be read or written.
    pub(crate) fn pin(&self, pinned: &Jwk) -> anyhow::Result<()> {
        let mut known = self.read()?.unwrap_or_default();
        if !known.iter().any(|jwk| jwk.key_id == pinned.key_id) {
            known.push(pinned.clone());
            replace(&self.path, known)?;
        }
        Ok(())
    }

    fn read(&self) -> anyhow::Result<Option<Vec<Jwk>>> {
        let path = self.path.display();
        match std::fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(JwkSet::from_json(&text).with_context(|| format!("{path} is no JWKS"))?.keys)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("can't read {path}")),
        }
    }

    /// The audit keys that sign in their HSM now, but for those that were just made.
    async fn signing(&self, made: &[String]) -> anyhow::Result<Vec<Jwk>> {
        let mut keys = Vec::new();
        for key in self.signet.issuer().directory.fresh().await?.audit_keys() {
            let jwk = key.verifying.jwk();
            if !made.iter().any(|kid| kid == jwk.key_id.as_str()) {
                let tested = self.signet.key_ring.signatures.test_key(key).await;
                tested.context("an audit key of the store does not sign in its HSM")?;
                keys.push(jwk.clone());
            }
        }
        Ok(keys)
    }
}

fn replace(path: &Path, keys: Vec<Jwk>) -> anyhow::Result<()> {
    let text = format!("{:#}\n", JwkSet { keys }.to_json());
    let beside = path.with_extension("new");
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    written.with_context(|| format!("can't write {}", path.display()))
}
