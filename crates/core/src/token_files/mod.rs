//! Files of many tokens, as their makers write them: PSKC (RFC 6030), CSV, the personalization tool's log, otpauth URIs.
//!
//! A file is walked twice, and never kept: once to judge all of it, and once to have each secret wrapped by the HSM as
//! it is read. What is read is wiped.

pub mod csv;
pub mod otpauth;
pub mod pskc;

mod xml;

use std::collections::{BTreeSet, HashMap};

use crate::keys::OtpHash;
use crate::mfa::enrolment::{ClockProfile, EnrolmentError, check_secret};
use crate::mfa::{FactorDetail, TotpState};
use crate::secret::{SecretBytes, SecretText};

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

impl LineFault {
    fn new(line: u64, serial: &str, reason: impl Into<String>) -> Self {
        Self { line, serial: printable(serial), reason: reason.into() }
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
    let format = options.format.or_else(|| guess(bytes)).ok_or_else(|| {
        FileFault("the file's format can't be told from its first line; name it with --format".to_owned())
    })?;
    if format != Format::Pskc && !matches!(options.unlock, Unlock::Plain) {
        let text = "a key or password is given, and only PSKC files are encrypted: is this the file that was sent?";
        return Err(FileFault(text.to_owned()));
    }
    let profile = options.profile;
    Ok(match format {
        Format::Pskc => Box::new(pskc::Packages::open(bytes, &options.unlock, profile)?.map(check)),
        Format::OathCsv => Box::new(csv::lines(bytes).map(move |line| csv::oath(&line?, profile)).map(check)),
        Format::YubicoCsv => Box::new(csv::lines(bytes).map(|line| csv::yubico(&line?)).map(check)),
        Format::YkpersLog => {
            Box::new(csv::lines(bytes).filter_map(|line| line.and_then(|line| csv::log(&line)).transpose()).map(check))
        }
        Format::Otpauth => Box::new(csv::lines(bytes).map(move |line| otpauth::read(&line?, profile)).map(check)),
    })
}

/// Judges what holds for every format.
fn check(token: Result<ReadToken, LineFault>) -> Result<ReadToken, LineFault> {
    check_token(token?)
}

/// What Signet can work with: the serial number is one, the secret long enough, the digits and the step usual.
/// Errors: why not.
pub fn check_token(mut token: ReadToken) -> Result<ReadToken, LineFault> {
    token.model = token.model.as_deref().and_then(printable);
    let fault = |reason: String| Err(LineFault::new(token.line, &token.serial, reason));
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
    match check_secret(&token.secret) {
        Ok(()) => Ok(token),
        Err(error) => fault(error.to_string()),
    }
}

/// A maker's text without what a terminal would obey.
/// Tokens between two calls of whatever watches the judging.
const JUDGED_EVERY: u64 = 5_000;

/// A file as a whole.
#[derive(Debug)]
pub struct Judged {
    /// How many tokens of it are good.
    pub count: u64,
    /// What is wrong with the others, by their place among all: a file may have many tokens in one line.
    pub faults: Vec<(usize, LineFault)>,
}

/// Judges every token of a file; `progress` hears now and then how many were.
/// Errors: [`FileFault`] where the file can't be read at all, or has no token.
pub fn judge(bytes: &[u8], options: &ImportOptions, progress: &mut dyn FnMut(u64)) -> Result<Judged, FileFault> {
    let (mut count, mut faults, mut lines) = (0, Vec::new(), HashMap::new());
    for (place, token) in tokens(bytes, options)?.enumerate() {
        match token {
            Ok(ReadToken { line, serial, .. }) => match lines.insert(serial.clone(), line) {
                None => count += 1,
                Some(first) => {
                    let reason = format!("its serial number stands in line {first} already");
                    faults.push((place, LineFault { line, serial: Some(serial), reason }));
                }
            },
            Err(fault) => faults.push((place, fault)),
        }
        if count % JUDGED_EVERY == 0 {
            progress(count);
        }
    }
    if count == 0 && faults.is_empty() {
        return Err(FileFault("there is no token in the file".to_owned()));
    }
    Ok(Judged { count, faults })
}

/// The good tokens of a file that was judged, in its order.
/// Errors: [`FileFault`] where the file can't be read at all.
pub fn good_tokens<'b>(
    bytes: &'b [u8],
    options: &ImportOptions,
    judged: &Judged,
) -> Result<impl Iterator<Item = ReadToken> + Send + use<'b>, FileFault> {
    let faulty: BTreeSet<usize> = judged.faults.iter().map(|(place, _)| *place).collect();
    let read = tokens(bytes, options)?.enumerate();
    Ok(read.filter(move |(place, _)| !faulty.contains(place)).filter_map(|(_, token)| token.ok()))
}

fn printable(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Finds the format out from how the file begins.
fn guess(bytes: &[u8]) -> Option<Format> {
    let first = csv::lines(bytes).next();
    let start = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    if start.starts_with(b"<") {
        return Some(Format::Pskc);
    }
    let line = first?.ok()?;
    let cells = &line.cells;
    let cell = |place: usize| cells.get(place).copied().unwrap_or_default();
    if cell(0).starts_with("otpauth://") {
        Some(Format::Otpauth)
    } else if csv::is_log(cell(0)) {
        Some(Format::YkpersLog)
    } else if matches!(cell(2).to_ascii_lowercase().as_str(), "hotp" | "totp") {
        Some(Format::OathCsv)
    } else if cells.len() >= 6 && !cell(3).is_empty() && cell(3).bytes().all(|byte| byte.is_ascii_hexdigit()) {
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
#[path = "tests.rs"]
mod tests;
