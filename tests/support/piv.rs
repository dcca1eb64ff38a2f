//! PIV keys as a YubiKey makes them, in software: the key of slot 9a with an attestation chain of the test's own root.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, GeneralSubtree, IsCa, KeyPair,
    NameConstraints, PublicKeyData as _,
};
use signet_core::mfa::piv::{SignInContext, signed_text};

use super::application::{TestClient, TestUser};

/// Below Yubico's arc: serial number, and the policy of PIN and touch.
const SERIAL: [u64; 10] = [1, 3, 6, 1, 4, 1, 41482, 3, 7, 0];
const POLICY: [u64; 10] = [1, 3, 6, 1, 4, 1, 41482, 3, 8, 0];

/// The serial number that attestations tell.
pub(crate) const SERIAL_NUMBER: u32 = 10_550_341;

/// A P-256 key with what a card would have of it.
pub(crate) struct PivKey {
    pair: EcdsaKeyPair,
    /// DER of the `SubjectPublicKeyInfo`.
    pub(crate) spki: Vec<u8>,
    /// The attestation, the certificate of slot f9 and the root, in PEM.
    pub(crate) attestation: String,
    pub(crate) intermediate: String,
    pub(crate) root: String,
}

impl PivKey {
    /// A key whose attestation says that the PIN is asked once a session.
    pub(crate) fn new() -> Self {
        Self::with_pin_policy(2)
    }

    pub(crate) fn with_pin_policy(pin: u8) -> Self {
        Self::made(pin, |_| {})
    }

    /// A key whose attestation is by a certificate that may sign for some names alone.
    pub(crate) fn by_a_constrained_issuer() -> Self {
        Self::made(2, |f9| {
            let permitted_subtrees = vec![GeneralSubtree::DnsName("elsewhere.example".to_owned())];
            f9.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        })
    }

    fn made(pin: u8, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let authority = |name: &str| {
            let mut parameters = CertificateParams::new(Vec::new()).unwrap();
            parameters.distinguished_name.push(DnType::CommonName, name);
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters
        };
        let root = CertifiedIssuer::self_signed(authority("Test PIV Root CA"), KeyPair::generate().unwrap()).unwrap();
        let mut f9 = authority("Test PIV Attestation");
        change(&mut f9);
        let f9 = CertifiedIssuer::signed_by(f9, KeyPair::generate().unwrap(), &root).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(Vec::new()).unwrap();
        leaf.distinguished_name.push(DnType::CommonName, "YubiKey PIV Attestation 9a");
        let serial = [&[0x02, 0x04][..], &SERIAL_NUMBER.to_be_bytes()].concat();
        leaf.custom_extensions = vec![
            CustomExtension::from_oid_content(&SERIAL[..9], serial),
            CustomExtension::from_oid_content(&POLICY[..9], vec![pin, 1]),
        ];
        let attestation = leaf.signed_by(&key, &f9).unwrap().pem();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.serialized_der()).unwrap();
        let (intermediate, root) = (f9.pem(), root.pem());
        Self { pair, spki: key.subject_public_key_info(), attestation, intermediate, root }
    }

    /// The public key in PEM.
    pub(crate) fn public_pem(&self) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(&self.spki);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// The value of `piv` for a nonce.
    pub(crate) fn shown(&self, issuer: &str, client: &TestClient, user: &TestUser, nonce: &str) -> String {
        self.shown_for(SignInContext { issuer, client: &client.id, username: &user.name }, nonce)
    }

    pub(crate) fn shown_for(&self, context: SignInContext<'_>, nonce: &str) -> String {
        let signature = self.pair.sign(&SystemRandom::new(), &signed_text(context, nonce)).unwrap();
        let (key, signature) = (URL_SAFE_NO_PAD.encode(&self.spki), URL_SAFE_NO_PAD.encode(signature.as_ref()));
        format!("{nonce}.{key}.{signature}")
    }

    /// Signs a SHA-256 digest, as slot 9a does.
    #[cfg(feature = "piv")]
    pub(crate) fn sign_digest(&self, digest: &[u8]) -> Vec<u8> {
        use aws_lc_rs::digest::{Digest, SHA256};
        let digest = Digest::import_less_safe(digest, &SHA256).unwrap();
        self.pair.sign_digest(&digest).unwrap().as_ref().to_vec()
    }

    /// The uncompressed point.
    #[cfg(feature = "piv")]
    pub(crate) fn point(&self) -> &[u8] {
        &self.spki[self.spki.len() - 65..]
    }
}
