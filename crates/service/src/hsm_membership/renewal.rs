//! The deployment's secret is renewed, while every server stands still: the next generation is made, what is authenticated by the one
//! before is authenticated by it, and other nodes' HSM tokens get it as a node gets it that joins. See `docs/decisions/0037-*`.

use std::sync::Arc;

use crate::directory::RingKey;
use crate::error::{ChangeError, JoinError};
use crate::hsm_membership::joining::NodeJoining;
use signet_core::admission::Admission;
use signet_core::audit::RequestContext;
use signet_core::keys::HsmName;
use signet_jose::VerifyingKey;
use signet_store::JoinRequest;

module! {
    /// Renews the deployment's secret, and takes one that another node renewed.
    pub struct SecretRenewal {
        takes clock, directory, key_admin, membership, joins, secrets_at_rest, secret, transports;
        calls joining: NodeJoining;
    }
}

impl SecretRenewal {
    /// Makes the next generation, by which rows are written from then on; where that was done before and not ended, goes on. Returns
    /// its number. Nodes whose HSM tokens this one does not reach get it from what is left for them here.
    /// Errors: [`JoinError`] where it can't be sealed, or no audit key of this node signs what another node gets.
    pub async fn begin(&self, context: &RequestContext) -> Result<u8, JoinError> {
        let generations = self.secret.begin_renewal().await?;
        self.transports.renew_vouchings(&generations).await?;
        let newest = self.secret.newest().await?.number;
        self.leave_for_others(newest, context).await?;
        Ok(newest)
    }

    /// Leaves a generation for HSM tokens that this node does not reach and that lack it, where none is left for them.
    /// Errors: [`JoinError`] where no audit key of this node signs it.
    pub(crate) async fn leave_for_others(&self, generation: u8, context: &RequestContext) -> Result<(), JoinError> {
        let sealed = self.secrets_at_rest.deployment_secrets().await?.remove(&generation).unwrap_or_default();
        let others = self.transports.elsewhere().await?;
        let left = self.joins.join_requests().await?;
        let is_left = |hsm: &HsmName| left.iter().any(|request| request.hsm == *hsm && request.admission.is_some());
        let lacking = others.iter().filter(|other| !sealed.0.contains_key(&other.key.hsm) && !is_left(&other.key.hsm));
        let lacking: Vec<_> = lacking.collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let key = self.audit_key().await?;
        let members = self.membership.hsm_members().await?;
        for other in lacking {
            let member = members.iter().find(|member| member.name == other.key.hsm);
            let (Some(member), Some(transport)) = (member, &other.key.public) else { continue };
            let request = JoinRequest {
                hsm: member.name.clone(),
                node: "that has it".to_owned(),
                token: member.token.clone(),
                cka_id: other.key.cka_id.clone(),
                transport: transport.clone(),
                requested_at: self.clock.now(),
                admission: None,
            };
            self.joins.ask_to_join(&request).await?;
            self.joining.hand_secret_over(&key, &request, context).await?;
        }
        Ok(())
    }

    /// An audit key of an HSM token that this node reaches.
    async fn audit_key(&self) -> Result<Arc<RingKey>, JoinError> {
        let (snapshot, here) = (self.directory.fresh().await?, self.key_admin.tokens());
        let is_own = |key: &&Arc<RingKey>| key.key.state.is_active() && here.contains(&key.key.hsm);
        snapshot.audit_keys().iter().find(is_own).cloned().ok_or(JoinError::NobodyVouches)
    }

    /// Has what waits for other nodes' HSM tokens verify under the newest generation.
    /// Errors: [`ChangeError`] where the store fails.
    pub async fn renew_envelopes(&self) -> Result<(), ChangeError> {
        Ok(self.transports.renew_envelopes(&self.secret.generations().await?).await?)
    }

    /// Forgets generations that are not in the store any more: their rows are void from then on.
    /// Errors: [`ChangeError`] where the store fails.
    pub async fn end(&self) -> Result<(), ChangeError> {
        self.secret.reopen().await?;
        Ok(())
    }

    /// Takes a generation of the secret that another node renewed and left for an HSM token of this one, where none of this node's
    /// tokens has it sealed. Only what one of the `pinned` audit keys signed is taken. Returns whether it was.
    /// Errors: [`JoinError::Refused`] where another key signed it; otherwise [`JoinError`].
    pub async fn take(&self, pinned: &[VerifyingKey]) -> Result<bool, JoinError> {
        let here = self.key_admin.tokens();
        let stored = self.secrets_at_rest.deployment_secrets().await?;
        let Some((newest, seals)) = stored.last_key_value() else { return Ok(false) };
        if here.iter().any(|hsm| seals.0.contains_key(hsm)) {
            return Ok(false);
        }
        let left = self.joins.join_requests().await?;
        let is_for_us = |request: &&JoinRequest| here.contains(&request.hsm) && request.admission.is_some();
        let is_member = async |hsm: &HsmName| {
            let members = self.membership.hsm_members().await?;
            Ok::<_, JoinError>(members.iter().any(|member| member.name == *hsm && member.retired_at.is_none()))
        };
        for request in left.iter().filter(is_for_us) {
            let jws = request.admission.as_deref().unwrap_or_default();
            if !is_member(&request.hsm).await? {
                continue;
            }
            let admission = opened(jws, pinned)?;
            if admission.generation == *newest {
                self.joining.take_renewed(&admission, request).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// An admission, by whichever of these keys signed it.
fn opened(jws: &str, pinned: &[VerifyingKey]) -> Result<Admission, JoinError> {
    let mut refused = None;
    for key in pinned {
        match Admission::open(jws, key) {
            Ok(admission) => return Ok(admission),
            Err(error) => refused = Some(error),
        }
    }
    tracing::error!(
        "ALARM: a renewed secret was left for this node that no audit key in audit.public_key signed: nothing was taken"
    );
    Err(refused.map_or(JoinError::NobodyVouches, JoinError::Refused))
}
