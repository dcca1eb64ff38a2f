//! What a person shows without their token: recovery codes, and an operator's replacement for a limited time.

use std::time::Duration;

use crate::factors::enrolment::taken;
use crate::{Accounts, ChangeError, FactorLifecycle, FactorMaker, NewFactor, factor_added, factor_changed, factor_row};
use signet_core::audit::{Change, RequestContext};
use signet_core::mfa::recovery::RecoveryCode;
use signet_core::mfa::{RecoveryState, recovery};
use signet_core::secret::{SecretBytes, SecretHash, SecretText};
use signet_store::{Factor, FactorDetail, Session, User};

/// Codes that were just made. They are shown this once.
#[derive(Debug)]
pub struct MadeCodes {
    /// The factor that they belong to.
    pub factor: Factor,
    /// The codes.
    pub codes: Vec<SecretText>,
}

/// The longest that a replacement holds.
pub const MAX_REPLACEMENT: Duration = Duration::from_hours(14 * 24);
/// The most codes of a replacement.
pub const MAX_REPLACEMENT_CODES: u32 = 30;

module! {
    /// Makes recovery codes and replacements.
    pub struct Recovery {
        takes clock, random, vault, factors, recovery_codes;
        calls accounts: Accounts, maker: FactorMaker, lifecycle: FactorLifecycle;
    }
}

impl Recovery {
    /// Makes a set of recovery codes for a user who has none.
    pub async fn make_recovery_codes(&self, user: &str, context: &RequestContext) -> Result<MadeCodes, ChangeError> {
        let user = self.accounts.find_user(user).await?;
        let enrolled = self.factors.factors(&user.tenant, &user.id).await?;
        let is_set =
            |factor: &&Factor| matches!(factor.detail, FactorDetail::Recovery(_)) && factor.valid_until.is_none();
        if let Some(factor) = enrolled.iter().find(is_set) {
            return Err(ChangeError::Conflict(format!(
                "{} has recovery codes already; `signet factor remove {}` makes them void, then make new ones",
                user.name, factor.id
            )));
        }
        self.make_codes(&user, None, recovery::CODES, None, context).await
    }

    /// Makes codes that stand in for a lost token for some time. An earlier replacement whose time is over is removed.
    pub async fn replace_token(
        &self,
        user: &str,
        valid: Duration,
        codes: u32,
        context: &RequestContext,
    ) -> Result<MadeCodes, ChangeError> {
        if valid.is_zero() || valid > MAX_REPLACEMENT {
            return Err(ChangeError::Input("a replacement holds for at most 14 days".to_owned()));
        }
        if !(1..=MAX_REPLACEMENT_CODES).contains(&codes) {
            return Err(ChangeError::Input(format!("a replacement has 1 to {MAX_REPLACEMENT_CODES} codes")));
        }
        let user = self.accounts.find_user(user).await?;
        let now = self.clock.now();
        for factor in self.factors.factors(&user.tenant, &user.id).await? {
            if factor.valid_until.is_some_and(|until| until <= now) {
                self.lifecycle.remove_factor(&factor.id, context).await?;
            }
        }
        self.make_codes(&user, None, codes, Some(valid), context).await
    }

    /// Makes codes and their factor: on a session's behalf only while that holds.
    pub(crate) async fn make_codes(
        &self,
        user: &User,
        session: Option<&Session>,
        made: u32,
        valid: Option<Duration>,
        context: &RequestContext,
    ) -> Result<MadeCodes, ChangeError> {
        let detail = FactorDetail::Recovery(RecoveryState { made });
        let label = if valid.is_some() { "replacement" } else { "recovery codes" };
        let mut factor = self.maker.new_factor(user, NewFactor { label, serial: None, detail }, context).await?;
        factor.valid_until = valid.map(|valid| factor.created_at.plus(valid));
        let mut secret = vec![0; recovery::SECRET_BYTES];
        self.random.fill(&mut secret);
        factor.secret = self.maker.enclose_for(&factor, &SecretBytes::new(secret)).await?;
        let codes: Vec<RecoveryCode> = (0..made).map(|_| RecoveryCode::new(self.random.as_ref())).collect();
        let kept = self.codes_as_kept(&factor, &codes).await?;
        let what = match factor.valid_until {
            Some(until) => format!("{}: {made} codes until {until}", factor_added(&factor)),
            None => format!("{}: {made} codes", factor_added(&factor)),
        };
        let told = factor_changed(&factor, Change::Added, context).detail(what);
        if !self.recovery_codes.add_recovery(session, &factor, &kept, vec![told]).await? {
            return Err(taken(&factor, user));
        }
        Ok(MadeCodes { factor, codes: codes.iter().map(RecoveryCode::shown).collect() })
    }

    async fn codes_as_kept(&self, factor: &Factor, codes: &[RecoveryCode]) -> Result<Vec<SecretHash>, ChangeError> {
        let row = factor_row(&factor.tenant, &factor.id, &factor.user);
        let messages = codes.iter().map(RecoveryCode::message).collect();
        let hmacs = self.vault.otp_hmac(&row, &factor.secret, recovery::HASH, messages).await?;
        let kept: Option<Vec<_>> = hmacs.iter().map(|hmac| recovery::kept(hmac)).collect();
        kept.ok_or_else(|| ChangeError::Input("the HSM answered with an HMAC of another length".to_owned()))
    }
}
