//! Takes an OTP's secret out of the HSM token, for another token of the group to be given it too: the one moment after
//! enrolment in which it is in memory. See `docs/decisions/0014-*`.

use cryptoki::object::{Attribute, AttributeType};
use zeroize::Zeroizing;

use super::error::Result;
use super::key_session::KeySession;
use super::vault::{Opening, unwrapped};
use crate::wire::{Answer, Octets, SealedSecret, SecretKind};
use signet_core::keys::{HsmFailure, OtpSecretKind, SealMode};

impl KeySession {
    /// The secret itself, for the server to have another token seal it.
    pub(super) fn export_secret(&mut self, sealed: &SealedSecret, kind: OtpSecretKind) -> Result<Answer> {
        if !self.shared.guard.may_export() {
            return Err(HsmFailure::Overloaded.into());
        }
        let opening = Opening::of(sealed, SecretKind::Otp(kind))?;
        let mut secret = match opening.blob.mode {
            SealMode::Wrapped => self.with_unwrapped(&opening, &template(kind), |session, key| {
                match session.get_attributes(key, &[AttributeType::Value])?.into_iter().next() {
                    Some(Attribute::Value(bytes)) => Ok(Zeroizing::new(bytes)),
                    _ => Err(HsmFailure::MechanismMissing("reading an unwrapped key".into()).into()),
                }
            })?,
            SealMode::Sealed => self.decrypt(&opening)?,
        };
        Ok(Answer::Bytes(Octets(std::mem::take(&mut *secret))))
    }
}

/// A session object whose value can be read; it lives for that one reading.
fn template(kind: OtpSecretKind) -> Vec<Attribute> {
    let mut attributes = unwrapped(kind);
    attributes.retain(|attribute| !matches!(attribute, Attribute::Sensitive(_)));
    attributes.extend([Attribute::Sensitive(false), Attribute::Extractable(true)]);
    attributes
}
