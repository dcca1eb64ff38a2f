//! Asks other validation servers about the Yubico OTPs whose keys they have.

use std::sync::Arc;

use crate::base::Base;
use crate::error::Unavailable;
use crate::settings::Settings;
use crate::sign_in::matcher::{CodeVerdict, Spendable};
use crate::sign_in::validation_servers::{RemoteVerdict, ValidationServers};
use signet_core::audit::Reason;
use signet_core::mfa::FactorKind;
use signet_core::mfa::policy::OtpText;
use signet_core::mfa::yubico_validation::Status;
use signet_core::random::Random;
use signet_jose::clock::Clock;
use signet_store::{Factor, OtpValidation};

/// Asks other validation servers about the Yubico OTPs whose keys they have.
pub struct RemoteYubico {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    settings: Arc<Settings>,
    validation_servers: Option<Arc<ValidationServers>>,
    otp_validation: Arc<dyn OtpValidation>,
}

impl RemoteYubico {
    pub(crate) fn new(base: &Base) -> Self {
        Self {
            clock: base.ports.clock.clone(),
            random: base.ports.random.clone(),
            settings: base.settings.clone(),
            validation_servers: base.ports.validation_servers.clone(),
            otp_validation: base.ports.store.clone(),
        }
    }

    /// The verdict over a shown code, with what other servers say of it where its key is theirs.
    pub(crate) async fn match_remotely<'f>(
        &self,
        shown: &OtpText,
        factors: &'f [Factor],
        verdict: CodeVerdict<'f>,
    ) -> Result<CodeVerdict<'f>, Unavailable> {
        let (OtpText::Yubico(otp), Some(servers)) = (shown, &self.validation_servers) else {
            return Ok(verdict);
        };
        let tenant = &self.settings.tenant;
        let enrolled = self.otp_validation.factor_by_handle(tenant, FactorKind::YubicoRemote, otp.public_id()).await;
        let Some(enrolled) = enrolled? else { return Ok(verdict) };
        let (clock, random) = (self.clock.as_ref(), self.random.as_ref());
        let said = servers.ask(&otp.typed(), clock, random).await;
        let of_user = factors.iter().find(|factor| factor.id == enrolled.id);
        match (said, of_user) {
            // The same for everybody who shows an OTP of that key.
            (RemoteVerdict::Unknown, _) => Err(Unavailable),
            (RemoteVerdict::Accepted(counter), Some(factor)) => Ok(Ok((Spendable::YubicoRemote(counter), factor))),
            (RemoteVerdict::Refused(Status::BadOtp), Some(_)) => Ok(Err(Reason::RemoteBadOtp)),
            (RemoteVerdict::Refused(_), Some(_)) => Ok(Err(Reason::ReplayedCode)),
            (_, None) => Ok(verdict),
        }
    }
}
