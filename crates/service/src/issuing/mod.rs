//! Issues access tokens: judge, sign, check, write down, and only then let the token go (promise 3).

pub mod introspection;
mod presented_token;
pub mod refresh;
pub mod revocation;
pub mod token_maker;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::issuing::introspection::Introspection;
use crate::issuing::refresh::Refreshing;
use crate::issuing::revocation::Revocation;
use crate::{ClientAuthenticator, KnownClient, SignIn, Surface, TokenMaker, Unavailable};
use signet_core::audit::{AuditEvent, Event, Outcome, Reason, RequestContext};
use signet_core::mfa::{Authentication, FactorKind, FactorRef, Proved, UsedFactor};
use signet_core::oauth::grant::{ClientCredentialsRequest, PasswordRequest, TokenRequest};
use signet_core::oauth::{GrantType, OAuthError, PresentedCredentials, Scopes, scope};
use signet_core::random;
use signet_core::secret::{SecretHash, SecretText};
use signet_core::token::PersonFacts;
use signet_store::{Client, Grant, GrantId, GrantState, User};

/// What the token endpoint answers (RFC 6749 §5.1).
#[derive(Debug)]
pub struct TokenAnswer {
    /// The access token.
    pub access_token: SecretText,
    /// How long it lasts.
    pub expires_in: Duration,
    /// The scopes that it carries.
    pub scopes: Scopes,
    /// The refresh token, where the client may use one.
    pub refresh_token: Option<SecretText>,
    /// Where the person signed in by a recovery code: how many are left. The person is to hear of it.
    pub recovery_codes_left: Option<u32>,
}

/// How often a request is judged again when the store changed under it.
const ROUNDS: usize = 3;

module! {
    /// The token endpoint.
    pub struct Issuing {
        takes clock, directory, ids, hsm_health, random, settings, audit, grants, recovery_codes;
        calls
            /// What a token is worth now.
            pub introspection: Introspection,
            /// Ends tokens and their grants.
            pub revocation: Revocation,
            client_authenticator: ClientAuthenticator,
            refreshing: Refreshing,
            sign_in: SignIn,
            maker: TokenMaker;
    }
}

impl Issuing {
    /// The token endpoint: authenticates the client, judges the request and issues.
    /// Errors: [`OAuthError`] as the RFCs say.
    pub async fn token(
        &self,
        presented: &PresentedCredentials,
        request: &TokenRequest,
        context: &RequestContext,
    ) -> Result<TokenAnswer, OAuthError> {
        // What could not be signed in time is refused before it costs anything, and before a code is spent on it.
        if !self.hsm_health.has_room() {
            tracing::debug!("the HSM tokens have as much to do as there is time for");
            return Err(OAuthError::unavailable());
        }
        match request {
            TokenRequest::ClientCredentials(request) => {
                let known = self.client_authenticator.presume_client(presented, context).await?;
                known.authenticated.may_use(GrantType::ClientCredentials)?;
                self.issue_to_client(known, presented, request, context).await
            }
            TokenRequest::Password(request) => {
                let known = self.client_authenticator.authenticate_client(presented, context).await?;
                known.authenticated.may_use(GrantType::Password)?;
                // Boxed: a person's sign-in is rare and large, and every request would carry its room around.
                Box::pin(self.issue_to_person(&known, request, context)).await
            }
            TokenRequest::Refresh(request) => {
                let known = self.client_authenticator.authenticate_client(presented, context).await?;
                known.authenticated.may_use(GrantType::RefreshToken)?;
                Box::pin(self.refreshing.refresh(&known, request, context)).await
            }
        }
    }

    async fn issue_to_client(
        &self,
        mut known: KnownClient,
        presented: &PresentedCredentials,
        request: &ClientCredentialsRequest,
        context: &RequestContext,
    ) -> Result<TokenAnswer, OAuthError> {
        for _ in 0..ROUNDS {
            let client = known.authenticated.client();
            let scopes = scope::decide(request.scopes.as_ref(), &client.scopes)?;
            let audiences = known.authenticated.audiences(&request.resources)?;
            let token =
                self.maker.token_for(&known, client.id.as_str(), scopes, audiences, BTreeSet::new(), None, None);
            let signed = self.maker.sign_currently(&known.snapshot, &token).await?;
            let draft = self.maker.draft_issued(Event::TokenIssued, &token, &signed, context);
            let generations = self.audit.append(vec![draft]).await.map_err(Unavailable::from)?;
            let recorded = signed.recorded();
            if self.client_authenticator.still_holds(&known, &recorded.key, token.expires_at, generations).await? {
                return Ok(self.maker.answer(token, recorded, None));
            }
            known = self.client_authenticator.authenticate_client(presented, context).await?;
            known.authenticated.may_use(GrantType::ClientCredentials)?;
        }
        tracing::warn!("a request was overtaken by changes {ROUNDS} times");
        Err(OAuthError::unavailable())
    }

    async fn issue_to_person(
        &self,
        known: &KnownClient,
        request: &PasswordRequest,
        context: &RequestContext,
    ) -> Result<TokenAnswer, OAuthError> {
        let client = known.authenticated.client();
        // What no person's rights can mend is refused before a code is spent on it.
        let audiences = known.authenticated.audiences(&request.resources)?;
        scope::decide(request.scopes.as_ref(), &client.scopes)?;
        let (authentication, user) =
            self.sign_in.authenticate(&request.credentials, Surface::Client(known.id().clone()), context).await?;
        let proved = Proved { acr: authentication.acr(), factors: authentication.factors() };
        if !self.suffices(request, client, proved) {
            self.tell_refused(&user, known, Reason::SignInTooWeak, context).await?;
            return Err(OAuthError::UnmetAuthenticationRequirements);
        }
        let (roles, allowed) = self.maker.usable(&client.scopes, &user.roles, proved);
        let scopes = match scope::decide(request.scopes.as_ref(), &allowed) {
            Ok(scopes) => scopes,
            Err(refused) => {
                self.tell_refused(&user, known, Reason::NoRoleGrantsIt, context).await?;
                return Err(refused);
            }
        };
        let refreshes = client.grants.contains(&GrantType::RefreshToken);
        let grant = self.new_grant(known, &authentication, &scopes, &audiences, refreshes);
        let facts = Some(self.person_facts(&authentication).await?);
        let token = self.maker.token_for(known, user.id.as_str(), scopes, audiences, roles, facts, Some(&grant.id));
        let signed = self.maker.sign_currently(&known.snapshot, &token).await?;
        let mut draft = self.maker.draft_issued(Event::TokenIssued, &token, &signed, context);
        draft.factors = authentication.factors().to_vec();
        let refresh_token = self.store_grant(&grant, &user, refreshes, draft).await?;
        let recorded = signed.recorded();
        let fresh = self.directory.fresh().await.map_err(Unavailable::from)?;
        if self.client_authenticator.still_holds(known, &recorded.key, token.expires_at, fresh.generations).await? {
            let recovery_codes_left = self.recovery_codes_left(&authentication).await?;
            return Ok(TokenAnswer { recovery_codes_left, ..self.maker.answer(token, recorded, refresh_token) });
        }
        tracing::warn!("the client or the key changed while a person's token was signed; the token is discarded");
        Err(OAuthError::unavailable())
    }

    /// Whether a sign-in proves what the tenant asks for, and what the client asked for this once (RFC 9470 §4).
    fn suffices(&self, request: &PasswordRequest, client: &Client, proved: Proved<'_>) -> bool {
        let wanted = request.acr_values.is_empty() || request.acr_values.iter().any(|value| proved.reaches(value));
        wanted && self.settings.current().assurance.admits(&client.name, proved)
    }

    async fn tell_refused(
        &self,
        user: &User,
        known: &KnownClient,
        reason: Reason,
        context: &RequestContext,
    ) -> Result<(), OAuthError> {
        let refusal = AuditEvent::new(Event::TokenRefused, Outcome::Refused, user.tenant.as_str(), context);
        let refusal = refusal.user(user.id.as_str()).client(known.id().as_str()).because(reason);
        Ok(self.audit.append(vec![refusal]).await.map(drop).map_err(Unavailable::from)?)
    }

    async fn person_facts(&self, authentication: &Authentication) -> Result<PersonFacts, OAuthError> {
        Ok(PersonFacts {
            auth_time: authentication.at(),
            acr: authentication.acr().to_owned(),
            amr: authentication.amr(),
            authenticator: self.maker.authenticator(authentication.factors()).await?,
        })
    }

    /// What a sign-in led to. Where nothing is refreshed it lasts as long as an access token: it is kept for those that come of
    /// it, so that they end with it.
    fn new_grant(
        &self,
        known: &KnownClient,
        authentication: &Authentication,
        scopes: &Scopes,
        audiences: &BTreeSet<String>,
        refreshes: bool,
    ) -> Grant {
        let now = self.clock.now();
        let lasts =
            if refreshes { self.settings.current().refresh_lifetime } else { self.settings.current().access_lifetime };
        Grant {
            tenant: self.settings.tenant.clone(),
            id: GrantId::new(self.ids.next()),
            client: known.id().clone(),
            user: authentication.user().clone(),
            scopes: scopes.clone(),
            audiences: audiences.clone(),
            auth_time: authentication.at(),
            acr: authentication.acr().to_owned(),
            amr: authentication.amr(),
            factors: authentication.factors().to_vec(),
            created_at: now,
            expires_at: now.plus(lasts),
            state: GrantState::Active,
        }
    }

    /// Keeps the grant, with its first refresh token where it has any. A user or client that is gone by now gets nothing, nor
    /// does a sign-in by credentials that were changed while it was under way.
    async fn store_grant(
        &self,
        grant: &Grant,
        user: &User,
        refreshes: bool,
        draft: AuditEvent,
    ) -> Result<Option<SecretText>, OAuthError> {
        let token = refreshes.then(|| SecretText::new(random::url_text::<32>(self.random.as_ref())));
        let (version, audit) = (user.credentials_version, vec![draft]);
        let added = match &token {
            Some(token) => {
                let hash = SecretHash::of(token.expose());
                self.grants.add_grant(grant, &hash, version, audit).await
            }
            None => self.grants.add_grant_without_refresh(grant, version, audit).await,
        };
        if added.map_err(Unavailable::from)? { Ok(token) } else { Err(OAuthError::InvalidGrant) }
    }

    /// How many codes are left to a person who signed in by one of them.
    pub(crate) async fn recovery_codes_left(&self, shown: &Authentication) -> Result<Option<u32>, OAuthError> {
        let recovery = |factor: &&FactorRef| factor.kind == FactorKind::Recovery;
        let Some(factor) = shown.factors().iter().filter_map(UsedFactor::factor).find(recovery) else {
            return Ok(None);
        };
        let left = self.recovery_codes.recovery_codes_left(&self.settings.tenant, &factor.id).await;
        Ok(left.map(Some).map_err(Unavailable::from)?)
    }
}

/// The grant that a `jti` names.
pub(crate) fn grant_of(token_id: &str) -> Option<GrantId> {
    token_id.split_once('.').map(|(grant, _)| GrantId::new(grant))
}
