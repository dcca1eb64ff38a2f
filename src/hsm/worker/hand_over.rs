//! Takes an OTP's secret out of the HSM token, for another token of the group to be given it too: the one moment after
//! enrolment in which it is in memory. See `docs/decisions/0014-*`.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use zeroize::Zeroizing;

use super::desk::Desk;
use super::error::Fault;
use super::vault::does_not_open;
use crate::hsm::blob::Blob;
use crate::hsm::wire::{Answer, Octets, SecretKind, VaultKeys};
use crate::keys::{HsmFailure, OtpSecretKind, SealMode};

/// The most secrets that a worker hands over in a second: whoever has taken the server over does not have all of them
/// before anybody looks at the log.
const MOST_IN_A_SECOND: u32 = 100;

/// Counts what was handed over in the second that is under way.
static PACE: Mutex<Option<(Instant, u32)>> = Mutex::new(None);

impl Desk {
    /// The secret itself, for the server to have another token seal it.
    pub(super) fn hand_over(
        &mut self,
        keys: &VaultKeys,
        row: &[u8],
        kind: OtpSecretKind,
        sealed: &[u8],
    ) -> Result<Answer, Fault> {
        if !may_hand_over(Instant::now()) {
            return Err(HsmFailure::Overloaded.into());
        }
        let blob = Blob::parse(sealed).ok_or_else(does_not_open)?;
        let mut secret = match blob.mode {
            SealMode::Wrapped => self.with_unwrapped_as(&template(kind), keys, row, kind, blob.body, |desk, key| {
                let values = desk.session()?.get_attributes(key, &[AttributeType::Value])?;
                let value = values.into_iter().find_map(|value| match value {
                    Attribute::Value(bytes) => Some(Zeroizing::new(bytes)),
                    _ => None,
                });
                value
                    .ok_or_else(|| HsmFailure::MechanismMissing { mechanism: "reading an unwrapped key".into() }.into())
            })?,
            SealMode::Sealed => self.decrypt(keys, row, SecretKind::Otp(kind), blob.body)?,
        };
        Ok(Answer::Bytes(Octets(std::mem::take(&mut *secret))))
    }
}

fn may_hand_over(now: Instant) -> bool {
    let mut pace = PACE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (began, count) =
        pace.filter(|(began, _)| now.duration_since(*began) < Duration::from_secs(1)).unwrap_or((now, 0));
    *pace = Some((began, count + 1));
    count < MOST_IN_A_SECOND
}

/// A session object whose value can be read; it lives for that one reading.
fn template(kind: OtpSecretKind) -> Vec<Attribute> {
    let (key_type, usage) = match kind {
        OtpSecretKind::Hmac(_) => (KeyType::GENERIC_SECRET, Attribute::Sign(true)),
        OtpSecretKind::Aes128 => (KeyType::AES, Attribute::Decrypt(true)),
    };
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(key_type),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
        usage,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_are_handed_over_and_no_more() {
        let now = Instant::now();
        let allowed = (0..150).filter(|_| may_hand_over(now)).count();
        assert_eq!(allowed, 100);
        assert!(may_hand_over(now + Duration::from_secs(1)));
    }
}
