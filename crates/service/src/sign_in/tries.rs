//! Tries are counted before they are judged (see `mfa::lockout` and `docs/decisions/0021-*`); an operator sees whose are
//! exhausted, and lifts the lock.

use std::time::Duration;

use crate::{ChangeError, SignInError, Unavailable};
use signet_core::mfa::lockout::{self, AccountKey, Target};
use signet_jose::clock::Timestamp;
use signet_store::{User, UserId};

/// A try that was counted.
#[derive(Debug)]
pub(crate) struct CountedTry {
    target: [u8; 32],
    whole: [u8; 32],
    at: Timestamp,
    /// Set where the tries of the account as a whole are exhausted: this one is judged, and its refusal is answered as if
    /// it had not been.
    pub(crate) unanswered_until: Option<Timestamp>,
}

impl CountedTry {
    /// The name under which repetitions are audited.
    pub(crate) fn kind(&self) -> String {
        format!("tries {:02x?}", self.whole)
    }

    /// How long the account's refusals are answered as if nothing had been judged, where they are.
    pub(crate) fn unanswered_for(&self) -> Option<Duration> {
        self.unanswered_until.map(|until| until.since(self.at))
    }

    /// What a refusal of this try is answered with.
    pub(crate) fn refusal(&self) -> SignInError {
        self.unanswered_for().map_or(SignInError::Refused, |retry_after| SignInError::TooManyTries { retry_after })
    }
}

/// How a try was counted.
#[derive(Debug)]
pub(crate) enum Counting {
    /// It is judged.
    Counted(CountedTry),
    /// It is not: what it guesses at has no tries left.
    Exhausted {
        /// For so long.
        retry_after: Duration,
        /// The name under which repetitions are audited.
        kind: String,
    },
}

module! {
    /// Counts tries at accounts.
    pub struct Tries {
        takes clock, settings, throttles, secret;
    }
}

impl Tries {
    /// Counts a try at the account of this name, as typed, before anything is judged.
    ///
    /// The account's name in the store is derived by a secret: people type passwords into name fields, and a plain hash of
    /// a password is not a secret.
    pub(crate) async fn count_try(
        &self,
        name: &str,
        user: Option<&UserId>,
        target: Target<'_>,
    ) -> Result<Counting, Unavailable> {
        let (tenant, lockout) = (&self.settings.tenant, self.settings.current().lockout);
        let account =
            AccountKey::new(self.secret.derive_lasting("account", &lockout::account_message(tenant, name)).await?);
        let (target, whole) = (account.counter(target, user.cloned()), account.whole(user.cloned()));
        let (at, tries, pause) = (self.clock.now(), lockout.tries, lockout.pause_seconds());
        let mut counted = CountedTry { target: target.name, whole: whole.name, at, unanswered_until: None };
        // One after the other: a try that is not judged takes no answer from one that is.
        let exhausted = self.throttles.count_try(tenant, &target, at, tries, pause).await;
        if let Some(until) = exhausted? {
            return Ok(Counting::Exhausted { retry_after: until.since(at), kind: counted.kind() });
        }
        let exhausted = self.throttles.count_try(tenant, &whole, at, tries, pause).await;
        counted.unanswered_until = exhausted?;
        Ok(Counting::Counted(counted))
    }

    /// A success forgets the tries at what proved it, of the account as a whole too. Where that fails they stay counted,
    /// which denies nothing that was granted.
    pub(crate) async fn forget_tries(&self, counted: &CountedTry) {
        let tenant = &self.settings.tenant;
        if let Err(error) = self.throttles.forget_tries(tenant, &counted.target, Some(&counted.whole)).await {
            tracing::warn!(%error, "the tries of an account could not be forgotten after its success");
        }
    }

    /// Takes the try back: it ended without a verdict. Where that fails it stays counted: the store says no more than that
    /// it does not work.
    pub(crate) async fn give_back_try(&self, counted: &CountedTry) {
        let tenant = &self.settings.tenant;
        let given = tokio::join!(
            self.throttles.give_back_try(tenant, &counted.target, counted.at),
            self.throttles.give_back_try(tenant, &counted.whole, counted.at),
        );
        if let (Err(error), _) | (_, Err(error)) = given {
            tracing::warn!(%error, "a try that ended without a verdict stays counted");
        }
    }

    /// Counts a try at a user's account outside of a sign-in.
    pub(crate) async fn count_change_try(&self, user: &User, target: Target<'_>) -> Result<CountedTry, ChangeError> {
        let counted = self.count_try(&user.name, Some(&user.id), target).await?;
        match counted {
            Counting::Counted(counted) => Ok(counted),
            Counting::Exhausted { retry_after, .. } => Err(too_many_tries(user, retry_after)),
        }
    }

    /// What becomes of a try that was counted so: a success forgets it, and so does what ended without a verdict. Where
    /// the account has no verdicts left a refusal is answered as if nothing had been judged, as at sign-in.
    pub(crate) async fn settle_change_try<T: Send>(
        &self,
        user: &User,
        counted: &CountedTry,
        ended: Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        match (&ended, counted.unanswered_for()) {
            (Ok(_), _) => self.forget_tries(counted).await,
            (Err(ChangeError::Hsm(_) | ChangeError::Store(_) | ChangeError::Unavailable(_)), _) => {
                self.give_back_try(counted).await
            }
            (Err(_), Some(retry_after)) => return Err(too_many_tries(user, retry_after)),
            (Err(_), None) => {}
        }
        ended
    }
}

fn too_many_tries(user: &User, retry_after: Duration) -> ChangeError {
    ChangeError::Conflict(format!(
        "there were too many tries at this account; wait {} minutes, or run `signet user unlock {}`",
        retry_after.as_secs().div_ceil(60),
        user.name
    ))
}
