//! Exchanges a refresh token (RFC 6749 §6, RFC 9700 §4.14). The successor is derived from the token that is
//! spent, by a secret that the HSM tokens keep, so that a retry gets the same successor although only hashes are stored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Signet;
use super::authenticate_client::KnownClient;
use super::error::{hsm_unavailable, store_unavailable};
use super::issue::TokenAnswer;
use super::signing::RecordedToken;
use signet_core::audit::{Draft, Event, Outcome, RequestContext};
use signet_core::keys::HsmName;
use signet_core::mfa::Proved;
use signet_core::oauth::grant::RefreshRequest;
use signet_core::oauth::grant::refresh_token::Standing;
use signet_core::oauth::{OAuthError, scope};
use signet_core::secret::{SecretHash, SecretText};
use signet_core::token::AccessToken;
use signet_core::token::access::PersonFacts;
use signet_store::{AuditOnOutcome, EndReason, Grant, GrantState, RefreshLookup, RotateOutcome};

/// How often a request that lost a race looks again: once to become a retry, once more for a family that moved on.
const ROUNDS: usize = 3;

/// What keeps successors apart from everything else that is derived.
const LABEL: &str = "refresh token";

/// A successor refresh token.
struct Successor {
    token: SecretText,
    /// The HSM token that derived it, where the deployment's secret did not.
    derived_by: Option<HsmName>,
}

impl Signet {
    /// Exchanges a refresh token for an access token and its successor.
    pub(super) async fn refresh(
        &self,
        known: &KnownClient,
        request: &RefreshRequest,
        context: &RequestContext,
    ) -> Result<TokenAnswer, OAuthError> {
        let hash = SecretHash::of(request.token.expose());
        for _ in 0..ROUNDS {
            let found = self.adapters.store.refresh_token(&self.settings.tenant, &hash).await;
            // A made-up token writes nothing and asks the HSM nothing.
            let Some(found) = found.map_err(|error| store_unavailable(&error))? else {
                return Err(OAuthError::InvalidGrant);
            };
            let standing = match self.judge_refresh(known, &found) {
                Ok(standing) => standing,
                Err(reason) => return self.refuse_refresh(known, &found.grant, reason, context).await,
            };
            if standing == Standing::Replayed {
                return self.end_replayed(&found.grant, context).await;
            }
            match self.exchange(known, request, &hash, &found, standing, context).await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(OAuthError::InvalidGrant) => {
                    return self.refuse_refresh(known, &found.grant, "disabled_user", context).await;
                }
                Err(OAuthError::UnmetAuthenticationRequirements) => {
                    return self.refuse_refresh(known, &found.grant, "sign_in_too_weak", context).await;
                }
                Err(other) => return Err(other),
            }
        }
        tracing::warn!("a refresh lost {ROUNDS} races");
        Err(OAuthError::unavailable())
    }

    /// Whose the token is, whether its family lives, and what it is in the family; or why it is refused.
    fn judge_refresh(&self, known: &KnownClient, found: &RefreshLookup) -> Result<Standing, &'static str> {
        let now = self.now();
        if found.grant.client != *known.id() {
            return Err("token_of_another_client");
        }
        if found.grant.state != GrantState::Active {
            return Err("ended_family");
        }
        if found.grant.expires_at <= now {
            return Err("expired_family");
        }
        let window = self.settings.refresh_retry_window;
        Ok(Standing::judge(found.generation, found.live_generation, found.spent_at, now, window))
    }

    /// Tells of a token that exists and is refused: somebody may have stolen it.
    async fn refuse_refresh(
        &self,
        known: &KnownClient,
        grant: &Grant,
        reason: &str,
        context: &RequestContext,
    ) -> Result<TokenAnswer, OAuthError> {
        let mut draft = Draft::new(Event::TokenRefused, Outcome::Refused, self.settings.tenant.as_str(), context)
            .user(grant.user.as_str())
            .client(known.id().as_str())
            .because(reason);
        draft.grant = Some(grant.id.to_string());
        self.tell_repeatable(&format!("refresh {} {reason}", grant.id), draft).await?;
        Err(OAuthError::InvalidGrant)
    }

    async fn end_replayed(&self, grant: &Grant, context: &RequestContext) -> Result<TokenAnswer, OAuthError> {
        let mut draft = Draft::new(Event::TokenReplayed, Outcome::Refused, self.settings.tenant.as_str(), context)
            .user(grant.user.as_str())
            .client(grant.client.as_str())
            .because("replayed_refresh_token");
        draft.grant = Some(grant.id.to_string());
        let (store, told) = (&self.adapters.store, AuditOnOutcome::applied(draft));
        let ended = store.end_grant(&grant.tenant, &grant.id, EndReason::Replayed, self.now(), told);
        ended.await.map_err(|error| store_unavailable(&error))?;
        tracing::warn!(grant = %grant.id, "a spent refresh token was shown again; its family is ended");
        Err(OAuthError::InvalidGrant)
    }

    /// Signs and commits one exchange; `None` where another request was faster, and the token must be looked at again.
    async fn exchange(
        &self,
        known: &KnownClient,
        request: &RefreshRequest,
        hash: &SecretHash,
        found: &RefreshLookup,
        standing: Standing,
        context: &RequestContext,
    ) -> Result<Option<TokenAnswer>, OAuthError> {
        let token = self.refreshed_token(known, request, &found.grant).await?;
        let successor = self.derive_successor(request, found).await?;
        let signed = self.sign_currently(&known.snapshot, &token).await?;
        let event = if standing == Standing::Live { Event::TokenRefreshed } else { Event::TokenRefreshRetried };
        let draft = self.draft_issued(event, &token, &signed, context);
        let is_committed = match standing {
            Standing::Live => self.rotate(hash, &successor, draft).await?,
            Standing::Retry | Standing::Replayed => self.confirm(&found.grant, draft).await?,
        };
        if !is_committed {
            return Ok(None);
        }
        self.release_refreshed(known, token, signed.recorded(), successor).await.map(Some)
    }

    /// The access token that the exchange gives: the grant's, narrowed by the request and by the roles held now.
    async fn refreshed_token(
        &self,
        known: &KnownClient,
        request: &RefreshRequest,
        grant: &Grant,
    ) -> Result<AccessToken, OAuthError> {
        let user = self.adapters.store.user(&grant.tenant, &grant.user).await;
        let user = user.map_err(|error| store_unavailable(&error))?.filter(|user| user.enabled);
        let user = user.ok_or(OAuthError::InvalidGrant)?;
        let requested = scope::narrow(request.scopes.as_ref(), &grant.scopes)?;
        let client = known.authenticated.client();
        // The policy of today holds, also for a sign-in that sufficed when it took place.
        let proved = Proved { acr: &grant.acr, factors: &grant.factors };
        if !self.settings.assurance.admits(&client.name, proved) {
            return Err(OAuthError::UnmetAuthenticationRequirements);
        }
        let by_client = requested.intersection(&client.scopes).cloned().collect();
        let (roles, scopes) = self.usable(&by_client, &user.roles, proved);
        if scopes.is_empty() && !grant.scopes.is_empty() {
            return Err(OAuthError::InvalidScope);
        }
        let facts = PersonFacts {
            auth_time: grant.auth_time,
            acr: grant.acr.clone(),
            amr: grant.amr.clone(),
            authenticator: self.authenticator(&grant.factors).await?,
        };
        let audiences = grant.audiences.clone();
        Ok(self.token_for(known, user.id.as_str(), scopes, audiences, roles, Some(facts), Some(&grant.id)))
    }

    async fn derive_successor(&self, request: &RefreshRequest, found: &RefreshLookup) -> Result<Successor, OAuthError> {
        let message = format!("{}\0{}\0{}", found.grant.id, found.generation + 1, request.token.expose());
        let message = zeroize::Zeroizing::new(message);
        // A token that was spent before the deployment had a secret gets the successor that it got then.
        let (derived_by, bytes) = match &found.successor_hsm {
            Some(hsm) => {
                let derived = self.adapters.vault.derive(Some(hsm), LABEL, message.as_bytes()).await;
                let (hsm, bytes) = derived.map_err(|error| hsm_unavailable(&error))?;
                (Some(hsm), bytes)
            }
            None => (None, self.derive(LABEL, message.as_bytes()).await?),
        };
        Ok(Successor { token: SecretText::new(URL_SAFE_NO_PAD.encode(bytes)), derived_by })
    }

    async fn rotate(&self, spent: &SecretHash, successor: &Successor, draft: Draft) -> Result<bool, OAuthError> {
        let next = SecretHash::of(successor.token.expose());
        let tenant = &self.settings.tenant;
        let told = AuditOnOutcome::applied(draft);
        let outcome =
            self.adapters.store.rotate(tenant, spent, &next, successor.derived_by.as_ref(), self.now(), told).await;
        Ok(outcome.map_err(|error| store_unavailable(&error))? == RotateOutcome::Rotated)
    }

    async fn confirm(&self, grant: &Grant, draft: Draft) -> Result<bool, OAuthError> {
        let confirmed = self.adapters.store.confirm_grant(&grant.tenant, &grant.id, self.now(), vec![draft]).await;
        confirmed.map_err(|error| store_unavailable(&error))
    }

    async fn release_refreshed(
        &self,
        known: &KnownClient,
        token: AccessToken,
        recorded: RecordedToken,
        successor: Successor,
    ) -> Result<TokenAnswer, OAuthError> {
        let fresh = self.directory.fresh().await.map_err(|error| store_unavailable(&error))?;
        if self.still_holds(known, &recorded.key, token.expires_at, fresh.generation).await? {
            return Ok(self.answer(token, recorded, Some(successor.token)));
        }
        tracing::warn!("the client or the key changed while a token was refreshed; the caller must try again");
        Err(OAuthError::unavailable())
    }
}
