//! The contract of sessions: see [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::error::Result;
use super::{Session, SessionId, UserId};
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;

/// Sign-ins in a browser.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Keeps a session by the hash of its secret; `false`, and nothing recorded, where its user is disabled or gone by now,
    /// or the user's [`credentials_version`](super::User::credentials_version) is no longer the session's.
    async fn add_session(&self, session: &Session, secret: &SecretHash, audit: Vec<AuditEvent>) -> Result<bool>;
    /// The session of this secret, if it holds at `at`: it has not expired, was seen after `seen_after`, its user is
    /// enabled and has the credentials that it began with.
    async fn session(
        &self,
        tenant: &TenantId,
        secret: &SecretHash,
        at: Timestamp,
        seen_after: Timestamp,
    ) -> Result<Option<Session>>;
    /// A user's sessions that hold, as [`session`](Self::session) judges, the newest first.
    async fn sessions(
        &self,
        tenant: &TenantId,
        user: &UserId,
        at: Timestamp,
        seen_after: Timestamp,
    ) -> Result<Vec<Session>>;
    /// Notes that a session is in use.
    async fn touch_session(&self, tenant: &TenantId, id: &SessionId, at: Timestamp) -> Result<()>;
    /// Replaces a session's secret and what was proved, in one write: true for the one caller that showed the secret
    /// which it has. `false` too where it would not be added any more.
    async fn renew_session(
        &self,
        session: &Session,
        shown: &SecretHash,
        secret: &SecretHash,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Ends one session of a user; `false` where it is gone.
    async fn end_session(
        &self,
        tenant: &TenantId,
        user: &UserId,
        id: &SessionId,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Ends all that a user's credentials have led to: sessions, grants, sign-ins under way. `false` where the user is
    /// gone.
    async fn sign_out_everywhere(
        &self,
        tenant: &TenantId,
        user: &UserId,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
}
