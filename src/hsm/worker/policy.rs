//! What a key signs, by its purpose: the worker reads it itself, whoever asks.

use crate::hsm::wire::KeyRef;
use crate::jose::{Algorithm, Header};
use crate::keys::SignedKind;

/// Why something is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it is no signing input of a JWS with a strict header")]
    NotJws,
    #[error("its `typ` names nothing that Signet signs")]
    Type,
    #[error("a {purpose} key does not sign a {kind}")]
    Purpose { kind: &'static str, purpose: &'static str },
    #[error("its `{0}` is not the key's")]
    OtherKey(&'static str),
}

/// Judges a signing input: gives what it is.
///
/// # Errors
///
/// [`Refusal`].
pub(super) fn judge(key: &KeyRef, algorithm: Algorithm, input: &[u8]) -> Result<SignedKind, Refusal> {
    let text = std::str::from_utf8(input).map_err(|_| Refusal::NotJws)?;
    let (header, _payload) = text.split_once('.').ok_or(Refusal::NotJws)?;
    let header = Header::parse(header).map_err(|_| Refusal::NotJws)?;
    let kind = header.token_type.as_deref().and_then(SignedKind::from_token_type).ok_or(Refusal::Type)?;
    if !kind.is_signed_by(key.purpose) {
        return Err(Refusal::Purpose { kind: kind.name(), purpose: key.purpose.name() });
    }
    if header.algorithm != algorithm {
        return Err(Refusal::OtherKey("alg"));
    }
    if header.key_id.is_none_or(|key_id| key_id.as_str() != key.key_id) {
        return Err(Refusal::OtherKey("kid"));
    }
    Ok(kind)
}
