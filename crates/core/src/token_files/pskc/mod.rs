//! PSKC, the portable symmetric key container (RFC 6030): plain values, and values encrypted by AES-CBC under a key that was agreed
//! upon or that is derived from a password (§6). An encrypted value without a good MAC is refused (§6.1.1), and so is a plain secret
//! among those that should be encrypted: anybody may have put it there. What restricts a key is honoured, or the key is refused by the
//! name of what it has (`restrictions`).
//!
//! A signature over the container (§6.3) is not verified: a container that has one is refused, unless the caller says to go by it as
//! by one without. Serial numbers and counters are protected by nothing else.

mod opener;
mod restrictions;

use std::collections::BTreeMap;

use super::xml::{Children, Element};
use super::{FileFault, ImportOptions, LineFault, ReadToken, Unlock, hash_of, unused_totp};
use crate::keys::OtpHash;
use crate::mfa::enrolment::ClockProfile;
use crate::mfa::totp::DRIFT_CAP;
use crate::mfa::{FactorDetail, HotpState, Validity};
use crate::secret::SecretBytes;
use opener::{Opener, container_key};

/// The key packages of a container.
pub(super) struct Packages<'b> {
    children: Children<'b>,
    first: Option<Result<(u64, Element<'b>), String>>,
    opener: Option<Opener>,
    takes_plain: bool,
    profile: ClockProfile,
    /// The keys' ids by the devices' serial numbers: a device may have several keys.
    seen: BTreeMap<String, String>,
}

impl<'b> Packages<'b> {
    /// Reads what stands before the first key package, and derives the keys that open the values.
    pub(super) fn open(bytes: &'b [u8], options: &ImportOptions) -> Result<Self, FileFault> {
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
        check_container(&children, text, options.ignore_signature)?;
        // A file that should be encrypted is, whatever it says of itself.
        let takes_plain = encryption.is_none() && matches!(options.unlock, Unlock::Plain);
        let key = container_key(encryption.as_ref(), &options.unlock).map_err(FileFault)?;
        let opener = key.map(|key| Opener::new(key, mac_method.as_ref())).transpose().map_err(FileFault)?;
        Ok(Self { children, first, opener, takes_plain, profile: options.profile, seen: BTreeMap::new() })
    }

    fn read(&self, package: &Element<'_>) -> Result<(FactorDetail, Validity, SecretBytes), String> {
        let key = package.at(&["Key"]).ok_or("it has no key")?;
        let is_totp = match algorithm_of(key) {
            "hotp" => false,
            "totp" => true,
            _ => return Err("its algorithm is neither HOTP nor TOTP".to_owned()),
        };
        let validity = restrictions::judge(package, key)?;
        let (hash, digits) = codes_of(key)?;
        let secret = self.secret(key)?;
        // Each is verified, also where nothing comes of it.
        let counter = self.number(key, "Counter")?;
        let (interval, _) = (self.number(key, "TimeInterval")?, self.number(key, "Time")?);
        let drift = self.number(key, "TimeDrift")?.unwrap_or(0);
        if !is_totp {
            let next_counter = counter.unwrap_or(0);
            return Ok((FactorDetail::Hotp(HotpState { hash, digits, next_counter }), validity, secret));
        }
        let drift = i32::try_from(drift).ok().filter(|drift| (-DRIFT_CAP..=DRIFT_CAP).contains(drift));
        let drift = drift.ok_or_else(|| format!("its TimeDrift is beyond {DRIFT_CAP} intervals: set its clock"))?;
        let mut detail = unused_totp(hash, digits, interval.unwrap_or(30), self.profile);
        if let FactorDetail::Totp(state) = &mut detail {
            state.drift = drift;
        }
        Ok((detail, validity, secret))
    }

    fn secret(&self, key: &Element<'_>) -> Result<SecretBytes, String> {
        let secret = key.at(&["Data", "Secret"]).ok_or("it has no secret")?;
        if let Some(plain) = secret.text_at(&["PlainValue"]) {
            if !self.takes_plain {
                return Err(
                    "its secret is not encrypted, and should be: anybody may have put it into the file".to_owned()
                );
            }
            return opener::base64(&plain).ok_or_else(|| "its secret is not base64".to_owned());
        }
        self.opened(secret, "secret")
    }

    /// An encrypted value of a key, whose MAC is right.
    fn opened(&self, value: &Element<'_>, name: &str) -> Result<SecretBytes, String> {
        let encrypted = value.at(&["EncryptedValue"]).ok_or_else(|| format!("its {name} has no value"))?;
        let opener = self.opener.as_ref();
        let opener = opener.ok_or_else(|| format!("its {name} is encrypted: give the key with --key-stdin"))?;
        opener.open(encrypted, value.text_at(&["ValueMAC"]), name)
    }

    /// A number among a key's data, plain or encrypted: big-endian in 4 or 8 bytes then (§4.2).
    fn number(&self, key: &Element<'_>, name: &str) -> Result<Option<i64>, String> {
        let Some(element) = key.at(&["Data", name]) else { return Ok(None) };
        let is_signed = name == "TimeDrift";
        let number = match element.text_at(&["PlainValue"]) {
            Some(text) => text.parse().ok(),
            None => match (self.opened(element, name)?.expose(), is_signed) {
                (bytes @ [_, _, _, _], true) => bytes.try_into().ok().map(|bytes| i32::from_be_bytes(bytes).into()),
                (bytes @ [_, _, _, _], false) => bytes.try_into().ok().map(|bytes| u32::from_be_bytes(bytes).into()),
                (bytes, _) => bytes.try_into().ok().map(i64::from_be_bytes),
            },
        };
        let number = number.filter(|number: &i64| is_signed || *number >= 0);
        number.map(Some).ok_or_else(|| format!("its {name} is no number"))
    }

    /// What names a key: its device's serial number, with the key's id behind it where an earlier key of the device has that.
    fn serial_of(&mut self, package: &Element<'_>) -> String {
        let id = package.at(&["Key"]).and_then(|key| key.attribute("Id")).unwrap_or_default().trim();
        let Some(printed) = package.text_at(&["DeviceInfo", "SerialNo"]) else { return id.to_owned() };
        let first = self.seen.entry(printed.to_string()).or_insert_with(|| id.to_owned());
        if first == id { printed.to_string() } else { format!("{}/{id}", *printed) }
    }
}

impl Iterator for Packages<'_> {
    type Item = Result<ReadToken, LineFault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.first.take().or_else(|| self.children.next())? {
                // The PIN of another package's key (§5): the device asks for it, or that key is refused.
                Ok((_, element)) if element.name == "KeyPackage" && is_pin(&element) => {}
                Ok((line, element)) if element.name == "KeyPackage" => {
                    let read = self.read(&element);
                    let (serial, model) = (self.serial_of(&element), model_of(&element));
                    return Some(match read {
                        Ok((detail, validity, secret)) => {
                            Ok(ReadToken { line, serial, detail, model, validity, secret })
                        }
                        Err(reason) => Err(LineFault::of(line, &serial, reason)),
                    });
                }
                // A signature that is not gone by, or an extension.
                Ok(_) => {}
                Err(error) => {
                    return Some(Err(LineFault::at(0, format!("the file can't be read further: {error}"))));
                }
            }
        }
    }
}

/// What holds of the container as a whole.
fn check_container(children: &Children<'_>, text: &str, ignore_signature: bool) -> Result<(), FileFault> {
    if let Some(version) = children.root_attribute("Version")
        && version.trim() != "1.0"
    {
        return Err(FileFault("the container's Version is not 1.0, the one of RFC 6030".to_owned()));
    }
    // It stands behind all key packages, so that a file without the word is not read twice.
    if !ignore_signature && text.contains("Signature") {
        let mut all = Children::new(text);
        while let Some(Ok((_, element))) = all.next() {
            if element.name == "Signature" {
                let text = "the container is signed, and signatures are not verified: verify it with the maker's tools (an XML signature, \
                            e.g. `xmlsec1 --verify`), and then import it with --ignore-signature";
                return Err(FileFault(text.to_owned()));
            }
        }
    }
    Ok(())
}

/// The last word of a key's algorithm: `hotp`, `totp`, `pin`.
fn algorithm_of<'a>(key: &'a Element<'_>) -> &'a str {
    let algorithm = key.attribute("Algorithm").unwrap_or_default().trim();
    let name = algorithm.rsplit([':', '#', '/']).next().unwrap_or_default();
    ["hotp", "totp", "pin"].into_iter().find(|known| name.eq_ignore_ascii_case(known)).unwrap_or(name)
}

fn is_pin(package: &Element<'_>) -> bool {
    package.at(&["Key"]).is_some_and(|key| algorithm_of(key) == "pin")
}

/// The hash and the digits of a key's codes (§4.3).
fn codes_of(key: &Element<'_>) -> Result<(OtpHash, u8), String> {
    let parameters = key.at(&["AlgorithmParameters"]);
    if parameters.is_some_and(|parameters| parameters.at(&["ChallengeFormat"]).is_some()) {
        return Err("it has a ChallengeFormat: it answers challenges, which aren't asked here".to_owned());
    }
    let hash = match key.text_at(&["AlgorithmParameters", "Suite"]) {
        None => OtpHash::Sha1,
        Some(name) => hash_of(&name).ok_or("its suite names no hash that is known: SHA1, SHA256 or SHA512")?,
    };
    let Some(format) = parameters.and_then(|parameters| parameters.at(&["ResponseFormat"])) else {
        return Ok((hash, 6));
    };
    let mut digits = 6;
    for (name, value) in format.attributes() {
        match (name, value.trim()) {
            ("Encoding", "DECIMAL") | ("CheckDigits" | "CheckDigit", "false" | "0") => {}
            ("Encoding", _) => return Err("its codes are not decimal".to_owned()),
            ("Length", text) => digits = text.parse().map_err(|_| "its number of digits is no number")?,
            ("CheckDigits" | "CheckDigit", _) => {
                return Err(
                    "its codes have a check digit (CheckDigits), which no code is verified with here".to_owned()
                );
            }
            (other, _) => return Err(restrictions::unknown("ResponseFormat", other)),
        }
    }
    Ok((hash, digits))
}

fn model_of(package: &Element<'_>) -> Option<String> {
    let parts = ["Manufacturer", "Model"].map(|name| package.text_at(&["DeviceInfo", name]));
    let words: Vec<&str> = parts.iter().flatten().map(|text| text.as_str()).collect();
    (!words.is_empty()).then(|| words.join(" ").chars().take(128).collect())
}

#[cfg(test)]
mod tests;
