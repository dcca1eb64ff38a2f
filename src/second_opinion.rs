//! A second opinion: a token judged again by what others wrote. The `jsonwebtoken` crate shares no parsing and no claim
//! check with Signet's own; the crates of RustCrypto and dalek share no arithmetic with aws-lc, by which both Signet and
//! `jsonwebtoken` verify. For tools and auditors; the hot path asks one opinion.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, Validation};
use p256::ecdsa::signature::Verifier as VerifiesSignature;
use p256::pkcs8::DecodePublicKey;
use rsa::{pkcs1v15, pss};
use sha2::{Sha256, Sha384, Sha512};

use signet_jose::{Algorithm, Jwk, UnverifiedJws};
use signet_verify::{AcceptedAudiences, Verifier};

/// A second implementation does not accept the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{by} does not accept the token: {reason}")]
pub struct Disagreement {
    by: &'static str,
    reason: String,
}

impl Disagreement {
    fn of<E: ToString>(by: &'static str) -> impl Fn(E) -> Self + Copy {
        move |reason| Self { by, reason: reason.to_string() }
    }
}

/// Judges signature, `iss`, `aud`, `exp` and `nbf` by `jsonwebtoken`, and the signature again by the crates of RustCrypto
/// and dalek, with the key that the header names. A token that [`Verifier::verify`] accepts and this refuses shows a fault
/// in one of them.
/// Errors: [`Disagreement`] with that crate's reason.
pub fn second_opinion(verifier: &Verifier, token: &str) -> Result<(), Disagreement> {
    let header = UnverifiedJws::parse(token).map_err(Disagreement::of("Signet"))?;
    let jwk = verifier.jwk(header.header()).ok_or("no key of that name").map_err(Disagreement::of("Signet"))?;
    if !names_ed25519(token) {
        by_jsonwebtoken(verifier, &jwk, token)?;
    }
    by_other_arithmetic(&jwk, token)
}

/// Whether the header says `Ed25519` (RFC 9864 §2.2), which `jsonwebtoken` does not know: such a token has the opinion on its signature
/// alone.
fn names_ed25519(token: &str) -> bool {
    let header = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok());
    let header = header.and_then(|header| serde_json::from_slice::<serde_json::Value>(&header).ok());
    header.is_some_and(|header| header["alg"] == "Ed25519")
}

/// Judges the whole token by `jsonwebtoken`, with this key.
/// Errors: [`Disagreement`] with the crate's reason.
pub fn by_jsonwebtoken(verifier: &Verifier, jwk: &Jwk, token: &str) -> Result<(), Disagreement> {
    let by = "jsonwebtoken";
    let key = serde_json::from_value(jwk.to_json()).map_err(Disagreement::of(by))?;
    let key = DecodingKey::from_jwk(&key).map_err(Disagreement::of(by))?;
    let algorithm = jwk.algorithm.name().parse().map_err(Disagreement::of::<jsonwebtoken::errors::Error>(by))?;
    let mut validation = Validation::new(algorithm);
    validation.leeway = verifier.policy().leeway.as_secs();
    validation.validate_nbf = true;
    validation.set_issuer(&[&verifier.policy().issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
    match &verifier.policy().audiences {
        AcceptedAudiences::AnyOf(audiences) => {
            validation.set_audience(&audiences.iter().collect::<Vec<_>>());
        }
        AcceptedAudiences::DangerAnyAudience => validation.validate_aud = false,
    }
    jsonwebtoken::decode::<serde_json::Value>(token, &key, &validation).map(drop).map_err(Disagreement::of(by))
}

/// Judges the signature alone, by `p256`, `p384`, `rsa` or `ed25519-dalek`, with this key and its algorithm.
/// Errors: [`Disagreement`] with the crate's reason.
pub fn by_other_arithmetic(jwk: &Jwk, token: &str) -> Result<(), Disagreement> {
    let (by, judge): (_, Judge) = match jwk.algorithm {
        Algorithm::Es256 => ("p256", judge::<p256::ecdsa::VerifyingKey, p256::ecdsa::Signature>),
        Algorithm::Es384 => ("p384", judge::<p384::ecdsa::VerifyingKey, p384::ecdsa::Signature>),
        Algorithm::EdDsa => ("ed25519-dalek", judge::<ed25519_dalek::VerifyingKey, ed25519_dalek::Signature>),
        Algorithm::Rs256 => ("rsa", judge::<pkcs1v15::VerifyingKey<Sha256>, pkcs1v15::Signature>),
        Algorithm::Rs384 => ("rsa", judge::<pkcs1v15::VerifyingKey<Sha384>, pkcs1v15::Signature>),
        Algorithm::Rs512 => ("rsa", judge::<pkcs1v15::VerifyingKey<Sha512>, pkcs1v15::Signature>),
        Algorithm::Ps256 => ("rsa", judge::<pss::VerifyingKey<Sha256>, pss::Signature>),
        Algorithm::Ps384 => ("rsa", judge::<pss::VerifyingKey<Sha384>, pss::Signature>),
        Algorithm::Ps512 => ("rsa", judge::<pss::VerifyingKey<Sha512>, pss::Signature>),
    };
    let (message, signature) = token.rsplit_once('.').ok_or("no signature").map_err(Disagreement::of(by))?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(Disagreement::of(by))?;
    // RFC 8017 §8.1.2: a signature is as long as the modulus. The crate takes one whose leading zeros are left out.
    if by == "rsa" && signature.len() != jwk.key.bits().div_ceil(8) {
        return Err(Disagreement::of(by)("a signature of another length than the modulus"));
    }
    judge(&jwk.key.to_spki_der(), message.as_bytes(), &signature).map_err(Disagreement::of(by))
}

/// Judges by the DER of a public key, a message and a signature.
type Judge = fn(&[u8], &[u8], &[u8]) -> Result<(), String>;

/// The judge whose key and signature are one crate's, each read by that crate.
fn judge<K, S>(spki: &[u8], message: &[u8], signature: &[u8]) -> Result<(), String>
where
    K: DecodePublicKey + VerifiesSignature<S>,
    S: for<'s> TryFrom<&'s [u8], Error: ToString>,
{
    let key = K::from_public_key_der(spki).map_err(|error| error.to_string())?;
    let signature = S::try_from(signature).map_err(|error| error.to_string())?;
    key.verify(message, &signature).map_err(|error| error.to_string())
}
