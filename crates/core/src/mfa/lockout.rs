//! How many tries an account has.
//!
//! A try is counted, durably, before it is judged, so that neither a crash nor a flood of parallel requests gives
//! free ones. Unknown names are counted like known ones.
//!
//! Each try is counted twice. Once at what it guesses at ([`Target`]): where that count is exhausted nothing is judged,
//! and nothing else is locked by it: who guesses digits locks nobody out who holds a YubiKey, and who guesses at one
//! YubiKey leaves the other one alone. And once at the account as a whole: where that count is exhausted, every further
//! refusal is answered as if it had not been judged. So at most as many tries as the rule has are answered by a verdict,
//! however they are spread over the ways of proof, and none of them shuts the others. Nothing is won by trying passwords
//! on several targets, because a password alone is never answered. See `docs/decisions/0021-*`.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::UserId;
use crate::keys::TenantId;
use crate::user_name::compared_name;

/// The rule: after so many tries without a success, a pause.
///
/// Ten tries an hour are 240 a day. Who knows the password and guesses six-digit codes hits one of at most forty
/// acceptable ones (ten of each of four HOTP tokens; five of a TOTP clock) with a chance of 1 % a day, under the eyes
/// of the audit log; a person who mistypes ten times waits an hour at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lockout {
    /// Tries that are judged before a pause.
    pub tries: u32,
    /// How long no try is judged.
    pub pause: Duration,
}

impl Lockout {
    /// Ten tries, then an hour.
    pub const DEFAULT: Self = Self { tries: 10, pause: Duration::from_secs(3600) };

    /// The pause in whole seconds, as the store takes it.
    pub fn pause_seconds(&self) -> u32 {
        u32::try_from(self.pause.as_secs()).unwrap_or(u32::MAX)
    }
}

/// What a try guesses at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'t> {
    /// Every factor whose codes are 6 or 8 digits: one guess is tried on all of them, so they are one target.
    Digits,
    /// The one key that this handle names, whoever's it is.
    Key(&'t str),
    /// The recovery codes.
    Recovery,
    /// Nothing: no code, or one that no factor could have made.
    Nothing,
}

impl Target<'_> {
    /// The fixed word by which the store and an operator know the target.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Key(_) => "key",
            Self::Recovery => "recovery",
            Self::Nothing => "none",
        }
    }
}

/// The word of the count of all tries at an account, whatever they guess at.
pub const WHOLE_ACCOUNT: &str = "account";

/// A count of tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// The count's name, from which nobody can tell the account.
    pub name: [u8; 32],
    /// [`Target::word`], or [`WHOLE_ACCOUNT`].
    pub word: &'static str,
    /// The user of this name, where there is one: for an operator who looks for locked accounts.
    pub user: Option<UserId>,
}

/// An account's secret name: what [`account_message`] derives. It is never stored.
pub struct AccountKey([u8; 32]);

impl AccountKey {
    /// What was derived.
    pub const fn new(derived: [u8; 32]) -> Self {
        Self(derived)
    }

    /// The count of a target.
    pub fn counter(&self, target: Target<'_>, user: Option<UserId>) -> Counter {
        let handle = match target {
            Target::Key(handle) => handle,
            Target::Digits | Target::Recovery | Target::Nothing => "",
        };
        self.named(target.word(), handle, user)
    }

    /// The count of the account as a whole.
    pub fn whole(&self, user: Option<UserId>) -> Counter {
        self.named(WHOLE_ACCOUNT, "", user)
    }

    fn named(&self, word: &'static str, handle: &str, user: Option<UserId>) -> Counter {
        let digest = Sha256::new().chain_update(self.0).chain_update(word).chain_update([0]).chain_update(handle);
        Counter { name: digest.finalize().into(), word, user }
    }
}

/// What an account's secret name is derived from: distinct for each tenant and name, and the same work for known and
/// unknown names. `name` is the name as typed; however it is spelt, its tries are one account's.
pub fn account_message(tenant: &TenantId, name: &str) -> Vec<u8> {
    // The name comes last: it is the one part that may hold any byte.
    format!("{tenant}\0{}", compared_name(name)).into_bytes()
}

/// Counts of one account that are exhausted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedAccount {
    /// Whose; `None` for names that are no user's, which are not told apart.
    pub user: Option<UserId>,
    /// [`Target::word`], or [`WHOLE_ACCOUNT`].
    pub word: String,
    /// How many counts this is: a user may have several keys.
    pub counts: u32,
    /// When the last of them is free again.
    pub until: signet_jose::clock::Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_differ_by_tenant_and_name_and_counts_by_target() {
        let (one, two) = (TenantId::new("one"), TenantId::new("two"));
        assert_ne!(account_message(&one, "ann"), account_message(&two, "ann"));
        assert_ne!(account_message(&one, "ann"), account_message(&one, "bob"));
        assert_eq!(account_message(&one, "Ann"), account_message(&one, "aNN"), "spelling gives no extra tries");
        let (ann, bob) = (AccountKey::new([1; 32]), AccountKey::new([2; 32]));
        let counters = [
            ann.counter(Target::Digits, None),
            ann.counter(Target::Key("cccccccccccb"), None),
            ann.counter(Target::Key("cccccccccccd"), None),
            ann.counter(Target::Recovery, None),
            ann.counter(Target::Nothing, None),
            ann.whole(None),
            bob.whole(None),
        ];
        let distinct: std::collections::BTreeSet<_> = counters.iter().map(|counter| counter.name).collect();
        assert_eq!(distinct.len(), counters.len());
    }

    #[test]
    fn the_default_is_ten_tries_an_hour() {
        assert_eq!((Lockout::DEFAULT.tries, Lockout::DEFAULT.pause_seconds()), (10, 3600));
    }
}
