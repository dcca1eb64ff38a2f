//! A client proves who it is, before anything that it asks is looked at.

use std::sync::Arc;

use crate::{RingKey, Snapshot, Unavailable};
use signet_core::audit::{AuditEvent, Event, Outcome, Reason, RequestContext};
use signet_core::oauth::{AuthenticatedClient, Client, ClientId, OAuthError, PresentedCredentials};
use signet_jose::clock::Timestamp;
use signet_store::Generations;

/// A client that proved who it is, with the snapshot by which that was judged.
pub struct KnownClient {
    /// The client.
    pub authenticated: AuthenticatedClient,
    pub(crate) snapshot: Arc<Snapshot>,
}

impl KnownClient {
    /// The client's id.
    pub fn id(&self) -> &ClientId {
        &self.authenticated.client().id
    }

    /// Whether it may ask from where the request comes.
    fn admits(&self, context: &RequestContext) -> bool {
        self.authenticated.client().reach.admits(context.address)
    }
}

module! {
    /// Judges what clients prove, and whether it still holds when a token is ready.
    pub struct ClientAuthenticator {
        takes directory, settings, audit;
    }
}

impl ClientAuthenticator {
    /// Judges a client's credentials, and from where it asks, by what the store holds now.
    /// Errors: [`OAuthError::InvalidClient`], [`OAuthError::UnauthorizedClient`] for an address that is not among its own, or
    /// [`OAuthError::TemporarilyUnavailable`] where the store can't be read.
    pub async fn authenticate_client(
        &self,
        presented: &PresentedCredentials,
        context: &RequestContext,
    ) -> Result<KnownClient, OAuthError> {
        let fresh = self.directory.fresh().await.map_err(Unavailable::from)?;
        match self.judge_client(presented, fresh.clone()).await? {
            Some(known) if known.admits(context) => Ok(known),
            Some(known) => {
                self.tell_refused(known.authenticated.client(), Reason::AddressNotAllowed, context).await?;
                Err(OAuthError::UnauthorizedClient)
            }
            None => {
                self.tell_refused_client(presented, &fresh, context).await?;
                Err(OAuthError::InvalidClient)
            }
        }
    }

    /// Authenticates a client by the snapshot at hand, without reading the store: only for a request whose commit confirms
    /// the client by [`still_holds`](Self::still_holds) before anything is answered. A refusal is judged again by what the
    /// store holds now.
    pub(crate) async fn presume_client(
        &self,
        presented: &PresentedCredentials,
        context: &RequestContext,
    ) -> Result<KnownClient, OAuthError> {
        let at_hand = self.directory.at_hand().await.map_err(Unavailable::from)?;
        match self.judge_client(presented, at_hand).await? {
            Some(known) if known.admits(context) => Ok(known),
            _ => self.authenticate_client(presented, context).await,
        }
    }

    async fn judge_client(
        &self,
        presented: &PresentedCredentials,
        snapshot: Arc<Snapshot>,
    ) -> Result<Option<KnownClient>, OAuthError> {
        let client = self.directory.client(&snapshot, &presented.client_id).await;
        let client = client.map_err(Unavailable::from)?;
        Ok(presented.judge(client).map(|authenticated| KnownClient { authenticated, snapshot }))
    }

    /// Writes a known client's wrong secret to the audit log. An unknown id goes into the log alone: anybody can make
    /// up a million of them.
    async fn tell_refused_client(
        &self,
        presented: &PresentedCredentials,
        snapshot: &Snapshot,
        context: &RequestContext,
    ) -> Result<(), OAuthError> {
        let client = self.directory.client(snapshot, &presented.client_id).await;
        let Some(client) = client.map_err(Unavailable::from)? else {
            tracing::info!("a client with an unknown id was refused");
            return Ok(());
        };
        let reason = if client.enabled { Reason::WrongSecret } else { Reason::Disabled };
        self.tell_refused(&client, reason, context).await
    }

    async fn tell_refused(&self, client: &Client, reason: Reason, context: &RequestContext) -> Result<(), OAuthError> {
        let draft =
            AuditEvent::new(Event::ClientAuthentication, Outcome::Refused, self.settings.tenant.as_str(), context);
        let draft = draft.client(client.id.as_str()).because(reason);
        let kind = match reason {
            Reason::AddressNotAllowed => format!("client {} elsewhere", client.id),
            _ => format!("client {}", client.id),
        };
        Ok(self.audit.append_throttled(&kind, draft).await.map_err(Unavailable::from)?)
    }

    /// Whether scripts of a web site may read what the token endpoint answers a client; none of one that is not known.
    pub async fn may_be_read_by(&self, client: &ClientId, origin: &str) -> bool {
        let Ok(at_hand) = self.directory.at_hand().await else { return false };
        let client = self.directory.client(&at_hand, client).await.ok().flatten();
        client.is_some_and(|client| client.reach.origins.contains(origin))
    }

    /// Whether what was judged by a snapshot still holds at the generations of a commit: the same settings, the same client,
    /// unchanged, and a key that still signs, or that another one took over from and that stays published for as long as the token
    /// lasts.
    pub(crate) async fn still_holds(
        &self,
        known: &KnownClient,
        key: &RingKey,
        expires_at: Timestamp,
        generations: Generations,
    ) -> Result<bool, OAuthError> {
        if known.snapshot.is_of(generations) {
            return Ok(true);
        }
        let fresh = self.directory.of_generations(generations).await.map_err(Unavailable::from)?;
        if known.snapshot.generations.settings < fresh.generations.settings {
            return Ok(false);
        }
        let client = self.directory.client(&fresh, known.id()).await.map_err(Unavailable::from)?;
        let same_client = client.is_some_and(|client| *client == *known.authenticated.client());
        let needed_until = expires_at.plus(self.settings.current().keys.verifier_margin());
        let key_signs = fresh.by_id(&key.key.key_id).is_some_and(|key| key.key.state.covers(needed_until));
        Ok(same_client && key_signs)
    }
}
