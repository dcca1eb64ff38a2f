//! Issues access tokens: judge, sign, check, write down, and only then let the token go (promise 3).

use std::collections::BTreeSet;
use std::time::Duration;

use super::Signet;
use super::authenticate_client::KnownClient;
use super::directory::Snapshot;
use super::error::store_unavailable;
use super::signing::{RecordedToken, SignedToken};
use signet_core::audit::{Draft, Event, Outcome, RequestContext};
use signet_core::mfa::{Authentication, FactorDetail, FactorId, Proved};
use signet_core::oauth::grant::{ClientCredentialsRequest, PasswordRequest, TokenRequest};
use signet_core::oauth::{GrantType, OAuthError, PresentedCredentials, Scopes, scope};
use signet_core::random;
use signet_core::secret::{SecretHash, SecretText};
use signet_core::token::{AccessToken, Authenticator, PersonFacts};
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

impl Signet {
    /// The token endpoint: authenticates the client, judges the request and issues.
    ///
    /// # Errors
    ///
    /// [`OAuthError`] as the RFCs say.
    pub async fn token(
        &self,
        presented: &PresentedCredentials,
        request: &TokenRequest,
        context: &RequestContext,
    ) -> Result<TokenAnswer, OAuthError> {
        // What could not be signed in time is refused before it costs anything, and before a code is spent on it.
        if !self.adapters.key_admin.has_room() {
            tracing::debug!("the HSM tokens have as much to do as there is time for");
            return Err(OAuthError::unavailable());
        }
        match request {
            TokenRequest::ClientCredentials(request) => {
                let known = self.presume_client(presented, context).await?;
                known.authenticated.may_use(GrantType::ClientCredentials)?;
                self.issue_to_client(known, presented, request, context).await
            }
            TokenRequest::Password(request) => {
                let known = self.authenticate_client(presented, context).await?;
                known.authenticated.may_use(GrantType::Password)?;
                // Boxed: a person's sign-in is rare and large, and every request would carry its room around.
                Box::pin(self.issue_to_person(&known, request, context)).await
            }
            TokenRequest::Refresh(request) => {
                let known = self.authenticate_client(presented, context).await?;
                known.authenticated.may_use(GrantType::RefreshToken)?;
                Box::pin(self.refresh(&known, request, context)).await
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
            let audiences = known.authenticated.audiences(request.resource.as_deref())?;
            let token = self.token_for(&known, client.id.as_str(), scopes, audiences, BTreeSet::new(), None, None);
            let signed = self.sign_currently(&known.snapshot, &token).await?;
            let draft = self.draft_issued(Event::TokenIssued, &token, &signed, context);
            let generation =
                self.adapters.store.append(vec![draft]).await.map_err(|error| store_unavailable(&error))?;
            let recorded = signed.recorded();
            if self.still_holds(&known, &recorded.key, token.expires_at, generation).await? {
                return Ok(self.answer(token, recorded, None));
            }
            known = self.authenticate_client(presented, context).await?;
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
        let audiences = known.authenticated.audiences(request.resource.as_deref())?;
        scope::decide(request.scopes.as_ref(), &client.scopes)?;
        let (authentication, user) = self.authenticate(request, known.id(), context).await?;
        let proved = Proved { acr: authentication.acr(), factors: authentication.factors() };
        if !self.suffices(request, client, proved) {
            self.tell_refused(&user, known, "sign_in_too_weak", context).await?;
            return Err(OAuthError::UnmetAuthenticationRequirements);
        }
        let (roles, allowed) = self.usable(&client.scopes, &user.roles, proved);
        let scopes = match scope::decide(request.scopes.as_ref(), &allowed) {
            Ok(scopes) => scopes,
            Err(refused) => {
                self.tell_refused(&user, known, "no_role_grants_it", context).await?;
                return Err(refused);
            }
        };
        let grant = client
            .grants
            .contains(&GrantType::RefreshToken)
            .then(|| self.new_grant(known, &authentication, &scopes, &audiences));
        let facts = self.person_facts(&authentication).await?;
        let grant_id = grant.as_ref().map(|grant| &grant.id);
        let token = self.token_for(known, user.id.as_str(), scopes, audiences, roles, Some(facts), grant_id);
        let signed = self.sign_currently(&known.snapshot, &token).await?;
        let mut draft = self.draft_issued(Event::TokenIssued, &token, &signed, context);
        draft.factors = authentication.factors().to_vec();
        let refresh_token = match grant {
            Some(grant) => Some(self.store_grant(&grant, &user, draft).await?),
            None => {
                self.append_for_user(&user, draft).await?;
                None
            }
        };
        let recorded = signed.recorded();
        let fresh = self.directory.fresh().await.map_err(|error| store_unavailable(&error))?;
        if self.still_holds(known, &recorded.key, token.expires_at, fresh.generation).await? {
            let recovery_codes_left = self.recovery_codes_left(&authentication).await?;
            return Ok(TokenAnswer { recovery_codes_left, ..self.answer(token, recorded, refresh_token) });
        }
        tracing::warn!("the client or the key changed while a person's token was signed; the token is discarded");
        Err(OAuthError::unavailable())
    }

    /// Signs with a key of the snapshot. Where that fails and the keys have changed since, with one of those: a key that
    /// was revoked is gone from its HSM token.
    pub(super) async fn sign_currently(
        &self,
        snapshot: &Snapshot,
        token: &AccessToken,
    ) -> Result<SignedToken, OAuthError> {
        match self.sign_access_token(snapshot, token).await {
            Err(failed) => {
                let fresh = self.directory.fresh().await.map_err(|error| store_unavailable(&error))?;
                let has_changed = fresh.generation > snapshot.generation;
                if has_changed { self.sign_access_token(&fresh, token).await } else { Err(failed) }
            }
            signed => signed,
        }
    }

    /// Whether a sign-in proves what the tenant asks for, and what the client asked for this once (RFC 9470 §4).
    fn suffices(&self, request: &PasswordRequest, client: &Client, proved: Proved<'_>) -> bool {
        let wanted = request.acr_values.is_empty() || request.acr_values.iter().any(|value| proved.reaches(value));
        wanted && self.settings.assurance.admits(&client.name, proved)
    }

    /// The roles and scopes that a sign-in may use, of those that the person and the client have.
    pub(super) fn usable(
        &self,
        scopes: &Scopes,
        roles: &BTreeSet<String>,
        proved: Proved<'_>,
    ) -> (BTreeSet<String>, Scopes) {
        let roles = self.settings.assurance.limit_roles(roles, proved);
        let by_role = self.settings.role_scopes.limit(scopes, &roles);
        let scopes = self.settings.assurance.limit_scopes(&by_role, proved);
        (roles, scopes)
    }

    async fn tell_refused(
        &self,
        user: &User,
        known: &KnownClient,
        reason: &'static str,
        context: &RequestContext,
    ) -> Result<(), OAuthError> {
        let refusal = Draft::new(Event::TokenRefused, Outcome::Refused, user.tenant.as_str(), context);
        let refusal = refusal.user(user.id.as_str()).client(known.id().as_str()).because(reason);
        self.adapters.store.append(vec![refusal]).await.map(drop).map_err(|error| store_unavailable(&error))
    }

    async fn person_facts(&self, authentication: &Authentication) -> Result<PersonFacts, OAuthError> {
        Ok(PersonFacts {
            auth_time: authentication.at(),
            acr: authentication.acr().to_owned(),
            amr: authentication.amr(),
            authenticator: self.authenticator(authentication.factors()).await?,
        })
    }

    /// What the person held, where the policy has tokens tell it: the factor beside the password. One that was removed
    /// since is told by its kind alone.
    pub(super) async fn authenticator(&self, factors: &[String]) -> Result<Option<Authenticator>, OAuthError> {
        let held = factors.iter().find_map(|factor| factor.split_once(':'));
        let Some((kind, id)) = held.filter(|_| self.settings.assurance.tells_authenticator) else { return Ok(None) };
        let factor = self.adapters.store.factor(&self.settings.tenant, &FactorId::new(id)).await;
        let factor = factor.map_err(|error| store_unavailable(&error))?;
        let aaguid = factor.as_ref().and_then(|factor| match &factor.detail {
            FactorDetail::WebAuthn(state) => state.aaguid.clone(),
            _ => None,
        });
        Ok(Some(Authenticator { kind: kind.to_owned(), serial: factor.and_then(|factor| factor.serial), aaguid }))
    }

    fn new_grant(
        &self,
        known: &KnownClient,
        authentication: &Authentication,
        scopes: &Scopes,
        audiences: &BTreeSet<String>,
    ) -> Grant {
        let now = self.now();
        Grant {
            tenant: self.settings.tenant.clone(),
            id: GrantId::new(self.new_id()),
            client: known.id().clone(),
            user: authentication.user().clone(),
            scopes: scopes.clone(),
            audiences: audiences.clone(),
            auth_time: authentication.at(),
            acr: authentication.acr().to_owned(),
            amr: authentication.amr(),
            factors: authentication.factors().to_vec(),
            created_at: now,
            expires_at: now.plus(self.settings.refresh_lifetime),
            state: GrantState::Active,
        }
    }

    /// Keeps the grant with its first refresh token. A user or client that is gone by now gets nothing, nor does a
    /// sign-in by credentials that were changed while it was under way.
    async fn store_grant(&self, grant: &Grant, user: &User, draft: Draft) -> Result<SecretText, OAuthError> {
        let token = SecretText::new(random::url_text::<32>(self.adapters.random.as_ref()));
        let hash = SecretHash::of(token.expose());
        let added = self.adapters.store.add_grant(grant, &hash, user.credentials_version, vec![draft]).await;
        if added.map_err(|error| store_unavailable(&error))? { Ok(token) } else { Err(OAuthError::InvalidGrant) }
    }

    /// Writes down a token that has no grant, if its user may still have it by the credentials that were shown.
    async fn append_for_user(&self, user: &User, draft: Draft) -> Result<(), OAuthError> {
        let version = user.credentials_version;
        let confirmed = self.adapters.store.confirm_user(&user.tenant, &user.id, version, vec![draft]).await;
        if confirmed.map_err(|error| store_unavailable(&error))? { Ok(()) } else { Err(OAuthError::InvalidGrant) }
    }

    /// The claims of a token that begins now.
    #[expect(clippy::too_many_arguments, reason = "a token's claims are that many independent facts")]
    pub(super) fn token_for(
        &self,
        known: &KnownClient,
        subject: &str,
        scopes: Scopes,
        audiences: BTreeSet<String>,
        roles: BTreeSet<String>,
        authenticated: Option<PersonFacts>,
        grant: Option<&GrantId>,
    ) -> AccessToken {
        let now = self.now();
        AccessToken {
            issuer: self.settings.issuer.clone(),
            subject: subject.to_owned(),
            audiences,
            issued_at: now,
            expires_at: now.plus(self.settings.access_lifetime),
            token_id: self.new_token_id(grant),
            client_id: known.id().as_str().to_owned(),
            scopes,
            roles,
            authenticated,
        }
    }

    /// A `jti`. That of a grant's token begins with the grant's id, so that it ends with its grant.
    fn new_token_id(&self, grant: Option<&GrantId>) -> String {
        let random = random::url_text::<16>(self.adapters.random.as_ref());
        grant.map_or_else(|| random.clone(), |grant| format!("{grant}.{random}"))
    }

    /// The audit record of a signed token.
    pub(super) fn draft_issued(
        &self,
        event: Event,
        token: &AccessToken,
        signed: &SignedToken,
        context: &RequestContext,
    ) -> Draft {
        let mut draft = Draft::new(event, Outcome::Done, self.settings.tenant.as_str(), context);
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
    pub(super) fn answer(
        &self,
        token: AccessToken,
        recorded: RecordedToken,
        refresh_token: Option<SecretText>,
    ) -> TokenAnswer {
        TokenAnswer {
            access_token: SecretText::new(recorded.text),
            expires_in: self.settings.access_lifetime,
            scopes: token.scopes,
            refresh_token,
            recovery_codes_left: None,
        }
    }
}

/// The grant that a `jti` names.
pub(super) fn grant_of(token_id: &str) -> Option<GrantId> {
    token_id.split_once('.').map(|(grant, _)| GrantId::new(grant))
}
