//! `otpauth://` URIs. The label is the serial number: there is no other name in them.

use data_encoding::HEXLOWER_PERMISSIVE;

use super::csv::Line;
use super::{LineFault, ReadToken, hash_of};
use crate::keys::OtpHash;
use crate::mfa::enrolment::{ClockProfile, from_base32};
use crate::mfa::{FactorDetail, HotpState, TotpState};
use crate::secret::SecretBytes;

/// One URI. Nothing but the label is decoded: a secret in base32 needs no escapes.
pub(super) fn read(line: &Line<'_>, profile: ClockProfile) -> Result<ReadToken, LineFault> {
    let text = line.cells.first().copied().unwrap_or_default();
    let fault = |reason: &str| LineFault::new(line.number, "", reason);
    let rest = text.strip_prefix("otpauth://").ok_or_else(|| fault("it is no otpauth URI"))?;
    let (kind, rest) = rest.split_once('/').ok_or_else(|| fault("it is no otpauth URI"))?;
    let (label, query) = rest.split_once('?').ok_or_else(|| fault("it has no parameters"))?;
    let serial = decoded(label).ok_or_else(|| fault("its label can't be read"))?;
    let fault = |reason: &str| LineFault::new(line.number, &serial, reason);
    let value = |name: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let number = |name: &str, default: i64| match value(name) {
        None => Ok(default),
        Some(text) => text.parse::<i64>().ok().filter(|number| *number >= 0).ok_or_else(|| fault("a number is none")),
    };
    let secret: SecretBytes =
        value("secret").and_then(from_base32).ok_or_else(|| fault("its secret is missing or not base32"))?;
    let hash = match value("algorithm") {
        None => OtpHash::Sha1,
        Some(name) => hash_of(name).ok_or_else(|| fault("its hash is not SHA1, SHA256 or SHA512"))?,
    };
    let digits = u8::try_from(number("digits", 6)?).unwrap_or(0);
    let detail = match kind {
        "hotp" => FactorDetail::Hotp(HotpState { hash, digits, next_counter: number("counter", 0)? }),
        "totp" => {
            let step_seconds = u32::try_from(number("period", 30)?).unwrap_or(0);
            let window = profile.window();
            FactorDetail::Totp(TotpState { hash, digits, step_seconds, drift: 0, window, last_step: -1 })
        }
        _ => return Err(fault("its kind is neither hotp nor totp")),
    };
    Ok(ReadToken { line: line.number, serial, detail, model: None, secret })
}

/// Percent-decoded (RFC 3986 §2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.extend(HEXLOWER_PERMISSIVE.decode(&digits).ok()?);
    }
    String::from_utf8(bytes).ok()
}
