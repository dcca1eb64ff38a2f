//! Factors whose Yubico OTP key another validation server has: enrolment, and their part of a sign-in.
//!
//! Which OTPs are asked about depends on what was typed alone: those of a public id that is enrolled so in the tenant,
//! whoever is named beside it, and whatever password. The time of an answer then says nothing of the person or of the
//! password. OTPs of other keys are sent nowhere. See `docs/decisions/0023-yubico-validation.md`.

use super::enrol::NewFactor;
use super::error::store_unavailable;
use super::match_code::{CodeVerdict, Spendable};
use super::validation_servers::RemoteVerdict;
use super::{ChangeError, Signet};
use signet_core::audit::RequestContext;
use signet_core::mfa::policy::OtpText;
use signet_core::mfa::yubico_validation::Status;
use signet_core::mfa::{YubicoRemoteState, yubico_otp};
use signet_core::oauth::OAuthError;
use signet_store::{Factor, FactorDetail};

impl Signet {
    /// Enrols a Yubico key whose OTPs the configured servers verify.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn enrol_yubico_remote(
        &self,
        user: &str,
        label: &str,
        public_id: &str,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        if self.adapters.validation_servers.is_none() {
            let text = "no server is configured that could verify it: `mfa.yubico_validation` names them";
            return Err(ChangeError::Input(text.to_owned()));
        }
        let Some(public_id) = yubico_otp::public_id(public_id) else {
            let text = "the public id must be 2 to 16 modhex characters (cbdefghijklnrtuv), an even number, as the key \
                        types it first";
            return Err(ChangeError::Input(text.to_owned()));
        };
        let detail = FactorDetail::YubicoRemote(YubicoRemoteState { public_id, last_counter: -1 });
        self.enrol_public(user, NewFactor { label, serial: None, detail }, context).await
    }

    /// The verdict over a shown code, with what other servers say of it where its key is theirs.
    pub(super) async fn match_remotely<'f>(
        &self,
        shown: &OtpText,
        factors: &'f [Factor],
        verdict: CodeVerdict<'f>,
    ) -> Result<CodeVerdict<'f>, OAuthError> {
        let (OtpText::Yubico(otp), Some(servers)) = (shown, &self.adapters.validation_servers) else {
            return Ok(verdict);
        };
        let (store, tenant) = (&self.adapters.store, &self.settings.tenant);
        let enrolled = store.factor_by_handle(tenant, "yubico_remote", otp.public_id()).await;
        let Some(enrolled) = enrolled.map_err(|error| store_unavailable(&error))? else { return Ok(verdict) };
        let (clock, random) = (self.adapters.clock.as_ref(), self.adapters.random.as_ref());
        let said = servers.ask(&otp.typed(), clock, random).await;
        let of_user = factors.iter().find(|factor| factor.id == enrolled.id);
        match (said, of_user) {
            // The same for everybody who shows an OTP of that key.
            (RemoteVerdict::Unknown, _) => Err(OAuthError::unavailable()),
            (RemoteVerdict::Accepted(counter), Some(factor)) => Ok(Ok((Spendable::YubicoRemote(counter), factor))),
            (RemoteVerdict::Refused(Status::BadOtp), Some(_)) => Ok(Err("remote_bad_otp")),
            (RemoteVerdict::Refused(_), Some(_)) => Ok(Err("replayed_code")),
            (_, None) => Ok(verdict),
        }
    }
}
