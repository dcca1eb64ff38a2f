//! Finds a key and judges it: exactly one object, in custody, and the very key that is meant.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use cryptoki::context::Function;
use cryptoki::error::RvError;
use cryptoki::object::{Attribute, AttributeType, KeyType as ModuleKeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::error::{Fault, Result};
use super::token::is_logged_in;
use crate::wire::KeyRef;
use signet_core::keys::hpke::ENCAPSULATED_BYTES;
use signet_core::keys::{Custody, HsmFailure, KeyAttributes, KeyPurpose, KeyUsage};
use signet_jose::PublicKey;
use signet_jose::algorithm::KeyType;

/// `id-ecPublicKey` named curves, DER (RFC 5480 §2.1.1.1).
pub(super) const P256_OID: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
pub(super) const P384_OID: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x22";
/// `id-Ed25519`, DER (RFC 8410 §3).
pub(super) const ED25519_OID: &[u8] = b"\x06\x03\x2b\x65\x70";

/// Another process that generates a key makes some searches and readings fail.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// A key that may be used.
pub(super) struct FoundKey {
    pub(super) handle: ObjectHandle,
    pub(super) is_elliptic: bool,
    /// The public half of a pair of P-256.
    pub(super) public: Option<[u8; ENCAPSULATED_BYTES]>,
}

/// Finds the key, proves that it is the one that is meant, and judges its custody and its use. Tries again where the
/// module fails as it does beside another process that generates a key.
/// Errors: [`HsmFailure::KeyMissing`] and [`HsmFailure::CustodyRefused`], or what the module answered.
pub(super) fn find_key(session: &Session, key: &KeyRef) -> Result<FoundKey> {
    patiently(|| find_once(session, key))
}

fn find_once(session: &Session, key: &KeyRef) -> Result<FoundKey> {
    let Some(handle) = find_one(session, class_of(key.purpose), key)? else {
        if !is_logged_in(session) {
            // Private objects can't be seen: that is no proof that the key is gone.
            return Err(Fault::Module(RvError::UserNotLoggedIn, Function::FindObjects));
        }
        return Err(missing(key));
    };
    let mut attributes = read_attributes(session, handle)?;
    let mut least_bits = 256;
    let (mut key_type, mut point) = (None, None);
    if key.purpose.is_pair() {
        let public_handle = find_one(session, ObjectClass::PUBLIC_KEY, key)?.ok_or_else(|| missing(key))?;
        let (public, bits) = read_public(session, public_handle)?.ok_or_else(|| missing(key))?;
        if public.thumbprint().as_str() != key.key_id {
            return Err(missing(key));
        }
        (key_type, point) = (Some(public.key_type()), public.p256_point());
        attributes.bits = Some(bits);
        least_bits = shortest(public.key_type());
    }
    judge(&attributes, least_bits, &key.key_id)?;
    refuse_unless_held(read_usage(session, handle, key.purpose, key_type)?.judge(key.purpose), &key.key_id)?;
    refuse_other_purpose(session, handle, key)?;
    let is_elliptic = matches!(key_type, Some(KeyType::P256 | KeyType::P384));
    Ok(FoundKey { handle, is_elliptic, public: point })
}

/// The label that a key was made with says what it is for: an audit key is not to be had as a token key by whoever asks.
/// A label that somebody changed to none of Signet's tells nothing, and the key's use is judged all the same.
fn refuse_other_purpose(session: &Session, handle: ObjectHandle, key: &KeyRef) -> Result<()> {
    let asked = patiently(|| Ok(session.get_attributes(handle, &[AttributeType::Label])?))?;
    let Some(Attribute::Label(label)) = asked.first() else { return Ok(()) };
    let made_for = std::str::from_utf8(label).ok().and_then(purpose_in);
    match made_for {
        Some(purpose) if purpose != key.purpose => {
            let reasons = format!("it was made as {} and is asked for as {}", purpose.name(), key.purpose.name());
            Err(HsmFailure::CustodyRefused { key_id: key.key_id.clone(), reasons }.into())
        }
        _ => Ok(()),
    }
}

/// The purpose in a label `signet/<tenant>/<purpose>` or longer.
fn purpose_in(label: &str) -> Option<KeyPurpose> {
    let word = label.strip_prefix("signet/")?.split('/').nth(1)?;
    KeyPurpose::named(word.trim_end())
}

fn patiently<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    let mut attempts = 1;
    loop {
        match attempt() {
            Err(fault) if fault.is_general_error() && attempts < ATTEMPTS => {
                attempts += 1;
                thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

/// The shortest key of a type that Signet accepts, in bits.
pub(super) const fn shortest(key_type: KeyType) -> u32 {
    match key_type {
        KeyType::P256 | KeyType::Ed25519 => 256,
        KeyType::P384 => 384,
        KeyType::Rsa => 2048,
    }
}

/// Refuses a key out of custody.
pub(super) fn judge(attributes: &KeyAttributes, least_bits: u32, key_id: &str) -> Result<()> {
    refuse_unless_held(attributes.judge(least_bits), key_id)
}

fn refuse_unless_held(custody: Custody, key_id: &str) -> Result<()> {
    match custody {
        Custody::Held => Ok(()),
        Custody::Refused(faults) => {
            let reasons = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Err(HsmFailure::CustodyRefused { key_id: key_id.to_owned(), reasons }.into())
        }
    }
}

fn missing(key: &KeyRef) -> Fault {
    HsmFailure::KeyMissing(key.key_id.clone()).into()
}

/// The one object of this class and `CKA_ID`. PKCS#11 allows several: then nobody knows which one is meant.
fn find_one(session: &Session, class: ObjectClass, key: &KeyRef) -> Result<Option<ObjectHandle>> {
    match of_class(session, class, &key.cka_id.0)?.as_slice() {
        [] => Ok(None),
        [handle] => Ok(Some(*handle)),
        several => {
            let reasons = format!(
                "{} objects of class {class} carry its CKA_ID, so it is not clear which one is meant; remove those that Signet did not make",
                several.len()
            );
            Err(HsmFailure::CustodyRefused { key_id: key.key_id.clone(), reasons }.into())
        }
    }
}

/// Every object in the token of this class and `CKA_ID`.
pub(super) fn of_class(session: &Session, class: ObjectClass, cka_id: &[u8]) -> Result<Vec<ObjectHandle>> {
    search(session, &[Attribute::Token(true), Attribute::Class(class), Attribute::Id(cka_id.to_vec())])
}

/// The class of a key that is used: the private half of a pair, or a secret key.
pub(super) fn class_of(purpose: KeyPurpose) -> ObjectClass {
    if purpose.is_pair() { ObjectClass::PRIVATE_KEY } else { ObjectClass::SECRET_KEY }
}

/// Every object that the template describes.
pub(super) fn search(session: &Session, template: &[Attribute]) -> Result<Vec<ObjectHandle>> {
    let mut found = patiently(|| Ok(session.find_objects(template)?))?;
    // A handle that a module gives twice is one object.
    let mut seen = HashSet::new();
    found.retain(|object| seen.insert(object.handle()));
    Ok(found)
}

/// What the HSM says of a private or secret key. What it does not say counts against the key.
pub(super) fn read_attributes(session: &Session, handle: ObjectHandle) -> Result<KeyAttributes> {
    let mut read = KeyAttributes { extractable: true, ..KeyAttributes::default() };
    let asked = [
        AttributeType::Sensitive,
        AttributeType::AlwaysSensitive,
        AttributeType::Extractable,
        AttributeType::NeverExtractable,
        AttributeType::Local,
    ];
    let optional = [AttributeType::AlwaysAuthenticate, AttributeType::ValueLen];
    let mut attributes = session.get_attributes(handle, &asked)?;
    for attribute in optional {
        match session.get_attributes(handle, &[attribute]).map_err(Fault::from) {
            Ok(read) => attributes.extend(read),
            // Nothing was said: that must not count as "no".
            Err(fault) if fault.is_general_error() => return Err(fault),
            // Secret keys have the one, private keys the other: not having it is no fault.
            Err(_) => {}
        }
    }
    for attribute in attributes {
        match attribute {
            Attribute::Sensitive(value) => read.sensitive = value,
            Attribute::AlwaysSensitive(value) => read.always_sensitive = value,
            Attribute::Extractable(value) => read.extractable = value,
            Attribute::NeverExtractable(value) => read.never_extractable = value,
            Attribute::Local(value) => read.local = value,
            Attribute::AlwaysAuthenticate(value) => read.always_authenticate = value,
            Attribute::ValueLen(bytes) => read.bits = u32::try_from(*bytes).ok().and_then(|bytes| bytes.checked_mul(8)),
            _ => {}
        }
    }
    Ok(read)
}

/// What the HSM says of a key's use. What it does not say counts as no.
fn read_usage(session: &Session, handle: ObjectHandle, purpose: KeyPurpose, pair: Option<KeyType>) -> Result<KeyUsage> {
    let mut usage = KeyUsage::default();
    let mut asked = vec![AttributeType::KeyType, AttributeType::Sign, AttributeType::Decrypt, AttributeType::Unwrap];
    if pair.is_none() {
        // A private key has neither.
        asked.extend([AttributeType::Encrypt, AttributeType::Wrap]);
    }
    if purpose == KeyPurpose::Transport {
        asked.push(AttributeType::Derive);
    }
    for attribute in session.get_attributes(handle, &asked)? {
        match attribute {
            Attribute::KeyType(value) => usage.is_of_right_type = is_type_of(value, purpose, pair),
            Attribute::Sign(value) => usage.signs = value,
            Attribute::Derive(value) => usage.derives = value,
            Attribute::Decrypt(value) => usage.decrypts = value,
            Attribute::Unwrap(value) => usage.unwraps = value,
            Attribute::Encrypt(value) => usage.encrypts = value,
            Attribute::Wrap(value) => usage.wraps = value,
            _ => {}
        }
    }
    Ok(usage)
}

fn is_type_of(module_type: ModuleKeyType, purpose: KeyPurpose, pair: Option<KeyType>) -> bool {
    match (purpose, pair) {
        (KeyPurpose::TokenSigning | KeyPurpose::AuditSigning, pair) => pair.is_some_and(|key_type| {
            module_type
                == match key_type {
                    KeyType::P256 | KeyType::P384 => ModuleKeyType::EC,
                    KeyType::Ed25519 => ModuleKeyType::EC_EDWARDS,
                    KeyType::Rsa => ModuleKeyType::RSA,
                }
        }),
        (KeyPurpose::Transport, pair) => pair == Some(KeyType::P256) && module_type == ModuleKeyType::EC,
        (KeyPurpose::Wrapping | KeyPurpose::Sealing, _) => module_type == ModuleKeyType::AES,
        // Some modules make the one where the other is asked for.
        (KeyPurpose::Binding, _) => [ModuleKeyType::GENERIC_SECRET, ModuleKeyType::SHA256_HMAC].contains(&module_type),
    }
}

/// A public key object's value with its size in bits; `None` where it is of a kind that Signet does not use.
pub(super) fn read_public(session: &Session, handle: ObjectHandle) -> Result<Option<(PublicKey, u32)>> {
    let kind = session.get_attributes(handle, &[AttributeType::KeyType])?;
    let Some(Attribute::KeyType(kind)) = kind.first() else { return Ok(None) };
    if *kind == ModuleKeyType::RSA {
        let read = session.get_attributes(handle, &[AttributeType::Modulus, AttributeType::PublicExponent])?;
        let [Attribute::Modulus(modulus), Attribute::PublicExponent(exponent)] = read.as_slice() else {
            return Ok(None);
        };
        return Ok(PublicKey::from_rsa(modulus, exponent).ok().map(|key| (key, bit_length(modulus))));
    }
    let read = session.get_attributes(handle, &[AttributeType::EcParams, AttributeType::EcPoint])?;
    let [Attribute::EcParams(parameters), Attribute::EcPoint(point)] = read.as_slice() else { return Ok(None) };
    let key_type = if *kind == ModuleKeyType::EC_EDWARDS {
        KeyType::Ed25519
    } else if parameters == P256_OID {
        KeyType::P256
    } else if parameters == P384_OID {
        KeyType::P384
    } else {
        return Ok(None);
    };
    Ok(PublicKey::from_ec_point(key_type, ec_point(key_type, point)).ok().map(|key| (key, shortest(key_type))))
}

/// `CKA_EC_POINT` is a DER OCTET STRING by the specification and bare in some modules. The longest point is under 128
/// bytes, so that the length is one byte. A bare point, which begins with 0x04 too, may look like an OCTET STRING: its
/// own length tells.
fn ec_point(key_type: KeyType, value: &[u8]) -> &[u8] {
    let bare_bytes = match key_type {
        KeyType::P256 => 65,
        KeyType::P384 => 97,
        KeyType::Ed25519 => 32,
        KeyType::Rsa => 0,
    };
    match value {
        bare if bare.len() == bare_bytes => bare,
        [0x04, length, point @ ..] if usize::from(*length) == point.len() => point,
        other => other,
    }
}

fn bit_length(modulus: &[u8]) -> u32 {
    let significant: Vec<u8> = modulus.iter().copied().skip_while(|byte| *byte == 0).collect();
    let bytes = u32::try_from(significant.len()).unwrap_or(u32::MAX);
    bytes.saturating_mul(8).saturating_sub(significant.first().map_or(0, |byte| byte.leading_zeros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_bare_and_wrapped() {
        for (key_type, bytes) in [(KeyType::P256, 65_u8), (KeyType::P384, 97), (KeyType::Ed25519, 32)] {
            // One in 256 bare points looks like an OCTET STRING of its own rest.
            let mut bare = vec![7; usize::from(bytes)];
            (bare[0], bare[1]) = (4, bytes - 2);
            assert_eq!(ec_point(key_type, &bare), bare);
            assert_eq!(ec_point(key_type, &[&[4, bytes], bare.as_slice()].concat()), bare);
        }
    }

    #[test]
    fn a_label_of_signets_names_the_purpose() {
        assert_eq!(purpose_in("signet/default/audit_signing/7aUE"), Some(KeyPurpose::AuditSigning));
        assert_eq!(purpose_in("signet/default/token_signing"), Some(KeyPurpose::TokenSigning));
        for label in ["", "signet", "signet/", "signet/default", "signet/default/other", "my key/a/audit_signing"] {
            assert_eq!(purpose_in(label), None);
        }
    }

    #[test]
    fn leading_zeros_count_for_nothing() {
        assert_eq!(bit_length(&[0, 0x80, 0]), 16);
        assert_eq!(bit_length(&[0x7f, 0]), 15);
        assert_eq!(bit_length(&[]), 0);
    }
}
