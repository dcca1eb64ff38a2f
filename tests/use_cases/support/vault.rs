//! The vault of the software tokens. Sealed: AES-256-GCM with the row as associated data, under the sealing key of each token.
//! Wrapped, where the token does that: RFC 5649 under its wrapping key, with a MAC over row and kind under its binding key;
//! what is wrapped is used and never opened.

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};
use signet_core::keys::{
    HsmError, HsmFailure, HsmKey, HsmName, KeyAdmin as _, KeyPurpose, OtpHash, OtpSecretKind, RowBinding, SealedCopies,
    Vault, envelope, hpke,
};
use signet_core::random::OsRandom;
use signet_core::secret::SecretBytes;
use signet_jose::PublicKey;

use super::hsm::SoftwareHsms;

/// The first byte of what is sealed, and of what is wrapped.
const SEALED: u8 = 1;
const WRAPPED: u8 = 2;
/// The length of the MAC of what is wrapped.
const MAC_BYTES: usize = 32;

impl SoftwareHsms {
    fn key_of(&self, hsm: &HsmName, purpose: KeyPurpose) -> Option<HsmKey> {
        let keys = self.keys.lock().unwrap();
        keys.iter().find(|key| key.hsm == *hsm && key.purpose == purpose && key.state.is_active()).cloned()
    }

    /// A key's value, where the token answers.
    fn value_of(&self, hsm: &HsmName, purpose: KeyPurpose, operation: &'static str) -> Result<[u8; 32], HsmError> {
        let key = self.key_of(hsm, purpose).ok_or_else(|| unavailable(operation))?;
        self.ask(hsm, operation).and_then(|token| token.secret(&key))
    }

    fn wrap_for(
        &self,
        hsm: &HsmName,
        row: &RowBinding,
        kind: OtpSecretKind,
        secret: &[u8],
    ) -> Result<Vec<u8>, HsmError> {
        let kek = kek(&self.value_of(hsm, KeyPurpose::Wrapping, "wrap")?);
        let binding = self.value_of(hsm, KeyPurpose::Binding, "wrap")?;
        let mut wrapped = vec![0; secret.len() + 16];
        let wrapped = kek.wrap_with_padding(secret, &mut wrapped).unwrap();
        Ok([&[WRAPPED][..], &mac(OtpHash::Sha256, &binding, &bound(row, kind, wrapped)), wrapped].concat())
    }

    fn unwrap(
        &self,
        hsm: &HsmName,
        operation: &'static str,
        row: &RowBinding,
        kind: Option<OtpSecretKind>,
        body: &[u8],
    ) -> Result<Vec<u8>, HsmError> {
        let fails = || HsmError::new(operation, HsmFailure::DoesNotOpen);
        let (kek, binding) =
            (self.value_of(hsm, KeyPurpose::Wrapping, operation)?, self.value_of(hsm, KeyPurpose::Binding, operation)?);
        let (shown, wrapped) = body.split_at(MAC_BYTES);
        if mac(OtpHash::Sha256, &binding, &bound(row, kind.ok_or_else(fails)?, wrapped)) != shown {
            return Err(fails());
        }
        let mut secret = vec![0; wrapped.len()];
        Ok(self::kek(&kek).unwrap_with_padding(wrapped, &mut secret).map_err(|_| fails())?.to_vec())
    }

    /// SealedCopies for those of these tokens that answer and have a key for it. `wrapped` says what a factor's secret is.
    fn seal_for(
        &self,
        tokens: &[HsmName],
        operation: &'static str,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        secret: &[u8],
    ) -> Result<SealedCopies, HsmError> {
        let (mut seals, mut failed) = (SealedCopies::default(), unavailable(operation));
        for hsm in tokens {
            let wraps = self.token(hsm.as_str()).wraps;
            if let (true, Some(kind)) = (wraps, wrapped) {
                match self.wrap_for(hsm, row, kind, secret) {
                    Err(error) => failed = error,
                    Ok(blob) => drop(seals.0.insert(hsm.clone(), blob)),
                }
                continue;
            }
            let Some(key) = self.key_of(hsm, KeyPurpose::Sealing) else { continue };
            match self.ask(hsm, operation).and_then(|token| token.secret(&key)) {
                Err(error) => failed = error,
                Ok(key) => {
                    let mut nonce = [0; NONCE_LEN];
                    nonce[4..].copy_from_slice(&self.fresh_number().to_be_bytes());
                    let mut sealed = secret.to_vec();
                    let unique = Nonce::assume_unique_for_key(nonce);
                    aead(&key).seal_in_place_append_tag(unique, Aad::from(row.as_bytes()), &mut sealed).unwrap();
                    seals.0.insert(hsm.clone(), [&[SEALED][..], &nonce, &sealed].concat());
                }
            }
        }
        if seals.0.is_empty() { Err(failed) } else { Ok(seals) }
    }

    fn decapsulate(
        &self,
        transport: &HsmKey,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        sealed: &[u8],
    ) -> Result<Vec<u8>, HsmError> {
        let fails = || HsmError::new("take envelope", HsmFailure::DoesNotOpen);
        let (point, _) = hpke::parts(sealed).ok_or_else(fails)?;
        let shared = self.ask(&transport.hsm, "take envelope")?.agree(transport, point)?;
        let recipient = transport.public.as_ref().unwrap().key.p256_point().unwrap();
        let associated = envelope::associated(row, wrapped);
        hpke::open(&shared, sealed, &envelope::bound(&recipient, &associated))
            .map(|secret| secret.to_vec())
            .ok_or_else(fails)
    }

    /// Opens by the first token that answers; what is wrapped, only as this kind of secret.
    fn open_by_any(
        &self,
        operation: &'static str,
        row: &RowBinding,
        kind: Option<OtpSecretKind>,
        seals: &SealedCopies,
    ) -> Result<Vec<u8>, HsmError> {
        let mut failed = unavailable(operation);
        let here = self.tokens();
        for (hsm, blob) in seals.0.iter().filter(|(hsm, _)| here.contains(hsm)) {
            if blob[0] == WRAPPED {
                match self.unwrap(hsm, operation, row, kind, &blob[1..]) {
                    Err(error) if error.failure != HsmFailure::DoesNotOpen => failed = error,
                    unwrapped => return unwrapped,
                }
                continue;
            }
            let Some(key) = self.key_of(hsm, KeyPurpose::Sealing) else { continue };
            match self.ask(hsm, operation).and_then(|token| token.secret(&key)) {
                Err(error) => failed = error,
                Ok(key) => {
                    let (nonce, sealed) = blob[1..].split_at(NONCE_LEN);
                    let (nonce, mut sealed) = (Nonce::try_assume_unique_for_key(nonce).unwrap(), sealed.to_vec());
                    let opened = aead(&key).open_in_place(nonce, Aad::from(row.as_bytes()), &mut sealed);
                    let opened = opened.map(|opened| opened.to_vec());
                    return opened.map_err(|_| HsmError::new(operation, HsmFailure::DoesNotOpen));
                }
            }
        }
        Err(failed)
    }
}

fn kek(key: &[u8; 32]) -> AesKek {
    AesKek::new(&AES_256, key).unwrap()
}

/// What the MAC of what is wrapped covers.
fn bound(row: &RowBinding, kind: OtpSecretKind, wrapped: &[u8]) -> Vec<u8> {
    [row.as_bytes(), format!("{kind:?}").as_bytes(), wrapped].concat()
}

fn unavailable(operation: &str) -> HsmError {
    let detail = "no token that answers has what it takes".to_owned();
    HsmError::new(operation, HsmFailure::Unavailable(detail))
}

fn aead(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap())
}

fn mac(hash: OtpHash, key: &[u8], message: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        OtpHash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        OtpHash::Sha256 => hmac::HMAC_SHA256,
        OtpHash::Sha512 => hmac::HMAC_SHA512,
    };
    hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec()
}

#[async_trait]
impl Vault for SoftwareHsms {
    async fn seal(&self, row: &RowBinding, secret: &SecretBytes) -> Result<SealedCopies, HsmError> {
        self.seal_for(&self.tokens(), "seal", row, None, secret.expose())
    }

    async fn open(&self, row: &RowBinding, seals: &SealedCopies) -> Result<SecretBytes, HsmError> {
        self.open_by_any("open", row, None, seals).map(SecretBytes::new)
    }

    async fn wrap(
        &self,
        row: &RowBinding,
        kind: OtpSecretKind,
        secret: &SecretBytes,
    ) -> Result<SealedCopies, HsmError> {
        self.seal_for(&self.tokens(), "wrap", row, Some(kind), secret.expose())
    }

    async fn otp_hmac(
        &self,
        row: &RowBinding,
        seals: &SealedCopies,
        hash: OtpHash,
        messages: Vec<[u8; 8]>,
    ) -> Result<Vec<Vec<u8>>, HsmError> {
        let secret = self.open_by_any("otp_hmac", row, Some(OtpSecretKind::Hmac(hash)), seals)?;
        Ok(messages.iter().map(|message| mac(hash, &secret, message)).collect())
    }

    async fn message_hmac(
        &self,
        row: &RowBinding,
        seals: &SealedCopies,
        hash: OtpHash,
        message: Vec<u8>,
    ) -> Result<Vec<u8>, HsmError> {
        Ok(mac(hash, &self.open_by_any("message_hmac", row, Some(OtpSecretKind::Hmac(hash)), seals)?, &message))
    }

    async fn decrypt_block(
        &self,
        row: &RowBinding,
        seals: &SealedCopies,
        mut block: [u8; 16],
    ) -> Result<[u8; 16], HsmError> {
        let secret = self.open_by_any("decrypt_block", row, Some(OtpSecretKind::Aes128), seals)?;
        let key = DecryptingKey::ecb(UnboundCipherKey::new(&AES_128, &secret).unwrap()).unwrap();
        key.decrypt(&mut block, DecryptionContext::None).unwrap();
        Ok(block)
    }

    async fn reseal_for(
        &self,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        seals: &SealedCopies,
        lacking: &[HsmName],
    ) -> Result<SealedCopies, HsmError> {
        let secret = self.open_by_any("reseal", row, wrapped, seals)?;
        self.seal_for(lacking, "reseal", row, wrapped, &secret)
    }

    async fn rebind(
        &self,
        from: &RowBinding,
        to: &RowBinding,
        kind: OtpSecretKind,
        seals: &SealedCopies,
    ) -> Result<SealedCopies, HsmError> {
        let secret = self.open_by_any("rebind", from, Some(kind), seals)?;
        let tokens: Vec<HsmName> = seals.0.keys().cloned().collect();
        self.seal_for(&tokens, "rebind", to, Some(kind), &secret)
    }

    async fn take_envelope(
        &self,
        transport: &HsmKey,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        sealed: &[u8],
    ) -> Result<Vec<u8>, HsmError> {
        let secret = self.decapsulate(transport, row, wrapped, sealed)?;
        let mut seals = self.seal_for(std::slice::from_ref(&transport.hsm), "take envelope", row, wrapped, &secret)?;
        Ok(seals.0.remove(&transport.hsm).unwrap())
    }

    async fn open_deployment_secret(&self, transport: &HsmKey, sealed: &[u8]) -> Result<SecretBytes, HsmError> {
        let row = RowBinding::of_deployment_secret();
        self.decapsulate(transport, &row, None, sealed).map(SecretBytes::new)
    }

    async fn put_in_envelope(
        &self,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        seals: &SealedCopies,
        to: &PublicKey,
    ) -> Result<Vec<u8>, HsmError> {
        let secret = self.open_by_any("put in envelope", row, wrapped, seals)?;
        Ok(envelope::seal(&OsRandom, to, row, wrapped, &secret).unwrap())
    }

    async fn derive(
        &self,
        hsm: Option<&HsmName>,
        label: &str,
        message: &[u8],
    ) -> Result<(HsmName, [u8; 32]), HsmError> {
        let tokens = hsm.map_or_else(|| self.tokens(), |hsm| vec![hsm.clone()]);
        let mut failed = unavailable("derive");
        for hsm in tokens {
            let Some(key) = self.key_of(&hsm, KeyPurpose::Binding) else { continue };
            match self.ask(&hsm, "derive").and_then(|token| token.secret(&key)) {
                Err(error) => failed = error,
                Ok(key) => {
                    let derived = mac(OtpHash::Sha256, &key, &[label.as_bytes(), &[0], message].concat());
                    return Ok((hsm, derived.try_into().unwrap()));
                }
            }
        }
        Err(failed)
    }
}
