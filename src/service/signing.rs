//! One signature: chosen key, HSM, and the check in process without which nothing is released.

use std::sync::Arc;

use super::Signet;
use super::directory::{RingKey, Snapshot};
use super::error::hsm_unavailable;
use super::ledger::Entry;
use crate::audit::{Draft, Event, Outcome, RequestContext};
use crate::jose;
use crate::keys::{HsmError, HsmFailure, Signature, SignedKind};
use crate::oauth::OAuthError;
use crate::token::AccessToken;

/// A signed token with the key that signed it.
pub(super) struct SignedToken {
    pub(super) text: String,
    pub(super) key: Arc<RingKey>,
    /// To be closed once the token's audit record is durable.
    pub(super) entry: Entry,
}

/// Whether the worker answered that it did not sign, or was never asked. One that is gone or late may have signed.
fn is_certainly_unsigned(failure: &HsmFailure) -> bool {
    !matches!(failure, HsmFailure::Unavailable { .. } | HsmFailure::Deadline(_))
}

impl Signet {
    /// Signs an access token with an active key of a healthy HSM token.
    pub(super) async fn sign_access_token(
        &self,
        snapshot: &Snapshot,
        token: &AccessToken,
    ) -> Result<SignedToken, OAuthError> {
        let key = self.choose_key(snapshot)?;
        let signing_input = token.signing_input(&key.key.key_id, key.verifying.algorithm());
        let signed = self.sign_accounted(&key, SignedKind::Token, signing_input.as_bytes()).await;
        let (signature, entry) = signed.map_err(|error| hsm_unavailable(&error))?;
        Ok(SignedToken { text: jose::assemble(signing_input, signature.as_bytes()), key, entry })
    }

    /// The active key of a healthy HSM token, or of any where none is known to be healthy.
    fn choose_key(&self, snapshot: &Snapshot) -> Result<Arc<RingKey>, OAuthError> {
        let algorithm = self.settings.algorithm;
        let is_healthy = |key: &&Arc<RingKey>| self.adapters.key_admin.health(&key.key.hsm).is_ok();
        snapshot.active(algorithm).find(is_healthy).or_else(|| snapshot.active(algorithm).next()).cloned().ok_or_else(
            || {
                tracing::error!(%algorithm, "no active signing key; run `signet key generate`");
                OAuthError::unavailable()
            },
        )
    }

    /// Signs and verifies, and gives with the signature its entry in the ledger, which stays open until the caller says
    /// that the signature has its record.
    pub(super) async fn sign_accounted(
        &self,
        key: &RingKey,
        kind: SignedKind,
        message: &[u8],
    ) -> Result<(Signature, Entry), HsmError> {
        let entry = self.ledger.open(&key.key.key_id, kind);
        match self.sign_checked(key, message).await {
            Ok(signature) => Ok((signature, entry)),
            Err(error) => {
                if is_certainly_unsigned(&error.failure) {
                    entry.close();
                }
                Err(error)
            }
        }
    }

    /// Signs and verifies. A signature that does not verify is an alarm and never leaves.
    pub(super) async fn sign_checked(&self, key: &RingKey, message: &[u8]) -> Result<Signature, HsmError> {
        let raw = self.adapters.signer.sign(&key.key, key.verifying.algorithm(), message.to_vec()).await?;
        match raw.check(&key.verifying, message) {
            Ok(signature) => {
                self.readiness.signed(&key.key.hsm);
                Ok(signature)
            }
            Err(wrong) => {
                tracing::error!(key = %key.key.key_id, hsm = %key.key.hsm, "ALARM: {wrong}");
                self.adapters.key_admin.distrust(&key.key);
                self.tell_wrong_signature(key).await;
                let failure = HsmFailure::Unavailable { detail: wrong.to_string() };
                Err(HsmError::new("sign", failure))
            }
        }
    }

    async fn tell_wrong_signature(&self, key: &RingKey) {
        let tenant = self.settings.tenant.as_str();
        let mut draft = Draft::new(Event::HsmWrongSignature, Outcome::Failed, tenant, &RequestContext::default());
        draft.key = Some(key.key.key_id.to_string());
        let draft = draft.detail(key.key.hsm.to_string());
        if self.tell_repeatable(&format!("wrong signature {}", key.key.key_id), draft).await.is_err() {
            tracing::error!("the alarm could not be written to the audit log");
        }
    }
}
