//! A token that is out of step is found again by two codes in a row (RFC 4226 §7.4, RFC 6238 §6).

use std::time::Duration;

use super::match_code::row_of;
use super::tries::{CountedTry, Counting};
use super::{ChangeError, Signet};
use signet_core::audit::{Draft, Event, Outcome, RequestContext};
use signet_core::mfa::lockout::Target;
use signet_core::mfa::totp::{self, Code, OtpFault};
use signet_core::mfa::{hotp, totp::counter_message};
use signet_core::oauth::OAuthError;
use signet_core::secret::SecretText;
use signet_store::{AuditOnOutcome, Factor, FactorDetail, FactorId, User};

/// HMACs that the HSM is asked for at once.
const AT_ONCE: usize = 100;

impl Signet {
    /// Finds a TOTP or HOTP token again by two codes in a row, both of which are spent by it. A failure is a try at the
    /// account, as at sign-in.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn resync_factor(
        &self,
        id: &FactorId,
        codes: [&SecretText; 2],
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        let tenant = &self.settings.tenant;
        let missing = || ChangeError::Missing { noun: "factor", name: id.to_string() };
        let factor = self.adapters.store.factor(tenant, id).await?.ok_or_else(missing)?;
        let user = self.adapters.store.user(tenant, &factor.user).await?.ok_or_else(missing)?;
        let digits = match &factor.detail {
            FactorDetail::Totp(state) => state.digits,
            FactorDetail::Hotp(state) => state.digits,
            _ => return Err(ChangeError::Input("only TOTP and HOTP tokens can be out of step".to_owned())),
        };
        let [first, second] = codes.map(|code| Code::parse(code.expose().trim(), digits));
        let (Some(first), Some(second)) = (first, second) else {
            return Err(ChangeError::Input(format!("this token's codes have {digits} digits: two of them are needed")));
        };
        let counted = self.count_change_try(&user, Target::Digits).await?;
        let resynced = self.find_pair(&factor, [&first, &second], context).await;
        self.settle_change_try(&user, &counted, resynced).await
    }

    async fn find_pair(&self, factor: &Factor, codes: [&Code; 2], context: &RequestContext) -> Result<(), ChangeError> {
        let (store, now) = (&self.adapters.store, self.now());
        let (tenant, id) = (&factor.tenant, &factor.id);
        let told = |reason| self.resync_told(factor, reason, context);
        let won = match &factor.detail {
            FactorDetail::Totp(state) => {
                let steps = totp::resync_candidates(now, state);
                let hmacs = self.many_hmacs(factor, &steps).await?;
                match totp::match_pair(codes, now, &steps, &hmacs, state) {
                    Ok(step) => store.spend_totp_step(tenant, id, step.step(), step.drift(), now, told(None)).await?,
                    Err(fault) => return self.refuse_resync(factor, fault, context).await,
                }
            }
            FactorDetail::Hotp(state) => {
                let counters = hotp::resync_candidates(state);
                let hmacs = self.many_hmacs(factor, &counters).await?;
                match hotp::match_pair(codes, &counters, &hmacs, state) {
                    Ok(counter) => store.raise_counter(tenant, id, counter.next_counter(), now, told(None)).await?,
                    Err(fault) => return self.refuse_resync(factor, fault, context).await,
                }
            }
            _ => false,
        };
        if won { Ok(()) } else { Err(not_accepted()) }
    }

    async fn refuse_resync(
        &self,
        factor: &Factor,
        fault: OtpFault,
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        self.adapters.store.append(self.resync_told(factor, Some(fault.reason()), context).rejected).await?;
        Err(not_accepted())
    }

    fn resync_told(&self, factor: &Factor, reason: Option<&str>, context: &RequestContext) -> AuditOnOutcome {
        let done = self.factor_changed(factor, "resynchronised", context);
        let mut lost = Draft { event: Event::FactorChanged, outcome: Outcome::Refused, ..done.clone() };
        lost.reason = Some(reason.unwrap_or("replayed_code").to_owned());
        AuditOnOutcome { applied: vec![done], rejected: vec![lost] }
    }

    async fn many_hmacs(&self, factor: &Factor, places: &[i64]) -> Result<Vec<Vec<u8>>, ChangeError> {
        let hash = match &factor.detail {
            FactorDetail::Totp(state) => state.hash,
            FactorDetail::Hotp(state) => state.hash,
            _ => return Ok(Vec::new()),
        };
        let mut hmacs = Vec::with_capacity(places.len());
        for some in places.chunks(AT_ONCE) {
            let messages = some.iter().copied().map(counter_message).collect();
            hmacs.extend(self.adapters.vault.otp_hmac(&row_of(factor), &factor.secret, hash, messages).await?);
        }
        Ok(hmacs)
    }

    /// Counts a try at a user's account outside of a sign-in.
    pub(super) async fn count_change_try(&self, user: &User, target: Target<'_>) -> Result<CountedTry, ChangeError> {
        let counted = self.count_try(&user.name, Some(&user.id), target).await.map_err(|error| not_judged(&error))?;
        match counted {
            Counting::Counted(counted) => Ok(counted),
            Counting::Exhausted { retry_after, .. } => Err(too_many_tries(user, retry_after)),
        }
    }

    /// What becomes of a try that was counted so: a success forgets it, and so does what ended without a verdict. Where
    /// the account has no verdicts left a refusal is answered as if nothing had been judged, as at sign-in.
    pub(super) async fn settle_change_try<T: Send>(
        &self,
        user: &User,
        counted: &CountedTry,
        ended: Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        match (&ended, counted.unanswered_for()) {
            (Ok(_), _) => self.forget_tries(counted).await,
            (Err(ChangeError::Hsm(_) | ChangeError::Store(_)), _) => self.give_back_try(counted).await,
            (Err(_), Some(retry_after)) => return Err(too_many_tries(user, retry_after)),
            (Err(_), None) => {}
        }
        ended
    }
}

/// Why nothing could be judged.
pub(super) fn not_judged(error: &OAuthError) -> ChangeError {
    ChangeError::Input(match error {
        OAuthError::TemporarilyUnavailable { .. } => {
            "the HSM or the store does not answer at the moment; try again".to_owned()
        }
        other => other.description().to_owned(),
    })
}

fn too_many_tries(user: &User, retry_after: Duration) -> ChangeError {
    ChangeError::Input(format!(
        "there were too many tries at this account; wait {} minutes, or run `signet user unlock {}`",
        retry_after.as_secs().div_ceil(60),
        user.name
    ))
}

fn not_accepted() -> ChangeError {
    ChangeError::Input(
        "the codes are not accepted: two that the token shows one directly after the other, and that were not used \
         yet, are needed"
            .to_owned(),
    )
}
