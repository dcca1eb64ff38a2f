//! What a person changes of their own factors. Adding and removing takes a proof that is fresh: whoever finds an open
//! browser changes nothing by which its owner signs in.
//!
//! A TOTP factor is there only once a code has shown that the app has its secret. Until then nothing is kept: the page's
//! form carries the secret, sealed by the HSM for the person, under a MAC that shows that it was made here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sessions::proved;
use crate::sign_in::matcher::CodeMatcher;
use crate::{
    ChangeError, FactorLifecycle, FactorMaker, FactorProofs, LiveSession, NewFactor, SignedState, Tries, Unavailable,
    check_name, factor_added, factor_changed, row_of_factor,
};
use signet_core::audit::{AuditEvent, Change, Event, Outcome, Reason, RequestContext};
use signet_core::keys::{HsmError, RowBinding, SealedCopies};
use signet_core::mfa::assurance::may_change_factors;
use signet_core::mfa::enrolment::{ClockProfile, Enrolment, TotpParameters};
use signet_core::mfa::policy;
use signet_core::mfa::totp::Code;
use signet_core::secret::{SecretBytes, SecretText};
use signet_jose::clock::Timestamp;
use signet_store::{Factor, FactorDetail, FactorId, StoreError, UserId};

/// What a pending secret is carried for.
const PENDING: &str = "pending factor";
/// How long a person may take from the QR code to the first code.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Why a person's change of their own factors did not take place.
#[derive(Debug, thiserror::Error)]
pub enum SelfServiceError {
    /// The proof is not fresh: the password and a code are asked for again.
    #[error("a fresh sign-in is needed")]
    StepUpNeeded,
    /// The proof is fresh, and weaker than what the strongest of the person's factors proves.
    #[error("a sign-in by the strongest factor is needed")]
    StrongerNeeded,
    /// No such factor of this person.
    #[error("there is no such factor")]
    Missing,
    /// The session ended meanwhile: the person signed out, or what they sign in with was changed.
    #[error("the sign-in is over")]
    SessionOver,
    /// The input is not acceptable; the text says what to do.
    #[error("{0}")]
    Input(String),
    /// The code does not fit the secret.
    #[error("the code is wrong")]
    WrongCode,
    /// HSM or store did not do their part.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<HsmError> for SelfServiceError {
    fn from(error: HsmError) -> Self {
        Unavailable::from(error).into()
    }
}

impl From<StoreError> for SelfServiceError {
    fn from(error: StoreError) -> Self {
        Unavailable::from(error).into()
    }
}

impl From<ChangeError> for SelfServiceError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Missing { noun: "user", .. } => Self::SessionOver,
            ChangeError::Missing { .. } => Self::Missing,
            ChangeError::Taken { .. }
            | ChangeError::Input(_)
            | ChangeError::Conflict(_)
            | ChangeError::Absent(_)
            | ChangeError::Forbidden(_) => Self::Input(error.to_string()),
            ChangeError::NotInitialised(_) | ChangeError::Unavailable(_) => Unavailable.into(),
            ChangeError::Hsm(error) => error.into(),
            ChangeError::Store(error) => error.into(),
        }
    }
}

/// A TOTP secret that is shown, and not a factor yet.
#[derive(Debug)]
pub struct PendingTotp {
    /// The secret as a person sees it.
    pub enrolment: Enrolment,
    /// What the form carries until the code is typed.
    pub carried: SecretText,
}

/// What is carried, under a MAC.
#[derive(Serialize, Deserialize)]
struct PendingSecret {
    factor: FactorId,
    until: Timestamp,
    seals: SealedCopies,
}

module! {
    /// What a person sees and changes of their own factors.
    pub struct OwnFactors {
        takes clock, ids, random, settings, vault, factor_life, factors, audit;
        calls matcher: CodeMatcher, maker: FactorMaker, lifecycle: FactorLifecycle, proofs: FactorProofs,
            signed_state: SignedState, tries: Tries;
    }
}

impl OwnFactors {
    /// Makes a TOTP secret for a person to scan.
    pub async fn begin_totp(
        &self,
        live: &LiveSession,
        context: &RequestContext,
    ) -> Result<PendingTotp, SelfServiceError> {
        self.must_be_fresh(live, context).await?;
        let enrolment = self.totp_of(live, None)?;
        let enrolled = self.factors.factors(&live.user.tenant, &live.user.id).await?;
        policy::may_enrol(enrolment.detail.kind(), enrolled.iter().map(|factor| &factor.detail))
            .map_err(|error| SelfServiceError::Input(error.to_string()))?;
        let factor = FactorId::new(self.ids.next());
        let row = self.pending_row(&factor, &live.user.id);
        let seals = self.vault.seal(&row, &enrolment.secret).await?;
        let carried = PendingSecret { factor, until: self.clock.now().plus(PATIENCE), seals };
        let carried = self.signed_state.carry(PENDING, live.session.id.as_str(), &carried).await?;
        Ok(PendingTotp { enrolment, carried })
    }

    /// The secret that a form carries, to be shown once more after a wrong code.
    /// Errors: [`SelfServiceError`]; [`SelfServiceError::Input`] for a form that was not made for this session, or too
    /// long ago.
    pub async fn pending_totp(
        &self,
        live: &LiveSession,
        carried: SecretText,
        context: &RequestContext,
    ) -> Result<PendingTotp, SelfServiceError> {
        self.must_be_fresh(live, context).await?;
        let (_, enrolment) = self.open_carried(live, &carried).await?;
        Ok(PendingTotp { enrolment, carried })
    }

    /// Enrols the secret that a form carries, if the code is one of its own. The code's step is spent by it.
    pub async fn confirm_totp(
        &self,
        live: &LiveSession,
        carried: &SecretText,
        label: &str,
        code: &str,
        context: &RequestContext,
    ) -> Result<Factor, SelfServiceError> {
        self.must_be_fresh(live, context).await?;
        check_name("factor", label)?;
        let (id, enrolment) = self.open_carried(live, carried).await?;
        let codes = enrolment.detail.digit_codes().ok_or(Unavailable)?;
        let code = Code::parse(code, codes.digits()).ok_or(SelfServiceError::WrongCode)?;
        let new = NewFactor { label, serial: None, detail: enrolment.detail.clone() };
        let mut factor = self.maker.new_factor(&live.user, new, context).await?;
        factor.id = id;
        factor.secret = self.maker.enclose_for(&factor, &enrolment.secret).await?;
        let (row, now) = (row_of_factor(&factor), factor.created_at);
        let matched = self.matcher.match_digits(&code, &row, &factor.secret, codes, now).await?;
        factor.detail.spend(matched.map_err(|_| SelfServiceError::WrongCode)?.by());
        factor.last_used_at = Some(now);
        let told = factor_changed(&factor, Change::Added, context).detail(factor_added(&factor));
        let added = self.factor_life.add_own_factor(&live.session, &factor, vec![told]).await;
        if added? {
            return Ok(factor);
        }
        Err(SelfServiceError::Input("this code was set up already, or the sign-in is over".to_owned()))
    }

    /// The person's factors, the oldest first.
    pub async fn own_factors(&self, live: &LiveSession) -> Result<Vec<Factor>, SelfServiceError> {
        let factors = self.factors.factors(&live.user.tenant, &live.user.id).await;
        Ok(factors?)
    }

    /// Replaces what the person calls one of their factors.
    pub async fn rename_own_factor(
        &self,
        live: &LiveSession,
        id: &FactorId,
        label: &str,
        context: &RequestContext,
    ) -> Result<(), SelfServiceError> {
        self.own_factor(live, id).await?;
        Ok(self.lifecycle.rename_factor(id, label, context).await?)
    }

    /// Removes one of the person's factors, but not the last one that can be used: without any nobody signs in, and
    /// recovery codes only stand in for one. All of the person's sessions end with it, this one too, and all grants.
    pub async fn remove_own_factor(
        &self,
        live: &LiveSession,
        id: &FactorId,
        context: &RequestContext,
    ) -> Result<(), SelfServiceError> {
        self.must_be_fresh(live, context).await?;
        let factor = self.own_factor(live, id).await?;
        let is_another = |other: &Factor| other.id != *id && !matches!(other.detail, FactorDetail::Recovery(_));
        if !self.proofs.usable_factors(&live.user.id).await?.iter().any(is_another) {
            let text = "this is the only factor: without it nobody can sign in here any more. Set up another one first";
            return Err(SelfServiceError::Input(text.to_owned()));
        }
        let told = factor_changed(&factor, Change::Removed, context);
        let removed = self.factor_life.remove_own_factor(&live.session, id, self.clock.now(), vec![told]).await;
        if !removed? {
            return Err(SelfServiceError::SessionOver);
        }
        self.tries.factor_removed(&live.user.id, id).await;
        Ok(())
    }

    /// One of the person's factors.
    /// Errors: [`SelfServiceError::Missing`] for another person's too.
    pub async fn own_factor(&self, live: &LiveSession, id: &FactorId) -> Result<Factor, SelfServiceError> {
        let factor = self.factors.factor(&live.user.tenant, id).await?;
        factor.filter(|factor| factor.user == live.user.id).ok_or(SelfServiceError::Missing)
    }

    /// Whether the person's proof is fresh, and as strong as the strongest factor's: what a change will ask for.
    /// Errors: [`SelfServiceError::StepUpNeeded`], [`SelfServiceError::StrongerNeeded`].
    pub async fn may_change(&self, live: &LiveSession) -> Result<(), SelfServiceError> {
        if !live.is_fresh(self.clock.now()) {
            return Err(SelfServiceError::StepUpNeeded);
        }
        let usable = self.proofs.usable_factors(&live.user.id).await?;
        let is_strong = may_change_factors(proved(&live.session), usable.iter().map(|factor| &factor.detail));
        if is_strong { Ok(()) } else { Err(SelfServiceError::StrongerNeeded) }
    }

    /// A change without such a proof is refused and written to the audit log.
    pub(crate) async fn must_be_fresh(
        &self,
        live: &LiveSession,
        context: &RequestContext,
    ) -> Result<(), SelfServiceError> {
        let refusal = match self.may_change(live).await {
            Err(refusal @ (SelfServiceError::StepUpNeeded | SelfServiceError::StrongerNeeded)) => refusal,
            other => return other,
        };
        let reason = match refusal {
            SelfServiceError::StrongerNeeded => Reason::StrongerStepUpNeeded,
            _ => Reason::StepUpNeeded,
        };
        let told = AuditEvent::new(Event::FactorChanged, Outcome::Refused, live.user.tenant.as_str(), context)
            .user(live.user.id.as_str())
            .because(reason);
        self.audit.append_throttled(&format!("step up {}", live.session.id), told).await?;
        Err(refusal)
    }

    /// A TOTP of the commonest parameters: with this secret, or a fresh one.
    fn totp_of(&self, live: &LiveSession, secret: Option<SecretBytes>) -> Result<Enrolment, SelfServiceError> {
        // A colon would end the label's first part in an otpauth URI.
        let (issuer, account) = (&self.settings.current().otp_issuer, live.user.name.replace(':', " "));
        let parameters = TotpParameters::DEFAULT;
        let detail = FactorDetail::Totp(parameters.state(ClockProfile::default()));
        let secret = secret.unwrap_or_else(|| parameters.fresh_secret(self.random.as_ref()));
        Enrolment::of(issuer, &account, detail, secret).map_err(|error| SelfServiceError::Input(error.to_string()))
    }

    async fn open_carried(
        &self,
        live: &LiveSession,
        carried: &SecretText,
    ) -> Result<(FactorId, Enrolment), SelfServiceError> {
        let over = || SelfServiceError::Input("this took too long, or the page was not this session's".to_owned());
        // The HSM is asked to open nothing that was not made here.
        let opened = self.signed_state.carried::<PendingSecret>(PENDING, live.session.id.as_str(), carried).await?;
        let carried = opened.filter(|carried| self.clock.now() <= carried.until).ok_or_else(over)?;
        let row = self.pending_row(&carried.factor, &live.user.id);
        let secret = self.vault.open(&row, &carried.seals).await?;
        Ok((carried.factor, self.totp_of(live, Some(secret))?))
    }

    fn pending_row(&self, factor: &FactorId, user: &UserId) -> RowBinding {
        RowBinding::new(&self.settings.tenant, "pending_factor", &format!("{factor}/{user}"), "secret")
    }
}
