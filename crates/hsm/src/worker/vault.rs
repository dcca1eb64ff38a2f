//! Seals and opens, and uses OTP secrets without showing them (see `crate::blob`).

use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac as software_hmac;
use cryptoki::error::RvError;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::error::{Fault, Result};
use super::key_session::KeySession;
use super::mechanism::hmac;
use super::single_part::SinglePartSession;
use crate::blob::{self, Blob, IV_BYTES, MAC_BYTES};
use crate::wire::{Answer, KeyRef, Octets, SealedSecret, SecretKind, VaultKeys};
use signet_core::keys::{HsmFailure, OtpHash, OtpSecretKind, SealMode};
use signet_core::random::{self, OsRandom};

const GCM_TAG_BITS: u64 = 128;
const GCM_TAG_BYTES: usize = 16;

/// A secret at rest that is to be used: the blob taken apart, and what it must be bound to.
pub(super) struct Opening<'s> {
    keys: &'s VaultKeys,
    row: &'s [u8],
    kind: SecretKind,
    pub(super) blob: Blob<'s>,
}

impl<'s> Opening<'s> {
    /// Errors: [`HsmFailure::DoesNotOpen`] where it is no blob.
    pub(super) fn of(sealed: &'s SealedSecret, kind: SecretKind) -> Result<Self> {
        let blob = Blob::parse(&sealed.blob.0).ok_or_else(does_not_open)?;
        Ok(Self { keys: &sealed.keys, row: &sealed.row.0, kind, blob })
    }

    /// What binds the secret to its row and kind.
    fn binding(&self, wrapped: &[u8]) -> Vec<u8> {
        blob::binding(self.row, self.kind, wrapped)
    }
}

impl KeySession {
    /// Seals a secret; an OTP's is wrapped where token and keys allow it.
    pub(super) fn seal(&mut self, keys: &VaultKeys, row: &[u8], kind: SecretKind, secret: &[u8]) -> Result<Answer> {
        let wraps = self.shared.token.mechanisms.seal_modes().contains(&SealMode::Wrapped);
        let sealed = match (kind, &keys.wrapping, &keys.binding) {
            (SecretKind::Otp(otp), Some(wrapping), Some(binding)) if wraps => {
                self.wrap(wrapping, binding, row, otp, secret)?
            }
            _ => self.encrypt(needed(keys.sealing.as_ref(), "sealing")?, row, kind, secret)?,
        };
        Ok(Answer::Bytes(Octets(sealed)))
    }

    /// Opens a secret that the server itself needs.
    pub(super) fn open(&mut self, sealed: &SealedSecret) -> Result<Answer> {
        let opening = Opening::of(sealed, SecretKind::Opened)?;
        if opening.blob.mode != SealMode::Sealed {
            return Err(does_not_open());
        }
        let mut secret = self.decrypt(&opening)?;
        Ok(Answer::Bytes(Octets(std::mem::take(&mut *secret))))
    }

    /// The HMAC of each message under a wrapped OTP secret.
    pub(super) fn otp_hmac(&mut self, sealed: &SealedSecret, hash: OtpHash, messages: &[Octets]) -> Result<Answer> {
        let kind = OtpSecretKind::Hmac(hash);
        let opening = Opening::of(sealed, SecretKind::Otp(kind))?;
        let macs = match opening.blob.mode {
            SealMode::Wrapped => self.with_unwrapped(&opening, &unextractable(kind), |session, key| {
                let mechanism = hmac(hash).0;
                let mac = |message: &Octets| Ok(Octets(session.sign(&mechanism, key, &message.0)?));
                messages.iter().map(mac).collect::<Result<Vec<_>>>()
            })?,
            SealMode::Sealed => {
                let secret = self.decrypt(&opening)?;
                let key = software_hmac::Key::new(software_algorithm(hash), &secret);
                messages.iter().map(|message| Octets(software_hmac::sign(&key, &message.0).as_ref().to_vec())).collect()
            }
        };
        Ok(Answer::Hmacs(macs))
    }

    /// One AES block under a wrapped Yubico OTP key.
    pub(super) fn decrypt_block(&mut self, sealed: &SealedSecret, block: [u8; 16]) -> Result<Answer> {
        let kind = OtpSecretKind::Aes128;
        let opening = Opening::of(sealed, SecretKind::Otp(kind))?;
        let plain = match opening.blob.mode {
            SealMode::Wrapped => self.with_unwrapped(&opening, &unextractable(kind), |session, key| {
                Ok(Zeroizing::new(session.decrypt(&Mechanism::AesEcb, key, &block)?))
            })?,
            SealMode::Sealed => decrypt_in_software(&self.decrypt(&opening)?, block)?,
        };
        let plain = plain.as_slice().try_into().map_err(|_| does_not_open())?;
        Ok(Answer::Block(plain))
    }

    /// Binds an OTP secret to another row. A wrapped one is not even unwrapped: its row is bound by a MAC beside it.
    pub(super) fn rebind(&mut self, sealed: &SealedSecret, to: &[u8], kind: OtpSecretKind) -> Result<Answer> {
        let opening = Opening::of(sealed, SecretKind::Otp(kind))?;
        let rebound = match opening.blob.mode {
            SealMode::Wrapped => {
                let binding = needed(opening.keys.binding.as_ref(), "binding")?;
                let wrapped = self.wrapped_for(binding, &opening)?;
                let mac = self.mac(binding, &blob::binding(to, opening.kind, wrapped))?;
                blob::assemble(SealMode::Wrapped, opening.blob.tag, [&mac, wrapped])
            }
            SealMode::Sealed => {
                let secret = self.decrypt(&opening)?;
                self.encrypt(needed(opening.keys.sealing.as_ref(), "sealing")?, to, opening.kind, &secret)?
            }
        };
        Ok(Answer::Bytes(Octets(rebound)))
    }

    /// HMAC-SHA-256 under a binding key.
    pub(super) fn mac(&mut self, key: &KeyRef, input: &[u8]) -> Result<Vec<u8>> {
        self.shared.token.mechanisms.require(MechanismType::SHA256_HMAC, "CKM_SHA256_HMAC")?;
        let handle = self.handle(key)?;
        Ok(self.session()?.sign(&Mechanism::Sha256Hmac, handle, input)?)
    }

    fn encrypt(&mut self, key: &KeyRef, row: &[u8], kind: SecretKind, secret: &[u8]) -> Result<Vec<u8>> {
        self.shared.token.mechanisms.require(MechanismType::AES_GCM, "CKM_AES_GCM")?;
        let handle = self.handle(key)?;
        let associated = blob::binding(row, kind, &[]);
        let mut iv = random::bytes::<IV_BYTES>(&OsRandom);
        let parameters = GcmParams::new(&mut iv, &associated, GCM_TAG_BITS.into())?;
        let ciphertext = self.session()?.encrypt(&Mechanism::AesGcm(parameters), handle, secret)?;
        if ciphertext.len() != secret.len() + GCM_TAG_BYTES {
            // An HSM that chooses the IV and appends it (Luna in FIPS mode, by its documents) would not open this again.
            let mechanism = "CKM_AES_GCM with the caller's IV; in FIPS mode some HSMs choose their own".to_owned();
            return Err(HsmFailure::MechanismMissing(mechanism).into());
        }
        // Some modules choose the IV themselves and leave it where ours was: it is read only now.
        Ok(blob::assemble(SealMode::Sealed, blob::key_tag(&[&key.key_id]), [&iv, &ciphertext]))
    }

    pub(super) fn decrypt(&mut self, opening: &Opening<'_>) -> Result<Zeroizing<Vec<u8>>> {
        self.shared.token.mechanisms.require(MechanismType::AES_GCM, "CKM_AES_GCM")?;
        let key = needed(opening.keys.sealing.as_ref(), "sealing")?;
        let parts = opening.blob.body.split_first_chunk::<IV_BYTES>().ok_or_else(does_not_open)?;
        let associated = opening.binding(&[]);
        match self.decrypt_once(key, parts, &associated) {
            // A fault of the module can look like tampering: only what another session says as well is believed.
            Err(fault) if may_be_tampering(&fault) => {
                self.renew(&fault)?;
                self.decrypt_once(key, parts, &associated).or_else(|fault| self.judge_decryption(key, fault))
            }
            done => done,
        }
    }

    fn decrypt_once(
        &mut self,
        key: &KeyRef,
        (iv, ciphertext): (&[u8; IV_BYTES], &[u8]),
        associated: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        let handle = self.handle(key)?;
        let mut iv = *iv;
        let parameters = GcmParams::new(&mut iv, associated, GCM_TAG_BITS.into())?;
        Ok(Zeroizing::new(self.session()?.decrypt(&Mechanism::AesGcm(parameters), handle, ciphertext)?))
    }

    /// Modules say "tampered with" in several ways, among them `CKR_GENERAL_ERROR`. Where the key itself still
    /// answers, the blob was at fault.
    fn judge_decryption(&mut self, key: &KeyRef, fault: Fault) -> Result<Zeroizing<Vec<u8>>> {
        let handle = self.handle(key)?;
        let answers =
            self.session().is_ok_and(|session| session.get_attributes(handle, &[AttributeType::Class]).is_ok());
        if !may_be_tampering(&fault) || !answers {
            return Err(fault);
        }
        self.renew(&fault)?;
        Err(does_not_open())
    }

    fn wrap(
        &mut self,
        wrapping: &KeyRef,
        binding: &KeyRef,
        row: &[u8],
        kind: OtpSecretKind,
        secret: &[u8],
    ) -> Result<Vec<u8>> {
        let wrapping_handle = self.handle(wrapping)?;
        let mut template = unwrapped(kind);
        template.extend([Attribute::Value(padded(kind, secret)), Attribute::Extractable(true)]);
        let object = self.session()?.create_object(&template);
        if let Some(Attribute::Value(mut value)) = template.into_iter().find(|a| matches!(a, Attribute::Value(_))) {
            zeroize::Zeroize::zeroize(&mut value);
        }
        let object = object?;
        let wrapped = self.session()?.wrap_key(&Mechanism::AesKeyWrapPad, wrapping_handle, object);
        let destroyed = self.session()?.destroy_object(object);
        let wrapped = wrapped?;
        destroyed?;
        let mac = self.mac(binding, &blob::binding(row, SecretKind::Otp(kind), &wrapped))?;
        let tag = blob::key_tag(&[&wrapping.key_id, &binding.key_id]);
        Ok(blob::assemble(SealMode::Wrapped, tag, [&mac, &wrapped]))
    }

    /// The wrapped secret of a blob whose MAC says that it is this row's.
    fn wrapped_for<'b>(&mut self, binding: &KeyRef, opening: &Opening<'b>) -> Result<&'b [u8]> {
        let (mac, wrapped) = opening.blob.body.split_first_chunk::<MAC_BYTES>().ok_or_else(does_not_open)?;
        let expected = self.mac(binding, &opening.binding(wrapped))?;
        if bool::from(expected.as_slice().ct_eq(mac)) { Ok(wrapped) } else { Err(does_not_open()) }
    }

    /// Checks the row, unwraps to a session object of this template, uses it, destroys it.
    pub(super) fn with_unwrapped<T>(
        &mut self,
        opening: &Opening<'_>,
        template: &[Attribute],
        using: impl FnOnce(&SinglePartSession, ObjectHandle) -> Result<T>,
    ) -> Result<T> {
        let wrapping = needed(opening.keys.wrapping.as_ref(), "wrapping")?;
        let binding = needed(opening.keys.binding.as_ref(), "binding")?;
        let wrapped = self.wrapped_for(binding, opening)?;
        self.shared.token.mechanisms.require(MechanismType::AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD")?;
        let wrapping = self.handle(wrapping)?;
        let session = self.session()?;
        let key = session.unwrap_key(&Mechanism::AesKeyWrapPad, wrapping, wrapped, template)?;
        let result = using(session, key);
        let destroyed = session.destroy_object(key);
        let value = result?;
        destroyed?;
        Ok(value)
    }
}

/// Whether modules give this answer to a ciphertext that was tampered with.
fn may_be_tampering(fault: &Fault) -> bool {
    use RvError as R;
    matches!(
        fault,
        Fault::Module(
            R::GeneralError
                | R::FunctionFailed
                | R::EncryptedDataInvalid
                | R::EncryptedDataLenRange
                | R::DataInvalid
                | R::DataLenRange
                | R::SignatureInvalid
                | R::ArgumentsBad,
            _
        )
    )
}

/// A session object that does its work and is not given away.
fn unextractable(kind: OtpSecretKind) -> Vec<Attribute> {
    let mut template = unwrapped(kind);
    template.push(Attribute::Extractable(false));
    template
}

/// A session object that can do the one thing that its kind needs.
pub(super) fn unwrapped(kind: OtpSecretKind) -> Vec<Attribute> {
    let (key_type, usage) = match kind {
        OtpSecretKind::Hmac(_) => (KeyType::GENERIC_SECRET, Attribute::Sign(true)),
        OtpSecretKind::Aes128 => (KeyType::AES, Attribute::Decrypt(true)),
    };
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(key_type),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        usage,
    ]
}

fn padded(kind: OtpSecretKind, secret: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(secret.len().max(64));
    value.extend_from_slice(secret);
    if let OtpSecretKind::Hmac(hash) = kind {
        value.resize(secret.len().max(hmac(hash).1), 0);
    }
    value
}

fn software_algorithm(hash: OtpHash) -> software_hmac::Algorithm {
    match hash {
        OtpHash::Sha1 => software_hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        OtpHash::Sha256 => software_hmac::HMAC_SHA256,
        OtpHash::Sha512 => software_hmac::HMAC_SHA512,
    }
}

fn decrypt_in_software(secret: &[u8], mut block: [u8; 16]) -> Result<Zeroizing<Vec<u8>>> {
    let key = UnboundCipherKey::new(&AES_128, secret).and_then(DecryptingKey::ecb).map_err(|_| does_not_open())?;
    let plain = key.decrypt(&mut block, DecryptionContext::None).map_err(|_| does_not_open())?;
    Ok(Zeroizing::new(plain.to_vec()))
}

fn needed<'a>(key: Option<&'a KeyRef>, purpose: &str) -> Result<&'a KeyRef> {
    key.ok_or_else(|| {
        HsmFailure::Configuration(format!("the token has no {purpose} key; `signet init` makes it")).into()
    })
}

fn does_not_open() -> Fault {
    HsmFailure::DoesNotOpen.into()
}
