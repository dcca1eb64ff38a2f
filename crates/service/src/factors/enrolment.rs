//! Factors, as they are enrolled and removed.
//!
//! Under the four-eyes rule a factor that an operator adds for somebody proves nothing until another person has approved
//! it (`docs/decisions/0022-*`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::sign_in::piv::PivKey;
use crate::{Accounts, ChangeError, FourEyes, OperatorRights, check_name, factor_row};
use signet_core::audit::{AuditEvent, Change, Event, Facts, Outcome, RequestContext};
use signet_core::keys::SealedCopies;
use signet_core::mfa::enrolment::{ClockProfile, Enrolment, TotpParameters};
use signet_core::mfa::{FactorDetail, HotpState, PivState, UsedFactor, YubicoRemoteState, piv, policy, yubico_otp};
use signet_core::secret::SecretBytes;
use signet_store::{Factor, FactorId, FactorState, User, YubicoState};

/// A Yubico OTP key as its programming tool tells of it.
#[derive(Debug)]
pub struct YubicoKey {
    /// The public id, in modhex.
    pub public_id: String,
    /// The private id.
    pub private_id: [u8; 6],
    /// The AES-128 key.
    pub secret: SecretBytes,
}

/// A TOTP or HOTP token to enrol.
#[derive(Debug)]
pub struct NewOtp {
    /// What the user calls it.
    pub label: String,
    /// What is printed on it.
    pub serial: Option<String>,
    /// Hash, digits and step.
    pub parameters: TotpParameters,
    /// Clock or counter.
    pub device: Device,
    /// The secret that it has already; a fresh one where there is none.
    pub secret: Option<SecretBytes>,
}

/// What a token counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// RFC 6238.
    Clock(ClockProfile),
    /// RFC 4226: the lowest counter that is acceptable.
    Counter(i64),
}

impl NewOtp {
    /// The factor's parameters and state.
    fn detail(&self) -> FactorDetail {
        match self.device {
            Device::Clock(profile) => FactorDetail::Totp(self.parameters.state(profile)),
            Device::Counter(next_counter) => {
                let (hash, digits) = (self.parameters.hash(), self.parameters.digits());
                FactorDetail::Hotp(HotpState { hash, digits, next_counter })
            }
        }
    }
}

/// What is enrolled, whatever its kind.
pub(crate) struct NewFactor<'n> {
    pub(crate) label: &'n str,
    pub(crate) serial: Option<String>,
    pub(crate) detail: FactorDetail,
}

module! {
    /// Makes factors, whoever asks for them.
    pub struct FactorMaker {
        takes clock, ids, random, settings, validation_servers, vault, factors;
        calls accounts: Accounts, four_eyes: FourEyes, rights: OperatorRights;
    }
}

impl FactorMaker {
    /// Enrols a TOTP factor with a fresh secret, which is shown this once.
    pub async fn enrol_totp(
        &self,
        user: &str,
        label: &str,
        parameters: TotpParameters,
        context: &RequestContext,
    ) -> Result<(Factor, Enrolment), ChangeError> {
        let device = Device::Clock(ClockProfile::default());
        let new = NewOtp { label: label.to_owned(), serial: None, parameters, device, secret: None };
        self.enrol_otp(user, new, context).await
    }

    /// Enrols a TOTP or HOTP token. A fresh secret is shown this once; one that the token has already is taken over.
    pub async fn enrol_otp(
        &self,
        user: &str,
        new: NewOtp,
        context: &RequestContext,
    ) -> Result<(Factor, Enrolment), ChangeError> {
        check_name("factor", &new.label)?;
        let user = self.accounts.find_user(user).await?;
        // A colon would end the label's first part in an otpauth URI.
        let account = user.name.replace(':', " ");
        let detail = new.detail();
        let secret = new.secret.unwrap_or_else(|| new.parameters.fresh_secret(self.random.as_ref()));
        let enrolment = Enrolment::of(&self.settings.current().otp_issuer, &account, detail.clone(), secret)
            .map_err(|error| ChangeError::Input(error.to_string()))?;
        let factor = NewFactor { label: &new.label, serial: new.serial, detail };
        let factor = self.enrol(&user, factor, &enrolment.secret, context).await?;
        Ok((factor, enrolment))
    }

    /// Enrols a Yubico OTP key.
    pub async fn enrol_yubico_otp(
        &self,
        user: &str,
        label: &str,
        key: &YubicoKey,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        check_name("factor", label)?;
        let user = self.accounts.find_user(user).await?;
        let public_id = kept_public_id(&key.public_id)?;
        if key.secret.expose().len() != 16 {
            return Err(ChangeError::Input("the secret key must be 32 hex digits: an AES-128 key".to_owned()));
        }
        let state = YubicoState { public_id, private_id: key.private_id, last_counter: -1 };
        let factor = NewFactor { label, serial: None, detail: FactorDetail::YubicoOtp(state) };
        self.enrol(&user, factor, &key.secret, context).await
    }

    /// Enrols a factor that holds no secret of ours.
    pub(crate) async fn enrol_public(
        &self,
        user: &str,
        new: NewFactor<'_>,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        check_name("factor", new.label)?;
        let user = self.accounts.find_user(user).await?;
        let factor = self.new_factor(&user, new, context).await?;
        self.keep_factor(&user, factor, context).await
    }

    async fn enrol(
        &self,
        user: &User,
        new: NewFactor<'_>,
        secret: &SecretBytes,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        let mut factor = self.new_factor(user, new, context).await?;
        factor.secret = self.enclose_for(&factor, secret).await?;
        self.keep_factor(user, factor, context).await
    }

    async fn keep_factor(&self, user: &User, factor: Factor, context: &RequestContext) -> Result<Factor, ChangeError> {
        let told = factor_changed(&factor, Change::Added, context).detail(factor_added(&factor));
        if self.factors.add_factor(&factor, vec![told]).await? {
            return Ok(factor);
        }
        Err(taken(&factor, user))
    }

    /// A factor of the user's that is not kept yet, without its secret.
    pub(crate) async fn new_factor(
        &self,
        user: &User,
        new: NewFactor<'_>,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        self.rights.over_user(user, context).await?;
        let tenant = &self.settings.tenant;
        if let Some(serial) = &new.serial {
            check_name("serial number", serial)?;
        }
        let enrolled = self.factors.factors(tenant, &user.id).await?;
        policy::may_enrol(new.detail.kind(), enrolled.iter().map(|factor| &factor.detail))
            .map_err(|error| ChangeError::Conflict(error.to_string()))?;
        Ok(Factor {
            tenant: tenant.clone(),
            id: FactorId::new(self.ids.next()),
            user: user.id.clone(),
            label: new.label.to_owned(),
            serial: new.serial,
            detail: new.detail,
            state: self.first_state(context).await?,
            valid_until: None,
            secret: SealedCopies::default(),
            created_at: self.clock.now(),
            last_used_at: None,
        })
    }

    /// Encloses a secret for a factor's row.
    pub(crate) async fn enclose_for(&self, factor: &Factor, secret: &SecretBytes) -> Result<SealedCopies, ChangeError> {
        let no_secret = || ChangeError::Input("a factor of this kind has no secret".to_owned());
        let kind = factor.detail.secret_kind().ok_or_else(no_secret)?;
        let row = factor_row(&factor.tenant, &factor.id, &factor.user);
        Ok(self.vault.wrap(&row, kind, secret).await?)
    }

    /// What an operator adds waits for another person's approval where the four-eyes rule holds; what a user adds does not.
    async fn first_state(&self, context: &RequestContext) -> Result<FactorState, ChangeError> {
        let asked_for_by = self.four_eyes.asked_for_by(context).await?;
        Ok(asked_for_by.map_or(FactorState::Enabled, |requested_by| FactorState::Pending { requested_by }))
    }

    /// Enrols the key of a PIV card.
    pub async fn enrol_piv(
        &self,
        user: &str,
        label: &str,
        piv: &PivKey,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        if !piv::is_usable(&piv.key) {
            let text =
                "the key must be P-256, P-384 or RSA of 2048 to 4096 bits: Signet takes no other from a PIV card";
            return Err(ChangeError::Input(text.to_owned()));
        }
        let attested = piv.attested.as_ref().map(|attested| attested.serial);
        let detail = FactorDetail::Piv(PivState {
            key_thumbprint: piv.key.thumbprint().to_string(),
            public_key: STANDARD.encode(piv.key.to_spki_der()),
            serial: attested,
            attested: piv.attested.is_some(),
        });
        let serial = attested.map(|serial| serial.to_string()).or_else(|| piv.serial.clone());
        self.enrol_public(user, NewFactor { label, serial, detail }, context).await
    }

    /// Enrols a Yubico key whose OTPs the configured servers verify.
    pub async fn enrol_yubico_remote(
        &self,
        user: &str,
        label: &str,
        public_id: &str,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        if self.validation_servers.is_none() {
            let text = "no server is configured that could verify it: `yubico_validation` names them";
            return Err(ChangeError::Conflict(text.to_owned()));
        }
        let public_id = kept_public_id(public_id)?;
        let detail = FactorDetail::YubicoRemote(YubicoRemoteState { public_id, last_counter: -1 });
        self.enrol_public(user, NewFactor { label, serial: None, detail }, context).await
    }
}

/// A YubiKey's public id as it is kept.
fn kept_public_id(typed: &str) -> Result<String, ChangeError> {
    let text = "the public id must be 2 to 16 modhex characters (cbdefghijklnrtuv), an even number, as the key types it \
                first";
    yubico_otp::public_id(typed).ok_or_else(|| ChangeError::Input(text.to_owned()))
}

/// The audit record's word for a factor that was added.
pub(crate) fn factor_added(factor: &Factor) -> &'static str {
    match factor.state {
        FactorState::Pending { .. } => "added, waits for approval",
        _ => "added",
    }
}

/// Why the store did not add a factor.
pub(crate) fn taken(factor: &Factor, user: &User) -> ChangeError {
    match factor.detail.handle().or(factor.serial.as_deref()) {
        Some(name) => ChangeError::Taken { noun: "factor", name: name.to_owned() },
        None => ChangeError::missing("user", &user.name),
    }
}

/// The audit event of a change of a factor.
pub(crate) fn factor_changed(factor: &Factor, change: Change, context: &RequestContext) -> AuditEvent {
    let mut draft = AuditEvent::new(Event::FactorChanged, Outcome::Done, factor.tenant.as_str(), context)
        .user(factor.user.as_str())
        .change(change);
    draft.factors = vec![UsedFactor::Factor(factor.reference())];
    match change {
        Change::Added => draft.after = Some(Box::new(facts(factor))),
        Change::Removed => draft.before = Some(Box::new(facts(factor))),
        _ => {}
    }
    draft
}

/// What the record says of a factor.
pub(crate) fn facts(factor: &Factor) -> Facts {
    let requested_by = match &factor.state {
        FactorState::Pending { requested_by } => Some(requested_by.clone()),
        _ => None,
    };
    let (label, state) = (Some(factor.label.clone()), Some(factor.state.name().to_owned()));
    Facts { label, state, requested_by, ..Facts::default() }
}
