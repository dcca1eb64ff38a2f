//! A token that is out of step is found again by two codes in a row (RFC 4226 §7.4, RFC 6238 §6).

use crate::{ChangeError, OperatorRights, factor_changed, row_of_factor};
use signet_core::audit::{AuditEvent, Change, Event, Outcome, Reason, RequestContext};
use signet_core::mfa::Spending;
use signet_core::mfa::policy::DigitCodes;
use signet_core::mfa::totp::{Code, counter_message};
use signet_core::secret::SecretText;
use signet_store::{AuditOnOutcome, Factor, FactorId, FactorState, ProofSpending};

/// HMACs that the HSM is asked for at once.
const AT_ONCE: usize = 100;

module! {
    /// Finds tokens again that are out of step.
    pub struct Resynchronisation {
        takes clock, settings, vault, audit, factors, users;
        calls rights: OperatorRights;
    }
}

impl Resynchronisation {
    /// Finds a TOTP or HOTP token again by two codes in a row, both of which are spent by it. Nobody guesses two codes in a row: a
    /// failure locks nothing.
    pub async fn resync_factor(
        &self,
        id: &FactorId,
        codes: [&SecretText; 2],
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        let tenant = &self.settings.tenant;
        let missing = || ChangeError::missing("factor", id);
        let factor = self.factors.factor(tenant, id).await?.ok_or_else(missing)?;
        let user = self.users.user(tenant, &factor.user).await?.ok_or_else(missing)?;
        self.rights.over_user(&user, context).await?;
        let unable = || ChangeError::Conflict("only TOTP and HOTP tokens can be out of step".to_owned());
        let token = factor.detail.digit_codes().ok_or_else(unable)?;
        let digits = token.digits();
        let [first, second] = codes.map(|code| Code::parse(code.expose().trim(), digits));
        let (Some(first), Some(second)) = (first, second) else {
            return Err(ChangeError::Input(format!("this token's codes have {digits} digits: two of them are needed")));
        };
        self.find_pair(&factor, token, [&first, &second], context).await
    }

    async fn find_pair(
        &self,
        factor: &Factor,
        token: &dyn DigitCodes,
        codes: [&Code; 2],
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        let now = self.clock.now();
        let candidates = token.resync_candidates(now);
        let mut hmacs = Vec::with_capacity(candidates.len());
        for some in candidates.chunks(AT_ONCE) {
            let messages = some.iter().copied().map(counter_message).collect();
            hmacs.extend(self.vault.otp_hmac(&row_of_factor(factor), &factor.secret, token.hash(), messages).await?);
        }
        let won = match token.match_pair(codes, now, &candidates, &hmacs) {
            Err(fault) => {
                self.audit.append(self.resync_told(factor, Some(fault), context).rejected).await?;
                false
            }
            Ok(pair) => {
                let mut told = self.resync_told(factor, None, context);
                let spending = ProofSpending::of(factor, pair.by(), now);
                let spending =
                    if factor.state.wants_two() { spending.moving(factor, FactorState::Enabled) } else { spending };
                if !matches!(pair.by(), Spending::TotpStep { .. }) {
                    told.applied.iter_mut().for_each(|done| done.counter = pair.by().counter());
                }
                self.factors.spend_proof(&spending, told).await?
            }
        };
        if won { Ok(()) } else { Err(not_accepted()) }
    }

    fn resync_told(&self, factor: &Factor, reason: Option<Reason>, context: &RequestContext) -> AuditOnOutcome {
        let done = factor_changed(factor, Change::Resynchronised, context);
        let mut lost = AuditEvent { event: Event::FactorChanged, outcome: Outcome::Refused, ..done.clone() };
        lost.reason = Some(reason.unwrap_or(Reason::ReplayedCode));
        AuditOnOutcome { applied: vec![done], rejected: vec![lost] }
    }
}

fn not_accepted() -> ChangeError {
    ChangeError::Input(
        "the codes are not accepted: two that the token shows one directly after the other, and that were not used \
         yet, are needed"
            .to_owned(),
    )
}
