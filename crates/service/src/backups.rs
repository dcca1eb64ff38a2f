//! Backups: what is stated of one, signed by the audit key in the HSM, on the record.

use std::sync::Arc;

use crate::audit::answering_key;
use crate::{ChangeError, RingKey, Signatures};
use signet_core::audit::{AuditEvent, Event, Head, NodeId, Outcome, RequestContext};
use signet_core::backup::{Header, Statement, TableSum};
use signet_core::keys::SignedKind;

module! {
    /// Signs statements over backups.
    pub struct Backups {
        takes clock, directory, hsm_health, settings, audit;
        calls signatures: Signatures;
    }
}

impl Backups {
    /// Whether a statement can be signed now.
    /// Errors: no audit key of an HSM token that answers.
    pub async fn can_sign(&self) -> Result<(), ChangeError> {
        self.signing_key().await.map(drop)
    }

    /// The audit key of an HSM token that answers.
    async fn signing_key(&self) -> Result<Arc<RingKey>, ChangeError> {
        answering_key(self.directory.fresh().await?.as_ref(), self.hsm_health.as_ref())
    }

    /// Signs what a backup holds, by the audit key of an HSM token that answers, and writes it down. Returns the statement's
    /// JWS.
    /// Errors: [`ChangeError`] where no audit key signs, or the store does not take the record.
    pub async fn sign_backup(
        &self,
        header: &Header,
        tables: Vec<TableSum>,
        hash: [u8; 32],
        heads: Vec<(NodeId, Head)>,
        context: &RequestContext,
    ) -> Result<String, ChangeError> {
        let key = self.signing_key().await?;
        let kid = key.key.key_id.clone();
        let (id, issuer, at) = (header.id.clone(), header.issuer.clone(), header.at.clone());
        let statement = Statement { id, issuer, signed_at: self.clock.now(), at, tables, hash, heads };
        let payload = statement
            .to_payload()
            .map_err(|error| ChangeError::Input(format!("the statement can't be written: {error}")))?;
        let token_type = Some(SignedKind::Backup.token_type().to_owned());
        let header =
            signet_jose::Header { algorithm: key.verifying.algorithm(), key_id: Some(kid.clone()), token_type };
        let input = signet_jose::signing_input(&header, &payload);
        let (signature, entry) = self.signatures.sign_accounted(&key, SignedKind::Backup, input.as_bytes()).await?;
        let mut draft = AuditEvent::new(Event::StoreBackedUp, Outcome::Done, self.settings.tenant.as_str(), context);
        draft.key = Some(kid.to_string());
        draft.detail = Some(format!("backup {} of {}, {} rows", statement.id, statement.at, statement.rows()));
        self.audit.append(vec![draft]).await?;
        entry.close();
        Ok(signet_jose::assemble(input, signature.as_bytes()))
    }
}
