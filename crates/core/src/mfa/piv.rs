//! A PIV card (NIST SP 800-73-4) as the second factor: the key in slot 9a signs a nonce of the server's.
//!
//! What is shown is `nonce.key.signature`, each part in base64url. The key is shown too, so that the work of a check
//! depends on what was shown alone (promise 5): one signature is verified, whoever is named, and only then the key is
//! looked for among the user's factors. The signed text names issuer, client, user and nonce: a signature that was made
//! for another server, client or person is good for nothing here.
//!
//! A nonce is made by an HMAC and not kept: a million of them cost no storage. It is spent once, by one conditional write.

use std::time::Duration;

use aws_lc_rs::signature as aws;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::authentication::FactorUse;
use super::kind::{FactorKind, FactorRules, Facts};
use super::{Spendable, Spending};
use crate::audit::Reason;
use crate::keys::TenantId;
use signet_jose::KeyId;
use signet_jose::algorithm::KeyType;
use signet_jose::clock::Timestamp;
use signet_jose::jwk::PublicKey;
use signet_verify::Level;

/// How long a nonce can be signed: a person types a PIN and touches a key meanwhile.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(180);
/// How far ahead of this clock another node's may have been when it made the nonce.
const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// The longest shown text: an RSA-4096 key and signature are 1,600 characters.
const MAX_SHOWN: usize = 2048;
const NONCE_BYTES: usize = 8 + 16 + 32;

/// Whom a signature is made for.
#[derive(Debug, Clone, Copy)]
pub struct SignInContext<'c> {
    /// The issuer, as its metadata says it.
    pub issuer: &'c str,
    /// The client's id.
    pub client: &'c str,
    /// The user's name as typed.
    pub username: &'c str,
}

/// The text that the card signs. The name is hashed: it may be a password in the wrong field.
pub fn signed_text(context: SignInContext<'_>, nonce: &str) -> Vec<u8> {
    let name = URL_SAFE_NO_PAD.encode(Sha256::digest(context.username.as_bytes()));
    // No part can hold a line end: the form parser refuses those.
    let (issuer, client) = (context.issuer, context.client);
    format!("signet piv sign-in v1\nissuer {issuer}\nclient {client}\nuser {name}\nnonce {nonce}\n").into_bytes()
}

/// A nonce that the server made, or that somebody made up: [`Shown::judge`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// What the nonce's MAC is over: it is good for one tenant and client, and from one moment on.
    pub fn mac_message(tenant: &TenantId, client: &str, issued_at: Timestamp, random: &[u8; 16]) -> Vec<u8> {
        let mut message = issued_at.unix_millis().to_be_bytes().to_vec();
        message.extend_from_slice(random);
        message.extend_from_slice(format!("{tenant}\0{client}").as_bytes());
        message
    }

    /// Puts a nonce together.
    pub fn new(issued_at: Timestamp, random: &[u8; 16], mac: &[u8; 32]) -> Self {
        let mut bytes = [0; NONCE_BYTES];
        bytes[..8].copy_from_slice(&issued_at.unix_millis().to_be_bytes());
        bytes[8..24].copy_from_slice(random);
        bytes[24..].copy_from_slice(mac);
        Self(bytes)
    }

    fn parse(text: &str) -> Option<Self> {
        Some(Self(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
    }

    /// The nonce as it is sent.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// When it says that it was made.
    pub fn issued_at(&self) -> Timestamp {
        let mut millis = [0; 8];
        millis.copy_from_slice(&self.0[..8]);
        Timestamp::from_unix_millis(i64::from_be_bytes(millis))
    }

    /// Its random part.
    pub fn random(&self) -> [u8; 16] {
        let mut random = [0; 16];
        random.copy_from_slice(&self.0[8..24]);
        random
    }
}

/// What was shown as `piv`, with the text that it must be a signature of.
#[derive(Debug, Clone)]
pub struct Shown {
    nonce: Nonce,
    key: PublicKey,
    key_id: KeyId,
    signature: Vec<u8>,
    text: Vec<u8>,
    client: String,
}

impl Shown {
    /// Reads what was shown, strictly; `None` for what can be right for nobody.
    pub fn parse(shown: &str, context: SignInContext<'_>) -> Option<Self> {
        if shown.len() > MAX_SHOWN {
            return None;
        }
        let mut parts = shown.split('.');
        let (Some(nonce), Some(key), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let key = PublicKey::from_spki_der(&URL_SAFE_NO_PAD.decode(key).ok()?).ok()?;
        is_usable(&key).then_some(())?;
        Some(Self {
            text: signed_text(context, nonce),
            nonce: Nonce::parse(nonce)?,
            key_id: key.thumbprint(),
            key,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            client: context.client.to_owned(),
        })
    }

    /// What the MAC of the shown nonce must be over.
    pub fn mac_message(&self, tenant: &TenantId) -> Vec<u8> {
        Nonce::mac_message(tenant, &self.client, self.nonce.issued_at(), &self.nonce.random())
    }

    /// The shown key's name.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// Judges nonce and signature by the user's factor whose key it is, where there is one. Both are computed before either
    /// is judged. The audit record says why one is refused; the caller is not told.
    /// `macs` are those that the nonce may carry: several while the deployment's secret is renewed.
    pub fn judge(&self, macs: &[[u8; 32]], now: Timestamp, of: Option<&PivState>) -> Result<Spendable, Reason> {
        let is_ours = macs.iter().any(|mac| self.nonce.0[24..].ct_eq(mac).into());
        let is_signed = verifies(&self.key, &self.text, &self.signature);
        let issued_at = self.nonce.issued_at();
        if !is_ours {
            return Err(Reason::WrongNonce);
        }
        if issued_at > now.plus(CLOCK_SKEW) || issued_at.plus(NONCE_LIFETIME) < now {
            return Err(Reason::StaleNonce);
        }
        if !is_signed {
            return Err(Reason::WrongSignature);
        }
        let state = of.filter(|state| state.key_thumbprint == self.key_id.as_str()).ok_or(Reason::UnknownKey)?;
        Ok(Spendable { by: Spending::PivNonce(Sha256::digest(self.nonce.0).into()), used: state.used() })
    }
}

/// A key in a PIV slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PivState {
    /// The RFC 7638 thumbprint of the public key, unique in the tenant.
    pub key_thumbprint: String,
    /// The public key: DER of a `SubjectPublicKeyInfo`, in base64.
    pub public_key: String,
    /// The YubiKey's serial number, where it was attested or told.
    pub serial: Option<u32>,
    /// Whether Yubico's attestation proved that the key was made on the device.
    pub attested: bool,
}

impl FactorRules for PivState {
    fn handle(&self) -> Option<&str> {
        Some(&self.key_thumbprint)
    }

    fn facts(&self) -> Facts<'_> {
        Facts { key_thumbprint: Some(&self.key_thumbprint), attested: Some(self.attested), ..Facts::default() }
    }

    fn reachable(&self) -> Option<Level> {
        Some(if self.attested { Level::Aal3 } else { Level::Aal2 })
    }
}

impl PivState {
    /// What the key shows: where it was attested, that it was made on a device that asks for the PIN. Otherwise an operator
    /// says so, and nothing proves it.
    pub(super) const fn used(&self) -> FactorUse {
        match self.attested {
            true => FactorUse::beside_password(FactorKind::Piv, &["sc", "hwk", "pin", "mfa"], Level::Aal3),
            false => FactorUse::beside_password(FactorKind::Piv, &["sc", "mfa"], Level::Aal2),
        }
    }
}

/// Whether a key is of a kind that slot 9a may hold and Signet takes: P-256, P-384, RSA of 2048 to 4096 bits.
pub fn is_usable(key: &PublicKey) -> bool {
    matches!(key.key_type(), KeyType::P256 | KeyType::P384 | KeyType::Rsa)
}

/// The card signs SHA-256 (P-256, RSA with PKCS #1 v1.5) or SHA-384 (P-384); ECDSA comes in DER.
fn verifies(key: &PublicKey, text: &[u8], signature: &[u8]) -> bool {
    let algorithm: &dyn aws::VerificationAlgorithm = match key.key_type() {
        KeyType::P256 => &aws::ECDSA_P256_SHA256_ASN1,
        KeyType::P384 => &aws::ECDSA_P384_SHA384_ASN1,
        KeyType::Rsa => &aws::RSA_PKCS1_2048_8192_SHA256,
        KeyType::Ed25519 => return false,
    };
    aws::UnparsedPublicKey::new(algorithm, key.to_spki_der()).verify(text, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair as _, RsaKeyPair};

    use super::*;

    const AT: Timestamp = Timestamp::from_unix_seconds(1_000_000);
    const MAC: [u8; 32] = [7; 32];
    const CONTEXT: SignInContext<'static> =
        SignInContext { issuer: "https://a.example", client: "app", username: "ann" };

    fn p256() -> EcdsaKeyPair {
        EcdsaKeyPair::generate(&aws::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()
    }

    fn shown_by(pair: &EcdsaKeyPair, nonce: &Nonce, context: SignInContext<'_>) -> String {
        let text = signed_text(context, &nonce.text());
        let signature = pair.sign(&SystemRandom::new(), &text).unwrap();
        joined(nonce, pair.public_key().as_der().unwrap().as_ref(), signature.as_ref())
    }

    fn joined(nonce: &Nonce, key: &[u8], signature: &[u8]) -> String {
        format!("{}.{}.{}", nonce.text(), URL_SAFE_NO_PAD.encode(key), URL_SAFE_NO_PAD.encode(signature))
    }

    fn nonce() -> Nonce {
        Nonce::new(AT, &[1; 16], &MAC)
    }

    fn state(key_thumbprint: &str) -> PivState {
        let key_thumbprint = key_thumbprint.to_owned();
        PivState { key_thumbprint, public_key: String::new(), serial: None, attested: true }
    }

    fn judged(shown: &str, mac: &[u8; 32], now: Timestamp) -> Result<Spendable, Reason> {
        let shown = Shown::parse(shown, CONTEXT).unwrap();
        shown.judge(&[*mac], now, Some(&state(shown.key_id().as_str())))
    }

    #[test]
    fn a_signature_is_good_for_its_nonce_key_and_time() {
        let pair = p256();
        let shown = shown_by(&pair, &nonce(), CONTEXT);
        let key = PublicKey::from_spki_der(pair.public_key().as_der().unwrap().as_ref()).unwrap();
        let read = Shown::parse(&shown, CONTEXT).unwrap();
        assert!(read.judge(&[MAC], AT, Some(&state(&key.thumbprint().to_string()))).is_ok());
        for nobodys in [None, Some(&state("other"))] {
            assert_eq!(read.judge(&[MAC], AT, nobodys), Err(Reason::UnknownKey));
        }
        assert_eq!(judged(&shown, &[8; 32], AT), Err(Reason::WrongNonce));
        let last = AT.plus(NONCE_LIFETIME);
        assert!(judged(&shown, &MAC, last).is_ok());
        assert_eq!(judged(&shown, &MAC, last.plus(Duration::from_millis(1))), Err(Reason::StaleNonce));
        assert_eq!(judged(&shown, &MAC, AT.minus(Duration::from_secs(31))), Err(Reason::StaleNonce));
    }

    #[test]
    fn a_signature_for_somebody_or_something_else_is_refused() {
        let pair = p256();
        for other in [
            SignInContext { issuer: "https://b.example", ..CONTEXT },
            SignInContext { client: "other", ..CONTEXT },
            SignInContext { username: "bob", ..CONTEXT },
        ] {
            let shown = shown_by(&pair, &nonce(), other);
            assert_eq!(judged(&shown, &MAC, AT), Err(Reason::WrongSignature), "{other:?}");
        }
        let another_nonce = shown_by(&pair, &Nonce::new(AT, &[2; 16], &MAC), CONTEXT);
        let (_, rest) = another_nonce.split_once('.').unwrap();
        assert_eq!(judged(&format!("{}.{rest}", nonce().text()), &MAC, AT), Err(Reason::WrongSignature));
    }

    #[test]
    fn p384_and_rsa_keys_sign_too() {
        let text = signed_text(CONTEXT, &nonce().text());
        let pair = EcdsaKeyPair::generate(&aws::ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        let signature = pair.sign(&SystemRandom::new(), &text).unwrap();
        let shown = joined(&nonce(), pair.public_key().as_der().unwrap().as_ref(), signature.as_ref());
        assert!(judged(&shown, &MAC, AT).is_ok());

        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&aws::RSA_PKCS1_SHA256, &SystemRandom::new(), &text, &mut signature).unwrap();
        let spki = pair.public_key().as_der().unwrap();
        assert!(judged(&joined(&nonce(), spki.as_ref(), &signature), &MAC, AT).is_ok());
        signature[9] ^= 1;
        let spoilt = joined(&nonce(), spki.as_ref(), &signature);
        assert_eq!(judged(&spoilt, &MAC, AT), Err(Reason::WrongSignature));
    }

    #[test]
    fn the_nonce_keeps_what_it_is_made_of() {
        let nonce = Nonce::parse(&nonce().text()).unwrap();
        assert_eq!((nonce.issued_at(), nonce.random()), (AT, [1; 16]));
        let message = |tenant: &str, client: &str| Nonce::mac_message(&TenantId::new(tenant), client, AT, &[1; 16]);
        assert_ne!(message("t", "app"), message("t", "other"));
        assert_ne!(message("t", "app"), message("u", "app"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String, parts in proptest::collection::vec("[A-Za-z0-9_-]{0,90}", 0..5)) {
            for shown in [text, parts.join(".")] {
                if let Some(shown) = Shown::parse(&shown, CONTEXT) {
                    let _ = shown.judge(&[MAC], AT, None);
                }
            }
        }
    }
}
