//! Says which factors may prove something now, and spends what did.

use crate::Unavailable;
use signet_core::audit::{AuditEvent, Change, Event, Outcome, Reason};
use signet_core::mfa::{FactorProof, Spendable, Spending, UsedFactor};
use signet_store::{AssertionSpending, AuditOnOutcome, Factor, FactorState, UserId};

module! {
    /// Says which factors may prove something now, and spends what did.
    pub struct FactorProofs {
        takes clock, settings, candidates, ceremonies, factors, recovery_codes;
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
        let counter = code.by().counter().filter(|_| factor.state.wants_two());
        if let Some(counter) = counter
            && !(factor.state == FactorState::WantsNext && factor.detail.is_next(counter))
        {
            self.note_first(counter, factor, told).await?;
            return Ok(None);
        }
        let mut done = told.clone();
        done.outcome = Outcome::Done;
        done.factors = beside.to_vec();
        done.factors.push(UsedFactor::Factor(factor.reference()));
        done.counter = match code.by() {
            Spending::TotpStep { .. } => None,
            by => by.counter(),
        };
        let told = AuditOnOutcome { applied: vec![done], rejected: vec![told.because(Reason::ReplayedCode)] };
        let won = match counter {
            Some(counter) => {
                let (sure, now) = (FactorState::Enabled, self.clock.now());
                self.factors.spend_unsure_counter(factor, counter, &sure, now, told).await?
            }
            None => self.write(code.by(), factor, told).await?,
        };
        Ok(code.spent(&factor.user, &factor.id, won))
    }

    /// The conditional write that spends a code. Returns whether this one did.
    async fn write(&self, by: &Spending, factor: &Factor, mut told: AuditOnOutcome) -> Result<bool, Unavailable> {
        let (tenant, id, now) = (&factor.tenant, &factor.id, self.clock.now());
        let won = match by {
            Spending::TotpStep { step, drift } => {
                self.factors.spend_totp_step(tenant, id, *step, *drift, now, told).await
            }
            Spending::YubicoCounter(counter) => {
                self.factors.spend_yubico_counter(tenant, id, *counter, now, told).await
            }
            Spending::Counter(counter) => self.factors.raise_counter(tenant, id, *counter, now, told).await,
            Spending::PivNonce(nonce) => self.factors.spend_piv_nonce(tenant, id, nonce, now, told).await,
            Spending::RecoveryCode(kept) => {
                told.applied.push(self.recovery_used(factor, &told.applied).await?);
                self.recovery_codes.spend_recovery_code(tenant, id, kept, now, told).await
            }
            Spending::Assertion { challenge, until, counter } => {
                let spending = AssertionSpending {
                    tenant: tenant.clone(),
                    factor: id.clone(),
                    challenge: *challenge,
                    challenge_until: *until,
                    counter: *counter,
                    at: now,
                };
                self.ceremonies.spend_assertion(&spending, told).await
            }
        };
        Ok(won?)
    }

    /// A right code of a token that nobody is sure of: it is spent, and proves nothing without the one directly after it.
    async fn note_first(&self, counter: i64, factor: &Factor, told: AuditEvent) -> Result<(), Unavailable> {
        let mut moved = told.clone();
        (moved.event, moved.outcome, moved.change) = (Event::FactorChanged, Outcome::Done, Some(Change::CounterRaised));
        (moved.user, moved.counter) = (Some(factor.user.to_string()), Some(counter));
        moved.factors = vec![UsedFactor::Factor(factor.reference())];
        let rejected = vec![told.clone().because(Reason::ReplayedCode)];
        let told = AuditOnOutcome { applied: vec![told.because(Reason::NextCodeWanted), moved], rejected };
        let (next, now) = (FactorState::WantsNext, self.clock.now());
        self.factors.spend_unsure_counter(factor, counter, &next, now, told).await?;
        Ok(())
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
