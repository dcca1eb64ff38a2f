//! Public keys, checked when they are made, and their SPKI (RFC 5280 §4.1, 5480, 8410, 3279).

use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;

use super::algorithm::KeyType;
use super::roca;

/// The DER of a `SubjectPublicKeyInfo` up to the uncompressed point `04 ‖ x ‖ y` (RFC 5480).
const P256_SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
const P384_SPKI: [u8; 24] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22, 0x03, 0x62, 0x00, 0x04,
];
/// The same up to the 32 bytes of RFC 8032 (RFC 8410).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// `AlgorithmIdentifier` of rsaEncryption with NULL parameters (RFC 3279 §2.3.1).
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

const RSA_LEAST_BITS: usize = 2048;
const RSA_MOST_BITS: usize = 4096;
const RSA_LEAST_EXPONENT: [u8; 3] = [0x01, 0x00, 0x01];

/// A public key that was checked when it was made: the point is on its curve, the modulus has 2048 to 4096 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(pub(super) Material);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Material {
    P256 {
        x: [u8; 32],
        y: [u8; 32],
    },
    P384 {
        x: [u8; 48],
        y: [u8; 48],
    },
    Ed25519 {
        x: [u8; 32],
    },
    /// Big-endian, without leading zeros.
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

/// Why a public key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a JWK or SPKI of a kind that Signet knows.
    #[error("the key is not a public key of a supported type (EC P-256, EC P-384, OKP Ed25519, RSA)")]
    Unsupported,
    /// A member is missing, repeated or not strict base64url.
    #[error("the key's member `{0}` is missing or malformed")]
    Malformed(&'static str),
    /// The point does not lie on its curve.
    #[error("the key's point is not on its curve")]
    NotOnCurve,
    /// The RSA modulus or exponent is outside of what is accepted.
    #[error("the RSA key is not of 2048 to 4096 bits with an odd public exponent of at least 65537")]
    RsaSize,
    /// The private key can be computed from the public one.
    #[error("the RSA key was made by a flawed chip (ROCA, CVE-2017-15361): make another one, by other hardware")]
    Weak,
    /// The key carries private members.
    #[error("the key carries private members; only public keys are read")]
    Private,
}

impl PublicKey {
    /// A P-256, P-384 or Ed25519 key from a point: uncompressed SEC 1 (`04 ‖ x ‖ y`), or the 32 bytes of RFC 8032,
    /// bare or in a DER OCTET STRING (PKCS#11's `CKA_EC_POINT` is seen as both).
    ///
    /// # Errors
    ///
    /// [`KeyError::NotOnCurve`], or [`KeyError::Malformed`] for another length.
    pub fn from_ec_point(key_type: KeyType, point: &[u8]) -> Result<Self, KeyError> {
        let (bare_length, wrapping) = match key_type {
            KeyType::P256 => (65, [0x04, 65]),
            KeyType::P384 => (97, [0x04, 97]),
            KeyType::Ed25519 => (32, [0x04, 32]),
            KeyType::Rsa => return Err(KeyError::Unsupported),
        };
        let bare = match point.strip_prefix(&wrapping) {
            Some(inner) if inner.len() == bare_length => inner,
            _ if point.len() == bare_length => point,
            _ => return Err(KeyError::Malformed("point")),
        };
        match (key_type, bare) {
            (KeyType::Ed25519, x) => Self::ed25519(x),
            (KeyType::P256, [0x04, coordinates @ ..]) => Self::p256(coordinates),
            (KeyType::P384, [0x04, coordinates @ ..]) => Self::p384(coordinates),
            _ => Err(KeyError::Malformed("point")),
        }
    }

    /// An RSA key from its big-endian modulus and public exponent; leading zeros are dropped.
    ///
    /// # Errors
    ///
    /// [`KeyError::RsaSize`], [`KeyError::Weak`].
    pub fn from_rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let (modulus, exponent) = (without_leading_zeros(modulus), without_leading_zeros(exponent));
        let in_range = (RSA_LEAST_BITS..=RSA_MOST_BITS).contains(&bits(modulus))
            && (exponent.len(), exponent) >= (RSA_LEAST_EXPONENT.len(), &RSA_LEAST_EXPONENT[..])
            && exponent.len() < modulus.len();
        if !in_range {
            return Err(KeyError::RsaSize);
        }
        if roca::is_of_the_form(modulus) {
            return Err(KeyError::Weak);
        }
        // The library refuses even numbers and exponents that no verifier accepts (over 33 bits).
        let (n, e) = (rsa::BoxedUint::from_be_slice_vartime(modulus), rsa::BoxedUint::from_be_slice_vartime(exponent));
        rsa::RsaPublicKey::new_with_max_size(n, e, RSA_MOST_BITS).map_err(|_| KeyError::RsaSize)?;
        Ok(Self(Material::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() }))
    }

    /// A key from the DER of a `SubjectPublicKeyInfo`. Only the one encoding that DER allows is read.
    ///
    /// # Errors
    ///
    /// [`KeyError`] with what is wrong.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        if let Some(coordinates) = der.strip_prefix(&P256_SPKI) {
            return Self::p256(coordinates);
        }
        if let Some(coordinates) = der.strip_prefix(&P384_SPKI) {
            return Self::p384(coordinates);
        }
        if let Some(x) = der.strip_prefix(&ED25519_SPKI) {
            return Self::ed25519(x);
        }
        let parsed = rsa::pkcs8::SubjectPublicKeyInfoRef::try_from(der).map_err(|_| KeyError::Unsupported)?;
        if parsed.algorithm.oid != rsa::pkcs1::ALGORITHM_OID {
            return Err(KeyError::Unsupported);
        }
        let rsa_key = rsa::RsaPublicKey::from_public_key_der(der).map_err(|_| KeyError::RsaSize)?;
        let key = Self::from_rsa(&rsa_key.n().to_be_bytes(), &rsa_key.e().to_be_bytes())?;
        if key.to_spki_der() == der { Ok(key) } else { Err(KeyError::Malformed("subjectPublicKeyInfo")) }
    }

    /// The DER of the key's `SubjectPublicKeyInfo`.
    pub fn to_spki_der(&self) -> Vec<u8> {
        match &self.0 {
            Material::P256 { x, y } => [&P256_SPKI[..], x, y].concat(),
            Material::P384 { x, y } => [&P384_SPKI[..], x, y].concat(),
            Material::Ed25519 { x } => [&ED25519_SPKI[..], x].concat(),
            Material::Rsa { modulus, exponent } => {
                let numbers = [der_integer(modulus), der_integer(exponent)].concat();
                let bit_string = der(0x03, &[&[0x00], &der(0x30, &numbers)[..]].concat());
                der(0x30, &[&RSA_ALGORITHM[..], &bit_string].concat())
            }
        }
    }

    /// The kind of key.
    pub fn key_type(&self) -> KeyType {
        match self.0 {
            Material::P256 { .. } => KeyType::P256,
            Material::P384 { .. } => KeyType::P384,
            Material::Ed25519 { .. } => KeyType::Ed25519,
            Material::Rsa { .. } => KeyType::Rsa,
        }
    }

    /// The key's size in bits: of the curve, or of the modulus.
    pub fn bits(&self) -> usize {
        match &self.0 {
            Material::P256 { .. } | Material::Ed25519 { .. } => 256,
            Material::P384 { .. } => 384,
            Material::Rsa { modulus, .. } => bits(modulus),
        }
    }

    /// From `x ‖ y`.
    pub(super) fn p256(coordinates: &[u8]) -> Result<Self, KeyError> {
        let (x, y) = halves(coordinates)?;
        p256::PublicKey::from_sec1_bytes(&[&[0x04], coordinates].concat()).map_err(|_| KeyError::NotOnCurve)?;
        Ok(Self(Material::P256 { x, y }))
    }

    /// From `x ‖ y`.
    pub(super) fn p384(coordinates: &[u8]) -> Result<Self, KeyError> {
        let (x, y) = halves(coordinates)?;
        p384::PublicKey::from_sec1_bytes(&[&[0x04], coordinates].concat()).map_err(|_| KeyError::NotOnCurve)?;
        Ok(Self(Material::P384 { x, y }))
    }

    /// From the 32 bytes of RFC 8032. Another encoding of a point than the shortest is refused, and so is a point of
    /// small order, under which anyone can sign.
    pub(super) fn ed25519(x: &[u8]) -> Result<Self, KeyError> {
        let x: [u8; 32] = x.try_into().map_err(|_| KeyError::Malformed("x"))?;
        let point = curve25519_dalek::edwards::CompressedEdwardsY(x).decompress().ok_or(KeyError::NotOnCurve)?;
        if point.compress().to_bytes() != x || point.is_small_order() {
            return Err(KeyError::NotOnCurve);
        }
        Ok(Self(Material::Ed25519 { x }))
    }
}

fn halves<const N: usize>(coordinates: &[u8]) -> Result<([u8; N], [u8; N]), KeyError> {
    let (x, y) = coordinates.split_at_checked(N).ok_or(KeyError::Malformed("x"))?;
    Ok((x.try_into().map_err(|_| KeyError::Malformed("x"))?, y.try_into().map_err(|_| KeyError::Malformed("y"))?))
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The bits of a number without leading zero bytes.
fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

/// A non-negative INTEGER.
fn der_integer(number: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if number.first().is_some_and(|first| *first >= 0x80) { &[0x00] } else { &[] };
    der(0x02, &[sign, number].concat())
}

/// One DER element with the shortest length that DER allows.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = without_leading_zeros(&length);
    let mut element = vec![tag];
    match length {
        [] => element.push(0),
        [short] if *short < 0x80 => element.push(*short),
        long => {
            element.push(0x80 | long.len() as u8);
            element.extend_from_slice(long);
        }
    }
    element.extend_from_slice(content);
    element
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
    use proptest::prelude::*;

    use super::*;

    fn rsa_modulus(bits: usize) -> Vec<u8> {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] >>= (8 - bits % 8) % 8;
        modulus
    }

    #[test]
    fn reads_and_writes_the_spki_that_the_library_writes() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let spki = pair.public_key().as_der().unwrap();
        let key = PublicKey::from_spki_der(spki.as_ref()).unwrap();
        assert_eq!(key, PublicKey::from_ec_point(KeyType::P256, pair.public_key().as_ref()).unwrap());
        assert_eq!(key.to_spki_der(), spki.as_ref());

        let pair = Ed25519KeyPair::generate().unwrap();
        let spki = pair.public_key().as_der().unwrap();
        assert_eq!(PublicKey::from_spki_der(spki.as_ref()).unwrap().to_spki_der(), spki.as_ref());
    }

    #[test]
    fn reads_and_writes_the_rsa_spki_that_the_rsa_crate_writes() {
        use rsa::pkcs8::EncodePublicKey as _;
        let key = PublicKey::from_rsa(&rsa_modulus(2048), &[1, 0, 1]).unwrap();
        let theirs = rsa::RsaPublicKey::from_public_key_der(&key.to_spki_der()).unwrap();
        assert_eq!(theirs.to_public_key_der().unwrap().as_bytes(), key.to_spki_der());
        assert_eq!(PublicKey::from_spki_der(&key.to_spki_der()), Ok(key));
    }

    #[test]
    fn a_point_is_read_bare_and_wrapped() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let bare = pair.public_key().as_ref();
        let wrapped = [&[0x04, 65], bare].concat();
        assert_eq!(PublicKey::from_ec_point(KeyType::P256, bare), PublicKey::from_ec_point(KeyType::P256, &wrapped));
        assert_eq!(PublicKey::from_ec_point(KeyType::P384, bare), Err(KeyError::Malformed("point")));
        assert_eq!(PublicKey::from_ec_point(KeyType::P256, &bare[..64]), Err(KeyError::Malformed("point")));
        assert_eq!(PublicKey::from_ec_point(KeyType::Rsa, bare), Err(KeyError::Unsupported));
    }

    #[test]
    fn points_off_the_curve_are_refused() {
        let off_curve = [&[0x04][..], &[1; 64]].concat();
        assert_eq!(PublicKey::from_ec_point(KeyType::P256, &off_curve), Err(KeyError::NotOnCurve));
        let off_curve = [&[0x04][..], &[1; 96]].concat();
        assert_eq!(PublicKey::from_ec_point(KeyType::P384, &off_curve), Err(KeyError::NotOnCurve));
        let identity = {
            let mut y = [0; 32];
            y[0] = 1;
            y
        };
        let off_curve = {
            let mut y = [0; 32];
            y[0] = 2;
            y
        };
        for y in [identity, off_curve, [0xff; 32], [0; 32]] {
            assert_eq!(PublicKey::from_ec_point(KeyType::Ed25519, &y), Err(KeyError::NotOnCurve));
        }
    }

    #[test]
    fn rsa_keys_outside_of_what_is_accepted_are_refused() {
        let even = {
            let mut modulus = rsa_modulus(2048);
            modulus[255] = 0xfe;
            modulus
        };
        for (modulus, exponent) in [
            (rsa_modulus(2047), vec![1, 0, 1]),
            (rsa_modulus(4097), vec![1, 0, 1]),
            (even, vec![1, 0, 1]),
            (rsa_modulus(2048), vec![3]),
            (rsa_modulus(2048), vec![]),
            (rsa_modulus(2048), vec![1, 0, 2]),
            (rsa_modulus(2048), rsa_modulus(2048)),
            (vec![], vec![1, 0, 1]),
        ] {
            assert_eq!(PublicKey::from_rsa(&modulus, &exponent), Err(KeyError::RsaSize));
        }
        for bits in [2048, 3072, 4096] {
            let padded = [&[0, 0], &rsa_modulus(bits)[..]].concat();
            assert_eq!(PublicKey::from_rsa(&padded, &[0, 1, 0, 1]).unwrap().bits(), bits);
        }
    }

    #[test]
    fn other_der_is_refused() {
        for der in [&[][..], &[0x30], &[0x30, 0x00], &[0xff; 91], &P256_SPKI] {
            assert!(PublicKey::from_spki_der(der).is_err());
        }
        let mut trailing = PublicKey::from_rsa(&rsa_modulus(2048), &[1, 0, 1]).unwrap().to_spki_der();
        trailing.push(0);
        assert!(PublicKey::from_spki_der(&trailing).is_err());
    }
    proptest! {
        #[test]
        fn never_panics_and_writes_what_it_read(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            exponent in proptest::collection::vec(any::<u8>(), 0..8),
            spoilt in 0..294_usize,
        ) {
            for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa] {
                let _ = PublicKey::from_ec_point(key_type, &bytes);
            }
            let _ = PublicKey::from_rsa(&bytes, &exponent);
            let mut spki = PublicKey::from_rsa(&rsa_modulus(2048), &[1, 0, 1]).unwrap().to_spki_der();
            spki[spoilt] ^= 1 | bytes.first().copied().unwrap_or(0);
            for der in [bytes, spki] {
                if let Ok(key) = PublicKey::from_spki_der(&der) {
                    prop_assert_eq!(key.to_spki_der(), der);
                }
            }
        }
    }
}
