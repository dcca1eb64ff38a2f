//! What stands in for users, passwords and factors that are not there, so that a sign-in does the same work for everybody
//! (promise 5). It is made at the first sign-in, in memory alone.

use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;

use super::Signet;
use super::accounts::password_row;
use super::error::hsm_unavailable;
use crate::keys::{OtpHash, OtpSecretKind, RowBinding, Seals, TenantId};
use crate::mfa::{password, recovery};
use crate::oauth::OAuthError;
use crate::secret::SecretBytes;
use crate::store::{FactorId, UserId};

/// How many sign-ins are under way at once; one more is told to come back.
const MOST_SIGN_INS: usize = 128;

/// The decoys, and who may sign in at once.
pub(super) struct Decoy {
    material: OnceLock<Arc<DecoyMaterial>>,
    making: tokio::sync::Mutex<()>,
    pub(super) admission: Arc<Semaphore>,
}

impl Default for Decoy {
    fn default() -> Self {
        let admission = Arc::new(Semaphore::new(MOST_SIGN_INS));
        Self { material: OnceLock::new(), making: tokio::sync::Mutex::default(), admission }
    }
}

/// A user who is not there.
pub(super) struct DecoyMaterial {
    pub(super) user: UserId,
    pub(super) factor: FactorId,
    pub(super) password: Seals,
    pub(super) totp: Seals,
    pub(super) yubico: Seals,
    pub(super) recovery: Seals,
}

impl Signet {
    pub(super) async fn decoy_material(&self) -> Result<Arc<DecoyMaterial>, OAuthError> {
        if let Some(material) = self.decoy.material.get() {
            return Ok(material.clone());
        }
        let _one_at_a_time = self.decoy.making.lock().await;
        if let Some(material) = self.decoy.material.get() {
            return Ok(material.clone());
        }
        let material = Arc::new(self.make_decoy().await?);
        Ok(self.decoy.material.get_or_init(|| material).clone())
    }

    async fn make_decoy(&self) -> Result<DecoyMaterial, OAuthError> {
        let (tenant, vault) = (&self.settings.tenant, &self.adapters.vault);
        let random = self.adapters.random.clone();
        let phc = tokio::task::spawn_blocking(move || password::decoy_phc(random.as_ref())).await;
        let phc = phc.ok().and_then(Result::ok).ok_or_else(OAuthError::unavailable)?;
        let user = UserId::new("decoy");
        let secret = |length: usize| {
            let mut bytes = vec![0; length];
            self.adapters.random.fill(&mut bytes);
            SecretBytes::new(bytes)
        };
        let phc = SecretBytes::new(phc.expose().as_bytes().to_vec());
        let (totp, codes) = (OtpSecretKind::Hmac(OtpHash::Sha1), OtpSecretKind::Hmac(recovery::HASH));
        let codes_secret = secret(recovery::SECRET_BYTES);
        let sealed = async {
            Ok(DecoyMaterial {
                password: vault.seal(&password_row(tenant, &user), &phc).await?,
                totp: vault.enclose(&decoy_row(tenant, "totp"), totp, &secret(20)).await?,
                yubico: vault.enclose(&decoy_row(tenant, "yubico"), OtpSecretKind::Aes128, &secret(16)).await?,
                recovery: vault.enclose(&decoy_row(tenant, "recovery"), codes, &codes_secret).await?,
                user,
                factor: FactorId::new("decoy"),
            })
        };
        sealed.await.map_err(|error| hsm_unavailable(&error))
    }
}

/// The row that a decoy factor's secret is enclosed for.
pub(super) fn decoy_row(tenant: &TenantId, column: &str) -> RowBinding {
    RowBinding::new(tenant, "decoy", "decoy", column)
}
