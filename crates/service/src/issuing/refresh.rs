//! Exchanges a refresh token (RFC 6749 §6, RFC 9700 §4.14). The successor is derived from the token that is
//! spent, by a secret that the HSM tokens keep, so that a retry gets the same successor although only hashes are stored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::issuing::TokenAnswer;
use crate::key_ring::signatures::RecordedToken;
use crate::{ClientAuthenticator, KnownClient, TokenMaker, Unavailable};
use signet_core::audit::{AuditEvent, Event, Outcome, Reason, RequestContext};
use signet_core::keys::HsmName;
use signet_core::mfa::Proved;
use signet_core::oauth::grant::RefreshRequest;
use signet_core::oauth::grant::refresh_token::{Exchange, RefreshStatus};
use signet_core::oauth::{OAuthError, narrowed, scope};
use signet_core::secret::{SecretHash, SecretText};
use signet_core::token::AccessToken;
use signet_core::token::access::PersonFacts;
use signet_store::{AuditOnOutcome, EndReason, Grant, GrantState, RefreshLookup, RotateOutcome, User};

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

module! {
    /// Exchanges refresh tokens.
    pub struct Refreshing {
        takes clock, directory, settings, vault, grants, users, audit, secret;
        calls client_authenticator: ClientAuthenticator, maker: TokenMaker;
    }
}

impl Refreshing {
    /// Exchanges a refresh token for an access token and its successor.
    pub(crate) async fn refresh(
        &self,
        known: &KnownClient,
        request: &RefreshRequest,
        context: &RequestContext,
    ) -> Result<TokenAnswer, OAuthError> {
        let hash = SecretHash::of(request.token.expose());
        for _ in 0..ROUNDS {
            let found = self.grants.refresh_token(&self.settings.tenant, &hash).await;
            // A made-up token writes nothing and asks the HSM nothing.
            let Some(found) = found.map_err(Unavailable::from)? else {
                return Err(OAuthError::InvalidGrant);
            };
            let exchange = match self.judge_refresh(known, &found) {
                Ok(RefreshStatus::Exchangeable(exchange)) => exchange,
                Ok(RefreshStatus::Replayed) => return self.end_replayed(&found.grant, context).await,
                Err(reason) => return self.refuse_refresh(known, &found.grant, reason, context).await,
            };
            let user = match self.judge_person(known, &found.grant).await? {
                Ok(user) => user,
                Err(reason) => return self.refuse_refresh(known, &found.grant, reason, context).await,
            };
            let token = self.refreshed_token(known, request, &found.grant, &user).await?;
            if let Some(answer) = self.exchange(known, request, &hash, &found, (exchange, token), context).await? {
                return Ok(answer);
            }
        }
        tracing::warn!("a refresh lost {ROUNDS} races");
        Err(OAuthError::unavailable())
    }

    /// Whose the token is, whether its family lives, and what it is in the family; or why it is refused.
    fn judge_refresh(&self, known: &KnownClient, found: &RefreshLookup) -> Result<RefreshStatus, Reason> {
        let now = self.clock.now();
        if found.grant.client != *known.id() {
            return Err(Reason::TokenOfAnotherClient);
        }
        if found.grant.state != GrantState::Active {
            return Err(Reason::EndedFamily);
        }
        if found.grant.expires_at <= now {
            return Err(Reason::ExpiredFamily);
        }
        let window = self.settings.current().refresh_retry_window;
        Ok(RefreshStatus::judge(found.generation, found.live_generation, found.spent_at, now, window))
    }

    /// Tells of a token that exists and is refused: somebody may have stolen it.
    async fn refuse_refresh(
        &self,
        known: &KnownClient,
        grant: &Grant,
        reason: Reason,
        context: &RequestContext,
    ) -> Result<TokenAnswer, OAuthError> {
        let mut draft = AuditEvent::new(Event::TokenRefused, Outcome::Refused, self.settings.tenant.as_str(), context)
            .user(grant.user.as_str())
            .client(known.id().as_str())
            .because(reason);
        draft.grant = Some(grant.id.to_string());
        self.audit
            .append_throttled(&format!("refresh {} {reason}", grant.id), draft)
            .await
            .map_err(Unavailable::from)?;
        Err(OAuthError::InvalidGrant)
    }

    async fn end_replayed(&self, grant: &Grant, context: &RequestContext) -> Result<TokenAnswer, OAuthError> {
        let mut draft = AuditEvent::new(Event::TokenReplayed, Outcome::Refused, self.settings.tenant.as_str(), context)
            .user(grant.user.as_str())
            .client(grant.client.as_str())
            .because(Reason::ReplayedRefreshToken);
        draft.grant = Some(grant.id.to_string());
        let told = AuditOnOutcome::applied(draft);
        let ended = self.grants.end_grant(&grant.tenant, &grant.id, EndReason::Replayed, self.clock.now(), told);
        ended.await.map_err(Unavailable::from)?;
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
        (exchange, token): (Exchange, AccessToken),
        context: &RequestContext,
    ) -> Result<Option<TokenAnswer>, OAuthError> {
        let successor = self.derive_successor(request, found, &exchange).await?;
        let signed = self.maker.sign_currently(&known.snapshot, &token).await?;
        let event = match exchange {
            Exchange::First => Event::TokenRefreshed,
            Exchange::Retry => Event::TokenRefreshRetried,
        };
        let draft = self.maker.draft_issued(event, &token, &signed, context);
        let is_committed = match exchange {
            Exchange::First => self.rotate(&found.grant, hash, &successor, draft).await?,
            Exchange::Retry => self.confirm(&found.grant, draft).await?,
        };
        if !is_committed {
            return Ok(None);
        }
        self.release_refreshed(known, token, signed.recorded(), successor).await.map(Some)
    }

    /// Whether the grant's user may still have tokens: enabled, and by a sign-in that suffices by the policy of today.
    async fn judge_person(&self, known: &KnownClient, grant: &Grant) -> Result<Result<User, Reason>, OAuthError> {
        let user = self.users.user(&grant.tenant, &grant.user).await.map_err(Unavailable::from)?;
        let Some(user) = user.filter(|user| user.enabled) else { return Ok(Err(Reason::DisabledUser)) };
        let proved = Proved { acr: &grant.acr, factors: &grant.factors };
        let suffices = self.settings.current().assurance.admits(&known.authenticated.client().name, proved);
        Ok(if suffices { Ok(user) } else { Err(Reason::SignInTooWeak) })
    }

    /// The access token of the exchange: the grant's, narrowed by the request and by the roles held now.
    async fn refreshed_token(
        &self,
        known: &KnownClient,
        request: &RefreshRequest,
        grant: &Grant,
        user: &User,
    ) -> Result<AccessToken, OAuthError> {
        let requested = scope::narrow(request.scopes.as_ref(), &grant.scopes)?;
        let client = known.authenticated.client();
        let proved = Proved { acr: &grant.acr, factors: &grant.factors };
        let by_client = requested.intersection(&client.scopes).cloned().collect();
        let (roles, scopes) = self.maker.usable(&by_client, &user.roles, proved);
        if scopes.is_empty() && !grant.scopes.is_empty() {
            return Err(OAuthError::InvalidScope);
        }
        let facts = PersonFacts {
            auth_time: grant.auth_time,
            acr: grant.acr.clone(),
            amr: grant.amr.clone(),
            authenticator: self.maker.authenticator(&grant.factors).await?,
        };
        let audiences = narrowed(&grant.audiences, &request.resources)?;
        Ok(self.maker.token_for(known, user.id.as_str(), scopes, audiences, roles, Some(facts), Some(&grant.id)))
    }

    async fn derive_successor(
        &self,
        request: &RefreshRequest,
        found: &RefreshLookup,
        exchange: &Exchange,
    ) -> Result<Successor, OAuthError> {
        let message = format!("{}\0{}\0{}", found.grant.id, found.generation + 1, request.token.expose());
        let message = zeroize::Zeroizing::new(message);
        // A token that was spent before the deployment had a secret gets the successor that it got then.
        let (derived_by, bytes) = match &found.successor_hsm {
            Some(hsm) => {
                let derived = self.vault.derive(Some(hsm), LABEL, message.as_bytes()).await;
                let (hsm, bytes) = derived.map_err(Unavailable::from)?;
                (Some(hsm), bytes)
            }
            None => match exchange {
                Exchange::First => (None, self.secret.derive(LABEL, message.as_bytes()).await?),
                Exchange::Retry => (None, self.derive_again(message.as_bytes()).await?),
            },
        };
        Ok(Successor { token: SecretText::new(URL_SAFE_NO_PAD.encode(bytes)), derived_by })
    }

    /// What was derived for the first exchange: where the secret was renewed since, by whichever generation made the token that is there.
    async fn derive_again(&self, message: &[u8]) -> Result<[u8; 32], OAuthError> {
        let derivations = self.secret.derivations(LABEL, message).await?;
        if let [first, _, ..] = derivations.as_slice() {
            for bytes in &derivations {
                let hash = SecretHash::of(&URL_SAFE_NO_PAD.encode(bytes));
                let known = self.grants.refresh_token(&self.settings.tenant, &hash).await;
                if known.map_err(Unavailable::from)?.is_some() {
                    return Ok(*bytes);
                }
            }
            return Ok(*first);
        }
        derivations.first().copied().ok_or_else(OAuthError::unavailable)
    }

    async fn rotate(
        &self,
        grant: &Grant,
        spent: &SecretHash,
        successor: &Successor,
        draft: AuditEvent,
    ) -> Result<bool, OAuthError> {
        let next = SecretHash::of(successor.token.expose());
        let told = AuditOnOutcome::applied(draft);
        let outcome =
            self.grants.rotate(grant, spent, &next, successor.derived_by.as_ref(), self.clock.now(), told).await;
        Ok(outcome.map_err(Unavailable::from)? == RotateOutcome::Rotated)
    }

    async fn confirm(&self, grant: &Grant, draft: AuditEvent) -> Result<bool, OAuthError> {
        let confirmed = self.grants.confirm_grant(grant, self.clock.now(), vec![draft]).await;
        Ok(confirmed.map_err(Unavailable::from)?)
    }

    async fn release_refreshed(
        &self,
        known: &KnownClient,
        token: AccessToken,
        recorded: RecordedToken,
        successor: Successor,
    ) -> Result<TokenAnswer, OAuthError> {
        let fresh = self.directory.fresh().await.map_err(Unavailable::from)?;
        if self.client_authenticator.still_holds(known, &recorded.key, token.expires_at, fresh.generations).await? {
            return Ok(self.maker.answer(token, recorded, Some(successor.token)));
        }
        tracing::warn!("the client or the key changed while a token was refreshed; the caller must try again");
        Err(OAuthError::unavailable())
    }
}
