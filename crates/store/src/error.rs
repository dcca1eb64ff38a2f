//! What a call of the store can end in, and what is recorded of a write whichever way it went.

use signet_core::audit::AuditEvent;

/// The store could not say: the caller denies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("store {operation}: {failure}")]
pub struct StoreError {
    /// What was tried, e.g. `rotate refresh token`.
    pub operation: &'static str,
    /// What went wrong.
    pub failure: StoreFailure,
}

/// What went wrong in the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFailure {
    /// It did not answer in time, is locked, full or gone. A commit whose answer was lost is here too: it is unknown.
    #[error("not available: {0}")]
    Unavailable(String),
    /// What was read is not what Signet writes.
    #[error("the stored {0} can't be understood")]
    Corrupt(&'static str),
    /// A row that could get somebody a yes was written or altered by somebody who has not the deployment's secret.
    #[error("the row {id} of the table {table} does not verify: somebody wrote to the store past Signet")]
    Forged {
        /// The table.
        table: &'static str,
        /// What names the row.
        id: String,
    },
    /// A row that could get somebody a yes can't be written or judged before an HSM token opened the deployment's secret.
    #[error("not available: no HSM token has opened the deployment's secret yet, without which no such row is written")]
    NoRowKeys,
    /// The audit chain in the store is behind what was already written: an old copy was put in its place.
    #[error(
        "the audit chain ends before a record that was already written, or does not go through the checkpoint that the anchor holds: an old copy of the store is in its place, or a rewritten one; put the newest copy back, or decide by `signet restore --in-place`"
    )]
    RolledBack,
    /// The anchor is gone, empty or unreadable, and there are checkpoints that it held.
    #[error(
        "the anchor {0} is gone or holds nothing, and the store has checkpoints: whether this is its newest copy can't be told; put the anchor back (or set `audit.anchor` to where it is), or decide by `signet restore --in-place`"
    )]
    Unanchored(String),
    /// The store is a copy that was put back: no server writes until an operator has said what had ended since.
    #[error(
        "the store was restored, and nobody has said yet what had ended since its copy: end it again, then say so by `signet restore --ended TEXT`"
    )]
    Unanswered,
    /// Another transaction was in the way; nothing was changed, and the same may be tried again.
    #[error("not available: {0}")]
    Busy(String),
    /// This process may not write any more: its node was retired, or another process is this node by now.
    #[error("{0}")]
    Fenced(&'static str),
    /// The database is not one that this program can use; the text says what to do.
    #[error("{0}")]
    Refused(String),
}

impl StoreFailure {
    /// The failure with what was tried.
    pub fn during(self, operation: &'static str) -> StoreError {
        StoreError { operation, failure: self }
    }
}

/// The answer of a call of the store, or why there is none.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What is recorded of a conditional write, whichever way it went.
#[derive(Debug, Clone, Default)]
pub struct AuditOnOutcome {
    /// Recorded where the write took place.
    pub applied: Vec<AuditEvent>,
    /// Recorded where it did not.
    pub rejected: Vec<AuditEvent>,
}

impl AuditOnOutcome {
    /// One record of a write that took place; nothing is recorded of one that did not.
    pub fn applied(draft: AuditEvent) -> Self {
        vec![draft].into()
    }
}

impl From<Vec<AuditEvent>> for AuditOnOutcome {
    /// Nothing is recorded of a write that did not take place.
    fn from(applied: Vec<AuditEvent>) -> Self {
        Self { applied, rejected: Vec::new() }
    }
}
