//! Makes an access token: its claims, its signature, its record and the answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::issuing::{TokenAnswer, grant_of};
use crate::key_ring::signatures::{RecordedToken, SignedToken};
use crate::{KnownClient, RingKey, Signatures, Snapshot, Unavailable};
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_core::keys::SignedKind;
use signet_core::mfa::{Proved, UsedFactor};
use signet_core::oauth::{OAuthError, Scopes, scope};
use signet_core::random;
use signet_core::secret::SecretText;
use signet_core::token::{AccessToken, Authenticator, PersonFacts};
use signet_store::GrantId;

module! {
    /// Makes an access token: its claims, its signature, its record and the answer.
    pub struct TokenMaker {
        takes clock, directory, random, settings, factors;
        calls signatures: Signatures;
    }
}

impl TokenMaker {
    /// Signs with a key of the snapshot. Where that fails and the keys have changed since, with one of those: a key that
    /// was revoked is gone from its HSM token.
    pub(crate) async fn sign_currently(
        &self,
        snapshot: &Snapshot,
        token: &AccessToken,
    ) -> Result<SignedToken, OAuthError> {
        match self.sign_access_token(snapshot, token).await {
            Err(failed) => {
                let fresh = self.directory.fresh().await.map_err(Unavailable::from)?;
                let has_changed = fresh.generations.keys > snapshot.generations.keys;
                if has_changed { self.sign_access_token(&fresh, token).await } else { Err(failed) }
            }
            signed => signed,
        }
    }

    /// The roles and scopes that a sign-in may use, of those that the person and the client have.
    pub(crate) fn usable(
        &self,
        scopes: &Scopes,
        roles: &BTreeSet<String>,
        proved: Proved<'_>,
    ) -> (BTreeSet<String>, Scopes) {
        let roles = self.settings.current().assurance.limit_roles(roles, proved);
        let by_role = self.settings.current().role_scopes.limit(scopes, &roles);
        let scopes = self.settings.current().assurance.limit_scopes(&by_role, proved);
        (roles, scopes)
    }

    /// Returns what the person held, where the policy has tokens name it: the factor beside the password. One that was
    /// removed since is named by its kind alone.
    pub(crate) async fn authenticator(&self, factors: &[UsedFactor]) -> Result<Option<Authenticator>, OAuthError> {
        let held = factors.iter().find_map(UsedFactor::factor);
        let Some(signet_core::mfa::FactorRef { kind, id }) =
            held.filter(|_| self.settings.current().assurance.tells_authenticator)
        else {
            return Ok(None);
        };
        let factor = self.factors.factor(&self.settings.tenant, id).await;
        let factor = factor.map_err(Unavailable::from)?;
        let aaguid = factor.as_ref().and_then(|factor| factor.detail.facts().model.map(str::to_owned));
        Ok(Some(Authenticator { kind: *kind, serial: factor.and_then(|factor| factor.serial), aaguid }))
    }

    /// The claims of a token that begins now.
    #[expect(clippy::too_many_arguments, reason = "a token's claims are that many independent facts")]
    pub(crate) fn token_for(
        &self,
        known: &KnownClient,
        subject: &str,
        scopes: Scopes,
        audiences: BTreeSet<String>,
        roles: BTreeSet<String>,
        authenticated: Option<PersonFacts>,
        grant: Option<&GrantId>,
    ) -> AccessToken {
        let now = self.clock.now();
        AccessToken {
            issuer: self.settings.issuer.clone(),
            subject: subject.to_owned(),
            audiences,
            issued_at: now,
            expires_at: now.plus(self.settings.current().access_lifetime),
            token_id: self.new_token_id(grant),
            client_id: known.id().as_str().to_owned(),
            scopes,
            roles,
            authenticated,
        }
    }

    /// A `jti`. That of a grant's token begins with the grant's id, so that it ends with its grant.
    fn new_token_id(&self, grant: Option<&GrantId>) -> String {
        let random = random::url_text::<16>(self.random.as_ref());
        grant.map_or_else(|| random.clone(), |grant| format!("{grant}.{random}"))
    }

    /// The audit record of a signed token.
    pub(crate) fn draft_issued(
        &self,
        event: Event,
        token: &AccessToken,
        signed: &SignedToken,
        context: &RequestContext,
    ) -> AuditEvent {
        let mut draft = AuditEvent::new(event, Outcome::Done, self.settings.tenant.as_str(), context);
        draft.user = token.authenticated.is_some().then(|| token.subject.clone());
        draft.client = Some(token.client_id.clone());
        draft.key = Some(signed.key.key.key_id.to_string());
        draft.jti = Some(token.token_id.clone());
        draft.grant = grant_of(&token.token_id).map(|grant| grant.to_string());
        draft.scope = Some(scope::join(&token.scopes));
        draft.audience = token.audiences.iter().cloned().collect();
        draft
    }

    /// The answer with a token that was written down.
    pub(crate) fn answer(
        &self,
        token: AccessToken,
        recorded: RecordedToken,
        refresh_token: Option<SecretText>,
    ) -> TokenAnswer {
        TokenAnswer {
            access_token: SecretText::new(recorded.text),
            expires_in: token.expires_at.since(token.issued_at),
            scopes: token.scopes,
            refresh_token,
            recovery_codes_left: None,
        }
    }

    /// Signs an access token with an active key of a healthy HSM token; of another one where that fails.
    pub(crate) async fn sign_access_token(
        &self,
        snapshot: &Snapshot,
        token: &AccessToken,
    ) -> Result<SignedToken, OAuthError> {
        let algorithm = self.settings.current().algorithm;
        let keys: Vec<&Arc<RingKey>> = snapshot.active(algorithm).collect();
        if keys.is_empty() {
            tracing::error!(%algorithm, "no active signing key; run `signet key generate`");
            return Err(OAuthError::unavailable());
        }
        let input = |key: &RingKey| token.signing_input(&key.key.key_id, key.verifying.algorithm());
        Ok(self.signatures.sign_by_any(&keys, SignedKind::Token, input).await.map_err(Unavailable::from)?)
    }
}
