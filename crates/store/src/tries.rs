//! The contract of sign-ins as they are settled, and of what was tried in vain: see [`contract`](super::contract) for what holds
//! of all contracts.

use async_trait::async_trait;

use super::error::{AuditOnOutcome, Result};
use super::{ProofSpending, UserId};
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_core::mfa::lockout::{Failure, Lockout, UserTries};
use signet_jose::clock::Timestamp;

/// How many rows stand in for users who are not there: each change at one of them is what it is at a user's.
pub const PLACES_OF_NOBODY: u16 = 4096;

/// Whose tries a sign-in bears on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriesOf {
    /// A user's.
    User(UserId),
    /// Nobody's: the row of this number, below [`PLACES_OF_NOBODY`], stands in for a user's.
    Nobody(u16),
}

/// How a sign-in was judged.
#[derive(Debug, Clone)]
pub enum Judged {
    /// At least one half was wrong.
    Wrong(Failure),
    /// Both halves were right. `is_digits` says whether the proof was digits, which others' guesses may have locked.
    Right {
        /// What is spent.
        spending: ProofSpending,
        /// Whether it was digits.
        is_digits: bool,
    },
}

/// A sign-in that was judged, as it is settled.
#[derive(Debug, Clone)]
pub struct Settling {
    /// The tenant.
    pub tenant: TenantId,
    /// Whose tries it bears on.
    pub of: TriesOf,
    /// The place of nobody at which a refusal does what a success does at a factor.
    pub beside: u16,
    /// How it was judged.
    pub judged: Judged,
    /// How many tries there are.
    pub rule: Lockout,
    /// Now.
    pub at: Timestamp,
}

/// How a sign-in was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Both halves were right, and this was the one that spent the proof.
    Spent,
    /// Both halves were right, and the proof was spent before.
    Replayed,
    /// Both halves were right, and earlier failures lock the factor. The proof is spent.
    Locked,
    /// It was refused, and its failure was counted.
    Refused,
}

/// A user with what was tried in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserWithTries {
    /// Whose.
    pub user: UserId,
    /// What.
    pub tries: UserTries,
}

/// Sign-ins as they are settled, and what was tried in vain.
#[async_trait]
pub trait Tries: Send + Sync {
    /// Settles a judged sign-in by one commit, under the lock of the tries that it bears on: counts a failure, or spends the proof and
    /// says whether earlier failures lock it. Whatever was wrong, it reads and writes as many rows. Its `applied` records are written
    /// where the proof was spent and nothing is locked, and the `rejected` ones where it was spent before; of a failure nothing is
    /// written here. Where the row of the tries does not verify, both halves are of no use: [`Settled::Locked`].
    async fn settle(&self, settling: &Settling, audit: AuditOnOutcome) -> Result<Settled>;
    /// What was tried in vain at a user; nothing where nothing was.
    async fn tries(&self, tenant: &TenantId, user: &UserId) -> Result<UserTries>;
    /// Users for whom failures stand unanswered, in the order of their ids after one, at most so many.
    async fn unanswered_tries(
        &self,
        tenant: &TenantId,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<UserWithTries>>;
    /// Puts these tries in the place of those that were read: true for a caller who still found them.
    async fn change_tries(
        &self,
        tenant: &TenantId,
        user: &UserId,
        from: &UserTries,
        to: &UserTries,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
}
