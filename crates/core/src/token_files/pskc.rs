//! PSKC, the portable symmetric key container (RFC 6030): plain secrets, and secrets encrypted by AES-CBC under a key that
//! was agreed upon or that is derived from a password (§6). An encrypted secret without a good MAC is refused (§6.1.1), and so is a plain one
//! among those that should be encrypted: anybody may have put it there.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::xml::{Children, Element};
use super::{FileFault, LineFault, ReadToken, Unlock, hash_of, natural, unused_totp};
use crate::keys::OtpHash;
use crate::mfa::enrolment::ClockProfile;
use crate::mfa::{FactorDetail, HotpState};
use crate::secret::SecretBytes;

/// The most rounds of PBKDF2 that are computed: about a second.
const MAX_ROUNDS: u32 = 5_000_000;

/// The key packages of a container.
pub(super) struct Packages<'b> {
    children: Children<'b>,
    first: Option<Result<(u64, Element<'b>), String>>,
    opener: Option<Opener>,
    takes_plain: bool,
    profile: ClockProfile,
}

impl<'b> Packages<'b> {
    /// Reads what stands before the first key package, and derives the keys that open the secrets.
    pub(super) fn open(bytes: &'b [u8], unlock: &Unlock, profile: ClockProfile) -> Result<Self, FileFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| FileFault("the file is not UTF-8".to_owned()))?;
        let mut children = Children::new(text);
        let (mut encryption, mut mac_method) = (None, None);
        let first = loop {
            match children.next() {
                Some(Ok((_, element))) if element.name == "EncryptionKey" => encryption = Some(element),
                Some(Ok((_, element))) if element.name == "MACMethod" => mac_method = Some(element),
                Some(Err(error)) => return Err(FileFault(format!("the file can't be read: {error}"))),
                other => break other,
            }
        };
        if children.root() != Some("KeyContainer") {
            return Err(FileFault("the file is no PSKC container (RFC 6030)".to_owned()));
        }
        // A file that should be encrypted is, whatever it says of itself.
        let takes_plain = encryption.is_none() && matches!(unlock, Unlock::Plain);
        let key = container_key(encryption.as_ref(), unlock).map_err(FileFault)?;
        let opener = key.map(|key| Opener::new(key, mac_method.as_ref())).transpose().map_err(FileFault)?;
        Ok(Self { children, first, opener, takes_plain, profile })
    }

    fn read(&self, package: &Element<'_>) -> Result<(FactorDetail, SecretBytes), String> {
        let key = package.at(&["Key"]).ok_or("it has no key")?;
        let algorithm = key.attribute("Algorithm").unwrap_or_default().to_ascii_lowercase();
        let format = key.at(&["AlgorithmParameters", "ResponseFormat"]);
        if format.is_some_and(|format| format.attribute("Encoding").is_some_and(|name| name != "DECIMAL")) {
            return Err("its codes are not decimal".to_owned());
        }
        let digits = match format.and_then(|format| format.attribute("Length")) {
            None => 6,
            Some(text) => text.trim().parse().map_err(|_| "its number of digits is no number")?,
        };
        let hash = match key.text_at(&["AlgorithmParameters", "Suite"]) {
            None => OtpHash::Sha1,
            Some(name) => hash_of(&name).ok_or("its suite names no hash that is known: SHA1, SHA256 or SHA512")?,
        };
        let detail = if algorithm.ends_with("hotp") {
            FactorDetail::Hotp(HotpState { hash, digits, next_counter: plain_number(key, "Counter", 0)? })
        } else if algorithm.ends_with("totp") {
            unused_totp(hash, digits, plain_number(key, "TimeInterval", 30)?, self.profile)
        } else {
            return Err("its algorithm is neither HOTP nor TOTP".to_owned());
        };
        let secret = key.at(&["Data", "Secret"]).ok_or("it has no secret")?;
        Ok((detail, self.open_secret(secret)?))
    }

    fn open_secret(&self, secret: &Element<'_>) -> Result<SecretBytes, String> {
        if let Some(plain) = secret.text_at(&["PlainValue"]) {
            if !self.takes_plain {
                return Err(
                    "its secret is not encrypted, and should be: anybody may have put it into the file".to_owned()
                );
            }
            return base64(&plain).ok_or_else(|| "its secret is not base64".to_owned());
        }
        let encrypted = secret.at(&["EncryptedValue"]).ok_or("its secret has no value")?;
        let opener = self.opener.as_ref().ok_or("its secret is encrypted: give the key with --key-stdin")?;
        let (algorithm, ciphertext) = encrypted_value(encrypted)?;
        let mac = secret.text_at(&["ValueMAC"]).and_then(|text| base64(&text));
        let mac =
            mac.ok_or("its secret is encrypted and has no MAC, so that nobody can tell whether it is the right one")?;
        let authentic = hmac::verify(&opener.mac_key, ciphertext.expose(), mac.expose());
        authentic.map_err(|_| "its MAC is wrong: the key or password is not the file's, or the file was changed")?;
        decrypt(&opener.key, &algorithm, &ciphertext)
    }
}

impl Iterator for Packages<'_> {
    type Item = Result<ReadToken, LineFault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.first.take().or_else(|| self.children.next())? {
                Ok((line, element)) if element.name == "KeyPackage" => {
                    let (serial, model) = (serial_of(&element), model_of(&element));
                    return Some(match self.read(&element) {
                        Ok((detail, secret)) => Ok(ReadToken { line, serial, detail, model, secret }),
                        Err(reason) => Err(LineFault::new(line, &serial, reason)),
                    });
                }
                // A signature, or an extension.
                Ok(_) => {}
                Err(error) => {
                    return Some(Err(LineFault::new(0, "", format!("the file can't be read further: {error}"))));
                }
            }
        }
    }
}

fn serial_of(package: &Element<'_>) -> String {
    let printed = package.text_at(&["DeviceInfo", "SerialNo"]).map(|text| text.to_string());
    let id = || package.at(&["Key"]).and_then(|key| key.attribute("Id")).unwrap_or_default().trim().to_owned();
    printed.unwrap_or_else(id)
}

fn model_of(package: &Element<'_>) -> Option<String> {
    let parts = ["Manufacturer", "Model"].map(|name| package.text_at(&["DeviceInfo", name]));
    let words: Vec<&str> = parts.iter().flatten().map(|text| text.as_str()).collect();
    (!words.is_empty()).then(|| words.join(" ").chars().take(128).collect())
}

fn plain_number(key: &Element<'_>, name: &str, default: i64) -> Result<i64, String> {
    let Some(element) = key.at(&["Data", name]) else { return Ok(default) };
    let text = element.text_at(&["PlainValue"]).ok_or_else(|| format!("its {name} is not plain"))?;
    natural(&text).ok_or_else(|| format!("its {name} is no number"))
}

fn encrypted_value(element: &Element<'_>) -> Result<(String, SecretBytes), String> {
    let algorithm = element.at(&["EncryptionMethod"]).and_then(|method| method.attribute("Algorithm"));
    let ciphertext = element.text_at(&["CipherData", "CipherValue"]).and_then(|text| base64(&text));
    let ciphertext = ciphertext.ok_or("an encrypted value is not base64")?;
    Ok((algorithm.unwrap_or_default().to_owned(), ciphertext))
}

/// What opens the secrets of a container.
struct Opener {
    key: SecretBytes,
    mac_key: hmac::Key,
}

impl Opener {
    /// The MAC's key is encrypted under the container's key; without one the container's key itself serves (§5).
    fn new(key: SecretBytes, mac_method: Option<&Element<'_>>) -> Result<Self, String> {
        let name = mac_method.and_then(|method| method.attribute("Algorithm")).unwrap_or("hmac-sha1");
        let algorithm = match hash_of(name) {
            Some(OtpHash::Sha1) => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Some(OtpHash::Sha256) => hmac::HMAC_SHA256,
            Some(OtpHash::Sha512) => hmac::HMAC_SHA512,
            None => return Err(format!("the container's MAC method is not known: {}", name.escape_debug())),
        };
        let mac_key = match mac_method.and_then(|method| method.at(&["MACKey"])) {
            Some(element) => {
                let (algorithm, ciphertext) = encrypted_value(element)?;
                let wrong = |_| "the MAC's key does not open: the key or password is not the file's".to_owned();
                decrypt(&key, &algorithm, &ciphertext).map_err(wrong)?
            }
            None => key.clone(),
        };
        Ok(Self { mac_key: hmac::Key::new(algorithm, mac_key.expose()), key })
    }
}

/// The key that a container's secrets are encrypted under; `None` for a container of plain ones.
fn container_key(encryption: Option<&Element<'_>>, unlock: &Unlock) -> Result<Option<SecretBytes>, String> {
    let derived = encryption.and_then(|encryption| encryption.at(&["DerivedKey"]));
    match (encryption, derived, unlock) {
        (_, None, Unlock::Key(key)) => Ok(Some(key.clone())),
        (None, ..) => Ok(None),
        (_, Some(derived), Unlock::Password(password)) => derive(derived, password.expose().as_bytes()).map(Some),
        (_, Some(_), _) => {
            Err("the container's key is derived from a password: give it with --password-stdin".to_owned())
        }
        (Some(encryption), None, _) => {
            let name = encryption.text_at(&["KeyName"]).map(|name| format!(" `{}`", name.escape_debug()));
            let name = name.unwrap_or_default();
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
        Some(None) => return Err("PBKDF2 is used with a function that is not known".to_owned()),
    };
    let mut key = Zeroizing::new(vec![0; usize::try_from(length).unwrap_or(16)]);
    pbkdf2::derive(algorithm, rounds, salt.expose(), password, &mut key);
    Ok(SecretBytes::new(std::mem::take(&mut *key)))
}

/// AES-CBC as XML Encryption has it: the IV first, and the last byte tells how many bytes of padding there are.
fn decrypt(key: &SecretBytes, algorithm: &str, value: &SecretBytes) -> Result<SecretBytes, String> {
    let (cipher, length) = match algorithm.rsplit(['#', '/']).next() {
        Some("aes128-cbc") => (&AES_128, 16),
        Some("aes192-cbc") => (&AES_192, 24),
        Some("aes256-cbc") => (&AES_256, 32),
        _ => return Err(format!("it is encrypted by `{}`: AES-CBC is known", algorithm.escape_debug())),
    };
    if key.expose().len() != length {
        return Err(format!("it is encrypted under a key of {length} bytes, not {}", key.expose().len()));
    }
    let broken = || "its encrypted secret does not open".to_owned();
    let (iv, ciphertext) = value.expose().split_first_chunk::<16>().ok_or_else(broken)?;
    let key = UnboundCipherKey::new(cipher, key.expose()).and_then(PaddedBlockDecryptingKey::cbc_iso10126);
    let key = key.map_err(|_| broken())?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let plain = key.decrypt(&mut buffer, DecryptionContext::Iv128(FixedLength::from(iv))).map_err(|_| broken())?;
    Ok(SecretBytes::new(plain.to_vec()))
}

/// Base64 with white space anywhere.
fn base64(text: &str) -> Option<SecretBytes> {
    let mut dense = Zeroizing::new(Vec::with_capacity(text.len()));
    dense.extend(text.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    STANDARD.decode(dense.as_slice()).ok().map(SecretBytes::new)
}
