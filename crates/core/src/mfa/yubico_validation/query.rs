//! The client's side: what is asked of another validation server, and what its answer is worth.

use std::time::Duration;

use data_encoding::HEXLOWER;

use super::{ClientNumber, Fields, Status, hmac_sha1, is_signature, parse_moment, signature_text};
use crate::mfa::{FactorKind, Spendable, Spending, yubico_otp};
use signet_jose::clock::Timestamp;

/// How far the answer's time may be from ours. The nonce is what keeps old answers away; this catches a server whose
/// clock, and with it its judgement of delayed OTPs, is not to be trusted.
const PLAUSIBLE: Duration = Duration::from_secs(600);
/// The longest nonce of the protocol.
const NONCE_BYTES: usize = 20;

/// One question to validation servers. All of them are asked the same: an OTP is spent once.
#[derive(Debug, Clone)]
pub struct Query {
    fields: Fields,
    nonce: String,
}

/// Why an answer is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// It is not of the protocol's form; where, in words.
    #[error("the answer is malformed: {0}")]
    Malformed(&'static str),
    /// Its signature is missing or wrong.
    #[error("the answer's signature is missing or wrong; is the API key this server's?")]
    WrongSignature,
    /// It answers another request.
    #[error("the answer is to another request")]
    OtherRequest,
    /// Its time is far from ours.
    #[error("the answer's time (`t`) is more than ten minutes from this machine's")]
    ImplausibleTime,
    /// It says that the OTP is good, and not which counters it had.
    #[error("the answer does not tell the key's counters (`sessioncounter`, `sessionuse`)")]
    NoCounters,
}

impl Query {
    /// A question about `otp` (modhex, as the server knows it) under this random nonce, answered within `timeout`.
    pub fn new(client: ClientNumber, otp: &str, nonce: [u8; NONCE_BYTES], timeout: Duration) -> Self {
        let nonce = HEXLOWER.encode(&nonce);
        let pairs = [
            ("id", client.to_string()),
            ("nonce", nonce.clone()),
            ("otp", otp.to_owned()),
            ("timeout", timeout.as_secs().max(1).to_string()),
            ("timestamp", "1".to_owned()),
        ];
        let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
        Self { fields: Fields(pairs.collect()), nonce }
    }

    /// The fields with their signature, not encoded yet.
    pub fn pairs(&self, key: &[u8]) -> Vec<(String, String)> {
        let signature = signature_text(&hmac_sha1(key, &self.fields.signing_string()));
        let fields = self.fields.0.iter().map(|(name, value)| (name.clone(), value.clone()));
        fields.chain([("h".to_owned(), signature)]).collect()
    }

    /// What an answer is worth: the counter of a good OTP, to be spent here too (a server that accepts an OTP twice does not
    /// make it good twice), or the status of any other trustworthy answer.
    /// Errors: [`AnswerFault`]: somebody else may have written it.
    pub fn judge(&self, body: &str, key: &[u8], now: Timestamp) -> Result<Result<Spendable, Status>, AnswerFault> {
        let fields = read_body(body).map_err(AnswerFault::Malformed)?;
        let mac = hmac_sha1(key, &fields.signing_string());
        if !fields.value("h").is_some_and(|shown| is_signature(shown, &mac)) {
            return Err(AnswerFault::WrongSignature);
        }
        let status = fields.value("status").ok_or(AnswerFault::Malformed("its field `status` is missing"))?;
        let status =
            Status::named(status).ok_or(AnswerFault::Malformed("its field `status` is none of the protocol's"))?;
        let is_same = |name: &str| fields.value(name).is_some() && fields.value(name) == self.fields.value(name);
        // Not every refusal repeats what was asked. One that repeats something else is an old one.
        let is_absent = |name: &str| status != Status::Ok && fields.value(name).is_none();
        if !["otp", "nonce"].into_iter().all(|name| is_same(name) || is_absent(name)) {
            return Err(AnswerFault::OtherRequest);
        }
        if status != Status::Ok {
            return Ok(Err(status));
        }
        let at = fields.value("t").ok_or(AnswerFault::Malformed("its field `t` is missing"))?;
        // The protocol says that it is UTC, and not how it is written: one that can't be read says nothing against the answer.
        if parse_moment(at).is_some_and(|at| at.since(now).max(now.since(at)) > PLAUSIBLE) {
            return Err(AnswerFault::ImplausibleTime);
        }
        let number = |name: &str| fields.value(name).and_then(|text| text.parse::<u16>().ok());
        let counters = (number("sessioncounter"), number("sessionuse").and_then(|number| u8::try_from(number).ok()));
        let (Some(use_counter), Some(session_use)) = counters else { return Err(AnswerFault::NoCounters) };
        let raised = i64::from(use_counter & 0x7fff) << 8 | i64::from(session_use);
        Ok(Ok(Spendable { by: Spending::Counter(raised), used: yubico_otp::used(FactorKind::YubicoRemote) }))
    }

    /// The nonce.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }
}

/// `name=value` lines.
/// Errors: what is wrong with any other line but an empty one, or with a name that comes twice.
fn read_body(body: &str) -> Result<Fields, &'static str> {
    let lines = body.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let pairs: Option<Vec<_>> = lines.map(|line| line.split_once('=')).collect();
    let pairs = pairs.ok_or("a line of it is no `name=value`")?;
    let is_twice = |name: &str| pairs.iter().filter(|(other, _)| *other == name).count() > 1;
    for (name, told) in TWICE {
        if is_twice(name) {
            return Err(told);
        }
    }
    let fields = Fields::collect(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    fields.ok_or("it has a field twice")
}

/// What is said of a field that the protocol knows and an answer has twice.
const TWICE: [(&str, &str); 7] = [
    ("status", "it has the field `status` twice"),
    ("t", "it has the field `t` twice"),
    ("h", "it has the field `h` twice"),
    ("otp", "it has the field `otp` twice"),
    ("nonce", "it has the field `nonce` twice"),
    ("sessioncounter", "it has the field `sessioncounter` twice"),
    ("sessionuse", "it has the field `sessionuse` twice"),
];
