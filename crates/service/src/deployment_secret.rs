//! The deployment's secret: what names of accounts and successors of refresh tokens are derived by, the same whichever
//! HSM token answers. See `docs/decisions/0013-*`.
//!
//! It is 32 random bytes, made at `init`, sealed for every HSM token like any secret at rest. The server opens it by any
//! healthy token; from then on it is in memory, wiped at the end, and no derivation asks an HSM.

use std::sync::OnceLock;

use aws_lc_rs::hmac;

use super::Signet;
use super::error::store_unavailable;
use signet_core::keys::{HsmError, HsmFailure, RowBinding, TenantId};
use signet_core::oauth::OAuthError;
use signet_core::random;
use signet_core::secret::SecretBytes;

/// The secret, once it was opened.
#[derive(Default)]
pub(super) struct DeploymentSecret {
    opened: OnceLock<SecretBytes>,
    opening: tokio::sync::Mutex<()>,
}

/// How often a race for the first secret is run again: who loses it reads what the winner wrote.
const ROUNDS: usize = 3;

impl Signet {
    /// HMAC-SHA-256 of `label ‖ 0 ‖ message` under the deployment's secret.
    pub(super) async fn derive(&self, label: &str, message: &[u8]) -> Result<[u8; 32], OAuthError> {
        let secret = match self.deployment_secret.opened.get() {
            Some(secret) => secret,
            None => self.open_deployment_secret().await?,
        };
        Ok(derived(secret, label, message))
    }

    /// Makes the secret where there is none, and opens it, so that no request has to. Where no token does that now, the
    /// first who needs it does.
    pub(super) async fn prepare_deployment_secret(&self) {
        if self.deployment_secret.opened.get().is_none() && self.open_deployment_secret().await.is_err() {
            tracing::warn!("the deployment's secret can't be opened yet");
        }
    }

    async fn open_deployment_secret(&self) -> Result<&SecretBytes, OAuthError> {
        let _one_at_a_time = self.deployment_secret.opening.lock().await;
        if let Some(secret) = self.deployment_secret.opened.get() {
            return Ok(secret);
        }
        // The keys that open are known once a snapshot was read.
        self.directory.at_hand().await.map_err(|error| store_unavailable(&error))?;
        let secret = self.read_or_make_deployment_secret().await?;
        Ok(self.deployment_secret.opened.get_or_init(|| secret))
    }

    async fn read_or_make_deployment_secret(&self) -> Result<SecretBytes, OAuthError> {
        let (store, vault) = (&self.adapters.store, &self.adapters.vault);
        let hsm_failed = |error: HsmError| super::error::hsm_unavailable(&error);
        let row = deployment_row();
        for _ in 0..ROUNDS {
            if let Some(seals) = store.deployment_secret().await.map_err(|error| store_unavailable(&error))? {
                return vault.open(&row, &seals).await.map_err(hsm_failed);
            }
            let secret = SecretBytes::new(random::bytes::<32>(self.adapters.random.as_ref()).to_vec());
            let seals = vault.seal(&row, &secret).await.map_err(hsm_failed)?;
            if store.keep_deployment_secret(&seals).await.map_err(|error| store_unavailable(&error))? {
                return Ok(secret);
            }
        }
        Err(hsm_failed(HsmError::new("open", HsmFailure::DoesNotOpen)))
    }
}

/// The row that the secret is sealed for.
pub(super) fn deployment_row() -> RowBinding {
    RowBinding::new(&TenantId::default_tenant(), "deployment", "1", "secret")
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
