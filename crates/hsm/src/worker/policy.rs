//! What a key signs, by its purpose and its policy: the worker reads header and claims itself, whoever asks.
//!
//! Whoever takes over the server can ask for signatures. What comes out of it is bounded here: no foreign bytes, no
//! other issuer, nothing that outlives the longest lifetime or begins at another time than now, no person's token that
//! does not claim a factor beside the password. [`Judge::claims`] is the one table: a further kind of token is a further
//! arm of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::wire::KeyRef;
use signet_core::keys::signed::TEST_PAYLOAD;
use signet_core::keys::{SignedKind, SigningPolicy};
use signet_jose::clock::Timestamp;
use signet_jose::{Algorithm, strict_json};

/// How far `iat`, `nbf` and the like may be from the worker's clock: a request may wait for up to a minute.
const NEAR: Duration = Duration::from_secs(90);

/// A token is no longer than what a verifier accepts.
const MAX_TOKEN: usize = 8 * 1024;
/// A report of some thousand keys.
const MAX_REPORT: usize = 768 * 1024;

const MAX_TEXT: usize = 512;

/// Proofs of possession in the words of RFC 8176 §2, beside which a password may stand: a code, a key in hardware, a
/// smart card.
const FACTORS: [&str; 3] = ["otp", "hwk", "sc"];

/// What says something of a person, and is in no token of software.
const PERSONAL: [&str; 4] = ["auth_time", "acr", "amr", "roles"];

/// Why something is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it is no signing input of a JWS: two parts of base64url, at most so long")]
    NotJws,
    #[error("its header is not one strict JSON object of `alg`, `kid` and `typ`")]
    Header,
    #[error("its `typ` names nothing that Signet signs")]
    Type,
    #[error("a {purpose} key does not sign a {kind}")]
    Purpose { kind: &'static str, purpose: &'static str },
    #[error("its `{0}` is not the key's")]
    OtherKey(&'static str),
    #[error("its payload is not what a {0} is made of")]
    Payload(&'static str),
    #[error("its `{0}` is missing or malformed")]
    Claim(&'static str),
    #[error("its `iss` is none of this deployment's issuers")]
    Issuer,
    #[error("it lasts {0}s, longer than any token may")]
    Lifetime(i64),
    #[error("its `{0}` is not near the time that it is here")]
    Time(&'static str),
    #[error("it names a person, and its `amr` claims no factor beside the password")]
    Factor,
    #[error("it is software's own (`sub` is `client_id`) and says `{0}`, which is a person's")]
    Personal(&'static str),
}

/// The policy at a moment.
pub(super) struct Judge<'p> {
    pub(super) policy: &'p SigningPolicy,
    pub(super) now: Timestamp,
}

impl Judge<'_> {
    /// Judges a signing input: gives what it is.
    /// Errors: [`Refusal`] with the first reason found.
    pub(super) fn judge(&self, key: &KeyRef, algorithm: Algorithm, input: &[u8]) -> Result<SignedKind, Refusal> {
        if input.len() > MAX_REPORT {
            return Err(Refusal::NotJws);
        }
        let dot = input.iter().position(|byte| *byte == b'.').ok_or(Refusal::NotJws)?;
        let (header, payload) = (input.get(..dot).unwrap_or_default(), input.get(dot + 1..).unwrap_or_default());
        let kind = judge_header(key, algorithm, header)?;
        if kind != SignedKind::Report && input.len() > MAX_TOKEN {
            return Err(Refusal::NotJws);
        }
        // A second dot is no base64url.
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| Refusal::NotJws)?;
        self.claims(kind, &payload)?;
        Ok(kind)
    }

    /// What each kind must say.
    fn claims(&self, kind: SignedKind, payload: &[u8]) -> Result<(), Refusal> {
        let wrong = Refusal::Payload(kind.name());
        let object = || strict_json::object(payload).map_err(|_| wrong.clone());
        match kind {
            SignedKind::Token => self.access_token(&object()?),
            SignedKind::Checkpoint => self.checkpoint(&object()?),
            SignedKind::Report => object().map(drop),
            SignedKind::Backup => self.backup(&object()?),
            SignedKind::Admission => self.admission(&object()?),
            SignedKind::Test if payload == TEST_PAYLOAD => Ok(()),
            SignedKind::Test => Err(wrong),
        }
    }

    /// RFC 9068 §2.2.
    fn access_token(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        self.issued_here_and_now(claims)?;
        audience(claims)?;
        text(claims, "jti")?;
        let (subject, client) = (text(claims, "sub")?, text(claims, "client_id")?);
        if subject == client {
            let personal = PERSONAL.into_iter().find(|name| claims.contains_key(*name));
            return personal.map_or(Ok(()), |name| Err(Refusal::Personal(name)));
        }
        let signed_in = seconds(claims, "auth_time")?;
        if Timestamp::from_unix_seconds(signed_in) > self.now.plus(NEAR) {
            return Err(Refusal::Time("auth_time"));
        }
        let methods = claims.get("amr").and_then(Value::as_array).ok_or(Refusal::Factor)?;
        let is_factor = |method: &Value| method.as_str().is_some_and(|method| FACTORS.contains(&method));
        if methods.iter().all(Value::is_string) && methods.iter().any(is_factor) {
            Ok(())
        } else {
            Err(Refusal::Factor)
        }
    }

    /// What holds of every JWT that Signet issues: its issuer, that it begins now, and when it ends.
    fn issued_here_and_now(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        let issuer = text(claims, "iss")?;
        if !self.policy.issuers.iter().any(|known| known == issuer) {
            return Err(Refusal::Issuer);
        }
        let (issued, expires) = (seconds(claims, "iat")?, seconds(claims, "exp")?);
        let longest = i64::try_from(self.policy.longest_token.as_secs()).unwrap_or(i64::MAX);
        if expires <= issued || expires - issued > longest {
            return Err(Refusal::Lifetime(expires - issued));
        }
        self.near(issued, "iat")?;
        match claims.get("nbf") {
            Some(_) => self.near(seconds(claims, "nbf")?, "nbf"),
            None => Ok(()),
        }
    }

    /// The checkpoint of `signet_core::audit`: nothing else, and at no other time.
    fn checkpoint(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        let wrong = Refusal::Payload(SignedKind::Checkpoint.name());
        let is_head = |claims: &Map<String, Value>| {
            text(claims, "node").is_ok_and(|node| !node.is_empty())
                && text(claims, "hash").is_ok_and(|hash| hash.len() == 43)
                && claims.get("seq").and_then(Value::as_u64).is_some()
        };
        // The ends of other nodes' chains, where there are any.
        let others = claims.get("others").map(Value::as_array);
        let is_other = |other: &Value| other.as_object().is_some_and(|other| other.len() == 3 && is_head(other));
        let are_heads = others.is_none_or(|others| others.is_some_and(|others| others.iter().all(is_other)));
        let is_complete = claims.len() == 5 + usize::from(others.is_some());
        if !is_complete || claims.get("v").and_then(Value::as_u64) != Some(1) || !is_head(claims) || !are_heads {
            return Err(wrong);
        }
        let at = text(claims, "at")?.parse::<jiff::Timestamp>().map_err(|_| Refusal::Claim("at"))?;
        self.near(at.as_second(), "at")
    }

    /// The statement of `signet_core::backup`: nothing else, and at no other time.
    fn backup(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        let is_complete = claims.len() == 9 && claims.get("v").and_then(Value::as_u64) == Some(1);
        let is_list = |name| claims.get(name).is_some_and(Value::is_array);
        let is_number = claims.get("rows").and_then(Value::as_u64).is_some();
        if !is_complete || !is_list("tables") || !is_list("heads") || !is_number {
            return Err(Refusal::Payload(SignedKind::Backup.name()));
        }
        for name in ["id", "at", "hash"] {
            text(claims, name)?;
        }
        let issuer = text(claims, "iss")?;
        if !self.policy.issuers.iter().any(|known| known == issuer) {
            return Err(Refusal::Issuer);
        }
        self.near(seconds(claims, "iat")?, "iat")
    }

    /// The admission of `signet_core::admission`: nothing else, and at no other time.
    fn admission(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        let number = |name: &str| claims.get(name).and_then(Value::as_u64);
        let names_generation = number("generation").is_some_and(|generation| u8::try_from(generation).is_ok());
        if claims.len() != 7 || number("v") != Some(1) || !names_generation {
            return Err(Refusal::Payload(SignedKind::Admission.name()));
        }
        for name in ["hsm", "transport", "envelope"] {
            text(claims, name)?;
        }
        let issuer = text(claims, "iss")?;
        if !self.policy.issuers.iter().any(|known| known == issuer) {
            return Err(Refusal::Issuer);
        }
        self.near(seconds(claims, "iat")?, "iat")
    }

    fn near(&self, seconds: i64, name: &'static str) -> Result<(), Refusal> {
        let moment = Timestamp::from_unix_seconds(seconds);
        let is_near = self.now.minus(NEAR) <= moment && moment <= self.now.plus(NEAR);
        if is_near { Ok(()) } else { Err(Refusal::Time(name)) }
    }
}

/// The header holds three members and names this key.
fn judge_header(key: &KeyRef, algorithm: Algorithm, part: &[u8]) -> Result<SignedKind, Refusal> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::NotJws)?;
    let members = strict_json::object(&json).map_err(|_| Refusal::Header)?;
    let member = |name| members.get(name).and_then(Value::as_str).ok_or(Refusal::Header);
    let kind = SignedKind::from_token_type(member("typ")?).ok_or(Refusal::Type)?;
    if !kind.is_signed_by(key.purpose) {
        return Err(Refusal::Purpose { kind: kind.name(), purpose: key.purpose.name() });
    }
    if member("alg")? != algorithm.name() {
        return Err(Refusal::OtherKey("alg"));
    }
    if member("kid")? != key.key_id {
        return Err(Refusal::OtherKey("kid"));
    }
    // `jwk`, `jku`, `x5u`, `crit` and whatever else changes how it is read.
    if members.len() != 3 {
        return Err(Refusal::Header);
    }
    Ok(kind)
}

fn text<'c>(claims: &'c Map<String, Value>, name: &'static str) -> Result<&'c str, Refusal> {
    let text = claims.get(name).and_then(Value::as_str);
    text.filter(|text| (1..=MAX_TEXT).contains(&text.len())).ok_or(Refusal::Claim(name))
}

/// A NumericDate as Signet writes it: whole seconds, not before 1970.
fn seconds(claims: &Map<String, Value>, name: &'static str) -> Result<i64, Refusal> {
    let seconds = claims.get(name).and_then(Value::as_i64);
    seconds.filter(|seconds| (0..=i64::MAX / 1000).contains(seconds)).ok_or(Refusal::Claim(name))
}

/// One text or several: a token that anybody may accept is no token.
fn audience(claims: &Map<String, Value>) -> Result<(), Refusal> {
    let is_name = |value: &Value| value.as_str().is_some_and(|name| !name.is_empty());
    let is_named = match claims.get("aud") {
        Some(Value::Array(names)) => !names.is_empty() && names.iter().all(is_name),
        Some(name) => is_name(name),
        None => false,
    };
    if is_named { Ok(()) } else { Err(Refusal::Claim("aud")) }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
