//! The contract of what a sign-in reads. See [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::error::Result;
use super::{Factor, User, UserId};
use signet_core::keys::TenantId;

/// Whoever a sign-in names.
///
/// How long a sign-in takes must not tell which names there are, or how many factors a user has. As many rows are read of a
/// name that is nobody's as of somebody's, after as many look-ups, and as many factors of a user who has none as of one who
/// has eight. Only what a stranger can ask for before a proof is shown needs these: everything else reads plainly, by
/// [`Users`](super::Users) and [`Factors`](super::Factors).
#[async_trait]
pub trait Candidates: Send + Sync {
    /// The user of this name; `None` where it is nobody's.
    async fn sign_in_candidate(&self, tenant: &TenantId, name: &str) -> Result<Option<User>>;
    /// A user's factors, the oldest first; none where there is no such user.
    async fn factors_of_candidate(&self, tenant: &TenantId, user: &UserId) -> Result<Vec<Factor>>;
}
