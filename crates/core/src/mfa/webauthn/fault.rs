//! Why a security key is not enrolled, and why an assertion proves nothing.

use webauthn_rs::prelude::WebauthnError;

use crate::audit::Reason;

/// Why a key can't be enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationFault {
    /// The key may be copied from device to device.
    #[error(
        "this passkey is kept by an account or a password manager, and may be copied: use a key that stays in one device"
    )]
    Synced,
    /// No attestation, or none of the roots that are trusted.
    #[error("the key does not prove its make: use one of those that your organisation allows")]
    Unattested,
    /// Attested, and not one of the models that are allowed.
    #[error("keys of this model are not allowed here: use one of those that your organisation allows")]
    ModelNotAllowed,
    /// Anything else: of another site, for another challenge, malformed.
    #[error("the key's answer can't be accepted: try once more")]
    Refused(Reason),
}

impl From<WebauthnError> for RegistrationFault {
    fn from(error: WebauthnError) -> Self {
        match error {
            WebauthnError::CredentialMayNotBeHardwareBound => Self::Synced,
            WebauthnError::AttestationUntrustedAaguid => Self::ModelNotAllowed,
            WebauthnError::AttestationNotVerifiable
            | WebauthnError::AttestationNotSupported
            | WebauthnError::AttestationFormatMissingAaguid
            | WebauthnError::AttestationChainNotTrusted(_)
            | WebauthnError::AttestationTrustFailure => Self::Unattested,
            other => Self::Refused(other.into()),
        }
    }
}

/// Why an assertion proves nothing. That a key says that it may be copied (`NotHardwareBound`) means that it did not say so
/// when it was enrolled.
impl From<WebauthnError> for Reason {
    fn from(error: WebauthnError) -> Self {
        match error {
            WebauthnError::MismatchedChallenge => Self::WrongChallenge,
            WebauthnError::InvalidRPOrigin | WebauthnError::CredentialCrossOrigin => Self::WrongOrigin,
            WebauthnError::InvalidRPIDHash => Self::WrongRpId,
            WebauthnError::UserNotPresent => Self::UserAbsent,
            WebauthnError::UserNotVerified => Self::UserNotVerified,
            WebauthnError::CredentialPossibleCompromise => Self::CounterWentBack,
            WebauthnError::CredentialBackupEligibilityInconsistent | WebauthnError::CredentialMayNotBeHardwareBound => {
                Self::NotHardwareBound
            }
            WebauthnError::CredentialNotFound => Self::UnknownKey,
            WebauthnError::AuthenticationFailure | WebauthnError::SignatureInvalid => Self::WrongSignature,
            _ => Self::MalformedAssertion,
        }
    }
}
