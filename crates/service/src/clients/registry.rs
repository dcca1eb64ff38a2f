//! The OAuth clients of a tenant, as operators see and change them.

use std::collections::BTreeSet;

use crate::names::{check_audiences, check_words};
use crate::pages::all_pages;
use crate::{ChangeError, OperatorRights, TRIES, check_name, still_there};
use signet_core::admin::judge_client;
use signet_core::audit::{AuditEvent, Change, Event, Facts, Outcome, RequestContext};
use signet_core::networks::Network;
use signet_core::oauth::{self, Client, ClientAuthentication, ClientId, GrantType, Reach, Scopes, scope};
use signet_core::random;
use signet_core::secret::{SecretHash, SecretText};

/// What a new client may do.
#[derive(Debug, Clone)]
pub struct NewClient {
    /// Its name.
    pub name: String,
    /// The grant types.
    pub grants: BTreeSet<GrantType>,
    /// The scopes.
    pub scopes: Scopes,
    /// The audiences; the issuer where none.
    pub audiences: BTreeSet<String>,
    /// From where it may ask.
    pub reach: Reach,
}

/// What is to change of a client; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct ClientEdit {
    /// All grant types from now on.
    pub grants: Option<BTreeSet<GrantType>>,
    /// All scopes from now on.
    pub scopes: Option<Scopes>,
    /// All audiences from now on; the issuer where none.
    pub audiences: Option<BTreeSet<String>>,
    /// All networks from now on that it may ask from; any where none.
    pub allow_from: Option<BTreeSet<Network>>,
    /// All web sites from now on whose scripts may read what it is answered.
    pub origins: Option<BTreeSet<String>>,
    /// Whether it may ask for tokens from now on.
    pub enabled: Option<bool>,
}

impl ClientEdit {
    /// What the record calls it; none where nothing is to change.
    fn change(&self) -> Option<Change> {
        let has_reach = self.allow_from.is_some() || self.origins.is_some();
        let has_rights = self.grants.is_some() || self.scopes.is_some() || self.audiences.is_some() || has_reach;
        match (has_rights, self.enabled) {
            (false, None) => None,
            (true, None) => Some(Change::RightsReplaced),
            (false, Some(enabled)) => Some(Change::enabled(enabled)),
            (true, Some(_)) => Some(Change::Changed),
        }
    }

    /// What the record says of a client: of what is to change alone.
    fn facts(&self, client: &Client) -> Facts {
        let all = facts(client);
        Facts {
            grants: all.grants.filter(|_| self.grants.is_some()),
            scope: all.scope.filter(|_| self.scopes.is_some()),
            audiences: all.audiences.filter(|_| self.audiences.is_some()),
            allow_from: all.allow_from.filter(|_| self.allow_from.is_some()),
            origins: all.origins.filter(|_| self.origins.is_some()),
            enabled: all.enabled.filter(|_| self.enabled.is_some()),
            ..all
        }
    }
}

fn taken(client: Client) -> ChangeError {
    ChangeError::Taken { noun: "client", name: client.name }
}

module! {
    /// The OAuth clients of a tenant, as operators see and change them.
    pub struct ClientRegistry {
        takes clock, ids, random, settings, clients;
        calls rights: OperatorRights;
    }
}

impl ClientRegistry {
    /// Adds a client; its secret is shown this once.
    pub async fn add_client(
        &self,
        new: NewClient,
        context: &RequestContext,
    ) -> Result<(Client, SecretText), ChangeError> {
        let (client, secret) = self.new_client(new, context).await?;
        let told = self.client_added(&client, context);
        let added = self.clients.add_client(&client, vec![told]).await?;
        if added { Ok((client, secret)) } else { Err(taken(client)) }
    }

    /// Adds a client that a file states. Nobody is shown its secret: an operator renews it for whoever is to use the client.
    pub async fn declare_client(&self, new: NewClient, context: &RequestContext) -> Result<Client, ChangeError> {
        let (client, _) = self.new_client(new, context).await?;
        let told = self.client_added(&client, context);
        let added = self.clients.declare_client(&client, vec![told]).await?;
        if added { Ok(client) } else { Err(taken(client)) }
    }

    fn client_added(&self, client: &Client, context: &RequestContext) -> AuditEvent {
        AuditEvent { after: Some(Box::new(facts(client))), ..self.client_changed(client, Change::Added, context) }
    }

    async fn new_client(&self, new: NewClient, context: &RequestContext) -> Result<(Client, SecretText), ChangeError> {
        check_name("client", &new.name)?;
        check_words("scope", &new.scopes)?;
        if new.grants.is_empty() {
            return Err(no_grants());
        }
        check_audiences(&new.audiences)?;
        check_admin(&new.grants, &new.scopes, &new.audiences)?;
        let reach = Reach { origins: origins(&new.reach.origins)?, ..new.reach };
        self.rights.to_give_scopes(&new.scopes, context).await?;
        let secret = SecretText::new(random::url_text::<32>(self.random.as_ref()));
        let audiences = self.or_issuer(new.audiences);
        let client = Client {
            tenant: self.settings.tenant.clone(),
            id: ClientId::new(self.ids.next()),
            name: new.name,
            authentication: ClientAuthentication::Secret(SecretHash::of(secret.expose())),
            grants: new.grants,
            scopes: new.scopes,
            audiences,
            reach,
            enabled: true,
            created_at: self.clock.now(),
        };
        Ok((client, secret))
    }

    /// The client of this name or id.
    /// Errors: [`ChangeError::Missing`] where there is none.
    pub async fn find_client(&self, name: &str) -> Result<Client, ChangeError> {
        let clients = self.list_clients().await?;
        let found = clients.into_iter().find(|client| client.name == name || client.id.as_str() == name);
        found.ok_or_else(|| ChangeError::missing("client", name))
    }

    /// So many clients after this name, by name; the first ones without a name.
    pub async fn clients_after(&self, name: Option<&str>, most: u32) -> Result<Vec<Client>, ChangeError> {
        Ok(self.clients.clients(&self.settings.tenant, name, most).await?)
    }

    /// All clients, by name.
    pub async fn list_clients(&self) -> Result<Vec<Client>, ChangeError> {
        let tenant = &self.settings.tenant;
        all_pages(
            |client: &Client| client.name.clone(),
            |after, most| async move { self.clients.clients(tenant, after.as_deref(), most).await },
        )
        .await
    }

    /// Replaces what a client may ask for, or lets it ask for tokens or no more, or both: all or nothing, with one record. Tokens that
    /// are out hold until they expire; a refresh gives what the client may have by then. Disabling ends its refresh families at once.
    pub async fn change_client(
        &self,
        name: &str,
        edit: ClientEdit,
        context: &RequestContext,
    ) -> Result<Client, ChangeError> {
        for _ in 0..TRIES {
            let before = self.touched(name, context).await?;
            let client = self.edited(&before, &edit)?;
            let Some(change) = edit.change() else { return Ok(client) };
            self.rights.to_give_scopes(&client.scopes, context).await?;
            let told = self.client_changed(&client, change, context);
            let rights = format!("{}: {} -> {}", client.name, rights_of(&before), rights_of(&client));
            let told = if change == Change::enabled(client.enabled) { told } else { told.detail(rights) };
            let told = told.from_to(edit.facts(&before), edit.facts(&client));
            if self.clients.change_client(&before, &client, self.clock.now(), vec![told]).await? {
                return Ok(client);
            }
        }
        Err(ChangeError::changes_meanwhile())
    }

    /// A client as it is to be.
    fn edited(&self, before: &Client, edit: &ClientEdit) -> Result<Client, ChangeError> {
        let mut client = before.clone();
        if let Some(grants) = &edit.grants {
            client.grants.clone_from(grants);
        }
        if let Some(scopes) = &edit.scopes {
            check_words("scope", scopes)?;
            client.scopes.clone_from(scopes);
        }
        if let Some(audiences) = &edit.audiences {
            check_audiences(audiences)?;
            client.audiences = self.or_issuer(audiences.clone());
        }
        if let Some(networks) = &edit.allow_from {
            client.reach.allow_from.clone_from(networks);
        }
        if let Some(sites) = &edit.origins {
            client.reach.origins = origins(sites)?;
        }
        client.enabled = edit.enabled.unwrap_or(client.enabled);
        if client.grants.is_empty() {
            return Err(no_grants());
        }
        check_admin(&client.grants, &client.scopes, &client.audiences)?;
        Ok(client)
    }

    fn or_issuer(&self, audiences: BTreeSet<String>) -> BTreeSet<String> {
        if audiences.is_empty() { BTreeSet::from([self.settings.issuer.clone()]) } else { audiences }
    }

    /// Lets a client ask for tokens again, or no more. Disabling ends its refresh families at once.
    pub async fn enable_client(&self, name: &str, enabled: bool, context: &RequestContext) -> Result<(), ChangeError> {
        self.change_client(name, ClientEdit { enabled: Some(enabled), ..ClientEdit::default() }, context)
            .await
            .map(drop)
    }

    /// Gives a client a new secret, shown this once; the old one is no longer accepted.
    pub async fn renew_client_secret(&self, name: &str, context: &RequestContext) -> Result<SecretText, ChangeError> {
        let secret = SecretText::new(random::url_text::<32>(self.random.as_ref()));
        let (client, hash) = (self.touched(name, context).await?, SecretHash::of(secret.expose()));
        let told = self.client_changed(&client, Change::SecretReplaced, context);
        let set = self.clients.set_client_secret(&client.tenant, &client.id, &hash, vec![told]);
        still_there(set.await?, "client", name).map(|()| secret)
    }

    /// Removes a client with its grants.
    pub async fn remove_client(&self, name: &str, context: &RequestContext) -> Result<(), ChangeError> {
        let client = self.touched(name, context).await?;
        let told = AuditEvent {
            before: Some(Box::new(facts(&client))),
            ..self.client_changed(&client, Change::Removed, context)
        };
        still_there(self.clients.remove_client(&client.tenant, &client.id, vec![told]).await?, "client", name)
    }

    /// The client of this name or id, which the operator may change.
    async fn touched(&self, name: &str, context: &RequestContext) -> Result<Client, ChangeError> {
        let client = self.find_client(name).await?;
        self.rights.over_client(&client, context).await?;
        Ok(client)
    }

    fn client_changed(&self, client: &Client, change: Change, context: &RequestContext) -> AuditEvent {
        AuditEvent::new(Event::ClientChanged, Outcome::Done, self.settings.tenant.as_str(), context)
            .client(client.id.as_str())
            .change(change)
            .detail(format!("{}: {}", change.in_words(), client.name))
    }
}

fn no_grants() -> ChangeError {
    ChangeError::Input("a client needs at least one grant type (--grant)".to_owned())
}

fn check_admin(grants: &BTreeSet<GrantType>, scopes: &Scopes, audiences: &BTreeSet<String>) -> Result<(), ChangeError> {
    judge_client(grants, scopes, audiences).map_err(|error| ChangeError::Input(error.to_string()))
}

/// Web sites in the form that browsers name them in.
fn origins(sites: &BTreeSet<String>) -> Result<BTreeSet<String>, ChangeError> {
    let read = |site: &String| {
        let wrong = || format!("an origin is scheme, host and port, e.g. https://app.example; `{site}` is none");
        oauth::origin(site).ok_or_else(|| ChangeError::Input(wrong()))
    };
    sites.iter().map(read).collect()
}

/// What a client may do, in words.
fn rights_of(client: &Client) -> String {
    let grants: Vec<&str> = client.grants.iter().map(|grant| grant.name()).collect();
    let audiences: Vec<&str> = client.audiences.iter().map(String::as_str).collect();
    format!("[{}; {}; {}]", grants.join(" "), scope::join(&client.scopes), audiences.join(" "))
}

/// What the record says of a client.
fn facts(client: &Client) -> Facts {
    Facts {
        grants: Some(client.grants.iter().map(|grant| grant.name().to_owned()).collect()),
        scope: Some(scope::join(&client.scopes)),
        audiences: Some(client.audiences.clone()),
        allow_from: Some(client.reach.allow_from.iter().map(ToString::to_string).collect()),
        origins: Some(client.reach.origins.clone()),
        ..Facts::enabled(client.enabled)
    }
}
