//! Says which factors may prove something now, and spends what did.

use crate::Unavailable;
use signet_core::audit::{AuditEvent, Change, Event, Outcome, Reason};
use signet_core::mfa::{FactorProof, Spendable, Spending, UsedFactor};
use signet_store::{AuditOnOutcome, Factor, FactorState, ProofSpending, UserId};

module! {
    /// Says which factors may prove something now, and spends what did.
    pub struct FactorProofs {
        takes clock, settings, candidates, factors, recovery_codes;
    }
}

impl FactorProofs {
    /// The factors of a user who is signed in that may prove something now.
    pub(crate) async fn usable_factors(&self, user: &UserId) -> Result<Vec<Factor>, Unavailable> {
        Ok(self.usable_now(self.factors.factors(&self.settings.tenant, user).await?))
    }

    /// The factors of whom a sign-in names that may prove something now; none for a decoy, after the same look-up.
    pub(crate) async fn usable_factors_of_candidate(&self, user: &UserId) -> Result<Vec<Factor>, Unavailable> {
        Ok(self.usable_now(self.candidates.factors_of_candidate(&self.settings.tenant, user).await?))
    }

    fn usable_now(&self, mut factors: Vec<Factor>) -> Vec<Factor> {
        let now = self.clock.now();
        factors.retain(|factor| factor.is_usable(now));
        factors
    }

    /// Spends the code by one conditional write: of N racing requests one gets the proof. `beside` is what was shown with
    /// it.
    pub(crate) async fn spend(
        &self,
        code: Spendable,
        factor: &Factor,
        beside: &[UsedFactor],
        told: AuditEvent,
    ) -> Result<Option<FactorProof>, Unavailable> {
        let spending = self.spending(&code, factor, beside, &told).await?;
        let told = AuditOnOutcome { applied: spending.done, rejected: vec![told.because(Reason::ReplayedCode)] };
        let won = self.factors.spend_proof(&spending.of, told).await?;
        Ok(code.spent(&factor.user, &factor.id, won && spending.proves))
    }

    /// The write that spends a code that matched, and what is recorded of it. `told` is the record of the sign-in's refusal.
    pub(crate) async fn spending(
        &self,
        code: &Spendable,
        factor: &Factor,
        beside: &[UsedFactor],
        told: &AuditEvent,
    ) -> Result<Spends, Unavailable> {
        let (now, by) = (self.clock.now(), code.by());
        let of = ProofSpending::of(factor, by, now);
        let counter = by.counter().filter(|_| factor.state.wants_two());
        if let Some(counter) = counter
            && !(factor.state == FactorState::WantsNext && factor.detail.is_next(counter))
        {
            let done = vec![raised(counter, factor, told)];
            return Ok(Spends { of: of.moving(factor, FactorState::WantsNext), done, proves: false });
        }
        let mut done = told.clone();
        done.outcome = Outcome::Done;
        done.factors = beside.to_vec();
        done.factors.push(UsedFactor::Factor(factor.reference()));
        done.counter = match by {
            Spending::TotpStep { .. } => None,
            by => by.counter(),
        };
        let mut done = vec![done];
        if matches!(by, Spending::RecoveryCode(_)) {
            done.push(self.recovery_used(factor, &done).await?);
        }
        let of = if counter.is_some() { of.moving(factor, FactorState::Enabled) } else { of };
        Ok(Spends { of, done, proves: true })
    }

    /// A record of its own for a recovery code: somebody signs in without the token.
    async fn recovery_used(&self, factor: &Factor, done: &[AuditEvent]) -> Result<AuditEvent, Unavailable> {
        let left = self.recovery_codes.recovery_codes_left(&factor.tenant, &factor.id).await?.saturating_sub(1);
        tracing::warn!(user = %factor.user, factor = %factor.id, left, "a recovery code is used in the place of a token");
        let mut draft = done.first().cloned().ok_or(Unavailable)?;
        draft.event = Event::RecoveryCodeUsed;
        Ok(draft.detail(format!("{left} codes left")))
    }
}

/// How a code is spent.
pub(crate) struct Spends {
    /// The write.
    pub(crate) of: ProofSpending,
    /// What is recorded where it took place.
    pub(crate) done: Vec<AuditEvent>,
    /// Whether it proves anything: a right code of a token that nobody is sure of does not, without the one directly after it.
    pub(crate) proves: bool,
}

/// The record of a counter that was raised, and proves nothing.
fn raised(counter: i64, factor: &Factor, told: &AuditEvent) -> AuditEvent {
    let mut moved = told.clone();
    (moved.event, moved.outcome, moved.change) = (Event::FactorChanged, Outcome::Done, Some(Change::CounterRaised));
    (moved.user, moved.counter) = (Some(factor.user.to_string()), Some(counter));
    moved.factors = vec![UsedFactor::Factor(factor.reference())];
    moved
}
