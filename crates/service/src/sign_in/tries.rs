//! A sign-in that was judged is settled by one commit (see `mfa::lockout` and `docs/decisions/0021-*`). What was tried in vain the
//! person answers for, and an operator sees and lifts.

use crate::{ChangeError, TRIES, Unavailable};
use signet_core::audit::{AuditEvent, Change, Event, Outcome, RequestContext};
use signet_core::mfa::lockout::{Locked, Noticed, UserTries};
use signet_core::user_name::derived_from;
use signet_jose::clock::Timestamp;
use signet_store::{AuditOnOutcome, FactorId, Judged, PLACES_OF_NOBODY, Settled, Settling, TriesOf, User, UserId};

/// Where a sign-in with this name is settled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    /// Where nobody is called so.
    pub(crate) of_nobody: u16,
    beside: u16,
}

module! {
    /// Settles sign-ins, and keeps what was tried in vain.
    pub struct Tries {
        takes clock, settings, tries, secret;
    }
}

impl Tries {
    /// Where a sign-in with this name, as typed, is settled where nobody is called so. It is derived by a secret: people type
    /// passwords into name fields, and who could work it out could choose which names wait for one another.
    pub(crate) async fn places(&self, name: &str) -> Result<Places, Unavailable> {
        let message = derived_from(&self.settings.tenant, name);
        let [a, b, c, d, ..] = self.secret.derive_lasting("account", &message).await?;
        let place = |bytes| u16::from_be_bytes(bytes) % PLACES_OF_NOBODY;
        Ok(Places { of_nobody: place([a, b]), beside: place([c, d]) })
    }

    /// Settles a sign-in. Its records are written where it was a success; those of a failure are the caller's, later.
    pub(crate) async fn settle(
        &self,
        user: Option<&UserId>,
        places: Places,
        judged: Judged,
        done: Vec<AuditEvent>,
    ) -> Result<Settled, Unavailable> {
        let of = user.map_or(TriesOf::Nobody(places.of_nobody), |user| TriesOf::User(user.clone()));
        let settling = Settling {
            tenant: self.settings.tenant.clone(),
            of,
            beside: places.beside,
            judged,
            rule: self.settings.current().lockout,
            at: self.clock.now(),
        };
        Ok(self.tries.settle(&settling, AuditOnOutcome::from(done)).await?)
    }

    /// The failures at a user that the person has not answered for.
    /// Errors: [`Unavailable`] where the store is not at hand.
    pub async fn noticed(&self, user: &UserId) -> Result<Vec<Noticed>, Unavailable> {
        Ok(self.noticed_in(&self.tries.tries(&self.settings.tenant, user).await?))
    }

    fn noticed_in(&self, tries: &UserTries) -> Vec<Noticed> {
        tries.noticed(&self.settings.current().lockout, self.clock.now())
    }

    /// Users with failures that nobody has answered for, in the order of their ids after one, at most so many.
    /// Errors: [`ChangeError`] where the store fails.
    pub(crate) async fn unanswered(
        &self,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<(UserId, Vec<Noticed>)>, ChangeError> {
        let found = self.tries.unanswered_tries(&self.settings.tenant, after, limit).await?;
        Ok(found.into_iter().map(|of| (of.user, self.noticed_in(&of.tries))).collect())
    }

    /// The person, who is signed in, was shown so many failures, and says that it was they. A pause goes on. Says whether those were
    /// all: where there were more meanwhile, nothing is answered.
    /// Errors: [`ChangeError`] where the store fails, or others count all the time.
    pub async fn answer(&self, user: &User, shown: u32, context: &RequestContext) -> Result<bool, ChangeError> {
        let told = |tries: &UserTries| {
            AuditEvent::new(Event::UserChanged, Outcome::Done, user.tenant.as_str(), context)
                .user(user.id.as_str())
                .change(Change::TriesAnswered)
                .detail(format!("{} failures", tries.unanswered()))
        };
        let mut were_all = true;
        let answered = |tries: &mut UserTries| {
            were_all = tries.unanswered() == shown;
            tries.answer();
            were_all && shown > 0
        };
        self.change(&user.id, answered, |tries| vec![told(tries)]).await?;
        Ok(were_all)
    }

    /// Forgets all that was tried in vain at a user, pauses too. Says whether there was anything.
    pub(crate) async fn forget(&self, user: &User, context: &RequestContext) -> Result<bool, ChangeError> {
        let told = AuditEvent::new(Event::UserChanged, Outcome::Done, user.tenant.as_str(), context)
            .user(user.id.as_str())
            .change(Change::TriesForgotten);
        let forgotten = |tries: &mut UserTries| {
            let was = std::mem::take(tries);
            was != *tries
        };
        self.change(&user.id, forgotten, |_| vec![told.clone()]).await
    }

    /// The user has another password: whoever knew the old one knows nothing any more. Where this fails they stay counted, which
    /// grants nothing.
    pub(crate) async fn password_changed(&self, user: &UserId) {
        let change = |tries: &mut UserTries| {
            let before = tries.clone();
            tries.forget_codes();
            before != *tries
        };
        if let Err(error) = self.change(user, change, |_| vec![]).await {
            tracing::warn!(%error, "what was tried with a user's old password stays counted");
        }
    }

    /// The user's factor is gone, and what was tried with it is of no use. Where this fails it stays counted, which grants nothing.
    pub(crate) async fn factor_removed(&self, user: &UserId, factor: &FactorId) {
        let change = |tries: &mut UserTries| {
            let before = tries.clone();
            tries.forget_factor(factor);
            before != *tries
        };
        if let Err(error) = self.change(user, change, |_| vec![]).await {
            tracing::warn!(%error, "what was tried with a removed factor stays counted");
        }
    }

    /// Counts a claim to a token of the stock by a user who is signed in, before it is judged.
    /// Errors: [`ChangeError::Conflict`] where there were too many that failed.
    pub(crate) async fn claim(&self, user: &User) -> Result<(), ChangeError> {
        let (rule, now) = (self.settings.current().lockout, self.clock.now());
        let mut locked = None;
        let claimed = |tries: &mut UserTries| {
            locked = tries.claim(&rule, now).err();
            locked.is_none()
        };
        self.change(&user.id, claimed, |_| vec![]).await?;
        locked.map_or(Ok(()), |locked| Err(too_many_claims(user, locked, now)))
    }

    /// What becomes of a claim that was counted so: one that was good, or that nobody judged, is taken back.
    pub(crate) async fn settle_claim<T>(&self, user: &User, ended: &Result<T, ChangeError>) {
        if matches!(ended, Err(ChangeError::Input(_) | ChangeError::Conflict(_))) {
            return;
        }
        let take_back = |tries: &mut UserTries| {
            tries.take_back_claim();
            true
        };
        if let Err(error) = self.change(&user.id, take_back, |_| vec![]).await {
            tracing::warn!(%error, "a claim to a token of the stock stays counted");
        }
    }

    /// Changes a user's tries where `change` says that something is to be changed. Says whether it was.
    async fn change(
        &self,
        user: &UserId,
        mut change: impl FnMut(&mut UserTries) -> bool,
        told: impl Fn(&UserTries) -> Vec<AuditEvent>,
    ) -> Result<bool, ChangeError> {
        for _ in 0..TRIES {
            let from = self.tries.tries(&self.settings.tenant, user).await?;
            let mut to = from.clone();
            if !change(&mut to) {
                return Ok(false);
            }
            if self.tries.change_tries(&self.settings.tenant, user, &from, &to, told(&from)).await? {
                return Ok(true);
            }
        }
        Err(ChangeError::changes_meanwhile())
    }
}

fn too_many_claims(user: &User, locked: Locked, now: Timestamp) -> ChangeError {
    let wait = match locked {
        Locked::Until(until) => format!("wait {} minutes", until.since(now).as_secs().div_ceil(60)),
        Locked::UntilAnswered => "ask an operator".to_owned(),
    };
    ChangeError::Conflict(format!(
        "there were too many tries to take a token; {wait}, or have an operator run `signet user unlock {}`",
        user.name
    ))
}
