//! What is shown of a PIV card's key when it is enrolled, and what that proves by the certificates that the operator trusts.

use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::piv_attestation::{self, AttestationFault, Attested, key_of, read_certificates};
use signet_jose::clock::Timestamp;
use signet_jose::jwk::PublicKey;

/// What is shown, each in PEM or DER.
#[derive(Debug, Default)]
pub struct PivOffer {
    /// The certificate of the key in slot 9a.
    pub certificate: Option<Vec<u8>>,
    /// The public key of slot 9a (SubjectPublicKeyInfo).
    pub public_key: Option<Vec<u8>>,
    /// The card's attestation of the key.
    pub attestation: Option<Vec<u8>>,
    /// Certificates between the key's or the attestation's and the root.
    pub intermediates: Vec<Vec<u8>>,
}

/// What a card's key must come with.
#[derive(Debug, Default)]
pub struct PivTrust {
    /// The roots of the cards' own certificates; none is asked where there are none.
    pub roots: Vec<Certificate>,
    /// The roots of attestations.
    pub attestation_roots: Vec<Certificate>,
    /// Whether a key without an attestation is refused.
    pub require_attestation: bool,
}

/// Why a key is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum PivOfferFault {
    /// Nothing is shown.
    #[error("the key's certificate, its public key or its attestation is needed")]
    Nothing,
    /// There is no certificate in what should be one.
    #[error("there is no certificate in the {0}")]
    Empty(&'static str),
    /// It can't be read.
    #[error(transparent)]
    Unreadable(AttestationFault),
    /// The public key can't be read.
    #[error("the public key is none in PEM or DER (SubjectPublicKeyInfo)")]
    NoKey,
    /// The operator trusts cards by their certificates.
    #[error("`mfa.piv.roots` is set: give the card's certificate (--certificate), so that it can be checked")]
    NeedsCertificate,
    /// The certificate proves nothing.
    #[error("the certificate is refused: {0}")]
    Certificate(AttestationFault),
    /// The operator asks for an attestation.
    #[error("`mfa.piv.require_attestation` is set: give the key's attestation (--attestation)")]
    NeedsAttestation,
    /// Nothing is there to judge an attestation by.
    #[error(
        "`mfa.piv.attestation_roots` names no root certificate to check the attestation with: fetch Yubico's from \
         https://developers.yubico.com/PKI/ and name the file there"
    )]
    NoAttestationRoots,
    /// The attestation proves nothing.
    #[error("the attestation is refused: {0}")]
    Attestation(AttestationFault),
}

/// Judges what is shown: the key, and what the card's attestation proves of it where there is one.
/// Errors: [`PivOfferFault`].
pub fn judge(
    offer: &PivOffer,
    trust: &PivTrust,
    now: Timestamp,
) -> Result<(PublicKey, Option<Attested>), PivOfferFault> {
    let mut intermediates = Vec::new();
    for bytes in &offer.intermediates {
        intermediates.extend(certificates(bytes, "intermediate certificate")?);
    }
    let attestation = offer.attestation.as_deref().map(|bytes| one(bytes, "attestation")).transpose()?;
    let certificate = offer.certificate.as_deref().map(|bytes| one(bytes, "certificate")).transpose()?;
    let key = match (&certificate, &offer.public_key, &attestation) {
        (Some(certificate), _, _) => key_of(certificate).map_err(PivOfferFault::Unreadable)?,
        (None, Some(bytes), _) => public_key(bytes).ok_or(PivOfferFault::NoKey)?,
        (None, None, Some(attestation)) => key_of(attestation).map_err(PivOfferFault::Unreadable)?,
        (None, None, None) => return Err(PivOfferFault::Nothing),
    };
    if !trust.roots.is_empty() {
        let certificate = certificate.as_ref().ok_or(PivOfferFault::NeedsCertificate)?;
        let chained = piv_attestation::judge_chain(certificate, &intermediates, &trust.roots, now);
        chained.map_err(PivOfferFault::Certificate)?;
    }
    let Some(attestation) = attestation else {
        return if trust.require_attestation { Err(PivOfferFault::NeedsAttestation) } else { Ok((key, None)) };
    };
    if trust.attestation_roots.is_empty() {
        return Err(PivOfferFault::NoAttestationRoots);
    }
    let attested = piv_attestation::judge(&key, &attestation, &intermediates, &trust.attestation_roots, now);
    attested.map(|attested| (key, Some(attested))).map_err(PivOfferFault::Attestation)
}

fn one(bytes: &[u8], what: &'static str) -> Result<Certificate, PivOfferFault> {
    certificates(bytes, what)?.into_iter().next().ok_or(PivOfferFault::Empty(what))
}

fn certificates(bytes: &[u8], what: &'static str) -> Result<Vec<Certificate>, PivOfferFault> {
    read_certificates(bytes, what).map_err(PivOfferFault::Unreadable)
}

fn public_key(bytes: &[u8]) -> Option<PublicKey> {
    if bytes.starts_with(&[0x30]) {
        return PublicKey::from_spki_der(bytes).ok();
    }
    let (label, der) = x509_cert::der::pem::decode_vec(bytes).ok()?;
    match label {
        "PUBLIC KEY" => PublicKey::from_spki_der(&der).ok(),
        "CERTIFICATE" => key_of(&Certificate::from_der(&der).ok()?).ok(),
        _ => None,
    }
}
