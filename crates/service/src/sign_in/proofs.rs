//! Says which factors may prove something now, and spends what did.

use crate::{Spendable, Unavailable};
use signet_core::audit::{Draft, Event, Outcome, Reason};
use signet_core::mfa::{FactorDetail, FactorProof, UsedFactor};
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
        done.counter = match &code {
            Spendable::Hotp(counter) | Spendable::Yubico(counter) | Spendable::YubicoRemote(counter) => {
                Some(counter.raised())
            }
            Spendable::Assertion { assertion, .. } => Some(assertion.counter()),
            Spendable::Totp(_) | Spendable::Piv(_) | Spendable::Recovery(_) => None,
        };
        let mut told = AuditOnOutcome { applied: vec![done], rejected: vec![told.because(Reason::ReplayedCode)] };
        if matches!(code, Spendable::Recovery(_)) {
            told.applied.push(self.recovery_used(factor, &told.applied).await?);
        }
        let (tenant, id, now) = (&factor.tenant, &factor.id, self.clock.now());
        let won = match &code {
            Spendable::Totp(step) => {
                self.factors.spend_totp_step(tenant, id, step.step(), step.drift(), now, told).await
            }
            Spendable::Yubico(counter) => {
                self.factors.spend_yubico_counter(tenant, id, counter.raised(), now, told).await
            }
            Spendable::Hotp(counter) | Spendable::YubicoRemote(counter) => {
                self.factors.raise_counter(tenant, id, counter.raised(), now, told).await
            }
            Spendable::Piv(nonce) => self.factors.spend_piv_nonce(tenant, id, nonce.id(), now, told).await,
            Spendable::Recovery(code) => {
                self.recovery_codes.spend_recovery_code(tenant, id, code.kept(), now, told).await
            }
            Spendable::Assertion { assertion, until } => {
                let spending = AssertionSpending {
                    tenant: tenant.clone(),
                    factor: id.clone(),
                    challenge: *assertion.challenge(),
                    challenge_until: *until,
                    counter: assertion.counter(),
                    at: now,
                };
                self.ceremonies.spend_assertion(&spending, told).await
            }
        };
        let won = won?;
        let user = &factor.user;
        Ok(match code {
            Spendable::Totp(step) => step.spent(user, id, won),
            Spendable::Hotp(counter) | Spendable::Yubico(counter) | Spendable::YubicoRemote(counter) => {
                counter.spent(user, id, won)
            }
            Spendable::Piv(nonce) => match &factor.detail {
                FactorDetail::Piv(state) => nonce.spent(user, id, state, won),
                _ => None,
            },
            Spendable::Recovery(code) => code.spent(user, id, won),
            Spendable::Assertion { assertion, .. } => assertion.spent(user, id, won),
        })
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
