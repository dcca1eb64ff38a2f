//! The joints to the HSM: [`Signer`] signs, [`Vault`] keeps secrets; [`KeyAdmin`](super::KeyAdmin) makes and lists keys.
//!
//! The one implementation talks to `signet hsm-worker`. A signature comes back as a [`RawSignature`], which can't be
//! released: [`RawSignature::check`] verifies it with the public key and gives the [`Signature`].

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{HsmKey, HsmName};
use crate::secret::SecretBytes;
use signet_jose::{Algorithm, VerifyingKey};

/// A failure of an HSM token, with the operation that failed and what to do with the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("HSM {operation}: {failure}")]
pub struct HsmError {
    /// What was tried, e.g. `sign`.
    pub operation: String,
    /// What went wrong.
    pub failure: HsmFailure,
    /// Whether the token was asked at all: one that was not has done nothing, whatever the failure is.
    pub was_asked: bool,
}

impl HsmError {
    /// A failure of an operation.
    pub fn new(operation: impl Into<String>, failure: HsmFailure) -> Self {
        Self { operation: operation.into(), failure, was_asked: true }
    }

    /// A failure of an operation that no worker was given.
    pub fn not_asked(operation: impl Into<String>, failure: HsmFailure) -> Self {
        Self { operation: operation.into(), failure, was_asked: false }
    }

    /// Whether what was asked for may have been done all the same.
    pub const fn is_unknown_outcome(&self) -> bool {
        self.was_asked && matches!(self.failure, HsmFailure::Unavailable { .. } | HsmFailure::Deadline(_))
    }
}

/// What went wrong at an HSM token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum HsmFailure {
    /// The worker is gone, starting, or its device is removed. It comes back by itself.
    #[error("not available: {detail}")]
    Unavailable {
        /// What the log should say.
        detail: String,
    },
    /// The queue is full.
    #[error("its queue is full")]
    Overloaded,
    /// The deadline passed.
    #[error("no answer within {}ms", .0.as_millis())]
    Deadline(Duration),
    /// The PIN was refused, is locked, or was presented and nobody knows with what effect: nothing is tried again until
    /// a person acts (promise 9).
    #[error("the PIN was not accepted: {detail}. Nothing is tried again before that; then start the server again")]
    PinRefused {
        /// The module's own word, e.g. `CKR_PIN_INCORRECT`, and what to do.
        detail: String,
    },
    /// No key with this name, or one that is not the key that was meant.
    #[error("the key {key_id} is not in the token")]
    KeyMissing {
        /// The key that was looked for.
        key_id: String,
    },
    /// The key fails custody.
    #[error("the key {key_id} is refused: {reasons}")]
    CustodyRefused {
        /// The key.
        key_id: String,
        /// Why, in words.
        reasons: String,
    },
    /// The HSM does not offer what is needed.
    #[error("the HSM does not offer {mechanism}")]
    MechanismMissing {
        /// The mechanism, e.g. `CKM_ECDSA`.
        mechanism: String,
    },
    /// A sealed blob does not open: tampered with, of another row, or of another key.
    #[error("the sealed value does not open for this row")]
    DoesNotOpen,
    /// The configuration can't work: a missing module, a label that is not found or found twice, an unsafe PIN file.
    #[error("{detail}")]
    Configuration {
        /// What is wrong and what to do.
        detail: String,
    },
    /// The worker does not do this with this key, whoever asks: a foreign signing input, a token that outlives the
    /// longest lifetime, a key put to another's use. An alarm, since nothing of Signet asks for such a thing.
    #[error("refused by the HSM worker: {detail}")]
    Refused {
        /// What is wrong with it.
        detail: String,
    },
    /// Anything else the module answered.
    #[error("{function} answered {code}")]
    Module {
        /// The PKCS#11 function, e.g. `C_Sign`.
        function: String,
        /// Its return code, e.g. `CKR_DEVICE_ERROR`.
        code: String,
    },
}

impl HsmFailure {
    /// The same for a request that the worker's end leaves unanswered: it may have been done.
    #[must_use]
    pub fn into_unavailable(self) -> Self {
        match self {
            Self::Unavailable { .. } => self,
            judged => Self::Unavailable { detail: judged.to_string() },
        }
    }
}

/// The HSM released a signature that its own public key does not verify: an alarm, never a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the HSM answered with a signature that does not verify")]
pub struct WrongSignatureFromHsm;

/// Bytes that an HSM answered as a signature, not yet verified.
#[derive(Debug)]
#[must_use]
pub struct RawSignature(Vec<u8>);

impl RawSignature {
    /// What the HSM answered. For ECDSA `r ‖ s`, as JWS wants it.
    pub fn from_hsm(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Verifies the signature with the public key; only then can it be seen.
    ///
    /// # Errors
    ///
    /// [`WrongSignatureFromHsm`].
    pub fn check(self, key: &VerifyingKey, message: &[u8]) -> Result<Signature, WrongSignatureFromHsm> {
        key.check(message, &self.0).map_err(|_| WrongSignatureFromHsm)?;
        Ok(Signature(self.0))
    }
}

/// A signature that was verified in process after the HSM made it.
#[derive(Debug, Clone)]
pub struct Signature(Vec<u8>);

impl Signature {
    /// The bytes, for the third part of a JWS.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Signs with keys in HSM tokens.
#[async_trait]
pub trait Signer: Send + Sync + 'static {
    /// Signs `message` (a JWS signing input, not a digest) with a key pair of the deployment.
    ///
    /// # Errors
    ///
    /// [`HsmError`]: the caller answers 503.
    async fn sign(&self, key: &HsmKey, algorithm: Algorithm, message: Vec<u8>) -> Result<RawSignature, HsmError>;

    /// The same in no more than so much time, where the token's own deadline is not earlier.
    ///
    /// # Errors
    ///
    /// As [`sign`](Self::sign).
    async fn sign_within(
        &self,
        patience: Duration,
        key: &HsmKey,
        algorithm: Algorithm,
        message: Vec<u8>,
    ) -> Result<RawSignature, HsmError>;
}

/// The row that a sealed secret belongs to: a blob moved to another row does not open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowBinding(String);

impl RowBinding {
    /// Names a row by tenant, table, id and column. None of the parts may hold a NUL.
    pub fn new(tenant: &super::TenantId, table: &str, id: &str, column: &str) -> Self {
        Self(format!("signet/1\0{tenant}\0{table}\0{id}\0{column}"))
    }

    /// The bytes that are bound.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// How a secret is kept (DESIGN: sealing). The first byte of each blob says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealMode {
    /// AES key wrap with padding; used inside the HSM only.
    Wrapped,
    /// AES-256-GCM by the HSM; opened for one use.
    Sealed,
}

impl SealMode {
    /// The mode that a blob's first byte names.
    pub fn of_blob(first: Option<&u8>) -> Option<Self> {
        match first? {
            1 => Some(Self::Sealed),
            2 => Some(Self::Wrapped),
            _ => None,
        }
    }
}

/// A secret at rest, once per HSM token: any healthy token can open its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seals(pub BTreeMap<HsmName, Vec<u8>>);

/// The hash of an OTP's HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OtpHash {
    /// HMAC-SHA-1, RFC 4226.
    #[serde(rename = "SHA1")]
    Sha1,
    /// HMAC-SHA-256, RFC 6238 §1.2.
    #[serde(rename = "SHA256")]
    Sha256,
    /// HMAC-SHA-512, RFC 6238 §1.2.
    #[serde(rename = "SHA512")]
    Sha512,
}

/// What a wrapped secret is, so that it unwraps to a key of the right kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OtpSecretKind {
    /// An HMAC key of an OTP.
    Hmac(OtpHash),
    /// An AES-128 key of a Yubico OTP.
    Aes128,
}

/// Keeps secrets by keys that never leave an HSM token.
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// Seals a secret that is opened again for a check (a password's hash), for every HSM token of the group.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    async fn seal(&self, row: &RowBinding, secret: &SecretBytes) -> Result<Seals, HsmError>;

    /// Opens what [`seal`](Self::seal) made, by any healthy token.
    ///
    /// # Errors
    ///
    /// [`HsmFailure::DoesNotOpen`] for another row's seals; otherwise [`HsmError`].
    async fn open(&self, row: &RowBinding, seals: &Seals) -> Result<SecretBytes, HsmError>;

    /// Keeps an OTP secret, wrapped where the HSM offers it and sealed where not.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    async fn enclose(&self, row: &RowBinding, cipher: OtpSecretKind, secret: &SecretBytes) -> Result<Seals, HsmError>;

    /// The HMAC of each message under an enclosed OTP secret.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    async fn otp_hmac(
        &self,
        row: &RowBinding,
        seals: &Seals,
        hash: OtpHash,
        messages: Vec<[u8; 8]>,
    ) -> Result<Vec<Vec<u8>>, HsmError>;

    /// The HMAC of one message of any length under an enclosed HMAC key: what an API client's answers are signed with.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    async fn message_hmac(
        &self,
        row: &RowBinding,
        seals: &Seals,
        hash: OtpHash,
        message: Vec<u8>,
    ) -> Result<Vec<u8>, HsmError>;

    /// One AES-128 block decrypted under an enclosed Yubico OTP key.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    async fn decrypt_block(&self, row: &RowBinding, seals: &Seals, block: [u8; 16]) -> Result<[u8; 16], HsmError>;

    /// Opens a secret by any healthy token and seals it anew for `lacking`; gives the new seals alone, those of the
    /// tokens that answered. `enclosed` says what an OTP secret is; `None` for one that [`seal`](Self::seal) made.
    ///
    /// # Errors
    ///
    /// [`HsmError`] where no token opens it, or none of `lacking` seals it.
    async fn extend(
        &self,
        row: &RowBinding,
        enclosed: Option<OtpSecretKind>,
        seals: &Seals,
        lacking: &[HsmName],
    ) -> Result<Seals, HsmError>;

    /// The same enclosed OTP secret for another row, without showing it: a token of the stock becomes a user's factor.
    /// Of the HSM tokens that have a seal at least one must answer; what a token that is down lacks is made up for later.
    ///
    /// # Errors
    ///
    /// [`HsmFailure::DoesNotOpen`] for another row's seals; otherwise [`HsmError`].
    async fn rebind(
        &self,
        from: &RowBinding,
        to: &RowBinding,
        cipher: OtpSecretKind,
        seals: &Seals,
    ) -> Result<Seals, HsmError>;

    /// HMAC-SHA-256 of `label ‖ 0 ‖ message` under the binding key of one HSM token: the named one, or any healthy one.
    /// The answer says which it was, because each token has its own key.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    async fn derive(&self, hsm: Option<&HsmName>, label: &str, message: &[u8])
    -> Result<(HsmName, [u8; 32]), HsmError>;
}
