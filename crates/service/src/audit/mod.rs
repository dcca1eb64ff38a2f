//! Writes to the audit log, each event at once or, where anybody can provoke it, the first of a kind and then its count.

pub mod checkpoint;
pub mod export;
mod throttle;
pub mod verification;

use std::sync::Arc;

use tokio::time::Instant;

use self::throttle::AuditThrottle;
use crate::directory::{RingKey, Snapshot};
use crate::{ChangeError, Ports};
use signet_core::audit::{AuditEvent, Reason};
use signet_core::keys::HsmHealth;
use signet_store::{AuditLog, Generations, StoreError};

/// The audit key of an HSM token that answers.
/// Errors: there is none yet, or none of those that there are can sign now, and why.
pub(crate) fn answering_key(snapshot: &Snapshot, health: &dyn HsmHealth) -> Result<Arc<RingKey>, ChangeError> {
    let mut silent = None;
    for key in snapshot.audit_keys().iter().filter(|key| key.key.state.is_active()) {
        match health.readiness(&key.key.hsm) {
            Ok(()) => return Ok(key.clone()),
            Err(error) => silent = Some(error),
        }
    }
    Err(silent.map_or(ChangeError::NotInitialised("audit"), ChangeError::Hsm))
}

/// Writes to the audit log, each event at once or, where anybody can provoke it, the first of a kind and then its count.
pub struct AuditTrail {
    audit_log: Arc<dyn AuditLog>,
    throttle: AuditThrottle,
}

impl AuditTrail {
    pub(crate) fn new(ports: &Ports) -> Self {
        Self { audit_log: ports.store.clone(), throttle: AuditThrottle::default() }
    }

    /// Writes events in one commit; returns the tenant's generations as of that commit.
    /// Errors: [`StoreError`]: nothing was written, or nobody knows.
    pub async fn append(&self, events: Vec<AuditEvent>) -> Result<Generations, StoreError> {
        self.audit_log.append(events).await
    }

    /// Keeps a refused sign-in to be written later, the first of its kind too: see [`AuditThrottle::keep`]. `place` is where its name is
    /// settled if nobody is called so.
    pub(crate) fn keep_for_later(&self, draft: &AuditEvent, place: u16) {
        let (user, reason) = (draft.user.as_deref().unwrap_or_default(), draft.reason.map_or("", Reason::name));
        let place = draft.user.is_none().then_some(place);
        self.throttle.keep(&format!("sign-in {user} {reason}"), draft, place, Instant::now());
    }

    /// So many nodes write to the audit log: the records of what anybody can provoke are shared out among them.
    pub fn share_among(&self, nodes: usize) {
        self.throttle.share_among(nodes);
    }

    /// Writes a refusal that anybody can provoke, or counts it where one of its kind was written lately.
    pub(crate) async fn append_throttled(&self, kind: &str, draft: AuditEvent) -> Result<(), StoreError> {
        if !self.throttle.admit(kind, &draft, Instant::now()) {
            return Ok(());
        }
        let appended = self.audit_log.append(vec![draft]).await;
        if appended.is_err() {
            self.throttle.retract(kind);
        }
        appended.map(|_| ())
    }

    /// Writes how often refusals were repeated since they were last written. Called now and then, and at the end.
    /// Errors: [`StoreError`]: the numbers are lost, and so is what was kept to be written with them; what was written
    /// before is not.
    pub async fn append_repetitions(&self, is_end: bool) -> Result<(), StoreError> {
        let drafts = if is_end { self.throttle.drain() } else { self.throttle.due(Instant::now()) };
        if drafts.is_empty() {
            return Ok(());
        }
        self.audit_log.append(drafts).await.map(|_| ())
    }
}
