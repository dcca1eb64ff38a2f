//! Checkpoints: the audit chain's end, signed in the HSM, so that nobody can change, remove, reorder or cut off records
//! without being noticed.

use super::{ChangeError, Signet};
use crate::audit::chain::{CHECKPOINT_TYPE, CheckpointClaims};
use crate::audit::{Checkpoint, Head};
use crate::jose::{self, Header};
use crate::keys::SignedKind;

impl Signet {
    /// Signs the chain's end, if there is anything that no checkpoint covers.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: nothing is lost, the next checkpoint covers it. It fails each time as long as the HSM does not
    /// sign or the anchor can't be written, so that the last call tells whether the audit log is covered.
    pub async fn checkpoint(&self) -> Result<Option<Checkpoint>, ChangeError> {
        let signed = self.sign_checkpoint().await;
        self.readiness.checkpointed(signed.as_ref().err().map(ToString::to_string));
        signed
    }

    async fn sign_checkpoint(&self) -> Result<Option<Checkpoint>, ChangeError> {
        let head = self.adapters.store.head().await?;
        let last = self.adapters.store.last_checkpoint().await?;
        if head == Head::EMPTY || last.is_some_and(|last| last.sequence >= head.sequence) {
            return Ok(None);
        }
        let snapshot = self.directory.fresh().await?;
        let is_healthy = |hsm| self.adapters.key_admin.health(hsm).is_ok();
        let active = || snapshot.audit_keys().iter().filter(|key| key.key.state.is_active());
        let key = active().find(|key| is_healthy(&key.key.hsm)).or_else(|| active().next());
        let key = key.ok_or(ChangeError::NotInitialised("audit"))?;
        let at = self.now();
        let header = Header {
            algorithm: key.verifying.algorithm(),
            key_id: Some(key.key.key_id.clone()),
            token_type: Some(CHECKPOINT_TYPE.to_owned()),
        };
        let payload = CheckpointClaims { head, at }.to_payload();
        let signing_input = jose::signing_input(&header, payload.as_bytes());
        let (signature, entry) = self.sign_accounted(key, SignedKind::Checkpoint, signing_input.as_bytes()).await?;
        let jws = jose::assemble(signing_input, signature.as_bytes());
        let checkpoint = Checkpoint { sequence: head.sequence, at, jws };
        if !self.adapters.store.add_checkpoint(&checkpoint).await? {
            self.settle_one(&key.key.key_id, SignedKind::Checkpoint, "overtaken").await?;
        }
        entry.close();
        Ok(Some(checkpoint))
    }
}
