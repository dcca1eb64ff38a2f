//! What a token is worth at the admin API: judged as a resource server does (RFC 9068 §4), and then by what the store holds now, so that
//! it ends with the person, the grant, the client and the roles.

use std::net::IpAddr;

use crate::issuing::grant_of;
use crate::{Snapshot, TokenMaker, Unavailable};
use signet_core::admin::{self, AdminScopes, Authority, OperatorKind};
use signet_core::audit::RequestContext;
use signet_core::mfa::{Proved, UsedFactor};
use signet_core::oauth::{Client, ClientId, GrantType, Scopes};
use signet_jose::UnverifiedJws;
use signet_store::{Grant, GrantState, StoreError, UserId};
use signet_verify::{AcceptedAudiences, Level, Policy, VerifiedClaims};

/// What a token was judged as.
#[derive(Debug)]
pub enum JudgedToken {
    /// An operator's: who asks, as each record will say, and by what right.
    Operator(RequestContext),
    /// A person's whose sign-in does not suffice: a second factor is missing (`urn:signet:aal2`), or the policy asks for more.
    TooWeak,
    /// None of this issuer's for the admin API, or one that has ended.
    Invalid,
}

module! {
    /// Judges tokens for the admin API.
    pub struct OperatorTokens {
        takes clock, directory, settings, users, revocations, grants;
        calls maker: TokenMaker;
    }
}

impl OperatorTokens {
    /// Judges a token by what the store holds now. `address` is the peer's.
    /// Errors: [`Unavailable`] where the store can't say.
    pub async fn judge_token(&self, token: &str, address: Option<IpAddr>) -> Result<JudgedToken, Unavailable> {
        let fresh = self.directory.fresh().await?;
        let Some(claims) = self.verified(&fresh, token) else { return Ok(JudgedToken::Invalid) };
        let tenant = &self.settings.tenant;
        if self.revocations.is_revoked(tenant, claims.token_id()).await? {
            return Ok(JudgedToken::Invalid);
        }
        let client = self.directory.client(&fresh, &ClientId::new(claims.client_id())).await?;
        // One that has become another client since has no more for operators.
        let Some(client) = client.filter(|client| client.enabled && client.audiences.contains(admin::AUDIENCE)) else {
            return Ok(JudgedToken::Invalid);
        };
        let by_client: Scopes = claims.scopes().intersection(&client.scopes).cloned().collect();
        let judged = match claims.auth_time() {
            Some(_) => self.person(&claims, &client, &by_client).await?,
            None => software(&client, &by_client),
        };
        Ok(match judged {
            JudgedToken::Operator(context) => JudgedToken::Operator(RequestContext { address, ..context }),
            other => other,
        })
    }

    /// The claims of an access token of this issuer for the admin API alone. The issuer's own clock wants no leeway.
    fn verified(&self, snapshot: &Snapshot, text: &str) -> Option<VerifiedClaims> {
        let unverified = UnverifiedJws::parse(text).ok()?;
        let key = snapshot.by_id(unverified.header().key_id.as_ref()?)?;
        let verified = unverified.verify(&key.verifying).ok()?;
        let audiences = AcceptedAudiences::AnyOf([admin::AUDIENCE.to_owned()].into());
        let policy = Policy::new(&self.settings.issuer, audiences);
        let now = self.clock.now();
        let claims = signet_verify::accept(verified, &policy, now).ok()?;
        (now < claims.expires_at() && claims.audiences().len() == 1).then_some(claims)
    }

    async fn person(
        &self,
        claims: &VerifiedClaims,
        client: &Client,
        scopes: &Scopes,
    ) -> Result<JudgedToken, StoreError> {
        let tenant = &self.settings.tenant;
        let Some(grant) = self.grant(claims).await? else { return Ok(JudgedToken::Invalid) };
        let user = self.users.user(tenant, &UserId::new(claims.subject())).await?;
        let Some(user) = user.filter(|user| user.enabled && user.id == grant.user) else {
            return Ok(JudgedToken::Invalid);
        };
        let proved = Proved { acr: &grant.acr, factors: &grant.factors };
        let has_second = grant.factors.iter().any(|shown| UsedFactor::factor(shown).is_some());
        // A code that stands in for a lost factor is made by another operator.
        let is_strong = has_second && proved.reaches(Level::Aal2.acr());
        if !is_strong || !self.settings.current().assurance.admits(&client.name, proved) {
            return Ok(JudgedToken::TooWeak);
        }
        let (_, scopes) = self.maker.usable(scopes, &user.roles, proved);
        let operator = admin::person_in_words((&user.name, user.id.as_str()), (&client.name, client.id.as_str()));
        Ok(operator_of(operator, OperatorKind::Person(user.id.to_string()), &scopes))
    }

    /// What the person's sign-in led to, while it holds.
    async fn grant(&self, claims: &VerifiedClaims) -> Result<Option<Grant>, StoreError> {
        let Some(id) = grant_of(claims.token_id()) else { return Ok(None) };
        let grant = self.grants.grant(&self.settings.tenant, &id).await?;
        Ok(grant.filter(|grant| grant.state == GrantState::Active && grant.client.as_str() == claims.client_id()))
    }
}

/// Software has what an operator named for it.
fn software(client: &Client, scopes: &Scopes) -> JudgedToken {
    if !client.grants.contains(&GrantType::ClientCredentials) {
        return JudgedToken::Invalid;
    }
    let operator = format!("{} (client {})", client.name, client.id);
    operator_of(operator, OperatorKind::Software, scopes)
}

fn operator_of(operator: String, kind: OperatorKind, scopes: &Scopes) -> JudgedToken {
    let authority = Authority::Operator { kind, scopes: AdminScopes::among(scopes) };
    JudgedToken::Operator(RequestContext { operator: Some(operator), authority, ..RequestContext::NONE })
}
