//! Why a security key is not enrolled, and why an assertion proves nothing.

use webauthn_rs::prelude::WebauthnError;

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
    Refused(AssertionFault),
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

/// Why an assertion proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssertionFault {
    /// For another challenge.
    Challenge,
    /// Made on another site.
    Origin,
    /// For another relying party.
    RelyingParty,
    /// Nobody touched the key.
    Presence,
    /// The key did not verify the person, and must.
    Verification,
    /// The key's counter is not above the last one: there may be two of it.
    Counter,
    /// The key says that it may be copied, which it did not say when it was enrolled.
    NotHardwareBound,
    /// The key is not the user's.
    UnknownKey,
    /// The signature does not verify.
    Signature,
    /// No assertion.
    Malformed,
}

impl From<WebauthnError> for AssertionFault {
    fn from(error: WebauthnError) -> Self {
        match error {
            WebauthnError::MismatchedChallenge => Self::Challenge,
            WebauthnError::InvalidRPOrigin | WebauthnError::CredentialCrossOrigin => Self::Origin,
            WebauthnError::InvalidRPIDHash => Self::RelyingParty,
            WebauthnError::UserNotPresent => Self::Presence,
            WebauthnError::UserNotVerified => Self::Verification,
            WebauthnError::CredentialPossibleCompromise => Self::Counter,
            WebauthnError::CredentialBackupEligibilityInconsistent | WebauthnError::CredentialMayNotBeHardwareBound => {
                Self::NotHardwareBound
            }
            WebauthnError::CredentialNotFound => Self::UnknownKey,
            WebauthnError::AuthenticationFailure | WebauthnError::SignatureInvalid => Self::Signature,
            _ => Self::Malformed,
        }
    }
}
