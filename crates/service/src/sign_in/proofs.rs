//! Says which factors may prove something now, and spends what did.

use crate::Unavailable;
use signet_core::audit::{Draft, Event, Outcome, Reason};
use signet_core::mfa::{FactorProof, Spendable, Spending, UsedFactor};
use signet_store::{AssertionSpending, AuditOnOutcome, Factor, UserId};

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
        told: Draft,
    ) -> Result<Option<FactorProof>, Unavailable> {
        let mut done = told.clone();
        done.outcome = Outcome::Done;
        done.factors = beside.to_vec();
        done.factors.push(UsedFactor::Factor(factor.reference()));
        done.counter = match code.by() {
            Spending::TotpStep { .. } => None,
            by => by.counter(),
        };
        let mut told = AuditOnOutcome { applied: vec![done], rejected: vec![told.because(Reason::ReplayedCode)] };
        let (tenant, id, now) = (&factor.tenant, &factor.id, self.clock.now());
        let won = match code.by() {
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
        Ok(code.spent(&factor.user, id, won?))
    }

    /// A record of its own for a recovery code: somebody signs in without the token.
    async fn recovery_used(&self, factor: &Factor, done: &[Draft]) -> Result<Draft, Unavailable> {
        let left = self.recovery_codes.recovery_codes_left(&factor.tenant, &factor.id).await?.saturating_sub(1);
        tracing::warn!(user = %factor.user, factor = %factor.id, left, "a recovery code is used in the place of a token");
        let mut draft = done.first().cloned().ok_or(Unavailable)?;
        draft.event = Event::RecoveryCodeUsed;
        Ok(draft.detail(format!("{left} codes left")))
    }
}
