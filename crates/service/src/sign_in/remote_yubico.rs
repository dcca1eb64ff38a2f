//! Asks other validation servers about the Yubico OTPs whose keys they have.

use crate::sign_in::validation_servers::RemoteVerdict;
use crate::{CodeVerdict, SignIn, Unavailable};
use signet_core::audit::Reason;
use signet_core::mfa::FactorKind;
use signet_core::mfa::policy::OtpText;
use signet_core::mfa::yubico_validation::Status;
use signet_store::Factor;

impl SignIn {
    /// The verdict over a shown code, with what other servers say of it where its key is theirs.
    pub(super) async fn match_remotely<'f>(
        &self,
        shown: &OtpText,
        factors: &'f [Factor],
        verdict: CodeVerdict<'f>,
    ) -> Result<CodeVerdict<'f>, Unavailable> {
        let (OtpText::Yubico(otp), Some(servers)) = (shown, &*self.validation_servers) else {
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
            (RemoteVerdict::Accepted(counter), Some(factor)) => Ok(Ok((counter, factor))),
            (RemoteVerdict::Refused(Status::BadOtp), Some(_)) => Ok(Err(Reason::RemoteBadOtp)),
            (RemoteVerdict::Refused(_), Some(_)) => Ok(Err(Reason::ReplayedCode)),
            (_, None) => Ok(verdict),
        }
    }
}
