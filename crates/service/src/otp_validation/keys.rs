//! Yubico OTP keys that are verified for others and are no user's factor: what a key store (KSM) holds.

use crate::factors::enrolment::YubicoKey;
use crate::rows::key_row;
use crate::{ChangeError, FactorLifecycle, OperatorRights, check_name, still_there};
use signet_core::audit::{AuditEvent, Change, Event, Facts, Outcome, RequestContext};
use signet_core::keys::OtpSecretKind;
use signet_core::mfa::{FactorKind, UsedFactor, yubico_otp};
use signet_store::OtpKey;

module! {
    /// The keys of the validation server that belong to no user.
    pub struct OtpKeys {
        takes clock, settings, vault, otp_validation;
        calls lifecycle: FactorLifecycle, rights: OperatorRights;
    }
}

impl OtpKeys {
    /// Adds a key that is no user's factor.
    pub async fn add_otp_key(
        &self,
        key: &YubicoKey,
        serial: Option<String>,
        context: &RequestContext,
    ) -> Result<OtpKey, ChangeError> {
        let Some(public_id) = yubico_otp::public_id(&key.public_id) else {
            let text = "the public id must be 2 to 16 modhex characters (cbdefghijklnrtuv), an even number";
            return Err(ChangeError::Input(text.to_owned()));
        };
        if key.secret.expose().len() != 16 {
            return Err(ChangeError::Input("the secret key must be 32 hex digits: an AES-128 key".to_owned()));
        }
        if let Some(serial) = &serial {
            check_name("serial number", serial)?;
        }
        let tenant = &self.settings.tenant;
        let row = key_row(tenant, &public_id);
        let added = OtpKey {
            tenant: tenant.clone(),
            secret: self.vault.wrap(&row, OtpSecretKind::Aes128, &key.secret).await?,
            public_id,
            private_id: key.private_id,
            serial,
            last_counter: -1,
            enabled: true,
            created_at: self.clock.now(),
            last_used_at: None,
        };
        let told = self.otp_key_changed(&added.public_id, Change::Added, context);
        if self.otp_validation.add_otp_key(&added, vec![told]).await? {
            Ok(added)
        } else {
            Err(ChangeError::Taken { noun: "otp-key", name: added.public_id })
        }
    }

    /// So many keys that are no user's factor after this public id, by public id, without their secrets; the first ones without one.
    pub async fn otp_keys_after(&self, public_id: Option<&str>, most: u32) -> Result<Vec<OtpKey>, ChangeError> {
        Ok(self.otp_validation.otp_keys(&self.settings.tenant, public_id, most).await?)
    }

    /// The key of this public id that is no user's factor.
    /// Errors: [`ChangeError::Missing`] where there is none.
    pub async fn find_otp_key(&self, public_id: &str) -> Result<OtpKey, ChangeError> {
        let key = self.otp_validation.otp_key(&self.settings.tenant, public_id).await?;
        key.ok_or_else(|| ChangeError::missing("otp-key", public_id))
    }

    /// Lets a key's OTPs be verified again, or no more.
    pub async fn enable_otp_key(
        &self,
        public_id: &str,
        enabled: bool,
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        let key = self.find_otp_key(public_id).await?;
        let told = self.otp_key_changed(public_id, Change::enabled(enabled), context);
        let told = told.from_to(Facts::enabled(key.enabled), Facts::enabled(enabled));
        still_there(
            self.otp_validation.set_otp_key_enabled(&self.settings.tenant, public_id, enabled, vec![told]).await?,
            "otp-key",
            public_id,
        )
    }

    /// Has a key's OTPs verified no more, whether it is a user's factor or nobody's. `false` where it is not here.
    pub async fn disable_yubico_key(&self, public_id: &str, context: &RequestContext) -> Result<bool, ChangeError> {
        let tenant = &self.settings.tenant;
        if self.otp_validation.otp_key(tenant, public_id).await?.is_some() {
            self.enable_otp_key(public_id, false, context).await?;
            return Ok(true);
        }
        let Some(factor) = self.otp_validation.factor_by_handle(tenant, FactorKind::YubicoOtp, public_id).await? else {
            return Ok(false);
        };
        if factor.state.is_in_use() {
            self.lifecycle.enable_factor(&factor.id, false, context).await?;
        }
        Ok(true)
    }

    /// Removes a key.
    pub async fn remove_otp_key(&self, public_id: &str, context: &RequestContext) -> Result<(), ChangeError> {
        let told = self.otp_key_changed(public_id, Change::Removed, context);
        let removed = self.otp_validation.remove_otp_key(&self.settings.tenant, public_id, vec![told]).await?;
        still_there(removed, "otp-key", public_id)
    }

    /// Takes over how far another server had spent a key, a user's or not. `false` where that is known already, or the
    /// key is not here.
    pub async fn raise_yubico_counter(
        &self,
        public_id: &str,
        counter: i64,
        context: &RequestContext,
    ) -> Result<bool, ChangeError> {
        let tenant = &self.settings.tenant;
        if let Some(factor) = self.otp_validation.factor_by_handle(tenant, FactorKind::YubicoOtp, public_id).await? {
            self.rights.over_factor(&factor, context).await?;
        }
        let told = self.otp_key_changed(public_id, Change::CounterRaised, context).counter(counter);
        Ok(self.otp_validation.raise_yubico_counter(tenant, public_id, counter, vec![told]).await?)
    }

    fn otp_key_changed(&self, public_id: &str, change: Change, context: &RequestContext) -> AuditEvent {
        let mut draft = AuditEvent::new(Event::OtpKeyChanged, Outcome::Done, self.settings.tenant.as_str(), context)
            .change(change)
            .detail(format!("{}: {public_id}", change.in_words()));
        draft.factors = vec![UsedFactor::ValidationKey(public_id.to_owned())];
        draft
    }
}
