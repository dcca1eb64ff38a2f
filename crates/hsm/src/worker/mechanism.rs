//! What the module offers, and how each JWS algorithm is done with it (RFC 7518 §3, RFC 8037 §3.1).

use std::borrow::Cow;

use aws_lc_rs::digest;
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismInfo, MechanismType};
use cryptoki::slot::Slot;

use super::error::Result;
use signet_core::keys::{HsmFailure, KeyPurpose, OtpHash, SealMode};
use signet_jose::Algorithm;
use signet_jose::algorithm::KeyType;

/// The mechanisms of the token, with what the module says of those whose limits matter here.
pub(super) struct Mechanisms(Vec<(MechanismType, Option<MechanismInfo>)>);

/// Mechanisms that some modules list for another use (verification, encryption) or for some sizes of key only.
const LIMITED: [MechanismType; 8] = [
    MechanismType::ECDSA,
    MechanismType::ECDSA_SHA256,
    MechanismType::ECDSA_SHA384,
    MechanismType::EDDSA,
    MechanismType::RSA_PKCS,
    MechanismType::RSA_PKCS_PSS,
    MechanismType::ECC_KEY_PAIR_GEN,
    MechanismType::RSA_PKCS_KEY_PAIR_GEN,
];

/// No key is as short: a module that names less counts something else than bits.
const MIN_BITS: usize = 112;

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn digest(self, message: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, message)
    }

    /// The DER of `DigestInfo` up to the digest (RFC 8017 §9.2, note 1).
    const fn digest_info(self) -> &'static [u8] {
        match self {
            Self::Sha256 => b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
            Self::Sha384 => b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
            Self::Sha512 => b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
        }
    }

    const fn pkcs1(self) -> (MechanismType, Mechanism<'static>) {
        match self {
            Self::Sha256 => (MechanismType::SHA256_RSA_PKCS, Mechanism::Sha256RsaPkcs),
            Self::Sha384 => (MechanismType::SHA384_RSA_PKCS, Mechanism::Sha384RsaPkcs),
            Self::Sha512 => (MechanismType::SHA512_RSA_PKCS, Mechanism::Sha512RsaPkcs),
        }
    }

    fn pss(self) -> (MechanismType, Mechanism<'static>) {
        let parameters = self.pss_parameters();
        match self {
            Self::Sha256 => (MechanismType::SHA256_RSA_PKCS_PSS, Mechanism::Sha256RsaPkcsPss(parameters)),
            Self::Sha384 => (MechanismType::SHA384_RSA_PKCS_PSS, Mechanism::Sha384RsaPkcsPss(parameters)),
            Self::Sha512 => (MechanismType::SHA512_RSA_PKCS_PSS, Mechanism::Sha512RsaPkcsPss(parameters)),
        }
    }

    /// The salt is as long as the hash (RFC 7518 §3.5).
    fn pss_parameters(self) -> PkcsPssParams {
        let (hash_alg, mgf, salt) = match self {
            Self::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32_u32),
            Self::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48),
            Self::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64),
        };
        PkcsPssParams { hash_alg, mgf, s_len: u64::from(salt).into() }
    }
}

/// A mechanism with what it signs.
type Prepared<'m> = (Mechanism<'static>, Cow<'m, [u8]>);

impl Mechanisms {
    /// Asks the module what a slot's token offers.
    /// Errors: What `C_GetMechanismList` answered.
    pub(super) fn of(module: &Pkcs11, slot: Slot) -> Result<Self> {
        let limits = |mechanism| {
            let asked = LIMITED.contains(&mechanism).then(|| module.get_mechanism_info(slot, mechanism));
            (mechanism, asked.and_then(Result::ok))
        };
        Ok(Self(module.get_mechanism_list(slot)?.into_iter().map(limits).collect()))
    }

    fn has(&self, mechanism: MechanismType) -> bool {
        self.0.iter().any(|(offered, _)| *offered == mechanism)
    }

    fn limits(&self, mechanism: MechanismType) -> Option<&MechanismInfo> {
        self.0.iter().find(|(offered, _)| *offered == mechanism)?.1.as_ref()
    }

    /// Whether it is offered to sign with. A module that names no use at all has not filled the field in.
    fn signs(&self, mechanism: MechanismType) -> bool {
        self.has(mechanism)
            && self.limits(mechanism).is_none_or(|info| {
                let other = info.verify() || info.encrypt() || info.decrypt() || info.wrap() || info.unwrap();
                info.sign() || !other
            })
    }

    /// Whether keys of so many bits are within the limits of an offered mechanism.
    fn takes(&self, mechanism: MechanismType, bits: usize) -> bool {
        self.limits(mechanism).is_none_or(|info| {
            info.max_key_size() < MIN_BITS || (info.min_key_size()..=info.max_key_size()).contains(&bits)
        })
    }

    /// The algorithms that can be signed with.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        Algorithm::ALL.into_iter().filter(|algorithm| self.offers(*algorithm)).collect()
    }

    fn offers(&self, algorithm: Algorithm) -> bool {
        use MechanismType as M;
        let signs_curve = |hashing, bits| {
            [M::ECDSA, hashing].into_iter().any(|mechanism| self.signs(mechanism) && self.takes(mechanism, bits))
        };
        let pkcs1 = |hash: Hash| self.signs(M::RSA_PKCS) || self.has(hash.pkcs1().0);
        let pss = |hash: Hash| self.signs(M::RSA_PKCS_PSS) || self.has(hash.pss().0);
        match algorithm {
            Algorithm::Es256 => signs_curve(M::ECDSA_SHA256, 256),
            Algorithm::Es384 => signs_curve(M::ECDSA_SHA384, 384),
            Algorithm::EdDsa => self.signs(M::EDDSA),
            Algorithm::Rs256 => pkcs1(Hash::Sha256),
            Algorithm::Rs384 => pkcs1(Hash::Sha384),
            Algorithm::Rs512 => pkcs1(Hash::Sha512),
            Algorithm::Ps256 => pss(Hash::Sha256),
            Algorithm::Ps384 => pss(Hash::Sha384),
            Algorithm::Ps512 => pss(Hash::Sha512),
        }
    }

    /// How OTP secrets can be kept, the preferred mode first.
    pub(super) fn seal_modes(&self) -> Vec<SealMode> {
        use MechanismType as M;
        let has_all = |mechanisms: &[M]| mechanisms.iter().all(|mechanism| self.has(*mechanism));
        // Both need keys that are made in the token, and one to bind and to derive with.
        let makes_keys = has_all(&[M::AES_KEY_GEN, M::GENERIC_SECRET_KEY_GEN, M::SHA256_HMAC]);
        let wraps = makes_keys && has_all(&[M::AES_KEY_WRAP_PAD, M::AES_ECB, M::SHA1_HMAC, M::SHA512_HMAC]);
        let seals = makes_keys && self.has(M::AES_GCM);
        [wraps.then_some(SealMode::Wrapped), seals.then_some(SealMode::Sealed)].into_iter().flatten().collect()
    }

    /// Whether a pair can be kept that envelopes are opened by.
    pub(super) fn takes_envelopes(&self) -> bool {
        self.has(MechanismType::ECDH1_DERIVE) && self.require_to_generate(KeyType::P256, 256).is_ok()
    }

    /// Demands that a key pair of this type and size can be generated.
    /// Errors: [`HsmFailure::MechanismMissing`] with the mechanism, and the sizes where they are what is wrong.
    pub(super) fn require_to_generate(&self, key_type: KeyType, bits: u32) -> Result<()> {
        let (mechanism, name, bits) = match key_type {
            KeyType::P256 => (MechanismType::ECC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN", 256),
            KeyType::P384 => (MechanismType::ECC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN", 384),
            KeyType::Ed25519 => (MechanismType::ECC_EDWARDS_KEY_PAIR_GEN, "CKM_EC_EDWARDS_KEY_PAIR_GEN", 255),
            KeyType::Rsa => (MechanismType::RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS_KEY_PAIR_GEN", bits),
        };
        self.require(mechanism, name)?;
        let limits = self.limits(mechanism).filter(|_| !self.takes(mechanism, bits as usize));
        limits.map_or(Ok(()), |info| {
            let (least, most) = (info.min_key_size(), info.max_key_size());
            let mechanism = format!("{name} for {bits} bits (it makes keys of {least} to {most} bits)");
            Err(HsmFailure::MechanismMissing(mechanism).into())
        })
    }

    /// Demands that a secret key of this purpose can be generated.
    /// Errors: [`HsmFailure::MechanismMissing`] with the mechanism's name.
    pub(super) fn require_to_keep(&self, purpose: KeyPurpose) -> Result<()> {
        match purpose {
            KeyPurpose::Binding => self.require(MechanismType::GENERIC_SECRET_KEY_GEN, "CKM_GENERIC_SECRET_KEY_GEN"),
            _ => self.require(MechanismType::AES_KEY_GEN, "CKM_AES_KEY_GEN"),
        }
    }

    /// Demands what a key of this purpose is used with.
    /// Errors: [`HsmFailure::MechanismMissing`] with the name of the first that is not offered.
    pub(super) fn require_for(&self, purpose: KeyPurpose, algorithm: Option<Algorithm>) -> Result<()> {
        use Algorithm as A;
        match purpose {
            KeyPurpose::TokenSigning | KeyPurpose::AuditSigning => {
                let Some(algorithm) = algorithm.filter(|algorithm| !self.offers(*algorithm)) else { return Ok(()) };
                let mechanism = match algorithm {
                    A::Es256 | A::Es384 => "CKM_ECDSA",
                    A::EdDsa => "CKM_EDDSA",
                    A::Rs256 | A::Rs384 | A::Rs512 => "CKM_RSA_PKCS",
                    A::Ps256 | A::Ps384 | A::Ps512 => "CKM_RSA_PKCS_PSS",
                };
                Err(HsmFailure::MechanismMissing(mechanism.to_owned()).into())
            }
            KeyPurpose::Sealing => self.require(MechanismType::AES_GCM, "CKM_AES_GCM"),
            KeyPurpose::Wrapping => {
                self.require(MechanismType::AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD")?;
                self.require(MechanismType::AES_ECB, "CKM_AES_ECB")?;
                self.require(MechanismType::SHA1_HMAC, "CKM_SHA_1_HMAC")?;
                self.require(MechanismType::SHA512_HMAC, "CKM_SHA512_HMAC")?;
                self.require(MechanismType::SHA256_HMAC, "CKM_SHA256_HMAC")
            }
            KeyPurpose::Binding => self.require(MechanismType::SHA256_HMAC, "CKM_SHA256_HMAC"),
            KeyPurpose::Transport => self.require(MechanismType::ECDH1_DERIVE, "CKM_ECDH1_DERIVE"),
        }
    }

    /// Demands a mechanism.
    /// Errors: [`HsmFailure::MechanismMissing`] with its name.
    pub(super) fn require(&self, mechanism: MechanismType, name: &str) -> Result<()> {
        if self.has(mechanism) {
            return Ok(());
        }
        Err(HsmFailure::MechanismMissing(name.to_owned()).into())
    }

    /// How a message is signed: by which mechanism, and what the module is given. Where the module does not hash, this
    /// does: `CKM_ECDSA` takes any length without a word.
    pub(super) fn prepare<'m>(&self, algorithm: Algorithm, message: &'m [u8]) -> Result<Prepared<'m>> {
        match algorithm {
            Algorithm::Es256 => {
                self.ecdsa(Hash::Sha256, (MechanismType::ECDSA_SHA256, Mechanism::EcdsaSha256), message)
            }
            Algorithm::Es384 => {
                self.ecdsa(Hash::Sha384, (MechanismType::ECDSA_SHA384, Mechanism::EcdsaSha384), message)
            }
            Algorithm::EdDsa => {
                self.require(MechanismType::EDDSA, "CKM_EDDSA")?;
                Ok((Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)), message.into()))
            }
            Algorithm::Rs256 => self.pkcs1(Hash::Sha256, message),
            Algorithm::Rs384 => self.pkcs1(Hash::Sha384, message),
            Algorithm::Rs512 => self.pkcs1(Hash::Sha512, message),
            Algorithm::Ps256 => self.pss(Hash::Sha256, message),
            Algorithm::Ps384 => self.pss(Hash::Sha384, message),
            Algorithm::Ps512 => self.pss(Hash::Sha512, message),
        }
    }

    fn ecdsa<'m>(
        &self,
        hash: Hash,
        hashing: (MechanismType, Mechanism<'static>),
        message: &'m [u8],
    ) -> Result<Prepared<'m>> {
        if self.signs(MechanismType::ECDSA) {
            return Ok((Mechanism::Ecdsa, hash.digest(message).as_ref().to_vec().into()));
        }
        self.require(hashing.0, "CKM_ECDSA")?;
        Ok((hashing.1, message.into()))
    }

    fn pkcs1<'m>(&self, hash: Hash, message: &'m [u8]) -> Result<Prepared<'m>> {
        let (offered, mechanism) = hash.pkcs1();
        if self.has(offered) {
            return Ok((mechanism, message.into()));
        }
        self.require(MechanismType::RSA_PKCS, "CKM_RSA_PKCS")?;
        Ok((Mechanism::RsaPkcs, [hash.digest_info(), hash.digest(message).as_ref()].concat().into()))
    }

    fn pss<'m>(&self, hash: Hash, message: &'m [u8]) -> Result<Prepared<'m>> {
        let (offered, mechanism) = hash.pss();
        if self.has(offered) {
            return Ok((mechanism, message.into()));
        }
        self.require(MechanismType::RSA_PKCS_PSS, "CKM_RSA_PKCS_PSS")?;
        Ok((Mechanism::RsaPkcsPss(hash.pss_parameters()), hash.digest(message).as_ref().to_vec().into()))
    }
}

/// The HMAC of an OTP, and the shortest key that every module takes for it. Zeros up to there change no HMAC: a key
/// shorter than the hash's block is padded with them anyway (RFC 2104 §2).
pub(super) fn hmac(hash: OtpHash) -> (Mechanism<'static>, usize) {
    match hash {
        OtpHash::Sha1 => (Mechanism::Sha1Hmac, 20),
        OtpHash::Sha256 => (Mechanism::Sha256Hmac, 32),
        OtpHash::Sha512 => (Mechanism::Sha512Hmac, 64),
    }
}
