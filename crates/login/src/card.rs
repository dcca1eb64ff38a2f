//! The card: a YubiKey, or what looks like one, behind PC/SC.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256, Sha384};
use x509_cert::der::Encode as _;
use yubikey::certificate::Certificate;
use yubikey::piv::{self, AlgorithmId, SlotId};
use yubikey::{Error, YubiKey};

use signet_jose::algorithm::KeyType;
use signet_jose::jwk::PublicKey;
use signet_secret::SecretText;

use crate::error::{LoginError, Result, because};

/// `DigestInfo` of SHA-256 up to the digest (RFC 8017 §9.2, note 1).
const SHA256_DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// A card with a key in slot 9a.
pub(crate) struct Card {
    device: YubiKey,
    tries_left: u8,
    key: PublicKey,
}

/// What the card made.
pub(crate) struct Signed {
    key: PublicKey,
    signature: Vec<u8>,
}

impl Signed {
    /// The value of `piv`.
    pub(crate) fn shown(&self, nonce: &str) -> String {
        let key = URL_SAFE_NO_PAD.encode(self.key.to_spki_der());
        format!("{nonce}.{key}.{}", URL_SAFE_NO_PAD.encode(&self.signature))
    }
}

impl Card {
    /// Finds the one card. Its PIN is not touched where no try is left.
    pub(crate) fn open() -> Result<Self> {
        let mut device = YubiKey::open().map_err(|error| {
            LoginError::Card(match error {
                Error::NotFound => "no YubiKey is found: insert it, and see whether pcscd runs".to_owned(),
                Error::PcscError { inner: Some(inner) } => {
                    format!("PC/SC does not answer ({inner}): is a reader there, and does pcscd run?")
                }
                Error::PcscError { inner: None } => "several YubiKeys are found: leave one inserted".to_owned(),
                other => format!("the YubiKey can't be used: {other}"),
            })
        })?;
        let key = key_of(&mut device)?;
        let tries_left = device.get_pin_retries();
        let tries_left =
            tries_left.map_err(because(LoginError::Card, "the card does not say how many PIN tries are left"))?;
        if tries_left == 0 {
            return refused("the card's PIN is locked: unlock it with its PUK (`ykman piv access unblock-pin`)");
        }
        Ok(Self { device, tries_left, key })
    }

    pub(crate) fn serial(&self) -> u32 {
        self.device.serial().0
    }

    pub(crate) fn tries_left(&self) -> u8 {
        self.tries_left
    }

    /// Shows the PIN, once, and signs.
    pub(crate) fn sign(mut self, pin: &SecretText, text: &[u8]) -> Result<Signed> {
        // An empty one would ask for the number of tries, and be taken for right.
        if !(6..=8).contains(&pin.expose().len()) {
            return refused("a PIN has 6 to 8 characters; the card was not asked");
        }
        self.device.verify_pin(pin.expose().as_bytes()).map_err(|error| {
            LoginError::Card(match error {
                Error::WrongPin { tries: 0 } => "the PIN is wrong, and the card has locked it".to_owned(),
                Error::WrongPin { tries } => {
                    format!("the PIN is wrong; {tries} tries are left. It was not tried again")
                }
                other => format!("the card refused the PIN: {other}"),
            })
        })?;
        let (algorithm, input) = prepared(&self.key, text)?;
        let signature = piv::sign_data(&mut self.device, &input, algorithm, SlotId::Authentication);
        let signature = signature.map_err(because(LoginError::Card, "the card did not sign (was it touched?)"))?;
        Ok(Signed { key: self.key, signature: signature.to_vec() })
    }
}

fn refused<T>(why: &str) -> Result<T> {
    Err(LoginError::Card(why.to_owned()))
}

/// The key in slot 9a: as the card tells of it (firmware 5.3), or as its certificate does.
fn key_of(device: &mut YubiKey) -> Result<PublicKey> {
    let slot = SlotId::Authentication;
    let from_metadata = piv::metadata(device, slot).ok().and_then(|metadata| metadata.public?.to_der().ok());
    let from_certificate = || Certificate::read(device, slot).ok()?.subject_pki().to_der().ok();
    let Some(spki) = from_metadata.or_else(from_certificate) else {
        return refused(
            "slot 9a holds neither a key nor a certificate: make one (`ykman piv keys generate 9a`) and have it enrolled",
        );
    };
    PublicKey::from_spki_der(&spki)
        .map_err(because(LoginError::Card, "the key in slot 9a is of a kind that Signet does not take"))
}

/// What the card is given: a digest for ECDSA, and the padded digest for RSA (RFC 8017 §9.2).
fn prepared(key: &PublicKey, text: &[u8]) -> Result<(AlgorithmId, Vec<u8>)> {
    Ok(match (key.key_type(), key.bits()) {
        (KeyType::P256, _) => (AlgorithmId::EccP256, Sha256::digest(text).to_vec()),
        (KeyType::P384, _) => (AlgorithmId::EccP384, Sha384::digest(text).to_vec()),
        (KeyType::Rsa, 2048) => (AlgorithmId::Rsa2048, padded(text, 256)),
        (KeyType::Rsa, 3072) => (AlgorithmId::Rsa3072, padded(text, 384)),
        (KeyType::Rsa, 4096) => (AlgorithmId::Rsa4096, padded(text, 512)),
        _ => return refused("the key in slot 9a must be P-256, P-384 or RSA of 2048, 3072 or 4096 bits"),
    })
}

/// What a card signs to sign a person in (`docs/guides/login.md`, "The protocol"). The name is hashed: it may be a password that
/// was typed in the wrong place.
pub(crate) fn text_to_sign(issuer: &str, client: &str, user: &str, nonce: &str) -> Vec<u8> {
    let user = URL_SAFE_NO_PAD.encode(Sha256::digest(user.as_bytes()));
    format!("signet piv sign-in v1\nissuer {issuer}\nclient {client}\nuser {user}\nnonce {nonce}\n").into_bytes()
}

fn padded(text: &[u8], length: usize) -> Vec<u8> {
    let digest = [&SHA256_DIGEST_INFO[..], &Sha256::digest(text)].concat();
    let filling = vec![0xff; length - digest.len() - 3];
    [&[0x00, 0x01], &filling[..], &[0x00], &digest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_input_is_padded_to_the_modulus() {
        for length in [256, 384, 512] {
            let input = padded(b"text", length);
            assert_eq!((input.len(), &input[..3]), (length, &[0, 1, 0xff][..]));
            assert_eq!(input[length - 52], 0);
            assert_eq!(input[length - 32..], *Sha256::digest(b"text"));
        }
    }
}
