//! Opens the encrypted values of a container (RFC 6030 §6).

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::keys::OtpHash;
use crate::secret::SecretBytes;
use crate::token_files::xml::Element;
use crate::token_files::{Unlock, hash_of};

/// The most rounds of PBKDF2 that are computed: about a second.
const MAX_ROUNDS: u32 = 5_000_000;
/// The longest name of an algorithm or a key that a fault repeats.
const LONGEST_NAME: usize = 128;

/// What opens the values of a container.
pub(super) struct Opener {
    key: SecretBytes,
    mac_key: hmac::Key,
}

impl Opener {
    /// The MAC's key is encrypted under the container's key; without one the container's key itself serves (§5).
    pub(super) fn new(key: SecretBytes, mac_method: Option<&Element<'_>>) -> Result<Self, String> {
        let name = mac_method.and_then(|method| method.attribute("Algorithm")).unwrap_or("hmac-sha1");
        let algorithm = match hash_of(name) {
            Some(OtpHash::Sha1) => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Some(OtpHash::Sha256) => hmac::HMAC_SHA256,
            Some(OtpHash::Sha512) => hmac::HMAC_SHA512,
            None => {
                return Err(format!(
                    "the container's MACMethod{} is not known: HMAC-SHA1, -SHA256 and -SHA512 are",
                    quoted(name)
                ));
            }
        };
        let mac_key = match mac_method.and_then(|method| method.at(&["MACKey"])) {
            Some(element) => {
                let value = encrypted_value(element).ok_or("the MAC's key (MACKey) has no ciphertext in base64")?;
                decrypt(&key, &value).map_err(|fault| match fault {
                    Fault::Broken => {
                        "the MAC's key (MACKey) does not open: the key or password is not the file's".to_owned()
                    }
                    fault => format!("the MAC's key (MACKey) {fault}"),
                })?
            }
            None => key.clone(),
        };
        Ok(Self { mac_key: hmac::Key::new(algorithm, mac_key.expose()), key })
    }

    /// Opens a value whose MAC is right.
    pub(super) fn open(
        &self,
        encrypted: &Element<'_>,
        mac: Option<Zeroizing<String>>,
        name: &str,
    ) -> Result<SecretBytes, String> {
        let value = encrypted_value(encrypted);
        let value = value.ok_or_else(|| format!("its {name} has no ciphertext in base64"))?;
        // What can't be read is said before what can't be verified: a right key is not called wrong.
        value.cipher().map_err(|fault| format!("its {name} {fault}"))?;
        let mac = match mac {
            Some(text) => base64(&text).ok_or_else(|| format!("the MAC of its {name} (ValueMAC) is not base64"))?,
            None => {
                let why = "so that nobody can tell whether it is the right one";
                return Err(format!("its {name} is encrypted and has no MAC (ValueMAC), {why}"));
            }
        };
        hmac::verify(&self.mac_key, value.ciphertext.expose(), mac.expose()).map_err(|_| {
            let why = "the key or password is not the file's, or the file was changed";
            format!("its {name}'s MAC is wrong: {why}")
        })?;
        decrypt(&self.key, &value).map_err(|fault| format!("its {name} {fault}"))
    }
}

/// The key that a container's values are encrypted under; `None` for a container of plain ones.
pub(super) fn container_key(encryption: Option<&Element<'_>>, unlock: &Unlock) -> Result<Option<SecretBytes>, String> {
    let derived = encryption.and_then(|encryption| encryption.at(&["DerivedKey"]));
    match (encryption, derived, unlock) {
        (_, None, Unlock::Key(key)) => Ok(Some(key.clone())),
        (None, ..) => Ok(None),
        (_, Some(derived), Unlock::Password(password)) => derive(derived, password.expose().as_bytes()).map(Some),
        (_, Some(_), _) => {
            Err("the container's key is derived from a password: give it with --password-stdin".to_owned())
        }
        (Some(encryption), None, _) => {
            let name = encryption.text_at(&["KeyName"]).map(|name| quoted(&name)).unwrap_or_default();
            Err(format!("the container's secrets are encrypted under the key{name}: give it in hex with --key-stdin"))
        }
    }
}

/// PBKDF2 (RFC 8018 §5.2, as RFC 6030 §6.2 names its parameters).
fn derive(derived: &Element<'_>, password: &[u8]) -> Result<SecretBytes, String> {
    let parameters = derived.at(&["KeyDerivationMethod", "PBKDF2-params"]);
    let parameters = parameters.ok_or("the container's key is derived in a way that is not known: PBKDF2 is")?;
    let number = |name: &str| parameters.text_at(&[name]).and_then(|text| text.parse::<u32>().ok());
    let salt = parameters.text_at(&["Salt", "Specified"]).and_then(|text| base64(&text));
    let salt = salt.ok_or("the salt of the container's key is not base64")?;
    let rounds = number("IterationCount").filter(|rounds| *rounds <= MAX_ROUNDS).and_then(NonZeroU32::new);
    let rounds = rounds.ok_or_else(|| format!("the rounds of PBKDF2 are not a number from 1 to {MAX_ROUNDS}"))?;
    let length = number("KeyLength").unwrap_or(16);
    if !matches!(length, 16 | 24 | 32) {
        return Err("the container's key is not of 16, 24 or 32 bytes".to_owned());
    }
    let function = parameters.at(&["PRF"]).and_then(|function| function.attribute("Algorithm"));
    let algorithm = match function.map(hash_of) {
        None | Some(Some(OtpHash::Sha1)) => pbkdf2::PBKDF2_HMAC_SHA1,
        Some(Some(OtpHash::Sha256)) => pbkdf2::PBKDF2_HMAC_SHA256,
        Some(Some(OtpHash::Sha512)) => pbkdf2::PBKDF2_HMAC_SHA512,
        Some(None) => return Err("PBKDF2 is used with a function (PRF) that is not known".to_owned()),
    };
    let mut key = Zeroizing::new(vec![0; usize::try_from(length).unwrap_or(16)]);
    pbkdf2::derive(algorithm, rounds, salt.expose(), password, &mut key);
    Ok(SecretBytes::new(std::mem::take(&mut *key)))
}

/// A ciphertext, and what it was made by.
struct Encrypted {
    algorithm: String,
    ciphertext: SecretBytes,
}

/// Why a value does not open.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("is encrypted by an algorithm{0} that is not read: AES-CBC is")]
    Algorithm(String),
    #[error("is encrypted under a key of {0} bytes, and the one that was given has {1}")]
    KeyLength(usize, usize),
    #[error("does not open: its ciphertext is broken")]
    Broken,
}

impl Encrypted {
    /// The cipher, with the length of its key.
    fn cipher(&self) -> Result<(&'static aws_lc_rs::cipher::Algorithm, usize), Fault> {
        match self.algorithm.rsplit(['#', '/']).next() {
            Some("aes128-cbc") => Ok((&AES_128, 16)),
            Some("aes192-cbc") => Ok((&AES_192, 24)),
            Some("aes256-cbc") => Ok((&AES_256, 32)),
            _ => Err(Fault::Algorithm(quoted(&self.algorithm))),
        }
    }
}

fn encrypted_value(element: &Element<'_>) -> Option<Encrypted> {
    let algorithm = element.at(&["EncryptionMethod"]).and_then(|method| method.attribute("Algorithm"));
    let ciphertext = element.text_at(&["CipherData", "CipherValue"]).and_then(|text| base64(&text))?;
    Some(Encrypted { algorithm: algorithm.unwrap_or_default().to_owned(), ciphertext })
}

/// AES-CBC as XML Encryption has it: the IV first, and the last byte tells how many bytes of padding there are.
fn decrypt(key: &SecretBytes, value: &Encrypted) -> Result<SecretBytes, Fault> {
    let (cipher, length) = value.cipher()?;
    if key.expose().len() != length {
        return Err(Fault::KeyLength(length, key.expose().len()));
    }
    let (iv, ciphertext) = value.ciphertext.expose().split_first_chunk::<16>().ok_or(Fault::Broken)?;
    let key = UnboundCipherKey::new(cipher, key.expose()).and_then(PaddedBlockDecryptingKey::cbc_iso10126);
    let key = key.map_err(|_| Fault::Broken)?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    let plain = key.decrypt(&mut buffer, context).map_err(|_| Fault::Broken)?;
    Ok(SecretBytes::new(plain.to_vec()))
}

/// A name of the container's, where it looks like one.
fn quoted(name: &str) -> String {
    let is_name = !name.is_empty() && name.len() <= LONGEST_NAME && !name.chars().any(char::is_control);
    if is_name { format!(" `{name}`") } else { String::new() }
}

/// Base64 with white space anywhere.
pub(super) fn base64(text: &str) -> Option<SecretBytes> {
    let mut dense = Zeroizing::new(Vec::with_capacity(text.len()));
    dense.extend(text.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    STANDARD.decode(dense.as_slice()).ok().map(SecretBytes::new)
}
