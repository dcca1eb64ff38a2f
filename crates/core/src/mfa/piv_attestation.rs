//! Whether a PIV key was made on a YubiKey: Yubico's attestation (slot f9), and certificates of an enterprise's own CA.
//!
//! The YubiKey signs a certificate for the key in its slot with the key in slot f9, whose certificate leads to Yubico's
//! root. It does so for keys alone that it made itself. Extensions below 1.3.6.1.4.1.41482.3 tell serial number, firmware
//! and the PIN's and the touch's policy (Yubico, "PIV attestation").

use std::time::{Duration, SystemTime};

use aws_lc_rs::signature as aws;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use signet_jose::algorithm::KeyType;
use signet_jose::clock::Timestamp;
use signet_jose::jwk::{KeyError, PublicKey};

const SERIAL: &str = "1.3.6.1.4.1.41482.3.7";
const POLICY: &str = "1.3.6.1.4.1.41482.3.8";

/// The critical extensions that are judged: key usage and basic constraints.
const JUDGED: [&str; 2] = ["2.5.29.15", "2.5.29.19"];
/// Those of a holder's certificate that change nothing here: alternative name, policies, extended key usage.
const OF_HOLDERS: [&str; 3] = ["2.5.29.17", "2.5.29.32", "2.5.29.37"];

/// Certificates between the key's and the root.
const MAX_INTERMEDIATES: usize = 5;

/// Why a certificate or an attestation is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestationFault {
    /// No certificate, or one of an unknown form.
    #[error("the {0} is not a certificate in PEM or DER")]
    Malformed(&'static str),
    /// The key of a certificate can't be used.
    #[error("the certificate's key can't be used")]
    Key(#[from] KeyError),
    /// The chain ends before a trusted root.
    #[error("the certificate of `{0}` leads to none of the configured roots: give every intermediate certificate")]
    Untrusted(String),
    /// A certificate of the chain is not valid now.
    #[error("the certificate of `{0}` is not valid now")]
    NotValidNow(String),
    /// A certificate of the chain limits itself in a way that is not understood here.
    #[error("the certificate of `{0}` has a critical extension that Signet does not judge")]
    UnknownCritical(String),
    /// The attestation is of another key.
    #[error("the attestation is of another key than the one that is to be enrolled")]
    AnotherKey,
    /// The attestation does not say what Yubico's do.
    #[error("the attestation lacks Yubico's extension for {0}: it is not an attestation of a YubiKey's PIV key")]
    Lacks(&'static str),
    /// The key signs without the PIN.
    #[error("the key's PIN policy is `never`: make the key with --pin-policy once or always")]
    NoPin,
}

/// What an attestation proves of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    /// The YubiKey's serial number.
    pub serial: u32,
    /// Whether each signature needs a touch.
    pub needs_touch: bool,
}

/// Reads certificates: any number in PEM, or one in DER.
/// Errors: [`AttestationFault::Malformed`] that names `what`.
pub fn read_certificates(bytes: &[u8], what: &'static str) -> Result<Vec<Certificate>, AttestationFault> {
    let malformed = |_| AttestationFault::Malformed(what);
    if bytes.starts_with(&[0x30]) {
        return Ok(vec![Certificate::from_der(bytes).map_err(malformed)?]);
    }
    let certificates = Certificate::load_pem_chain(bytes).map_err(malformed)?;
    if certificates.is_empty() { Err(AttestationFault::Malformed(what)) } else { Ok(certificates) }
}

/// The public key of a certificate.
pub fn key_of(certificate: &Certificate) -> Result<PublicKey, AttestationFault> {
    let spki = certificate.tbs_certificate().subject_public_key_info().to_der();
    Ok(PublicKey::from_spki_der(&spki.map_err(|_| KeyError::Unsupported)?)?)
}

/// Judges an attestation of `key`.
pub fn judge(
    key: &PublicKey,
    attestation: &Certificate,
    intermediates: &[Certificate],
    roots: &[Certificate],
    now: Timestamp,
) -> Result<Attested, AttestationFault> {
    judge_chain(attestation, intermediates, roots, now)?;
    if key_of(attestation)? != *key {
        return Err(AttestationFault::AnotherKey);
    }
    let policy = extension(attestation, POLICY).ok_or(AttestationFault::Lacks("the PIN policy"))?;
    let [pin, touch] = *policy else { return Err(AttestationFault::Lacks("the PIN policy")) };
    // 1 never; 2 once; 3 always; 4 and 5 a finger on a key with a reader.
    if !(2..=5).contains(&pin) {
        return Err(AttestationFault::NoPin);
    }
    let serial = extension(attestation, SERIAL).and_then(|der| u32::from_der(der).ok());
    Ok(Attested { serial: serial.ok_or(AttestationFault::Lacks("the serial number"))?, needs_touch: touch >= 2 })
}

/// Judges whether a certificate leads to one of the roots, and each on the way is valid now.
pub fn judge_chain(
    leaf: &Certificate,
    intermediates: &[Certificate],
    roots: &[Certificate],
    now: Timestamp,
) -> Result<(), AttestationFault> {
    let mut current = leaf;
    for below in 0..=MAX_INTERMEDIATES {
        check_validity(current, now)?;
        check_critical(current, below)?;
        if let Some(root) = roots.iter().find(|root| is_signed_by(current, root)) {
            return check_validity(root, now);
        }
        let issuer = intermediates.iter().find(|issuer| may_issue(issuer, below) && is_signed_by(current, issuer));
        current = issuer.ok_or_else(|| AttestationFault::Untrusted(subject(current)))?;
    }
    Err(AttestationFault::Untrusted(subject(current)))
}

fn subject(certificate: &Certificate) -> String {
    certificate.tbs_certificate().subject().to_string()
}

fn check_validity(certificate: &Certificate, now: Timestamp) -> Result<(), AttestationFault> {
    let millis = u64::try_from(now.unix_millis()).unwrap_or(0);
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    let validity = certificate.tbs_certificate().validity();
    let is_valid = validity.not_before.to_system_time() <= now && now <= validity.not_after.to_system_time();
    if is_valid { Ok(()) } else { Err(AttestationFault::NotValidNow(subject(certificate))) }
}

/// What limits a certificate and is not understood refuses it (RFC 5280 §4.2): a CA that may sign for some names alone,
/// for example. What a card's own certificate says of its holder and its use limits nothing here: an operator enrols the
/// key for a user.
fn check_critical(certificate: &Certificate, below: usize) -> Result<(), AttestationFault> {
    let mut extensions = certificate.tbs_certificate().extensions().into_iter().flatten();
    let is_understood = |extension: &Extension| {
        let id = extension.extn_id.to_string();
        !extension.critical || JUDGED.contains(&&*id) || (below == 0 && OF_HOLDERS.contains(&&*id))
    };
    if extensions.all(is_understood) { Ok(()) } else { Err(AttestationFault::UnknownCritical(subject(certificate))) }
}

/// Whether a certificate may sign others, with so many CA certificates below it (RFC 5280 §4.2.1.3, §4.2.1.9). An
/// extension that can't be read counts as a no.
fn may_issue(certificate: &Certificate, below: usize) -> bool {
    let tbs = certificate.tbs_certificate();
    let is_ca = tbs.get_extension::<BasicConstraints>().ok().flatten().is_some_and(|(_, constraints)| {
        constraints.ca && constraints.path_len_constraint.is_none_or(|most| below <= usize::from(most))
    });
    let usage = tbs.get_extension::<KeyUsage>();
    let may_sign = usage.is_ok_and(|usage| usage.is_none_or(|(_, usage)| usage.key_cert_sign()));
    is_ca && may_sign
}

fn is_signed_by(certificate: &Certificate, issuer: &Certificate) -> bool {
    let tbs = certificate.tbs_certificate();
    if tbs.issuer() != issuer.tbs_certificate().subject() {
        return false;
    }
    let (Ok(key), Ok(text), Some(signature)) = (key_of(issuer), tbs.to_der(), certificate.signature().as_bytes())
    else {
        return false;
    };
    let name = certificate.signature_algorithm().oid.to_string();
    // The same algorithm stands inside what is signed.
    let Some(algorithm) = algorithm(key.key_type(), &name).filter(|_| tbs.signature().oid.to_string() == name) else {
        return false;
    };
    aws::UnparsedPublicKey::new(algorithm, key.to_spki_der()).verify(&text, signature).is_ok()
}

/// The algorithms of RFC 5758 and RFC 8017 with SHA-2.
fn algorithm(key: KeyType, oid: &str) -> Option<&'static dyn aws::VerificationAlgorithm> {
    match (key, oid) {
        (KeyType::Rsa, "1.2.840.113549.1.1.11") => Some(&aws::RSA_PKCS1_2048_8192_SHA256),
        (KeyType::Rsa, "1.2.840.113549.1.1.12") => Some(&aws::RSA_PKCS1_2048_8192_SHA384),
        (KeyType::Rsa, "1.2.840.113549.1.1.13") => Some(&aws::RSA_PKCS1_2048_8192_SHA512),
        (KeyType::P256, "1.2.840.10045.4.3.2") => Some(&aws::ECDSA_P256_SHA256_ASN1),
        (KeyType::P256, "1.2.840.10045.4.3.3") => Some(&aws::ECDSA_P256_SHA384_ASN1),
        (KeyType::P384, "1.2.840.10045.4.3.2") => Some(&aws::ECDSA_P384_SHA256_ASN1),
        (KeyType::P384, "1.2.840.10045.4.3.3") => Some(&aws::ECDSA_P384_SHA384_ASN1),
        _ => None,
    }
}

fn extension<'c>(certificate: &'c Certificate, oid: &str) -> Option<&'c [u8]> {
    let extensions = certificate.tbs_certificate().extensions()?;
    let found = extensions.iter().find(|extension| extension.extn_id.to_string() == oid)?;
    Some(found.extn_value.as_bytes())
}
