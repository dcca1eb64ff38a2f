//! `otpauth://` URIs. The label is the serial number: there is no other name in them.

use zeroize::Zeroizing;

use super::csv::Line;
use super::{LineFault, ReadToken, hash_of, natural, unused_totp};
use crate::keys::OtpHash;
use crate::mfa::enrolment::{ClockProfile, check_secret, from_base32};
use crate::mfa::{FactorDetail, HotpState, Validity};
use crate::oauth::parameters::percent_decoded;

/// The parameters that say what a token is; others, such as an image, are passed over.
const READ: [&str; 5] = ["secret", "algorithm", "digits", "counter", "period"];

/// One URI. The label, and each parameter's name and value, are percent-decoded (RFC 3986 §2.1).
pub(super) fn read(line: &Line<'_>, profile: ClockProfile) -> Result<ReadToken, LineFault> {
    let text = line.cells.first().copied().unwrap_or_default();
    let unread = |reason: &str| LineFault::at(line.number, reason);
    let (scheme, rest) = text.split_once("://").ok_or_else(|| unread("it is no otpauth URI"))?;
    if !scheme.eq_ignore_ascii_case("otpauth") {
        return Err(unread("it is no otpauth URI"));
    }
    let (kind, rest) = rest.split_once('/').ok_or_else(|| unread("it is no otpauth URI"))?;
    let (label, query) = rest.split_once('?').ok_or_else(|| unread("it has no parameters"))?;
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    let parameters = Query::read(query).map_err(|reason| unread(&reason))?;
    let secret = parameters.value("secret").and_then(from_base32);
    let secret = secret.ok_or_else(|| unread("its secret is missing or not base32"))?;
    check_secret(&secret).map_err(|error| unread(&error.to_string()))?;
    let serial = decoded(label).ok_or_else(|| unread("its label can't be read"))?;
    let fault = |reason: &str| LineFault::of(line.number, &serial, reason);
    let number = |name: &str, default: i64| match parameters.value(name) {
        None => Ok(default),
        Some(text) => natural(text).ok_or_else(|| fault(&format!("its {name} is no number"))),
    };
    let hash = match parameters.value("algorithm") {
        None => OtpHash::Sha1,
        Some(name) => hash_of(name).ok_or_else(|| fault("its algorithm is not SHA1, SHA256 or SHA512"))?,
    };
    let digits = u8::try_from(number("digits", 6)?).unwrap_or(0);
    let detail = match kind.to_ascii_lowercase().as_str() {
        "hotp" => FactorDetail::Hotp(HotpState { hash, digits, next_counter: number("counter", 0)? }),
        "totp" => unused_totp(hash, digits, number("period", 30)?, profile),
        _ => return Err(fault("its kind is neither hotp nor totp")),
    };
    let serial = serial.to_string();
    Ok(ReadToken { line: line.number, serial, detail, model: None, validity: Validity::default(), secret })
}

/// The parameters of a URI that are read, each at most once.
struct Query(Vec<(&'static str, Zeroizing<String>)>);

impl Query {
    fn read(query: &str) -> Result<Self, String> {
        let mut read: Vec<(&'static str, Zeroizing<String>)> = Vec::new();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let name = decoded(name).ok_or("a parameter's name is not percent-encoded text")?;
            let Some(name) = READ.into_iter().find(|known| name.eq_ignore_ascii_case(known)) else { continue };
            if read.iter().any(|(known, _)| *known == name) {
                return Err(format!("its {name} is given twice"));
            }
            read.push((name, decoded(value).ok_or_else(|| format!("its {name} is not percent-encoded text"))?));
        }
        Ok(Self(read))
    }

    /// A value; one that is empty is none.
    fn value(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| *known == name)?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }
}

fn decoded(text: &str) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(percent_decoded(text.as_bytes(), b'+')?);
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Some(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            None
        }
    }
}
