//! What stands in for users, passwords and factors that are not there, so that a sign-in does the same work for everybody
//! (promise 5). It is made at the first sign-in, in memory alone.
//!
//! Decoys are sealed for the HSM tokens that can open every secret of the deployment, and for no others: were a decoy to
//! open by a token that lacks a user's seals, an outage would tell known names (503) from unknown ones (refused).

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use crate::hsm_membership::intake::EnvelopeIntake;
use crate::{ResealState, Unavailable, decoy_row, password_row};
use signet_core::keys::{HsmError, HsmName, OtpHash, OtpSecretKind, SealedCopies};
use signet_core::mfa::{password, recovery};
use signet_core::secret::SecretBytes;
use signet_store::{FactorId, StoreError, UserId};

/// How long it is not asked again for which tokens the decoys may be sealed: that counts every seal.
const JUDGED_FOR: Duration = Duration::from_secs(5);

const TOTP: OtpSecretKind = OtpSecretKind::Hmac(OtpHash::Sha1);
const RECOVERY: OtpSecretKind = OtpSecretKind::Hmac(recovery::HASH);

/// A user who is not there.
#[derive(Clone)]
pub(crate) struct DecoyMaterial {
    pub(crate) user: UserId,
    pub(crate) factor: FactorId,
    pub(crate) password: SealedCopies,
    pub(crate) totp: SealedCopies,
    pub(crate) yubico: SealedCopies,
    pub(crate) recovery: SealedCopies,
}

impl DecoyMaterial {
    fn all(&self) -> [&SealedCopies; 4] {
        [&self.password, &self.totp, &self.yubico, &self.recovery]
    }
}

module! {
    /// Keeps the decoys: made once, and sealed for the HSM tokens that can open everything.
    pub struct Decoys {
        takes key_admin, random, settings, vault, membership, secrets_at_rest;
        calls
            resealing: ResealState,
            /// What stands in for nobody is as complete as what it stands beside.
            pub(crate) intake: EnvelopeIntake;
        keeps
            material: ArcSwapOption<DecoyMaterial>,
            making: tokio::sync::Mutex<()>,
            /// The generations of secrets and HSM tokens by which the decoys were judged last, and when that was.
            judged: Mutex<Option<((i64, i64), Instant)>>;
    }
}

impl Decoys {
    pub(crate) async fn decoy_material(&self) -> Result<Arc<DecoyMaterial>, Unavailable> {
        if let Some(material) = self.material.load_full() {
            return Ok(material);
        }
        let _one_at_a_time = self.making.lock().await;
        if let Some(material) = self.material.load_full() {
            return Ok(material);
        }
        let material = Arc::new(self.make_decoy().await?);
        self.material.store(Some(material.clone()));
        Ok(material)
    }

    async fn make_decoy(&self) -> Result<DecoyMaterial, Unavailable> {
        let (tenant, vault) = (&self.settings.tenant, &self.vault);
        let complete = self.complete_tokens().await?;
        let random = self.random.clone();
        let phc = tokio::task::spawn_blocking(move || password::decoy_phc(random.as_ref())).await;
        let phc = phc.ok().and_then(Result::ok).ok_or(Unavailable)?;
        let user = UserId::new("decoy");
        let secret = |length: usize| {
            let mut bytes = vec![0; length];
            self.random.fill(&mut bytes);
            SecretBytes::new(bytes)
        };
        let phc = SecretBytes::new(phc.expose().as_bytes().to_vec());
        let codes_secret = secret(recovery::SECRET_BYTES);
        let sealed = async {
            Ok::<_, HsmError>(DecoyMaterial {
                password: vault.seal(&password_row(tenant, &user), &phc).await?,
                totp: vault.wrap(&decoy_row(tenant, "totp"), TOTP, &secret(20)).await?,
                yubico: vault.wrap(&decoy_row(tenant, "yubico"), OtpSecretKind::Aes128, &secret(16)).await?,
                recovery: vault.wrap(&decoy_row(tenant, "recovery"), RECOVERY, &codes_secret).await?,
                user,
                factor: FactorId::new("decoy"),
            })
        };
        let mut material: DecoyMaterial = sealed.await?;
        for seals in [&mut material.password, &mut material.totp, &mut material.yubico, &mut material.recovery] {
            seals.0.retain(|hsm, _| complete.contains(hsm));
            if seals.0.is_empty() {
                tracing::warn!("no HSM token that answers can open every secret of the deployment");
                return Err(Unavailable);
            }
        }
        Ok(material)
    }

    /// The tokens that can open every secret that any token opens; all of them where no token can. Retired ones are
    /// given no secrets any more, and are not among them.
    async fn complete_tokens(&self) -> Result<Vec<HsmName>, StoreError> {
        let members = self.membership.hsm_members().await?;
        let is_retired =
            |hsm: &HsmName| members.iter().any(|member| member.name == *hsm && member.retired_at.is_some());
        let (mut all, mut complete) = (self.key_admin.tokens(), Vec::new());
        all.retain(|hsm| !is_retired(hsm));
        for hsm in &all {
            let count = self.secrets_at_rest.count_seals(hsm).await?;
            if count.sealed.saturating_add(self.resealing.unopened(hsm)) >= count.secrets {
                complete.push(hsm.clone());
            }
        }
        Ok(if complete.is_empty() { all } else { complete })
    }

    /// Takes the seals of tokens that can't open every secret any more out of the decoys: those that were away when a
    /// secret was sealed, and those that were retired. Called every second.
    /// Errors: [`StoreError`]: the decoys stay as they are.
    pub(crate) async fn shorten_decoys(&self) -> Result<(), StoreError> {
        if self.material.load().is_none() {
            return Ok(());
        }
        let now = self.membership.generations(&self.settings.tenant).await?;
        let generations = (now.secrets, now.members);
        let judged = *self.judged.lock();
        if judged.is_some_and(|(of, at)| of == generations || at.elapsed() < JUDGED_FOR) {
            return Ok(());
        }
        let _one_at_a_time = self.making.lock().await;
        let Some(material) = self.material.load_full() else { return Ok(()) };
        let complete = self.complete_tokens().await?;
        let mut left = (*material).clone();
        for seals in [&mut left.password, &mut left.totp, &mut left.yubico, &mut left.recovery] {
            for (hsm, _) in seals.0.extract_if(.., |hsm, _| !complete.contains(hsm)) {
                // What it lacks is sealed for it first, and the decoys after that.
                self.resealing.is_lacking(&hsm);
            }
        }
        if left.all().iter().any(|seals| seals.0.is_empty()) {
            // The next sign-in makes others.
            self.material.store(None);
        } else if left.all() != material.all() {
            self.material.store(Some(Arc::new(left)));
        }
        *self.judged.lock() = Some((generations, Instant::now()));
        Ok(())
    }

    /// SealedCopies the decoys for a token that can open every secret by now.
    pub(crate) async fn extend_decoys(&self, hsm: &HsmName) {
        let has_all = |material: &DecoyMaterial| material.all().iter().all(|seals| seals.0.contains_key(hsm));
        if self.material.load().as_ref().is_none_or(|material| has_all(material)) {
            return;
        }
        let _one_at_a_time = self.making.lock().await;
        let Some(material) = self.material.load_full() else { return };
        let mut extended = (*material).clone();
        let tenant = &self.settings.tenant;
        let secrets = [
            (password_row(tenant, &material.user), None, &mut extended.password),
            (decoy_row(tenant, "totp"), Some(TOTP), &mut extended.totp),
            (decoy_row(tenant, "yubico"), Some(OtpSecretKind::Aes128), &mut extended.yubico),
            (decoy_row(tenant, "recovery"), Some(RECOVERY), &mut extended.recovery),
        ];
        for (row, wrapped, seals) in secrets {
            if seals.0.contains_key(hsm) {
                continue;
            }
            match self.vault.reseal_for(&row, wrapped, seals, std::slice::from_ref(hsm)).await {
                Ok(added) => seals.0.extend(added.0),
                // The next resealing tries it again.
                Err(error) => return tracing::debug!(%hsm, %error, "the decoys are kept without this HSM token"),
            }
        }
        self.material.store(Some(Arc::new(extended)));
    }
}
