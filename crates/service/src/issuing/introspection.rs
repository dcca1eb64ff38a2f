//! Introspection (RFC 7662): what a token is worth now. It asks the store, and never the HSM.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::issuing::grant_of;
use crate::issuing::presented_token::PresentedToken;
use crate::{KnownClient, Snapshot, Unavailable};
use signet_core::keys::TenantId;
use signet_core::oauth::{Client, ClientId, Scopes, scope};
use signet_core::secret::SecretHash;
use signet_store::{Grant, GrantState, StoreError, UserId};
use signet_verify::VerifiedClaims;

module! {
    /// Says what a token is worth now.
    pub struct Introspection {
        takes clock, directory, settings, grants, revocations, users;
    }
}

impl Introspection {
    /// The introspection answer for a token: all about an active one, and `{"active": false}` for every other.
    /// Errors: [`Unavailable`] where the store can't say: what is unknown is never called active.
    pub async fn introspect(&self, known: &KnownClient, token: &str) -> Result<Value, Unavailable> {
        let fresh = self.directory.fresh().await?;
        let answer = match PresentedToken::classify(&fresh, &self.settings.issuer, self.clock.now(), token) {
            PresentedToken::Access(claims) => self.introspect_access_token(&fresh, &claims).await,
            PresentedToken::Refresh(hash) => self.introspect_refresh_token(known, &hash).await,
        };
        Ok(answer?.unwrap_or_else(|| json!({ "active": false })))
    }

    async fn introspect_access_token(
        &self,
        snapshot: &Snapshot,
        claims: &VerifiedClaims,
    ) -> Result<Option<Value>, StoreError> {
        let tenant = &self.settings.tenant;
        if self.revocations.is_revoked(tenant, claims.token_id()).await? {
            return Ok(None);
        }
        let client = self.directory.client(snapshot, &ClientId::new(claims.client_id())).await?;
        let Some(client) = client.filter(|client| client.enabled) else { return Ok(None) };
        if !self.grant_lives(tenant, claims.token_id()).await? {
            return Ok(None);
        }
        let Some(standing) = self.standing(&client, claims).await? else { return Ok(None) };
        let mut answer = json!({
            "active": true,
            "token_type": "Bearer",
            "iss": self.settings.issuer,
            "sub": claims.subject(),
            "aud": claims.audiences(),
            "client_id": claims.client_id(),
            "scope": scope::join(&standing.scopes),
            "exp": claims.expires_at().unix_seconds(),
            "iat": claims.issued_at().unix_seconds(),
            "jti": claims.token_id(),
            "roles": standing.roles,
        });
        if let Some((auth_time, username)) = claims.auth_time().zip(standing.username) {
            answer["username"] = json!(username);
            answer["auth_time"] = json!(auth_time.unix_seconds());
            answer["acr"] = json!(claims.acr());
            answer["amr"] = json!(claims.amr());
        }
        Ok(Some(answer))
    }

    /// What a token is worth by the roles, scopes and state of this moment, of what it says; `None` where nothing is left of it.
    async fn standing(&self, client: &Client, claims: &VerifiedClaims) -> Result<Option<Standing>, StoreError> {
        let scopes: Scopes = claims.scopes().intersection(&client.scopes).cloned().collect();
        let standing = if claims.auth_time().is_some() {
            let user = self.users.user(&self.settings.tenant, &UserId::new(claims.subject())).await?;
            let Some(user) = user.filter(|user| user.enabled) else { return Ok(None) };
            let roles: BTreeSet<String> = claims.roles().intersection(&user.roles).cloned().collect();
            let scopes = self.settings.current().role_scopes.limit(&scopes, &roles);
            Standing { scopes, roles, username: Some(user.name) }
        } else {
            Standing { scopes, roles: claims.roles().clone(), username: None }
        };
        Ok(Some(standing).filter(|standing| !standing.scopes.is_empty() || claims.scopes().is_empty()))
    }

    /// Whether the grant that the token came from is still there; a client's own token needs none.
    async fn grant_lives(&self, tenant: &TenantId, token_id: &str) -> Result<bool, StoreError> {
        let Some(grant) = grant_of(token_id) else { return Ok(true) };
        let grant = self.grants.grant(tenant, &grant).await?;
        Ok(grant.is_some_and(|grant| grant.state == GrantState::Active))
    }

    async fn enabled_user(&self, tenant: &TenantId, id: &UserId) -> Result<Option<String>, StoreError> {
        let user = self.users.user(tenant, id).await?;
        Ok(user.filter(|user| user.enabled).map(|user| user.name))
    }

    /// A refresh token is its client's own affair: nobody else is told anything of it.
    async fn introspect_refresh_token(
        &self,
        known: &KnownClient,
        hash: &SecretHash,
    ) -> Result<Option<Value>, StoreError> {
        let found = self.grants.refresh_token(&self.settings.tenant, hash).await?;
        let Some(found) = found else { return Ok(None) };
        let is_live = found.spent_at.is_none() && found.generation == found.live_generation;
        if !is_live || found.grant.client != *known.id() || !self.is_in_force(&found.grant).await? {
            return Ok(None);
        }
        Ok(Some(json!({
            "active": true,
            "token_type": "refresh_token",
            "iss": self.settings.issuer,
            "sub": found.grant.user.as_str(),
            "client_id": found.grant.client.as_str(),
            "scope": scope::join(&found.grant.scopes),
            "exp": found.grant.expires_at.unix_seconds(),
            "iat": found.grant.created_at.unix_seconds(),
        })))
    }

    async fn is_in_force(&self, grant: &Grant) -> Result<bool, StoreError> {
        let lives = grant.state == GrantState::Active && self.clock.now() < grant.expires_at;
        Ok(lives && self.enabled_user(&grant.tenant, &grant.user).await?.is_some())
    }
}

/// What a token is worth now.
struct Standing {
    scopes: Scopes,
    roles: BTreeSet<String>,
    /// Whose it is, where it is a person's.
    username: Option<String>,
}
