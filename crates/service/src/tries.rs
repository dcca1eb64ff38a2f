//! Tries are counted before they are judged (see `mfa::lockout` and `docs/decisions/0021-*`); an operator sees whose are
//! exhausted, and lifts the lock.

use std::time::Duration;

use super::error::store_unavailable;
use super::{ChangeError, Signet};
use signet_core::audit::{Draft, Event, Outcome, RequestContext};
use signet_core::mfa::lockout::{self, AccountKey, LockedAccount, Target};
use signet_core::oauth::OAuthError;
use signet_jose::clock::Timestamp;
use signet_store::{User, UserId};

/// A try that was counted.
#[derive(Debug)]
pub(super) struct CountedTry {
    target: [u8; 32],
    whole: [u8; 32],
    at: Timestamp,
    /// Set where the tries of the account as a whole are exhausted: this one is judged, and its refusal is answered as if
    /// it had not been.
    pub(super) unanswered_until: Option<Timestamp>,
}

impl CountedTry {
    /// The name under which repetitions are told.
    pub(super) fn kind(&self) -> String {
        format!("tries {:02x?}", self.whole)
    }

    /// How long the account's refusals are answered as if nothing had been judged, where they are.
    pub(super) fn unanswered_for(&self) -> Option<Duration> {
        self.unanswered_until.map(|until| until.since(self.at))
    }

    /// What a refusal of this try is answered with.
    pub(super) fn refusal(&self) -> OAuthError {
        self.unanswered_for().map_or(OAuthError::InvalidGrant, |retry_after| OAuthError::TooManyTries { retry_after })
    }
}

/// How a try was counted.
#[derive(Debug)]
pub(super) enum Counting {
    /// It is judged.
    Counted(CountedTry),
    /// It is not: what it guesses at has no tries left.
    Exhausted {
        /// For so long.
        retry_after: Duration,
        /// The name under which repetitions are told.
        kind: String,
    },
}

impl Signet {
    /// Counts a try at the account of this name, as typed, before anything is judged.
    ///
    /// The account's name in the store is derived by a secret: people type passwords into name fields, and a plain hash of
    /// a password is not a secret.
    pub(super) async fn count_try(
        &self,
        name: &str,
        user: Option<&UserId>,
        target: Target<'_>,
    ) -> Result<Counting, OAuthError> {
        let (tenant, store, lockout) = (&self.settings.tenant, &self.adapters.store, self.settings.lockout);
        let account = AccountKey::new(self.derive("account", &lockout::account_message(tenant, name)).await?);
        let (target, whole) = (account.counter(target, user.cloned()), account.whole(user.cloned()));
        let (at, tries, pause) = (self.now(), lockout.tries, lockout.pause_seconds());
        let mut counted = CountedTry { target: target.name, whole: whole.name, at, unanswered_until: None };
        // One after the other: a try that is not judged takes no answer from one that is.
        let exhausted = store.count_try(tenant, &target, at, tries, pause).await;
        if let Some(until) = exhausted.map_err(|error| store_unavailable(&error))? {
            return Ok(Counting::Exhausted { retry_after: until.since(at), kind: counted.kind() });
        }
        let exhausted = store.count_try(tenant, &whole, at, tries, pause).await;
        counted.unanswered_until = exhausted.map_err(|error| store_unavailable(&error))?;
        Ok(Counting::Counted(counted))
    }

    /// A success forgets the tries at what proved it, of the account as a whole too. Where that fails they stay counted,
    /// which denies nothing that was granted.
    pub(super) async fn forget_tries(&self, counted: &CountedTry) {
        let (store, tenant) = (&self.adapters.store, &self.settings.tenant);
        if let Err(error) = store.forget_tries(tenant, &counted.target, Some(&counted.whole)).await {
            tracing::warn!(%error, "the tries of an account could not be forgotten after its success");
        }
    }

    /// Takes the try back: it ended without a verdict. Where that fails it stays counted: the store says no more than that
    /// it does not work.
    pub(super) async fn give_back_try(&self, counted: &CountedTry) {
        let (store, tenant) = (&self.adapters.store, &self.settings.tenant);
        let given = tokio::join!(
            store.give_back_try(tenant, &counted.target, counted.at),
            store.give_back_try(tenant, &counted.whole, counted.at),
        );
        if let (Err(error), _) | (_, Err(error)) = given {
            tracing::warn!(%error, "a try that ended without a verdict stays counted");
        }
    }

    /// Who has no tries left now, and at what.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Store`].
    pub async fn locked_accounts(&self) -> Result<Vec<(LockedAccount, Option<User>)>, ChangeError> {
        let (tenant, tries) = (&self.settings.tenant, self.settings.lockout.tries);
        let mut locked = Vec::new();
        for account in self.adapters.store.locked_accounts(tenant, self.now(), tries).await? {
            let user = match &account.user {
                Some(id) => self.adapters.store.user(tenant, id).await?,
                None => None,
            };
            locked.push((account, user));
        }
        Ok(locked)
    }

    /// Gives a user all tries again; says whether any had been counted.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn unlock_user(&self, name: &str, context: &RequestContext) -> Result<bool, ChangeError> {
        let user = self.find_user(name).await?;
        let told = Draft::new(Event::UserChanged, Outcome::Done, user.tenant.as_str(), context)
            .user(user.id.as_str())
            .detail("tries forgotten");
        Ok(self.adapters.store.forget_tries_of(&user.tenant, &user.id, vec![told]).await? > 0)
    }
}
