//! Users, as an operator adds, changes and removes them.

use std::collections::BTreeSet;

use crate::names::check_words;
use crate::{ChangeError, GivenRoles, OperatorRights, TRIES, Tries, check_name, password_row, still_there};
use signet_core::audit::{AuditEvent, Change, Event, Facts, Outcome, RequestContext};
use signet_core::keys::SealedCopies;
use signet_core::mfa::lockout::Noticed;
use signet_core::mfa::password::{self, PasswordPolicy};
use signet_core::secret::{SecretBytes, SecretText};
use signet_store::{RoleRequest, StoreError, StoreFailure, User, UserEdit, UserId};

fn taken(user: User) -> ChangeError {
    ChangeError::Taken { noun: "user", name: user.name }
}

module! {
    /// The users of a tenant, as operators see and change them.
    pub struct Accounts {
        takes clock, ids, random, settings, vault, users;
        calls given_roles: GivenRoles, rights: OperatorRights, tries: Tries;
    }
}

impl Accounts {
    /// Adds a user who can sign in once a factor is added.
    pub async fn add_user(
        &self,
        name: &str,
        roles: BTreeSet<String>,
        password: &SecretText,
        context: &RequestContext,
    ) -> Result<User, ChangeError> {
        let (user, waiting) = self.new_user(name, roles, context).await?;
        let user = User { password: Some(self.seal_password(&user.id, password).await?), ..user };
        let added = self.users.add_user(&user, vec![self.user_added(&user, context)]).await?;
        if added { self.with_waiting(user, waiting, context).await } else { Err(taken(user)) }
    }

    /// Adds a user whom a file states, without a password: an operator sets one before the first sign-in.
    pub async fn declare_user(
        &self,
        name: &str,
        roles: BTreeSet<String>,
        context: &RequestContext,
    ) -> Result<User, ChangeError> {
        let (user, waiting) = self.new_user(name, roles, context).await?;
        let added = self.users.declare_user(&user, vec![self.user_added(&user, context)]).await?;
        if added { self.with_waiting(user, waiting, context).await } else { Err(taken(user)) }
    }

    /// A user without a password, and the roles that wait for another person.
    async fn new_user(
        &self,
        name: &str,
        roles: BTreeSet<String>,
        context: &RequestContext,
    ) -> Result<(User, Option<RoleRequest>), ChangeError> {
        check_name("user", name)?;
        let names = self.settings.current().user_names;
        names.check(name).map_err(|error| ChangeError::Input(error.to_string()))?;
        check_words("role", &roles)?;
        self.rights.to_give_roles(&roles, context).await?;
        let waiting = self.given_roles.waiting(&BTreeSet::new(), &roles, context).await?;
        let roles = waiting.iter().fold(roles, |roles, waiting| &roles - &waiting.roles);
        let user = User {
            tenant: self.settings.tenant.clone(),
            password: None,
            id: UserId::new(self.ids.next()),
            name: name.to_owned(),
            roles,
            enabled: true,
            credentials_version: 0,
            created_at: self.clock.now(),
        };
        Ok((user, waiting))
    }

    async fn with_waiting(
        &self,
        user: User,
        waiting: Option<RoleRequest>,
        context: &RequestContext,
    ) -> Result<User, ChangeError> {
        if let Some(waiting) = waiting {
            let edit =
                UserEdit { roles: Some(user.roles.clone()), waiting: Some(Some(waiting)), ..UserEdit::default() };
            self.keep(&user, &edit, context).await?;
        }
        Ok(user)
    }

    fn user_added(&self, user: &User, context: &RequestContext) -> AuditEvent {
        AuditEvent {
            roles: Some(user.roles.clone()),
            after: Some(Box::new(facts(user))),
            ..self.user_changed(user, Change::Added, context)
        }
    }

    /// The user of this name.
    /// Errors: [`ChangeError::Missing`] where there is none.
    pub async fn find_user(&self, name: &str) -> Result<User, ChangeError> {
        let user = self.users.user_by_name(&self.settings.tenant, name).await?;
        user.ok_or_else(|| ChangeError::missing("user", name))
    }

    /// So many users after this name, by name; the first ones without a name.
    pub async fn users_after(&self, name: Option<&str>, most: u32) -> Result<Vec<User>, ChangeError> {
        Ok(self.users.users(&self.settings.tenant, name, most).await?)
    }

    /// Lets a user sign in again, or no more. Disabling ends the user's refresh families at once.
    pub async fn enable_user(&self, name: &str, enabled: bool, context: &RequestContext) -> Result<(), ChangeError> {
        self.change_user(name, UserEdit { enabled: Some(enabled), ..UserEdit::default() }, context).await
    }

    /// Replaces a user's roles.
    pub async fn set_roles(
        &self,
        name: &str,
        roles: BTreeSet<String>,
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        self.change_user(name, UserEdit { roles: Some(roles), ..UserEdit::default() }, context).await
    }

    /// Replaces a user's roles, or lets the user sign in or no more, or both: all or nothing, with one record.
    pub async fn change_user(&self, name: &str, edit: UserEdit, context: &RequestContext) -> Result<(), ChangeError> {
        if let Some(roles) = &edit.roles {
            check_words("role", roles)?;
        }
        for _ in 0..TRIES {
            let user = self.touched(name, context).await?;
            if let Some(roles) = &edit.roles {
                self.rights.to_give_roles(roles, context).await?;
            }
            let now = self.given_roles.edit(&user, &edit, context).await?;
            if self.keep(&user, &now, context).await? {
                return Ok(());
            }
        }
        Err(ChangeError::changes_meanwhile())
    }

    /// Makes a change to the user that was seen; `false` where the user is no longer so.
    async fn keep(&self, user: &User, edit: &UserEdit, context: &RequestContext) -> Result<bool, ChangeError> {
        let Some(told) = self.edited(user, edit, context) else { return Ok(true) };
        Ok(self.users.change_user(user, edit, self.clock.now(), vec![told]).await?)
    }

    /// What is recorded of a change; none where nothing is to change.
    fn edited(&self, user: &User, edit: &UserEdit, context: &RequestContext) -> Option<AuditEvent> {
        let change = match (&edit.roles, edit.enabled) {
            (None, None) => return None,
            (Some(_), None) => Change::RolesReplaced,
            (None, Some(enabled)) => Change::enabled(enabled),
            (Some(_), Some(_)) => Change::Changed,
        };
        let before = Facts {
            roles: edit.roles.as_ref().map(|_| user.roles.clone()),
            enabled: edit.enabled.map(|_| user.enabled),
            ..Facts::default()
        };
        let waiting = edit.waiting.as_ref().and_then(Option::as_ref).map(|request| request.roles.clone());
        let after = Facts { roles: edit.roles.clone(), enabled: edit.enabled, waiting, ..Facts::default() };
        let told = self.user_changed(user, change, context).from_to(before, after);
        Some(AuditEvent { roles: edit.roles.clone(), ..told })
    }

    /// Replaces a user's password. The refresh families that the old one began end.
    pub async fn set_password(
        &self,
        name: &str,
        password: &SecretText,
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        let user = self.touched(name, context).await?;
        still_there(self.replace_password(&user, None, password, context).await?, "user", name)
    }

    /// Replaces the password of a user, where the credentials still have this version. Says whether they had it, and the user was
    /// there.
    pub(crate) async fn replace_password(
        &self,
        user: &User,
        seen: Option<i64>,
        password: &SecretText,
        context: &RequestContext,
    ) -> Result<bool, ChangeError> {
        let sealed = self.seal_password(&user.id, password).await?;
        let told = self.user_changed(user, Change::PasswordReplaced, context);
        let set = self.users.set_user_password(&user.tenant, &user.id, &sealed, seen, self.clock.now(), vec![told]);
        let is_set = set.await?;
        if is_set {
            self.tries.password_changed(&user.id).await;
        }
        Ok(is_set)
    }

    /// Removes a user with factors and grants.
    pub async fn remove_user(&self, name: &str, context: &RequestContext) -> Result<(), ChangeError> {
        let user = self.touched(name, context).await?;
        let told =
            AuditEvent { before: Some(Box::new(facts(&user))), ..self.user_changed(&user, Change::Removed, context) };
        still_there(self.users.remove_user(&user.tenant, &user.id, vec![told]).await?, "user", name)
    }

    /// The user of this name, whom the operator may change.
    async fn touched(&self, name: &str, context: &RequestContext) -> Result<User, ChangeError> {
        let user = self.find_user(name).await?;
        self.rights.over_user(&user, context).await?;
        Ok(user)
    }

    fn user_changed(&self, user: &User, change: Change, context: &RequestContext) -> AuditEvent {
        AuditEvent::new(Event::UserChanged, Outcome::Done, self.settings.tenant.as_str(), context)
            .user(user.id.as_str())
            .change(change)
            .detail(format!("{}: {}", change.in_words(), user.name))
    }

    /// Hashes a password with Argon2id and seals the hash for its row.
    async fn seal_password(&self, user: &UserId, text: &SecretText) -> Result<SealedCopies, ChangeError> {
        PasswordPolicy::check(text.expose()).map_err(|error| ChangeError::Input(error.to_string()))?;
        let (text, random) = (text.clone(), self.random.clone());
        let hashed = tokio::task::spawn_blocking(move || password::hash(&text, random.as_ref())).await;
        let hashed = hashed
            .map_err(|_| ChangeError::Input("the password could not be hashed".to_owned()))?
            .map_err(|error| ChangeError::Input(error.to_string()))?;
        let row = password_row(&self.settings.tenant, user);
        let secret = SecretBytes::new(hashed.expose().as_bytes().to_vec());
        Ok(self.vault.seal(&row, &secret).await?)
    }

    /// Users with failures that nobody has answered for, each with the name, in the order of their ids after one, at most so many.
    /// One whose own row can't be read is named by the id.
    /// Errors: [`ChangeError`] where the store fails.
    pub async fn failures(
        &self,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<(UserId, String, Vec<Noticed>)>, ChangeError> {
        let mut named = Vec::new();
        for (id, noticed) in self.tries.unanswered(after, limit).await? {
            let name = match self.users.user(&self.settings.tenant, &id).await {
                Ok(user) => user.map(|user| user.name),
                Err(StoreError { failure: StoreFailure::Forged { .. }, .. }) => None,
                Err(error) => return Err(error.into()),
            };
            named.push((id.clone(), name.unwrap_or_else(|| id.to_string()), noticed));
        }
        Ok(named)
    }

    /// Forgets all that was tried in vain at a user, and ends every pause; says whether there was anything.
    pub async fn unlock_user(&self, name: &str, context: &RequestContext) -> Result<bool, ChangeError> {
        let user = self.touched(name, context).await?;
        self.tries.forget(&user, context).await
    }
}

/// What the record says of a user.
fn facts(user: &User) -> Facts {
    Facts { roles: Some(user.roles.clone()), ..Facts::enabled(user.enabled) }
}
