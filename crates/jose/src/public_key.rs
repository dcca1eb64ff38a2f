//! Public keys, checked when they are made.

use std::ops::RangeInclusive;

use aws_lc_rs::signature as aws;

use super::algorithm::KeyType;
use super::roca;

const RSA_BITS: RangeInclusive<usize> = 2048..=4096;
/// An odd number of 17 bits is at least 65537; over 33 bits is more than verifiers accept.
const RSA_EXPONENT_BITS: RangeInclusive<usize> = 17..=33;

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
    /// The text is no JSON that means one thing.
    #[error("it is not one JSON object with distinct names")]
    NotJson,
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
        let is_in_range = RSA_BITS.contains(&bits(modulus)) && RSA_EXPONENT_BITS.contains(&bits(exponent));
        if !(is_in_range && is_odd(modulus) && is_odd(exponent)) {
            return Err(KeyError::RsaSize);
        }
        if roca::is_of_the_form(modulus) {
            return Err(KeyError::Weak);
        }
        Ok(Self(Material::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() }))
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

    /// The uncompressed point (`04 ‖ x ‖ y`) of a P-256 key; `None` for another kind.
    pub fn p256_point(&self) -> Option<[u8; 65]> {
        let Material::P256 { x, y } = &self.0 else { return None };
        let mut point = [4; 65];
        point.get_mut(1..33)?.copy_from_slice(x);
        point.get_mut(33..)?.copy_from_slice(y);
        Some(point)
    }

    /// From `x ‖ y`.
    pub(super) fn p256(coordinates: &[u8]) -> Result<Self, KeyError> {
        let (x, y) = halves(coordinates)?;
        on_curve(&aws::ECDSA_P256_SHA256_FIXED, coordinates)?;
        Ok(Self(Material::P256 { x, y }))
    }

    /// From `x ‖ y`.
    pub(super) fn p384(coordinates: &[u8]) -> Result<Self, KeyError> {
        let (x, y) = halves(coordinates)?;
        on_curve(&aws::ECDSA_P384_SHA384_FIXED, coordinates)?;
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

/// The library parses no point that lies off its curve or has a coordinate out of range.
fn on_curve(curve: &'static dyn aws::VerificationAlgorithm, coordinates: &[u8]) -> Result<(), KeyError> {
    let point = [&[0x04], coordinates].concat();
    aws::ParsedPublicKey::new(curve, point).map(drop).map_err(|_| KeyError::NotOnCurve)
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last % 2 == 1)
}

pub(super) fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The bits of a number without leading zero bytes.
fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    };
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) fn rsa_modulus(bits: usize) -> Vec<u8> {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] >>= (8 - bits % 8) % 8;
        modulus
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
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
        // The point with x = 0, and the same with x = p: one point has one encoding.
        let y = "66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4";
        let p = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
        assert!(PublicKey::p256(&bytes(&["0".repeat(64).as_str(), y].concat())).is_ok());
        assert_eq!(PublicKey::p256(&bytes(&[p, y].concat())), Err(KeyError::NotOnCurve));
        // The identity, and one off the curve.
        let small = |number: u8| std::array::from_fn(|place| if place == 0 { number } else { 0 });
        for y in [small(1), small(2), [0xff; 32], [0; 32]] {
            assert_eq!(PublicKey::from_ec_point(KeyType::Ed25519, &y), Err(KeyError::NotOnCurve));
        }
    }

    #[test]
    fn rsa_keys_outside_of_what_is_accepted_are_refused() {
        let even = [&rsa_modulus(2040)[..], &[0xfe]].concat();
        for (modulus, exponent) in [
            (rsa_modulus(2047), vec![1, 0, 1]),
            (rsa_modulus(4097), vec![1, 0, 1]),
            (even, vec![1, 0, 1]),
            (rsa_modulus(2048), vec![3]),
            (rsa_modulus(2048), vec![0xff, 0xff]),
            (rsa_modulus(2048), vec![2, 0, 0, 0, 1]),
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
        assert!(PublicKey::from_rsa(&rsa_modulus(2048), &[1, 0xff, 0xff, 0xff, 0xff]).is_ok());
    }

    proptest! {
        #[test]
        fn another_library_agrees_on_which_points_are_on_the_curve(spoilt in 1..160_usize) {
            // A place beyond the point spoils nothing.
            let point = |signing| {
                let pair = EcdsaKeyPair::generate(signing).unwrap();
                let mut point = pair.public_key().as_ref().to_vec();
                if let Some(byte) = point.get_mut(spoilt) {
                    *byte = !*byte;
                }
                (spoilt >= point.len(), point)
            };
            let (is_sound, p256) = point(&ECDSA_P256_SHA256_FIXED_SIGNING);
            prop_assert_eq!(PublicKey::p256(&p256[1..]).is_ok(), is_sound);
            prop_assert_eq!(p256::PublicKey::from_sec1_bytes(&p256).is_ok(), is_sound);
            let (is_sound, p384) = point(&ECDSA_P384_SHA384_FIXED_SIGNING);
            prop_assert_eq!(PublicKey::p384(&p384[1..]).is_ok(), is_sound);
            prop_assert_eq!(p384::PublicKey::from_sec1_bytes(&p384).is_ok(), is_sound);
        }

        #[test]
        fn never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            exponent in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa] {
                let _ = PublicKey::from_ec_point(key_type, &bytes);
            }
            let _ = PublicKey::from_rsa(&bytes, &exponent);
        }
    }
}
