//! The DER of a key's `SubjectPublicKeyInfo` (RFC 5280 §4.1, 5480, 8410, 3279): only the one encoding that DER allows.

use super::public_key::{KeyError, Material, PublicKey, without_leading_zeros};

/// The DER of a `SubjectPublicKeyInfo` up to the uncompressed point `04 ‖ x ‖ y` (RFC 5480).
const P256_SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
const P384_SPKI: [u8; 24] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22, 0x03, 0x62, 0x00, 0x04,
];
/// The DER up to the 32 bytes of RFC 8032 (RFC 8410).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// `AlgorithmIdentifier` of rsaEncryption with NULL parameters (RFC 3279 §2.3.1).
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

impl PublicKey {
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
        let parsed = spki::SubjectPublicKeyInfoRef::try_from(der).map_err(|_| KeyError::Unsupported)?;
        if parsed.algorithm.oid != pkcs1::ALGORITHM_OID {
            return Err(KeyError::Unsupported);
        }
        let malformed = KeyError::Malformed("subjectPublicKeyInfo");
        let numbers = pkcs1::RsaPublicKeyRef::try_from(parsed.subject_public_key.raw_bytes());
        let numbers = numbers.map_err(|_| malformed.clone())?;
        let key = Self::from_rsa(numbers.modulus.as_bytes(), numbers.public_exponent.as_bytes())?;
        if key.to_spki_der() == der { Ok(key) } else { Err(malformed) }
    }

    /// The DER of the key's `SubjectPublicKeyInfo`.
    pub fn to_spki_der(&self) -> Vec<u8> {
        match &self.0 {
            Material::P256 { x, y } => [&P256_SPKI[..], x, y].concat(),
            Material::P384 { x, y } => [&P384_SPKI[..], x, y].concat(),
            Material::Ed25519 { x } => [&ED25519_SPKI[..], x].concat(),
            Material::Rsa { modulus, exponent } => rsa_spki(modulus, exponent),
        }
    }
}

fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let numbers = [der_integer(modulus), der_integer(exponent)].concat();
    let bit_string = der(0x03, &[&[0x00], &der(0x30, &numbers)[..]].concat());
    der(0x30, &[&RSA_ALGORITHM[..], &bit_string].concat())
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
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    };
    use proptest::prelude::*;

    use super::super::algorithm::KeyType;
    use super::super::public_key::tests::rsa_modulus;
    use super::*;

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

        let pair = RsaKeyPair::generate(KeySize::Rsa3072).unwrap();
        let spki = pair.public_key().as_der().unwrap();
        let key = PublicKey::from_spki_der(spki.as_ref()).unwrap();
        assert_eq!(key.to_spki_der(), spki.as_ref());
    }

    #[test]
    fn an_rsa_key_in_another_encoding_or_of_another_size_is_told_apart() {
        let key = PublicKey::from_rsa(&rsa_modulus(2048), &[1, 0, 1]).unwrap();
        let Material::Rsa { modulus, exponent } = &key.0 else { unreachable!() };
        let spki = |modulus: &[u8]| rsa_spki(modulus, exponent);
        assert_eq!(PublicKey::from_spki_der(&spki(modulus)), Ok(key.clone()));
        assert_eq!(PublicKey::from_spki_der(&spki(&modulus[128..])), Err(KeyError::RsaSize));
        let padded = [&[0; 2], &modulus[..]].concat();
        assert_eq!(PublicKey::from_spki_der(&spki(&padded)), Err(KeyError::Malformed("subjectPublicKeyInfo")));
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
        fn writes_what_it_read_and_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            spoilt in 0..294_usize,
        ) {
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
