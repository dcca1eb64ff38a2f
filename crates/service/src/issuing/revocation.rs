//! Revocation (RFC 7009): an access token by its `jti`, a refresh token with its whole family.

use crate::issuing::presented_token::PresentedToken;
use crate::{KnownClient, Unavailable};
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_core::oauth::OAuthError;
use signet_core::secret::SecretHash;
use signet_store::{AuditOnOutcome, EndReason};
use signet_verify::VerifiedClaims;

module! {
    /// Ends tokens and their grants.
    pub struct Revocation {
        takes clock, settings, grants, revocations;
    }
}

impl Revocation {
    /// Revokes a token of this client's. An unknown, foreign or dead token is no error: "the purpose of the revocation
    /// request, invalidating the particular token, is already achieved" (RFC 7009 §2.2).
    /// Errors: [`OAuthError::TemporarilyUnavailable`] where the store did not make it durable.
    pub async fn revoke(&self, known: &KnownClient, token: &str, context: &RequestContext) -> Result<(), OAuthError> {
        match PresentedToken::classify(&known.snapshot, &self.settings.issuer, self.clock.now(), token) {
            PresentedToken::Access(claims) => self.revoke_access_token(known, &claims, context).await,
            PresentedToken::Refresh(hash) => self.revoke_family(known, &hash, context).await,
        }
    }

    async fn revoke_access_token(
        &self,
        known: &KnownClient,
        claims: &VerifiedClaims,
        context: &RequestContext,
    ) -> Result<(), OAuthError> {
        if claims.client_id() != known.id().as_str() {
            return Ok(());
        }
        let (tenant, jti) = (&self.settings.tenant, claims.token_id());
        let is_revoked = self.revocations.is_revoked(tenant, jti).await;
        if is_revoked.map_err(Unavailable::from)? {
            return Ok(());
        }
        let mut draft = AuditEvent::new(Event::TokenRevoked, Outcome::Done, tenant.as_str(), context)
            .client(known.id().as_str())
            .detail("access token");
        draft.jti = Some(jti.to_owned());
        let revoked =
            self.revocations.revoke_token(tenant, jti, claims.expires_at(), self.clock.now(), vec![draft]).await;
        Ok(revoked.map_err(Unavailable::from)?)
    }

    async fn revoke_family(
        &self,
        known: &KnownClient,
        hash: &SecretHash,
        context: &RequestContext,
    ) -> Result<(), OAuthError> {
        let found = self.grants.refresh_token(&self.settings.tenant, hash).await;
        let Some(found) = found.map_err(Unavailable::from)? else { return Ok(()) };
        if found.grant.client != *known.id() {
            return Ok(());
        }
        let mut draft = AuditEvent::new(Event::TokenRevoked, Outcome::Done, self.settings.tenant.as_str(), context)
            .client(known.id().as_str())
            .user(found.grant.user.as_str())
            .detail("refresh family");
        draft.grant = Some(found.grant.id.to_string());
        let (tenant, id) = (&found.grant.tenant, &found.grant.id);
        let ended = self
            .grants
            .end_grant(tenant, id, EndReason::Revoked, self.clock.now(), AuditOnOutcome::applied(draft))
            .await;
        Ok(ended.map(|_| ()).map_err(Unavailable::from)?)
    }
}
