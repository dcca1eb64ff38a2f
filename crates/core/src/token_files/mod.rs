//! Files of many tokens, as their makers write them: PSKC (RFC 6030), CSV, the personalization tool's log, otpauth URIs.
//!
//! They hold secrets, and what stands where may not be what should stand there: a fault repeats a serial number alone, and only where
//! its line was understood.
//!
//! A file is walked twice, and never kept: once to judge all of it, and once to have each secret wrapped by the HSM as
//! it is read. What is read is wiped.

pub mod csv;
mod judge;
pub mod otpauth;
pub mod pskc;

mod xml;

use crate::keys::OtpHash;
use crate::mfa::enrolment::{ClockProfile, EnrolmentError, check_secret};
use crate::mfa::{FactorDetail, TotpState, Validity};
use crate::secret::{SecretBytes, SecretText};
use csv::EntraColumns;
use signet_jose::clock::Timestamp;
use signet_text_file::without_mark;

pub use judge::{Judged, good_tokens, judge};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 6030.
    Pskc,
    /// `serial,seed in hex,hotp or totp,6 or 8,counter or step[,hash]`.
    OathCsv,
    /// `serial,public id,private id,AES key,,time,`.
    YubicoCsv,
    /// The personalization tool's log.
    YkpersLog,
    /// `otpauth://` URIs, a line each.
    Otpauth,
    /// `upn,serial number,secret key,time interval,manufacturer,model`, with these names in the first line.
    EntraCsv,
}

/// What opens the encrypted secrets of a file.
#[derive(Debug, Default)]
pub enum Unlock {
    /// Nothing: they are plain.
    #[default]
    Plain,
    /// The key that was agreed upon.
    Key(SecretBytes),
    /// The password that the key is derived from.
    Password(SecretText),
}

/// How to read a file.
#[derive(Debug, Default)]
pub struct ImportOptions {
    /// How it is written; found out where it is not told.
    pub format: Option<Format>,
    /// What opens it.
    pub unlock: Unlock,
    /// What the clocks are, of TOTP tokens.
    pub profile: ClockProfile,
    /// Whether a signed container is read as one without a signature.
    pub ignore_signature: bool,
    /// The time, so that a token that has expired is refused; none where nobody is to judge that.
    pub now: Option<Timestamp>,
}

/// A token that was read.
#[derive(Debug)]
pub struct ReadToken {
    /// The line that it begins in.
    pub line: u64,
    /// What names it.
    pub serial: String,
    /// What it is, with how far it is spent.
    pub detail: FactorDetail,
    /// Its maker and model.
    pub model: Option<String>,
    /// From when to when it may be used.
    pub validity: Validity,
    /// Its secret.
    pub secret: SecretBytes,
}

/// A token that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// The line that it begins in.
    pub line: u64,
    /// What names it, where that could be read.
    pub serial: Option<String>,
    /// Why, in words without secrets.
    pub reason: String,
}

/// The longest serial number that a fault repeats.
const LONGEST_REPEATED: usize = 64;
/// A text of letters and digits alone that is as long may be a secret, whatever stands there.
const MAY_BE_SECRET: usize = 20;

impl LineFault {
    /// Of a line that was not understood.
    fn at(line: u64, reason: impl Into<String>) -> Self {
        Self { line, serial: None, reason: reason.into() }
    }

    /// Of a line whose secret is known and whose values stand where they should. The serial number is told where it looks like one.
    fn of(line: u64, serial: &str, reason: impl Into<String>) -> Self {
        let is_dense =
            |text: &String| text.chars().all(|letter| letter.is_ascii_alphanumeric() || "+/=_".contains(letter));
        let may_be_secret = |text: &String| text.len() >= MAY_BE_SECRET && is_dense(text);
        let serial = printable(serial).filter(|text| text.chars().count() <= LONGEST_REPEATED && !may_be_secret(text));
        Self { line, serial, reason: reason.into() }
    }
}

/// The file as a whole can't be read, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FileFault(pub String);

/// What a file tells of its tokens, one after the other.
pub type Tokens<'b> = Box<dyn Iterator<Item = Result<ReadToken, LineFault>> + Send + 'b>;

/// Begins to read a file.
/// Errors: [`FileFault`] where it can't be read at all.
pub fn tokens<'b>(bytes: &'b [u8], options: &ImportOptions) -> Result<Tokens<'b>, FileFault> {
    let bytes = without_mark(bytes);
    let format = format_of(bytes, options).ok_or_else(|| {
        FileFault("the file's format can't be told from its first line; name it with --format, and leave the headline where it has one".to_owned())
    })?;
    if format != Format::Pskc && !matches!(options.unlock, Unlock::Plain) {
        let text = "a key or password is given, and only PSKC files are encrypted: is this the file that was sent?";
        return Err(FileFault(text.to_owned()));
    }
    let (profile, now) = (options.profile, options.now);
    // What holds for every format.
    let check = move |token: Result<ReadToken, LineFault>| check_token(token?, now);
    Ok(match format {
        Format::Pskc => Box::new(pskc::Packages::open(bytes, options)?.map(check)),
        Format::OathCsv => Box::new(csv::lines(bytes).map(move |line| csv::oath(&line?, profile)).map(check)),
        Format::YubicoCsv => Box::new(csv::lines(bytes).map(|line| csv::yubico(&line?)).map(check)),
        Format::YkpersLog => {
            Box::new(csv::lines(bytes).filter_map(|line| line.and_then(|line| csv::log(&line)).transpose()).map(check))
        }
        Format::Otpauth => Box::new(csv::lines(bytes).map(move |line| otpauth::read(&line?, profile)).map(check)),
        Format::EntraCsv => {
            let mut lines = csv::all_lines(bytes);
            let columns = lines.next().and_then(Result::ok).and_then(|line| EntraColumns::read(&line));
            let columns = columns.ok_or_else(|| {
                let text = "the first line must name the columns: upn,serial number,secret key,time interval,manufacturer,model";
                FileFault(text.to_owned())
            })?;
            Box::new(lines.map(move |line| columns.token(&line?, profile)).map(check))
        }
    })
}

/// What Signet can work with: the secret is long enough, the serial number is one, the digits and the step usual, and it may be used now
/// or later, where the time is told.
/// Errors: why not.
pub fn check_token(mut token: ReadToken, now: Option<Timestamp>) -> Result<ReadToken, LineFault> {
    token.model = token.model.as_deref().and_then(printable);
    if !matches!(token.detail, FactorDetail::YubicoOtp(_)) {
        check_secret(&token.secret).map_err(|error| LineFault::at(token.line, error.to_string()))?;
    }
    let fault = |reason: String| Err(LineFault::of(token.line, &token.serial, reason));
    if token.serial.is_empty() {
        return fault("it has no serial number".to_owned());
    }
    if token.serial.chars().count() > 128 || token.serial.chars().any(char::is_control) {
        return fault("its serial number is no text of at most 128 characters".to_owned());
    }
    let (digits, step) = match &token.detail {
        FactorDetail::Totp(state) => (state.digits, state.step_seconds),
        FactorDetail::Hotp(state) => (state.digits, 30),
        _ if token.secret.expose().len() == 16 => return Ok(token),
        _ => return fault("its key is no AES-128 key".to_owned()),
    };
    if !matches!(digits, 6 | 8) {
        return fault(EnrolmentError::Digits(digits).to_string());
    }
    if !matches!(step, 30 | 60) {
        return fault(EnrolmentError::Step(step).to_string());
    }
    if let Some(expired) = token.validity.until.filter(|until| now.is_some_and(|now| *until <= now)) {
        return fault(format!("it expired on {}", expired.day()));
    }
    Ok(token)
}

/// A maker's text without what a terminal would obey.
fn printable(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// How a file is written: as is told, or as it begins.
fn format_of(bytes: &[u8], options: &ImportOptions) -> Option<Format> {
    options.format.or_else(|| guess(without_mark(bytes)))
}

/// Finds the format out from how the file begins.
fn guess(bytes: &[u8]) -> Option<Format> {
    if let Some(Ok(line)) = csv::all_lines(bytes).next()
        && EntraColumns::read(&line).is_some()
    {
        return Some(Format::EntraCsv);
    }
    let first = csv::lines(bytes).next();
    if bytes.trim_ascii_start().starts_with(b"<") {
        return Some(Format::Pskc);
    }
    let line = first?.ok()?;
    let cells = &line.cells;
    let cell = |place: usize| cells.get(place).copied().unwrap_or_default();
    if cell(0).get(..10).is_some_and(|begin| begin.eq_ignore_ascii_case("otpauth://")) {
        Some(Format::Otpauth)
    } else if csv::is_log(cell(0)) {
        Some(Format::YkpersLog)
    } else if matches!(cell(2).to_ascii_lowercase().as_str(), "hotp" | "totp") {
        Some(Format::OathCsv)
    } else if cells.len() >= 6
        && matches!(cell(3).len(), 32 | 40)
        && cell(3).bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        Some(Format::YubicoCsv)
    } else {
        None
    }
}

/// A hash by one of its many names: `SHA1`, `HMAC-SHA-256`, `HmacSHA512`, an algorithm's URI.
fn hash_of(name: &str) -> Option<OtpHash> {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect();
    OtpHash::ALL.into_iter().find(|hash| plain.ends_with(hash.name()))
}

/// A number that is not negative.
fn natural(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number| *number >= 0)
}

/// A TOTP of which nothing is spent.
pub fn unused_totp(hash: OtpHash, digits: u8, step: i64, profile: ClockProfile) -> FactorDetail {
    let step_seconds = u32::try_from(step).unwrap_or(0);
    FactorDetail::Totp(TotpState { hash, digits, step_seconds, drift: 0, window: profile.window(), last_step: -1 })
}

#[cfg(test)]
mod foreign_tests;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
