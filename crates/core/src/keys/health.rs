//! How an HSM token does among the others, and the trial of one that is suspended.

use std::fmt;

use super::HsmFailure;

/// The one trial of a suspended HSM token that is under way; it is over when this is dropped.
pub struct Trial(#[expect(dead_code, reason = "it is held for what its drop does")] Box<dyn Send + Sync>);

impl Trial {
    /// A trial that ends with `guard`.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self(Box::new(guard))
    }
}

impl fmt::Debug for Trial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Trial")
    }
}

/// How an HSM token does among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenHealth {
    /// It is given requests.
    Serving,
    /// Its circuit breaker is open: it is given none until a test signature of it has verified.
    Suspended {
        /// Why.
        reason: HsmFailure,
    },
    /// No worker of it answers.
    Away(HsmFailure),
}
