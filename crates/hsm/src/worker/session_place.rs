//! The place of one session, in which one follows another.

use super::error::{Fault, Result};
use super::single_part::SinglePartSession;
use signet_core::keys::HsmFailure;

/// Holds a session, but for the moment in which it is replaced.
pub(super) struct SessionPlace(Option<SinglePartSession>);

impl SessionPlace {
    /// Begins with this session.
    pub(super) fn new(session: SinglePartSession) -> Self {
        Self(Some(session))
    }

    /// The session.
    /// Errors: [`HsmFailure::Unavailable`] where the last one could not be replaced.
    pub(super) fn held(&self) -> Result<&SinglePartSession> {
        let gone = || HsmFailure::Unavailable("its session could not be opened again".into()).into();
        self.0.as_ref().ok_or_else(gone)
    }

    /// Closes the session in which the fault happened, then opens another: a token may allow no more than there are. A
    /// session that the module does not know any more is not closed: its number may be another thread's new session's.
    /// Errors: What `open` answered: then the place stays empty.
    pub(super) fn renew(&mut self, fault: &Fault, open: impl FnOnce() -> Result<SinglePartSession>) -> Result<()> {
        match self.0.take() {
            Some(stale) if fault.is_of_a_lost_session() => std::mem::forget(stale),
            held => drop(held),
        }
        self.0 = Some(open()?);
        Ok(())
    }
}
