//! What a change did, and so what is recorded of it.

/// Which audit events are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    /// Those of a change that took place.
    Applied,
    /// Those of a change that did not.
    Rejected,
    /// None.
    Nothing,
}

/// What a change did.
#[derive(Debug)]
pub(super) struct WriteOutcome<A> {
    /// The answer to the caller.
    pub(super) answer: A,
    /// What is recorded.
    pub(super) recorded: Recorded,
    /// Whether the deployment's generation rises.
    pub(super) renews: bool,
}

impl<A> WriteOutcome<A> {
    /// Something was changed that others may have cached.
    pub(super) const fn renewed(answer: A) -> Self {
        Self { answer, recorded: Recorded::Applied, renews: true }
    }

    /// Something was changed that nobody caches.
    pub(super) const fn applied(answer: A) -> Self {
        Self { answer, recorded: Recorded::Applied, renews: false }
    }

    /// The change did not take place, which is recorded.
    pub(super) const fn rejected(answer: A) -> Self {
        Self { answer, recorded: Recorded::Rejected, renews: false }
    }

    /// Nothing is recorded, whether something was changed or not.
    pub(super) const fn nothing(answer: A) -> Self {
        Self { answer, recorded: Recorded::Nothing, renews: false }
    }
}

impl WriteOutcome<bool> {
    /// Whether something was changed that others may have cached; where not, nothing is recorded.
    pub(super) const fn renewed_if(is_changed: bool) -> Self {
        if is_changed { Self::renewed(true) } else { Self::nothing(false) }
    }

    /// Whether something was changed that nobody caches; where not, nothing is recorded.
    pub(super) const fn applied_if(is_changed: bool) -> Self {
        if is_changed { Self::applied(true) } else { Self::nothing(false) }
    }

    /// Whether this caller is the one that spent something; where not, that is recorded.
    pub(super) const fn spent_if(is_spent: bool) -> Self {
        if is_spent { Self::applied(true) } else { Self::rejected(false) }
    }
}
