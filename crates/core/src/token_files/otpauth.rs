//! `otpauth://` URIs. The label is the serial number: there is no other name in them.

use super::csv::Line;
use super::{LineFault, ReadToken, hash_of, natural, unused_totp};
use crate::keys::OtpHash;
use crate::mfa::enrolment::{ClockProfile, from_base32};
use crate::mfa::{FactorDetail, HotpState};
use crate::oauth::parameters::percent_decoded;

/// One URI. Nothing but the label is decoded: a secret in base32 needs no escapes.
pub(super) fn read(line: &Line<'_>, profile: ClockProfile) -> Result<ReadToken, LineFault> {
    let text = line.cells.first().copied().unwrap_or_default();
    let fault = |reason: &str| LineFault::new(line.number, "", reason);
    let rest = text.strip_prefix("otpauth://").ok_or_else(|| fault("it is no otpauth URI"))?;
    let (kind, rest) = rest.split_once('/').ok_or_else(|| fault("it is no otpauth URI"))?;
    let (label, query) = rest.split_once('?').ok_or_else(|| fault("it has no parameters"))?;
    let serial = percent_decoded(label.as_bytes(), b'+').and_then(|label| String::from_utf8(label).ok());
    let serial = serial.ok_or_else(|| fault("its label can't be read"))?;
    let fault = |reason: &str| LineFault::new(line.number, &serial, reason);
    let value = |name: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let number = |name: &str, default: i64| match value(name) {
        None => Ok(default),
        Some(text) => natural(text).ok_or_else(|| fault("a number is none")),
    };
    let secret = value("secret").and_then(from_base32);
    let secret = secret.ok_or_else(|| fault("its secret is missing or not base32"))?;
    let hash = match value("algorithm") {
        None => OtpHash::Sha1,
        Some(name) => hash_of(name).ok_or_else(|| fault("its hash is not SHA1, SHA256 or SHA512"))?,
    };
    let digits = u8::try_from(number("digits", 6)?).unwrap_or(0);
    let detail = match kind {
        "hotp" => FactorDetail::Hotp(HotpState { hash, digits, next_counter: number("counter", 0)? }),
        "totp" => unused_totp(hash, digits, number("period", 30)?, profile),
        _ => return Err(fault("its kind is neither hotp nor totp")),
    };
    Ok(ReadToken { line: line.number, serial, detail, model: None, secret })
}
