//! How a secret at rest comes to an HSM token that the node which seals it does not reach: encrypted to the transport key of that
//! token, until the node that reaches it seals it there. See `docs/decisions/0035-*`.
//!
//! Anybody can encrypt to a public key, so an envelope carries a MAC under the deployment's secret, over the row that it stands in
//! and the HSM token that it is for. It is checked before the HSM is asked.

use sha2::{Digest as _, Sha256};

use super::hpke::{self, Bound, NoRecipient};
use super::{HsmName, OtpSecretKind, RowBinding};
use crate::random::Random;
use signet_jose::{KeyId, PublicKey};

/// The first byte of an envelope, where a seal has its mode.
const MARK: u8 = 0xe5;
/// What every envelope is encrypted for (`info` of RFC 9180).
const PURPOSE: &[u8] = b"signet/1 envelope";

const TAG_BYTES: usize = 8;
const MAC_BYTES: usize = 32;

/// A secret on its way to an HSM token: `0xe5 ‖ tag of the transport key ‖ MAC ‖ encrypted secret`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Names the transport key.
    tag: [u8; TAG_BYTES],
    /// The MAC under the deployment's secret.
    pub mac: [u8; MAC_BYTES],
    /// The encrypted secret, by [`hpke`].
    pub sealed: Vec<u8>,
}

impl Envelope {
    /// Whether what is kept for an HSM token is an envelope, and no seal.
    pub fn is_one(kept: &[u8]) -> bool {
        kept.first() == Some(&MARK)
    }

    /// An envelope for a transport key, without its MAC yet.
    pub fn new(key: &KeyId, sealed: Vec<u8>) -> Self {
        Self { tag: tag_of(key), mac: [0; MAC_BYTES], sealed }
    }

    /// Takes an envelope apart; `None` where it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.strip_prefix(&[MARK])?.split_first_chunk()?;
        let (mac, sealed) = rest.split_first_chunk()?;
        Some(Self { tag: *tag, mac: *mac, sealed: sealed.to_vec() })
    }

    /// Puts it together.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&[MARK], self.tag.as_slice(), &self.mac, &self.sealed].concat()
    }

    /// Whether it is for this transport key.
    pub fn is_for(&self, key: &KeyId) -> bool {
        self.tag == tag_of(key)
    }

    /// What the MAC covers: the HSM token, the row with the kind of its secret, the transport key and the encrypted secret, each
    /// with its length.
    pub fn authenticated(&self, hsm: &HsmName, row: &RowBinding, wrapped: Option<OtpSecretKind>) -> Vec<u8> {
        lengthened(&[hsm.as_str().as_bytes(), &associated(row, wrapped), &self.tag, &self.sealed])
    }
}

/// What a secret is bound to in its envelope: its row, and its kind, so that it unwraps to a key of the right kind.
pub fn associated(row: &RowBinding, wrapped: Option<OtpSecretKind>) -> Vec<u8> {
    lengthened(&[row.as_bytes(), &[wrapped.map_or(0, OtpSecretKind::code)]])
}

/// Parts put one after another, each after its length, so that no two lists of parts make the same bytes.
pub fn lengthened(parts: &[&[u8]]) -> Vec<u8> {
    let length = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes();
    parts.iter().flat_map(|part| [length(part).as_slice(), part].concat()).collect()
}

/// Encrypts a secret of this row to a transport key.
/// Errors: [`NoRecipient`] where the key is none of P-256.
pub fn seal(
    random: &dyn Random,
    to: &PublicKey,
    row: &RowBinding,
    wrapped: Option<OtpSecretKind>,
    secret: &[u8],
) -> Result<Vec<u8>, NoRecipient> {
    let (recipient, associated) = (hpke::recipient(to)?, associated(row, wrapped));
    hpke::seal(random, &bound(&recipient, &associated), secret)
}

/// What an encrypted secret is bound to, for whoever opens it.
pub const fn bound<'b>(recipient: &'b [u8; hpke::ENCAPSULATED_BYTES], associated: &'b [u8]) -> Bound<'b> {
    Bound { recipient, purpose: PURPOSE, associated }
}

fn tag_of(key: &KeyId) -> [u8; TAG_BYTES] {
    let digest: [u8; 32] = Sha256::digest(key.as_str()).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{OtpHash, TenantId};

    fn row(id: &str) -> RowBinding {
        RowBinding::new(&TenantId::default_tenant(), "user", id, "password")
    }

    #[test]
    fn an_envelope_comes_apart_as_it_was_put_together() {
        let envelope = Envelope { mac: [7; 32], ..Envelope::new(&KeyId::new("kid"), b"sealed".to_vec()) };
        let bytes = envelope.to_bytes();
        assert!(Envelope::is_one(&bytes) && !Envelope::is_one(&[1, 2, 3]) && !Envelope::is_one(&[]));
        assert_eq!(Envelope::parse(&bytes), Some(envelope.clone()));
        assert!(envelope.is_for(&KeyId::new("kid")) && !envelope.is_for(&KeyId::new("other")));
        for short in [&bytes[..0], &bytes[..9], &bytes[..40], &bytes[1..]] {
            assert_eq!(Envelope::parse(short), None);
        }
    }

    #[test]
    fn what_the_mac_covers_differs_by_token_row_kind_key_and_content() {
        let envelope = Envelope::new(&KeyId::new("kid"), b"sealed".to_vec());
        let (one, two) = (HsmName::new("one"), HsmName::new("two"));
        let hmac = Some(OtpSecretKind::Hmac(OtpHash::Sha1));
        let all = [
            envelope.authenticated(&one, &row("ann"), None),
            envelope.authenticated(&two, &row("ann"), None),
            envelope.authenticated(&one, &row("bob"), None),
            envelope.authenticated(&one, &row("ann"), hmac),
            Envelope::new(&KeyId::new("other"), b"sealed".to_vec()).authenticated(&one, &row("ann"), None),
            Envelope::new(&KeyId::new("kid"), b"other".to_vec()).authenticated(&one, &row("ann"), None),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
