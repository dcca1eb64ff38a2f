//! Taking single claims out of a payload. A claim that can't be read is not an absent one: it refuses the token.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Refusal;
use signet_jose::clock::Timestamp;

/// 9999-12-31T23:59:59Z: no NumericDate beyond it is believed.
const LAST_SECOND: f64 = 253_402_300_799.0;

pub(super) fn required<T>(claim: Option<T>, name: &'static str) -> Result<T, Refusal> {
    claim.ok_or(Refusal::Missing(name))
}

pub(super) fn text(claims: &mut Map<String, Value>, name: &'static str) -> Result<Option<String>, Refusal> {
    match claims.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::Malformed(name)),
    }
}

pub(super) fn texts(claims: &mut Map<String, Value>, name: &'static str) -> Result<Vec<String>, Refusal> {
    match claims.remove(name) {
        None => Ok(Vec::new()),
        Some(Value::Array(elements)) => elements.into_iter().map(|element| into_text(element, name)).collect(),
        Some(_) => Err(Refusal::Malformed(name)),
    }
}

fn into_text(value: Value, name: &'static str) -> Result<String, Refusal> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Refusal::Malformed(name)),
    }
}

/// A NumericDate (RFC 7519 §2), which may have a fraction. Before 1970 and after the year 9999 nothing is believed.
pub(super) fn date(claims: &mut Map<String, Value>, name: &'static str) -> Result<Option<Timestamp>, Refusal> {
    let Some(value) = claims.remove(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=LAST_SECOND).contains(seconds));
    let seconds = seconds.ok_or(Refusal::Malformed(name))?;
    // In range: at most 2.6e14, which both f64 and i64 hold exactly.
    Ok(Some(Timestamp::from_unix_millis((seconds * 1000.0).floor() as i64)))
}

/// RFC 7519 §4.1.3: one string, or an array of strings.
pub(super) fn audiences(claims: &mut Map<String, Value>) -> Result<Vec<String>, Refusal> {
    match claims.remove("aud") {
        None => Err(Refusal::Missing("aud")),
        Some(Value::String(audience)) => Ok(vec![audience]),
        Some(Value::Array(elements)) => elements.into_iter().map(|element| into_text(element, "aud")).collect(),
        Some(_) => Err(Refusal::Malformed("aud")),
    }
}

/// RFC 6749 §3.3: tokens parted by spaces.
pub(super) fn scopes(scope: Option<String>) -> BTreeSet<String> {
    let scope = scope.unwrap_or_default();
    scope.split(' ').filter(|token| !token.is_empty()).map(str::to_owned).collect()
}
