//! Yubico's validation protocol 2.0: what a request must be, what an answer says, and how both are signed.
//!
//! Signet speaks it both ways. As a server it reads a [`Request`] and gives an [`Answer`]; as a client it makes a
//! [`Query`], whose [`judge`](Query::judge) says what an answer is worth. A signature is HMAC-SHA-1 over all fields but
//! `h`, sorted by name, as `name=value` joined by `&`. Source: "Validation Protocol Version 2.0" (developers.yubico.com).

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

use super::yubico_otp::{Reading, YubicoOtp};
use crate::words::words;
use signet_jose::clock::Timestamp;

mod query;

pub use query::{AnswerFault, Query};

/// The most fields that a request or an answer may have.
const MAX_FIELDS: usize = 32;
/// The most bytes that their names and values have together: honest ones have some hundred, and the HSM signs them all.
const MAX_BYTES: usize = 4096;
/// The longest OTP: 48 characters.
const MAX_OTP: usize = 48;

words! {
    /// What an answer says, in the protocol's word.
    pub enum Status {
        /// The OTP is good, and this request was the one that spent it.
        Ok = "OK",
        /// The OTP is malformed, or no key made it that is known here.
        BadOtp = "BAD_OTP",
        /// The OTP, or a later one of its key, was shown before.
        ReplayedOtp = "REPLAYED_OTP",
        /// The request's signature is not the client's.
        BadSignature = "BAD_SIGNATURE",
        /// The request lacks a parameter, or one is malformed.
        MissingParameter = "MISSING_PARAMETER",
        /// There is no client of this id.
        NoSuchClient = "NO_SUCH_CLIENT",
        /// The client may not verify OTPs.
        OperationNotAllowed = "OPERATION_NOT_ALLOWED",
        /// Something did not work.
        BackendError = "BACKEND_ERROR",
        /// Too few servers answered. Signet never sends it: its nodes share one store.
        NotEnoughAnswers = "NOT_ENOUGH_ANSWERS",
        /// This very request, OTP and nonce, was answered before.
        ReplayedRequest = "REPLAYED_REQUEST",
    }
}

/// The id of a client of the protocol: 1 to 10 digits, not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientNumber(u64);

impl ClientNumber {
    /// The greatest id.
    pub const MOST: u64 = 9_999_999_999;

    /// A number as it was made or stored; `None` for 0 and for more than ten digits.
    pub fn new(number: u64) -> Option<Self> {
        (1..=Self::MOST).contains(&number).then_some(Self(number))
    }

    /// Reads decimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_number = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok().and_then(Self::new)).flatten()
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ClientNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Fields by name, each once.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// The fields with these names and values, decoded already; `None` where a name is given twice, a name or value has
    /// a control character, or they are too many or too long.
    pub fn collect(pairs: impl IntoIterator<Item = (String, String)>) -> Option<Self> {
        let (mut fields, mut bytes) = (BTreeMap::new(), 0);
        for (name, value) in pairs {
            bytes += name.len() + value.len();
            let is_clean = !name.chars().chain(value.chars()).any(char::is_control);
            if !is_clean || fields.insert(name, value).is_some() || fields.len() > MAX_FIELDS || bytes > MAX_BYTES {
                return None;
            }
        }
        Some(Self(fields))
    }

    /// A field's value.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What a signature covers.
    pub fn signing_string(&self) -> String {
        let signed = self.0.iter().filter(|(name, _)| *name != "h");
        signed.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }
}

/// Shows the names alone: an OTP that was not spent is a secret.
impl fmt::Debug for Fields {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.keys()).finish()
    }
}

/// HMAC-SHA-1 in this process, for keys that are not in an HSM: another server's API key, or none.
pub fn hmac_sha1(key: &[u8], message: &str) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let tag = hmac::sign(&key, message.as_bytes());
    let mut bytes = [0; 20];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// A signature as it is written.
pub fn signature_text(mac: &[u8]) -> String {
    STANDARD.encode(mac)
}

/// Whether a shown signature is this one, in constant time. A `+` that was read as a space is one.
fn is_signature(shown: &str, mac: &[u8]) -> bool {
    STANDARD.decode(shown.replace(' ', "+")).is_ok_and(|shown| bool::from(shown.as_slice().ct_eq(mac)))
}

/// A request for one OTP's verification, its form judged and nothing else.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who asks.
    pub client: ClientNumber,
    /// What is sent back.
    pub echo: Echo,
    /// The OTP.
    pub otp: YubicoOtp,
    /// Whether the key's counters and clock are asked for.
    pub wants_timestamp: bool,
    signature: Option<String>,
    signed: String,
}

/// A request whose form is wrong, with as much of it as its answer needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedRequest {
    /// Who asked, where that can be read: the answer is signed by that client's key.
    pub client: Option<ClientNumber>,
    /// What is sent back.
    pub echo: Echo,
    /// [`Status::MissingParameter`] or [`Status::BadOtp`].
    pub status: Status,
}

/// The parts of a request that its answer repeats, where they are letters and digits alone.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Echo {
    otp: Option<String>,
    nonce: Option<String>,
}

impl Echo {
    fn of(fields: &Fields) -> Self {
        let safe = |name: &str, most: usize| {
            let is_safe = |value: &&str| {
                (1..=most).contains(&value.len())
                    && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
            };
            fields.value(name).filter(is_safe).map(str::to_owned)
        };
        Self { otp: safe("otp", MAX_OTP), nonce: safe("nonce", 40) }
    }
}

impl fmt::Debug for Echo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Echo").field("nonce", &self.nonce).finish_non_exhaustive()
    }
}

impl Request {
    /// Judges a request's form. `None` stands for fields that can't be read at all.
    /// Errors: [`MalformedRequest`] with the status to answer.
    pub fn read(fields: Option<&Fields>) -> Result<Self, MalformedRequest> {
        let Some(fields) = fields else {
            return Err(MalformedRequest { client: None, echo: Echo::default(), status: Status::MissingParameter });
        };
        let client = fields.value("id").and_then(ClientNumber::parse);
        let echo = Echo::of(fields);
        let refuse = |status| MalformedRequest { client, echo: echo.clone(), status };
        let Some(shown) = fields.value("otp").filter(|otp| !otp.is_empty()) else {
            return Err(refuse(Status::MissingParameter));
        };
        let is_in_order = fields.value("nonce").is_some_and(is_nonce)
            && fields.value("sl").is_none_or(is_sync_level)
            && fields.value("timeout").is_none_or(is_timeout);
        let (Some(client), true) = (client, is_in_order) else {
            return Err(refuse(Status::MissingParameter));
        };
        let otp = YubicoOtp::parse(shown).ok_or_else(|| refuse(Status::BadOtp))?;
        Ok(Self {
            client,
            otp,
            wants_timestamp: fields.value("timestamp") == Some("1"),
            signature: fields.value("h").filter(|shown| !shown.is_empty()).map(str::to_owned),
            signed: fields.signing_string(),
            echo,
        })
    }

    /// The caller's random text: the same one with the same OTP is the same request again.
    pub fn nonce(&self) -> &str {
        self.echo.nonce.as_deref().unwrap_or_default()
    }

    /// Whether the request is signed, rightly or not.
    pub fn is_signed(&self) -> bool {
        self.signature.is_some()
    }

    /// What the signature covers.
    pub fn signing_string(&self) -> &str {
        &self.signed
    }

    /// Whether the request's signature is this one, in constant time.
    pub fn has_signature(&self, mac: &[u8]) -> bool {
        self.signature.as_deref().is_some_and(|shown| is_signature(shown, mac))
    }
}

/// 16 to 40 letters and digits.
fn is_nonce(text: &str) -> bool {
    (16..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `fast`, `secure`, or 0 to 100 percent of the servers.
fn is_sync_level(text: &str) -> bool {
    matches!(text, "" | "fast" | "secure")
        || (text.len() <= 3
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse::<u8>().is_ok_and(|n| n <= 100))
}

/// Digits: seconds.
fn is_timeout(text: &str) -> bool {
    text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An answer, not signed yet.
#[derive(Debug, Clone)]
pub struct Answer {
    echo: Echo,
    status: Status,
    at: Timestamp,
    reading: Option<Reading>,
}

impl Answer {
    /// An answer that is no success.
    pub fn refusal(echo: Echo, status: Status, at: Timestamp) -> Self {
        Self { echo, status, at, reading: None }
    }

    /// The answer to a request that spent its OTP; `reading` tells of the key's counters where they were asked for.
    pub fn success(request: &Request, reading: &Reading, at: Timestamp) -> Self {
        let reading = request.wants_timestamp.then_some(*reading);
        Self { echo: request.echo.clone(), status: Status::Ok, at, reading }
    }

    /// The status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The answer to this request where something did not work after all.
    #[must_use]
    pub fn failed(self) -> Self {
        Self::refusal(self.echo, Status::BackendError, self.at)
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("t", moment(self.at))];
        fields.extend(self.echo.otp.clone().map(|otp| ("otp", otp)));
        fields.extend(self.echo.nonce.clone().map(|nonce| ("nonce", nonce)));
        if self.status == Status::Ok {
            // Every node decides by the one store: there is no server that could know better.
            fields.push(("sl", "100".to_owned()));
        }
        if let Some(reading) = &self.reading {
            fields.push(("timestamp", reading.timestamp().to_string()));
            fields.push(("sessioncounter", reading.use_counter().to_string()));
            fields.push(("sessionuse", reading.session_use().to_string()));
        }
        fields.push(("status", self.status.name().to_owned()));
        fields
    }

    /// What the signature covers: every field.
    pub fn signing_string(&self) -> String {
        let pairs = self.fields().into_iter().map(|(name, value)| (name.to_owned(), value));
        Fields(pairs.collect()).signing_string()
    }

    /// The body, signed by this HMAC.
    pub fn body(&self, mac: &[u8]) -> String {
        let lines = self.fields().into_iter().map(|(name, value)| format!("{name}={value}\r\n"));
        format!("h={}\r\n{}\r\n", signature_text(mac), lines.collect::<String>())
    }
}

/// `YYYY-MM-DDTHH:MM:SSZ0mmm`.
fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    match text.split_once('.') {
        Some((seconds, rest)) => format!("{seconds}Z0{}", rest.trim_end_matches('Z')),
        None => text,
    }
}

/// Reads a time as servers of the protocol write it: `YYYY-MM-DDTHH:MM:SSZ0mmm` as Yubico's own does, or ISO 8601 in other forms, where
/// UTC is meant if nothing is said. `None` for any other text.
fn parse_moment(text: &str) -> Option<Timestamp> {
    if let Some((seconds, millis)) = text.split_once('Z')
        && millis.len() == 4
        && millis.bytes().all(|byte| byte.is_ascii_digit())
    {
        let moment: jiff::Timestamp = format!("{seconds}Z").parse().ok()?;
        return Some(Timestamp::from_unix_millis(moment.as_millisecond() + millis.parse::<i64>().ok()?));
    }
    let moment: jiff::Timestamp = text.parse().or_else(|_| format!("{text}Z").parse()).ok()?;
    Some(Timestamp::from_unix_millis(moment.as_millisecond()))
}

#[cfg(test)]
mod tests;
