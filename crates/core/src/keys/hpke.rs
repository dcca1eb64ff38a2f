//! Encryption to a pair whose private half stays in an HSM token: RFC 9180, base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256,
//! AES-256-GCM, one message for each encapsulated key. The HSM does the one step that needs the private half
//! (`CKM_ECDH1_DERIVE`); everything else is here.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hmac;
use zeroize::{Zeroize as _, Zeroizing};

use crate::random::{self, Random};
use signet_jose::PublicKey;

/// The length of an encapsulated key: an uncompressed point of P-256.
pub const ENCAPSULATED_BYTES: usize = 65;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const VERSION: &[u8] = b"HPKE-v1";
/// DHKEM(P-256, HKDF-SHA256).
const KEM_SUITE: &[u8] = b"KEM\x00\x10";
/// That, HKDF-SHA256, AES-256-GCM.
const SUITE: &[u8] = b"HPKE\x00\x10\x00\x01\x00\x02";
const BASE_MODE: u8 = 0;
/// A scalar outside of the curve's order is drawn once in 2^32 times.
const DRAWS: usize = 4;

/// What is encrypted to, and what it is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'b> {
    /// The recipient's public key, as an uncompressed point.
    pub recipient: &'b [u8; ENCAPSULATED_BYTES],
    /// What it is for (`info` of RFC 9180).
    pub purpose: &'b [u8],
    /// The associated data.
    pub associated: &'b [u8],
}

/// Nothing can be encrypted to this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing can be encrypted to this key: it is none of P-256")]
pub struct NoRecipient;

/// The point of a key of P-256.
/// Errors: [`NoRecipient`] for a key of another kind.
pub fn recipient(key: &PublicKey) -> Result<[u8; ENCAPSULATED_BYTES], NoRecipient> {
    key.p256_point().ok_or(NoRecipient)
}

/// Encrypts: the encapsulated key, then the ciphertext.
/// Errors: [`NoRecipient`] where the recipient is no point of the curve.
pub fn seal(random: &dyn Random, bound: &Bound<'_>, secret: &[u8]) -> Result<Vec<u8>, NoRecipient> {
    let ephemeral = ephemeral(random)?;
    let encapsulated: [u8; ENCAPSULATED_BYTES] =
        ephemeral.compute_public_key().ok().and_then(|key| key.as_ref().try_into().ok()).ok_or(NoRecipient)?;
    let recipient = UnparsedPublicKey::new(&ECDH_P256, bound.recipient.as_slice());
    let shared = agree(&ephemeral, recipient, NoRecipient, |dh| Ok(shared_secret(dh, &encapsulated, bound)))?;
    let (key, nonce) = schedule(&shared, bound.purpose, SUITE, KEY_BYTES);
    let mut ciphertext = Zeroizing::new(secret.to_vec());
    sealing_key(&key)
        .and_then(|key| key.seal_in_place_append_tag(nonce, Aad::from(bound.associated), &mut *ciphertext).ok())
        .ok_or(NoRecipient)?;
    Ok([encapsulated.as_slice(), &ciphertext].concat())
}

/// An encrypted secret taken apart: the encapsulated key, on which the private half is used, and the ciphertext. `None` where
/// it is too short.
pub fn parts(sealed: &[u8]) -> Option<(&[u8; ENCAPSULATED_BYTES], &[u8])> {
    sealed.split_first_chunk()
}

/// Decrypts, by what the HSM made of the encapsulated key: the x-coordinate of the shared point. `None` where it does not open.
pub fn open(dh: &[u8], sealed: &[u8], bound: &Bound<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let (encapsulated, ciphertext) = parts(sealed)?;
    let (key, nonce) = schedule(&shared_secret(dh, encapsulated, bound), bound.purpose, SUITE, KEY_BYTES);
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let length = sealing_key(&key)?.open_in_place(nonce, Aad::from(bound.associated), &mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(buffer)
}

fn ephemeral(random: &dyn Random) -> Result<PrivateKey, NoRecipient> {
    (0..DRAWS)
        .find_map(|_| {
            let mut scalar = random::bytes::<KEY_BYTES>(random);
            let key = PrivateKey::from_private_key(&ECDH_P256, &scalar).ok();
            scalar.zeroize();
            key
        })
        .ok_or(NoRecipient)
}

fn sealing_key(key: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new)
}

/// `ExtractAndExpand` of RFC 9180 §4.1.
fn shared_secret(dh: &[u8], encapsulated: &[u8], bound: &Bound<'_>) -> Zeroizing<Vec<u8>> {
    let extracted = extract(&[], KEM_SUITE, b"eae_prk", dh);
    let context = [encapsulated, bound.recipient].concat();
    expand(&extracted, KEM_SUITE, b"shared_secret", &context, KEY_BYTES)
}

/// `KeySchedule` of RFC 9180 §5.1 without a pre-shared key: key and nonce of the only message.
fn schedule(shared: &[u8], purpose: &[u8], suite: &[u8], key_bytes: usize) -> (Zeroizing<Vec<u8>>, Nonce) {
    let context = [
        &[BASE_MODE],
        extract(&[], suite, b"psk_id_hash", &[]).as_slice(),
        &extract(&[], suite, b"info_hash", purpose),
    ]
    .concat();
    let secret = extract(shared, suite, b"secret", &[]);
    let key = expand(&secret, suite, b"key", &context, key_bytes);
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&expand(&secret, suite, b"base_nonce", &context, NONCE_BYTES));
    (key, Nonce::assume_unique_for_key(nonce))
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    Zeroizing::new(context.sign().as_ref().to_vec())
}

/// `LabeledExtract`.
fn extract(salt: &[u8], suite: &[u8], label: &[u8], material: &[u8]) -> Zeroizing<Vec<u8>> {
    mac(salt, &[VERSION, suite, label, material])
}

/// `LabeledExpand`, of no more than one block of the hash.
fn expand(secret: &[u8], suite: &[u8], label: &[u8], info: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let [.., high, low] = length.to_be_bytes();
    let mut block = mac(secret, &[&[high, low], VERSION, suite, label, info, &[1]]);
    block.truncate(length);
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    /// RFC 9180, appendix A.3.1: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode.
    const RECIPIENT_PRIVATE: &str = "f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2";
    const RECIPIENT: &str = "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a826a779b4cf969b8a0e539c7f62fb3d30\
        ad6aa8f80e30f1d128aafd68a2ce72ea0";
    const EPHEMERAL_PRIVATE: &str = "4995788ef4b9d6132b249ce59a77281493eb39af373d236a1fe415cb0c2d7beb";
    const ENCAPSULATED: &str = "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900\
        be863c403ce65c9bfcb9382657222d18c4";
    const SHARED: &str = "c0d26aeab536609a572b07695d933b589dcf363ff9d93c93adea537aeabb8cb8";
    const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";
    const KEY: &str = "868c066ef58aae6dc589b6cfdd18f97e";
    const BASE_NONCE: &str = "4e0bc5018beba4bf004cca59";

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    /// The next scalar that is drawn.
    struct Draws(Vec<u8>);

    impl Random for Draws {
        fn fill(&self, out: &mut [u8]) {
            out.copy_from_slice(&self.0);
        }
    }

    fn point(text: &str) -> [u8; ENCAPSULATED_BYTES] {
        hex(text).try_into().unwrap()
    }

    /// What an HSM makes of an encapsulated key.
    fn derive(private: &str, encapsulated: &[u8]) -> Vec<u8> {
        let key = PrivateKey::from_private_key(&ECDH_P256, &hex(private)).unwrap();
        agree(&key, UnparsedPublicKey::new(&ECDH_P256, encapsulated), (), |dh| Ok(dh.to_vec())).unwrap()
    }

    #[test]
    fn key_and_nonce_are_those_of_the_rfc() {
        let recipient = point(RECIPIENT);
        let bound = Bound { recipient: &recipient, purpose: &hex(INFO), associated: b"" };
        let dh = derive(RECIPIENT_PRIVATE, &hex(ENCAPSULATED));
        let shared = shared_secret(&dh, &hex(ENCAPSULATED), &bound);
        assert_eq!(*shared, hex(SHARED));
        let (key, nonce) = schedule(&shared, bound.purpose, b"HPKE\x00\x10\x00\x01\x00\x01", 16);
        assert_eq!((key.to_vec(), nonce.as_ref().to_vec()), (hex(KEY), hex(BASE_NONCE)));
    }

    #[test]
    fn what_is_sealed_opens_for_its_recipient_purpose_and_row_alone() {
        let recipient = point(RECIPIENT);
        let bound = Bound { recipient: &recipient, purpose: b"purpose", associated: b"row" };
        let sealed = seal(&Draws(hex(EPHEMERAL_PRIVATE)), &bound, b"secret").unwrap();
        let (encapsulated, _) = parts(&sealed).unwrap();
        assert_eq!(encapsulated.to_vec(), hex(ENCAPSULATED), "the encapsulated key is the RFC's");
        let dh = derive(RECIPIENT_PRIVATE, encapsulated);
        assert_eq!(*open(&dh, &sealed, &bound).unwrap(), b"secret");
        for other in [Bound { purpose: b"other", ..bound }, Bound { associated: b"other", ..bound }] {
            assert!(open(&dh, &sealed, &other).is_none());
        }
        assert!(open(&derive(EPHEMERAL_PRIVATE, &recipient)[1..], &sealed, &bound).is_none());
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert!(open(&dh, &altered, &bound).is_none(), "byte {place}");
        }
        assert!(open(&dh, &sealed[..ENCAPSULATED_BYTES - 1], &bound).is_none());
    }

    #[test]
    fn no_point_is_no_recipient() {
        let mut off_the_curve = point(RECIPIENT);
        off_the_curve[64] ^= 1;
        let bound = Bound { recipient: &off_the_curve, purpose: b"", associated: b"" };
        assert_eq!(seal(&Draws(hex(EPHEMERAL_PRIVATE)), &bound, b"secret"), Err(NoRecipient));
    }
}
