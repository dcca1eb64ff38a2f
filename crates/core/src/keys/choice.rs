//! How HSM tokens are chosen among: what a choice is, and how a token stands.

use std::fmt;
use std::time::Duration;

use super::HsmFailure;

/// An HSM token that was chosen for one attempt of a request.
#[derive(Debug)]
pub struct Choice {
    /// Which of the named tokens it is.
    pub index: usize,
    /// How long the attempt may take: where another healthy token is left, half of what is left of the request's time.
    pub patience: Duration,
    /// Held while the attempt lasts, where it is a suspended token's trial.
    pub trial: Option<Trial>,
}

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

/// How an HSM token stands among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
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
