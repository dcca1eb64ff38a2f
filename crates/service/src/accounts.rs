//! Users and clients, as an operator adds, changes and removes them.

use std::collections::BTreeSet;

use super::{ChangeError, Signet};
use signet_core::audit::{Draft, Event, Outcome, RequestContext};
use signet_core::keys::{RowBinding, Seals, TenantId};
use signet_core::mfa::password::{self, PasswordPolicy};
use signet_core::oauth::{Client, ClientId, GrantType, Scopes, scope};
use signet_core::random;
use signet_core::secret::{SecretBytes, SecretHash, SecretText};
use signet_store::{User, UserId};

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
}

/// The longest name of a user, client or factor, in characters.
const LONGEST_NAME: usize = 128;

impl Signet {
    /// Adds a user who can sign in once a factor is added.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn add_user(
        &self,
        name: &str,
        roles: BTreeSet<String>,
        password: &SecretText,
        context: &RequestContext,
    ) -> Result<User, ChangeError> {
        check_name("user", name)?;
        check_words("role", &roles)?;
        let id = UserId::new(self.new_id());
        let user = User {
            tenant: self.settings.tenant.clone(),
            password: Some(self.seal_password(&id, password).await?),
            id,
            name: name.to_owned(),
            roles,
            enabled: true,
            credentials_version: 0,
            created_at: self.now(),
        };
        let told = self.user_changed(&user, "added", context);
        if self.adapters.store.add_user(&user, vec![told]).await? {
            Ok(user)
        } else {
            Err(ChangeError::Taken { noun: "user", name: name.to_owned() })
        }
    }

    /// The user of this name.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Missing`] where there is none.
    pub async fn find_user(&self, name: &str) -> Result<User, ChangeError> {
        let user = self.adapters.store.user_by_name(&self.settings.tenant, name).await?;
        user.ok_or_else(|| ChangeError::Missing { noun: "user", name: name.to_owned() })
    }

    /// All users, by name.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Store`].
    pub async fn list_users(&self) -> Result<Vec<User>, ChangeError> {
        const PAGE: u32 = 1000;
        let mut users: Vec<User> = Vec::new();
        loop {
            let after = users.last().map(|user| user.name.clone());
            let page = self.adapters.store.users(&self.settings.tenant, after.as_deref(), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            users.extend(page);
            if is_last {
                return Ok(users);
            }
        }
    }

    /// Lets a user sign in again, or no more. Disabling ends the user's refresh families at once.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn enable_user(&self, name: &str, enabled: bool, context: &RequestContext) -> Result<(), ChangeError> {
        let user = self.find_user(name).await?;
        let told = self.user_changed(&user, if enabled { "enabled" } else { "disabled" }, context);
        let set = self.adapters.store.set_user_enabled(&user.tenant, &user.id, enabled, self.now(), vec![told]);
        still_there(set.await?, "user", name)
    }

    /// Replaces a user's roles.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn set_roles(
        &self,
        name: &str,
        roles: BTreeSet<String>,
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        check_words("role", &roles)?;
        let user = self.find_user(name).await?;
        let told = self.user_changed(&user, "roles replaced", context);
        let set = self.adapters.store.set_user_roles(&user.tenant, &user.id, &roles, vec![told]);
        still_there(set.await?, "user", name)
    }

    /// Replaces a user's password. The refresh families that the old one began end.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn set_password(
        &self,
        name: &str,
        password: &SecretText,
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        let user = self.find_user(name).await?;
        let sealed = self.seal_password(&user.id, password).await?;
        let told = self.user_changed(&user, "password replaced", context);
        let set = self.adapters.store.set_user_password(&user.tenant, &user.id, &sealed, self.now(), vec![told]);
        still_there(set.await?, "user", name)
    }

    /// Removes a user with factors and grants.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn remove_user(&self, name: &str, context: &RequestContext) -> Result<(), ChangeError> {
        let user = self.find_user(name).await?;
        let told = self.user_changed(&user, "removed", context);
        still_there(self.adapters.store.remove_user(&user.tenant, &user.id, vec![told]).await?, "user", name)
    }

    fn user_changed(&self, user: &User, what: &str, context: &RequestContext) -> Draft {
        Draft::new(Event::UserChanged, Outcome::Done, self.settings.tenant.as_str(), context)
            .user(user.id.as_str())
            .detail(format!("{what}: {}", user.name))
    }

    /// Hashes a password with Argon2id and seals the hash for its row.
    async fn seal_password(&self, user: &UserId, text: &SecretText) -> Result<Seals, ChangeError> {
        PasswordPolicy::check(text.expose()).map_err(|error| ChangeError::Input(error.to_string()))?;
        let (text, random) = (text.clone(), self.adapters.random.clone());
        let hashed = tokio::task::spawn_blocking(move || password::hash(&text, random.as_ref())).await;
        let hashed = hashed
            .map_err(|_| ChangeError::Input("the password could not be hashed".to_owned()))?
            .map_err(|error| ChangeError::Input(error.to_string()))?;
        let row = password_row(&self.settings.tenant, user);
        let secret = SecretBytes::new(hashed.expose().as_bytes().to_vec());
        Ok(self.adapters.vault.seal(&row, &secret).await?)
    }

    /// Adds a client; its secret is shown this once.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn add_client(
        &self,
        new: NewClient,
        context: &RequestContext,
    ) -> Result<(Client, SecretText), ChangeError> {
        check_name("client", &new.name)?;
        check_words("scope", &new.scopes)?;
        if new.grants.is_empty() {
            return Err(ChangeError::Input("a client needs at least one grant type (--grant)".to_owned()));
        }
        let secret = SecretText::new(random::url_text::<32>(self.adapters.random.as_ref()));
        let audiences =
            if new.audiences.is_empty() { BTreeSet::from([self.settings.issuer.clone()]) } else { new.audiences };
        let client = Client {
            tenant: self.settings.tenant.clone(),
            id: ClientId::new(self.new_id()),
            name: new.name,
            secret: SecretHash::of(secret.expose()),
            grants: new.grants,
            scopes: new.scopes,
            audiences,
            enabled: true,
            created_at: self.now(),
        };
        let told = self.client_changed(&client, "added", context);
        if self.adapters.store.add_client(&client, vec![told]).await? {
            Ok((client, secret))
        } else {
            Err(ChangeError::Taken { noun: "client", name: client.name })
        }
    }

    /// The client of this name or id.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Missing`] where there is none.
    pub async fn find_client(&self, name: &str) -> Result<Client, ChangeError> {
        let clients = self.list_clients().await?;
        let found = clients.into_iter().find(|client| client.name == name || client.id.as_str() == name);
        found.ok_or_else(|| ChangeError::Missing { noun: "client", name: name.to_owned() })
    }

    /// All clients, by name.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Store`].
    pub async fn list_clients(&self) -> Result<Vec<Client>, ChangeError> {
        Ok(self.adapters.store.clients(&self.settings.tenant).await?)
    }

    /// Lets a client ask for tokens again, or no more. Disabling ends its refresh families at once.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn enable_client(&self, name: &str, enabled: bool, context: &RequestContext) -> Result<(), ChangeError> {
        let client = self.find_client(name).await?;
        let told = self.client_changed(&client, if enabled { "enabled" } else { "disabled" }, context);
        let set = self.adapters.store.set_client_enabled(&client.tenant, &client.id, enabled, self.now(), vec![told]);
        still_there(set.await?, "client", name)
    }

    /// Gives a client a new secret, shown this once; the old one is no longer accepted.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn renew_client_secret(&self, name: &str, context: &RequestContext) -> Result<SecretText, ChangeError> {
        let secret = SecretText::new(random::url_text::<32>(self.adapters.random.as_ref()));
        let (client, hash) = (self.find_client(name).await?, SecretHash::of(secret.expose()));
        let told = self.client_changed(&client, "secret replaced", context);
        let set = self.adapters.store.set_client_secret(&client.tenant, &client.id, &hash, vec![told]);
        still_there(set.await?, "client", name).map(|()| secret)
    }

    /// Removes a client with its grants.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn remove_client(&self, name: &str, context: &RequestContext) -> Result<(), ChangeError> {
        let client = self.find_client(name).await?;
        let told = self.client_changed(&client, "removed", context);
        still_there(self.adapters.store.remove_client(&client.tenant, &client.id, vec![told]).await?, "client", name)
    }

    fn client_changed(&self, client: &Client, what: &str, context: &RequestContext) -> Draft {
        Draft::new(Event::ClientChanged, Outcome::Done, self.settings.tenant.as_str(), context)
            .client(client.id.as_str())
            .detail(format!("{what}: {}", client.name))
    }
}

/// Whether a change found what it was to change.
fn still_there(changed: bool, noun: &'static str, name: &str) -> Result<(), ChangeError> {
    if changed { Ok(()) } else { Err(ChangeError::Missing { noun, name: name.to_owned() }) }
}

/// The row that a user's password hash is sealed for.
pub(super) fn password_row(tenant: &TenantId, user: &UserId) -> RowBinding {
    RowBinding::new(tenant, "user", user.as_str(), "password")
}

/// A name that people can read and logs can carry.
pub(super) fn check_name(noun: &str, name: &str) -> Result<(), ChangeError> {
    let length = name.chars().count();
    if name.trim() != name || length == 0 || length > LONGEST_NAME || name.chars().any(char::is_control) {
        let text = format!(
            "the {noun}'s name must have 1 to {LONGEST_NAME} characters, no control characters, and no space at its ends"
        );
        return Err(ChangeError::Input(text));
    }
    Ok(())
}

/// The most bytes that roles, and scopes, may have together: a token must stay well under the 8 KiB that verifiers read.
const MOST_WORDS: usize = 2048;

/// Checks each role or scope, and that all of them fit into a token.
fn check_words(noun: &str, words: &BTreeSet<String>) -> Result<(), ChangeError> {
    words.iter().try_for_each(|word| check_scope_token(noun, word))?;
    let length: usize = words.iter().map(|word| word.len() + 3).sum();
    if length > MOST_WORDS {
        let text = format!("the {noun}s are {length} bytes long together; at most {MOST_WORDS} fit into a token");
        return Err(ChangeError::Input(text));
    }
    Ok(())
}

fn check_scope_token(noun: &str, text: &str) -> Result<(), ChangeError> {
    if scope::is_scope_token(text) {
        Ok(())
    } else {
        let text =
            format!("`{}` is no {noun}: it must be printable ASCII without space, `\"` and `\\`", text.escape_debug());
        Err(ChangeError::Input(text))
    }
}
