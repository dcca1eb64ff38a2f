//! Checkpoints: the end of the node's audit chain, signed in the HSM with those of the other nodes as it saw them, so that nobody can change, remove, reorder or cut off records
//! without being noticed.

use crate::{ChangeError, ReadinessState, RingKey, SignatureAccounts, Signatures};
use signet_core::audit::chain::{CHECKPOINT_TYPE, CheckpointClaims};
use signet_core::audit::{Checkpoint, Head, Reason};
use signet_core::keys::SignedKind;
use signet_jose::{self, Header};
use signet_store::audit_log::head_of;

module! {
    /// Signs checkpoints of the node's audit chain.
    pub struct Checkpoints {
        takes clock, directory, audit_log, nodes;
        calls balance: SignatureAccounts, signatures: Signatures, readiness: ReadinessState;
    }
}

impl Checkpoints {
    /// Signs the chain's end, if there is anything that no checkpoint covers.
    /// Errors: [`ChangeError`]: nothing is lost, the next checkpoint covers it. It fails each time as long as the HSM
    /// does not sign or the anchor can't be written, so that the last call tells whether the audit log is covered.
    pub async fn checkpoint(&self) -> Result<Option<Checkpoint>, ChangeError> {
        let signed = self.sign_checkpoint().await;
        self.readiness.checkpointed(signed.as_ref().err());
        signed
    }

    async fn sign_checkpoint(&self) -> Result<Option<Checkpoint>, ChangeError> {
        let node = self.nodes.node().clone();
        let heads = self.audit_log.heads().await?;
        let head = head_of(&heads, &node);
        let last = self.audit_log.last_checkpoint(&node).await?;
        if head == Head::default() || last.is_some_and(|last| last.sequence >= head.sequence) {
            return Ok(None);
        }
        let snapshot = self.directory.fresh().await?;
        let keys: Vec<_> = snapshot.audit_keys().iter().filter(|key| key.key.state.is_active()).collect();
        if keys.is_empty() {
            return Err(ChangeError::NotInitialised("audit"));
        }
        let at = self.clock.now();
        let others = heads.into_iter().filter(|(other, _)| *other != node).collect();
        let payload = CheckpointClaims { node: node.clone(), head, at, others }.to_payload();
        let signing_input = |key: &RingKey| {
            let header = Header {
                algorithm: key.verifying.algorithm(),
                key_id: Some(key.key.key_id.clone()),
                token_type: Some(CHECKPOINT_TYPE.to_owned()),
            };
            signet_jose::signing_input(&header, payload.as_bytes())
        };
        let signed = self.signatures.sign_by_any(&keys, SignedKind::Checkpoint, signing_input).await?;
        let checkpoint = Checkpoint { node, sequence: head.sequence, at, jws: signed.text().to_owned() };
        if !self.audit_log.add_checkpoint(&checkpoint).await? {
            self.balance.settle_one(&signed.key.key.key_id, SignedKind::Checkpoint, Reason::Overtaken).await?;
        }
        signed.recorded();
        Ok(Some(checkpoint))
    }
}
