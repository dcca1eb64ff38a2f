//! Factors, as an operator enrols and removes them.

use super::accounts::check_name;
use super::{ChangeError, Signet};
use crate::audit::{Draft, Event, Outcome, RequestContext};
use crate::keys::{OtpSecretKind, RowBinding, TenantId};
use crate::mfa::policy;
use crate::mfa::totp::{Enrolment, TotpParameters};
use crate::mfa::yubico_otp;
use crate::secret::SecretBytes;
use crate::store::{Factor, FactorDetail, FactorId, User, UserId, YubicoState};

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

impl Signet {
    /// Enrols a TOTP factor with a fresh secret, which is shown this once.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn enrol_totp(
        &self,
        user: &str,
        label: &str,
        parameters: TotpParameters,
        context: &RequestContext,
    ) -> Result<(Factor, Enrolment), ChangeError> {
        check_name("factor", label)?;
        let user = self.find_user(user).await?;
        // A colon would end the label's first part in an otpauth URI.
        let account = user.name.replace(':', " ");
        let enrolment = Enrolment::new(&self.settings.otp_issuer, &account, parameters, self.adapters.random.as_ref())
            .map_err(|error| ChangeError::Input(error.to_string()))?;
        let detail = FactorDetail::Totp(enrolment.state().clone());
        let kind = OtpSecretKind::Hmac(enrolment.state().hash);
        let factor = self.enrol(&user, label, detail, kind, enrolment.secret(), context).await?;
        Ok((factor, enrolment))
    }

    /// Enrols a Yubico OTP key.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn enrol_yubico_otp(
        &self,
        user: &str,
        label: &str,
        key: &YubicoKey,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        check_name("factor", label)?;
        let user = self.find_user(user).await?;
        let Some(public_id) = yubico_otp::public_id(&key.public_id) else {
            let text = "the public id must be 2 to 16 modhex characters (cbdefghijklnrtuv), an even number, as the key \
                        types it first";
            return Err(ChangeError::Input(text.to_owned()));
        };
        if key.secret.expose().len() != 16 {
            return Err(ChangeError::Input("the secret key must be 32 hex digits: an AES-128 key".to_owned()));
        }
        let state = YubicoState { public_id, private_id: key.private_id, last_counter: -1 };
        let detail = FactorDetail::YubicoOtp(state);
        self.enrol(&user, label, detail, OtpSecretKind::Aes128, &key.secret, context).await
    }

    async fn enrol(
        &self,
        user: &User,
        label: &str,
        detail: FactorDetail,
        kind: OtpSecretKind,
        secret: &SecretBytes,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        let tenant = &self.settings.tenant;
        let enrolled = self.adapters.store.factors(tenant, &user.id).await?;
        policy::may_enrol(&detail, enrolled.iter().map(|factor| &factor.detail))
            .map_err(|error| ChangeError::Input(error.to_string()))?;
        let id = FactorId::new(self.new_id());
        let factor = Factor {
            tenant: tenant.clone(),
            secret: self.adapters.vault.enclose(&factor_row(tenant, &id, &user.id), kind, secret).await?,
            id,
            user: user.id.clone(),
            label: label.to_owned(),
            serial: None,
            detail,
            created_at: self.now(),
            last_used_at: None,
        };
        let told = self.factor_changed(&factor, "added", context);
        if self.adapters.store.add_factor(&factor, vec![told]).await? {
            return Ok(factor);
        }
        Err(match factor.detail.handle() {
            Some(handle) => ChangeError::Taken { noun: "factor", name: handle.to_owned() },
            None => ChangeError::Missing { noun: "user", name: user.name.clone() },
        })
    }

    /// A user's factors.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn list_factors(&self, user: &str) -> Result<Vec<Factor>, ChangeError> {
        let user = self.find_user(user).await?;
        Ok(self.adapters.store.factors(&user.tenant, &user.id).await?)
    }

    /// Removes a factor. Its user's refresh families end: who had the factor may have begun them.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn remove_factor(&self, id: &FactorId, context: &RequestContext) -> Result<(), ChangeError> {
        let tenant = &self.settings.tenant;
        let missing = || ChangeError::Missing { noun: "factor", name: id.to_string() };
        let factor = self.adapters.store.factor(tenant, id).await?.ok_or_else(missing)?;
        let told = self.factor_changed(&factor, "removed", context);
        let removed = self.adapters.store.remove_factor(tenant, id, self.now(), vec![told]).await?;
        if removed { Ok(()) } else { Err(missing()) }
    }

    pub(super) fn factor_changed(&self, factor: &Factor, what: &str, context: &RequestContext) -> Draft {
        let mut draft = Draft::new(Event::FactorChanged, Outcome::Done, self.settings.tenant.as_str(), context)
            .user(factor.user.as_str())
            .detail(what);
        draft.factors = vec![format!("{}:{}", factor.detail.kind(), factor.id)];
        draft
    }
}

/// The row that a factor's secret is enclosed for.
pub(super) fn factor_row(tenant: &TenantId, factor: &FactorId, user: &UserId) -> RowBinding {
    // Bound to its user, too: a factor that is given to another user in the database does not open.
    RowBinding::new(tenant, "factor", &format!("{factor}/{user}"), "secret")
}
