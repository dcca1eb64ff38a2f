//! The deployment's secret: what names of accounts, successors of refresh tokens and the keys of rows are derived by, the same
//! whichever HSM token answers. See `docs/decisions/0013-*` and `0034-*`.
//!
//! It is 32 random bytes, made at `init`, sealed for every HSM token like any secret at rest. The server opens it by any
//! healthy token; from then on it is in memory, wiped at the end, and no derivation asks an HSM.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::hmac;

use crate::rows::deployment_row;
use crate::{Directory, Ports, Unavailable};
use signet_core::keys::{HsmError, HsmFailure, Vault};
use signet_core::random::{self, Random};
use signet_core::row_keys::RowKeys;
use signet_core::secret::SecretBytes;
use signet_store::SecretsAtRest;

/// Which generation of the secret this is: there is one so far.
const GENERATION: u8 = 1;
/// How often a race for the first secret is run again: who loses it reads what the winner wrote.
const ROUNDS: usize = 3;

/// The secret, once it was opened, and what derives from it.
pub(crate) struct DeploymentSecret {
    directory: Arc<Directory>,
    random: Arc<dyn Random>,
    vault: Arc<dyn Vault>,
    secrets_at_rest: Arc<dyn SecretsAtRest>,
    opened: OnceLock<SecretBytes>,
    opening: tokio::sync::Mutex<()>,
}

impl DeploymentSecret {
    pub(crate) fn new(ports: &Ports, directory: &Arc<Directory>) -> Self {
        Self {
            directory: directory.clone(),
            random: ports.random.clone(),
            vault: ports.vault.clone(),
            secrets_at_rest: ports.store.clone(),
            opened: OnceLock::new(),
            opening: tokio::sync::Mutex::default(),
        }
    }

    /// HMAC-SHA-256 of `label ‖ 0 ‖ message` under the deployment's secret.
    pub(crate) async fn derive(&self, label: &str, message: &[u8]) -> Result<[u8; 32], Unavailable> {
        let secret = match self.opened.get() {
            Some(secret) => secret,
            None => self.open_deployment_secret().await?,
        };
        Ok(derived(secret, label, message))
    }

    /// The secret itself, for a node that is let in, and for one that has come in.
    /// Errors: [`Unavailable`] where it can't be opened.
    pub(crate) async fn opened(&self) -> Result<SecretBytes, Unavailable> {
        match self.opened.get() {
            Some(secret) => Ok(secret.clone()),
            None => self.open_deployment_secret().await.cloned(),
        }
    }

    /// Works with the secret that another node of the deployment gave, before an HSM token of this one has it sealed.
    /// Errors: [`Unavailable`] where this node works with another one.
    pub(crate) async fn adopt(&self, secret: SecretBytes) -> Result<(), Unavailable> {
        let _one_at_a_time = self.opening.lock().await;
        match self.opened.get() {
            Some(opened) => return if *opened == secret { Ok(()) } else { Err(Unavailable) },
            None => self.work_with(&secret).await,
        }
        self.opened.get_or_init(|| secret);
        Ok(())
    }

    /// Has the store write and check rows by the secret.
    async fn work_with(&self, secret: &SecretBytes) {
        self.secrets_at_rest.use_row_keys(RowKeys::of(GENERATION, secret));
        // What was read of the store until now was not checked.
        self.directory.forget().await;
    }

    /// Makes the secret where there is none, and opens it, so that no request has to. Where no token does that now, the
    /// first who needs it does.
    pub(crate) async fn prepare_deployment_secret(&self) {
        if self.opened.get().is_none() && self.open_deployment_secret().await.is_err() {
            tracing::warn!("the deployment's secret can't be opened yet");
        }
    }

    /// Makes sure that it is open, so that rows can be written.
    pub(crate) async fn ensure_open(&self) -> Result<(), Unavailable> {
        match self.opened.get() {
            Some(_) => Ok(()),
            None => self.open_deployment_secret().await.map(drop),
        }
    }

    async fn open_deployment_secret(&self) -> Result<&SecretBytes, Unavailable> {
        let _one_at_a_time = self.opening.lock().await;
        if let Some(secret) = self.opened.get() {
            return Ok(secret);
        }
        // The keys that open are known once a snapshot was read.
        self.directory.at_hand().await?;
        let secret = self.read_or_make_deployment_secret().await?;
        self.work_with(&secret).await;
        Ok(self.opened.get_or_init(|| secret))
    }

    async fn read_or_make_deployment_secret(&self) -> Result<SecretBytes, Unavailable> {
        let vault = &self.vault;
        let row = deployment_row();
        for _ in 0..ROUNDS {
            if let Some(seals) = self.secrets_at_rest.deployment_secret().await? {
                return Ok(vault.open(&row, &seals).await?);
            }
            let secret = SecretBytes::new(random::bytes::<32>(self.random.as_ref()).to_vec());
            let seals = vault.seal(&row, &secret).await?;
            if self.secrets_at_rest.keep_deployment_secret(&seals).await? {
                return Ok(secret);
            }
        }
        Err(HsmError::new("open", HsmFailure::DoesNotOpen).into())
    }
}

fn derived(secret: &SecretBytes, label: &str, message: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
    let mut context = hmac::Context::with_key(&key);
    // No label holds a NUL: they stand in the source.
    for part in [label.as_bytes(), &[0], message] {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivations_differ_by_secret_label_and_message() {
        let (one, two) = (SecretBytes::new(vec![1; 32]), SecretBytes::new(vec![2; 32]));
        let all =
            [derived(&one, "a", b"bc"), derived(&two, "a", b"bc"), derived(&one, "ab", b"c"), derived(&one, "a", b"b")];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(derived(&one, "a", b"bc"), all[0]);
    }
}
