//! Takes an OTP's secret out of the HSM token, for another token of the group to be given it too: the one moment after
//! enrolment in which it is in memory. See `docs/decisions/0014-*`.

use cryptoki::object::{Attribute, AttributeType};
use zeroize::Zeroizing;

use super::error::Fault;
use super::session_thread::SessionThread;
use super::vault::{does_not_open, unwrapped};
use crate::blob::Blob;
use crate::wire::{Answer, Octets, SecretKind, VaultKeys};
use signet_core::keys::{HsmFailure, OtpSecretKind, SealMode};

impl SessionThread {
    /// The secret itself, for the server to have another token seal it.
    pub(super) fn export_secret(
        &mut self,
        keys: &VaultKeys,
        row: &[u8],
        kind: OtpSecretKind,
        sealed: &[u8],
    ) -> Result<Answer, Fault> {
        if !self.shared.guard.may_export() {
            return Err(HsmFailure::Overloaded.into());
        }
        let blob = Blob::parse(sealed).ok_or_else(does_not_open)?;
        let mut secret = match blob.mode {
            SealMode::Wrapped => {
                self.with_unwrapped_as(&template(kind), keys, row, kind, blob.body, |thread, key| {
                    let values = thread.session()?.get_attributes(key, &[AttributeType::Value])?;
                    let value = values.into_iter().find_map(|value| match value {
                        Attribute::Value(bytes) => Some(Zeroizing::new(bytes)),
                        _ => None,
                    });
                    value.ok_or_else(|| {
                        HsmFailure::MechanismMissing { mechanism: "reading an unwrapped key".into() }.into()
                    })
                })?
            }
            SealMode::Sealed => self.decrypt(keys, row, SecretKind::Otp(kind), blob.body)?,
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
