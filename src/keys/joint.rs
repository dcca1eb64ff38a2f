//! The joints to the HSM: [`Signer`] signs, [`Vault`] keeps secrets, [`KeyAdmin`] makes and lists keys.
//!
//! The one implementation talks to `signet hsm-worker`. A signature comes back as a [`RawSignature`], which can't be
//! released: [`RawSignature::check`] verifies it with the public key and gives the [`Signature`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{AnnouncedKey, Choice, Custody, HsmKey, HsmName, KeyAttributes, KeyPurpose, SignedKind, Standing, Trial};
use crate::clock::Timestamp;
use crate::jose::algorithm::KeyType;
use crate::jose::{Algorithm, KeyId, PublicKey, VerifyingKey};
use crate::secret::SecretBytes;

/// A failure of an HSM token, with the operation that failed and what to do with the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("HSM {operation}: {failure}")]
pub struct HsmError {
    /// What was tried, e.g. `sign`.
    pub operation: String,
    /// What went wrong.
    pub failure: HsmFailure,
}

impl HsmError {
    /// A failure of an operation.
    pub fn new(operation: impl Into<String>, failure: HsmFailure) -> Self {
        Self { operation: operation.into(), failure }
    }

    /// Whether what was asked for may have been done all the same.
    pub const fn is_unknown_outcome(&self) -> bool {
        matches!(self.failure, HsmFailure::Unavailable { .. } | HsmFailure::Deadline(_))
    }
}

/// What went wrong at an HSM token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
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

    /// HMAC-SHA-256 of `label ‖ 0 ‖ message` under the binding key of one HSM token: the named one, or any healthy one.
    /// The answer says which it was, because each token has its own key.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    async fn derive(&self, hsm: Option<&HsmName>, label: &str, message: &[u8])
    -> Result<(HsmName, [u8; 32]), HsmError>;
}

/// A key that was just generated in an HSM token, its custody checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedKey {
    /// Its name: the thumbprint of a pair, a random text of a secret key.
    pub key_id: KeyId,
    /// `CKA_ID`.
    pub cka_id: Vec<u8>,
    /// The public half of a pair.
    pub public: Option<PublicKey>,
}

/// An HSM token as its module describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its label.
    pub label: String,
    /// Who made it.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its serial number; another one under the same label is another token.
    pub serial: String,
    /// Its firmware version, e.g. `2.6`.
    pub firmware: String,
}

/// What an HSM token can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReport {
    /// The token.
    pub token: TokenInfo,
    /// The library that serves it, e.g. `SoftHSM 2.6`.
    pub library: String,
    /// The algorithms that Signet can sign with there.
    pub algorithms: Vec<Algorithm>,
    /// How it can keep OTP secrets: the preferred mode first; empty where it can't.
    pub seal_modes: Vec<SealMode>,
    /// Whether the module says that few PIN tries are left.
    pub pin_count_low: bool,
    /// What its worker has given up, in words.
    pub confined: Vec<String>,
    /// What it was to give up, and the kernel does not offer.
    pub not_confined: Vec<String>,
}

impl TokenReport {
    /// Whether secrets that the server needs again (password hashes) can be kept by this token. One that can't only
    /// signs: another token of the group has to keep them.
    pub fn keeps_secrets(&self) -> bool {
        self.seal_modes.contains(&SealMode::Sealed)
    }
}

/// One key as the HSM token describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReport {
    /// `CKA_ID`.
    pub cka_id: Vec<u8>,
    /// `CKA_LABEL`.
    pub label: String,
    /// Type and size, e.g. `EC P-256`, `RSA 2048`, `AES 256`.
    pub kind: String,
    /// Its attributes.
    pub attributes: KeyAttributes,
    /// The verdict.
    pub custody: Custody,
    /// How many objects of this class carry this `CKA_ID`; anything but 1 is a fault.
    pub copies: u32,
    /// The RFC 7638 thumbprint of a private key's public half; `None` for a secret key, and where there is not exactly
    /// one public half that Signet can read.
    pub thumbprint: Option<String>,
}

/// What the workers of one HSM token have signed with one key, since they count. The count is never behind what they
/// signed, and ahead by what was in hand when a worker was killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyTally {
    /// The key.
    pub key_id: KeyId,
    /// Tokens.
    pub tokens: u64,
    /// Checkpoints of the audit chain.
    pub checkpoints: u64,
    /// Custody reports.
    pub reports: u64,
    /// Test signatures.
    pub tests: u64,
    /// Requests that were refused, and not signed.
    pub refused: u64,
    /// The first signature, by the worker's clock.
    pub first_at: Option<Timestamp>,
    /// The last one.
    pub last_at: Option<Timestamp>,
}

impl KeyTally {
    /// A key that has signed nothing.
    pub const fn new(key_id: KeyId) -> Self {
        Self { key_id, tokens: 0, checkpoints: 0, reports: 0, tests: 0, refused: 0, first_at: None, last_at: None }
    }

    /// The count of one kind of signature.
    pub const fn signed(&mut self, kind: SignedKind) -> &mut u64 {
        match kind {
            SignedKind::Token => &mut self.tokens,
            SignedKind::Checkpoint => &mut self.checkpoints,
            SignedKind::Report => &mut self.reports,
            SignedKind::Test => &mut self.tests,
        }
    }
}

/// Makes, lists and looks after the keys of one HSM token.
#[async_trait]
pub trait KeyAdmin: Send + Sync + 'static {
    /// The configured tokens, in the order of the configuration.
    fn tokens(&self) -> Vec<HsmName>;

    /// What a token is and can do.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    async fn describe(&self, hsm: &HsmName) -> Result<TokenReport, HsmError>;

    /// Generates a key pair inside the token and checks its custody. `bits` is for RSA: 2048, 3072 or 4096.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    async fn generate_pair(
        &self,
        hsm: &HsmName,
        purpose: KeyPurpose,
        tenant: &super::TenantId,
        key_type: KeyType,
        bits: u32,
    ) -> Result<GeneratedKey, HsmError>;

    /// The same for a key that was written down beforehand, under its `CKA_ID`.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    async fn generate_announced(&self, key: &AnnouncedKey, bits: u32) -> Result<GeneratedKey, HsmError>;

    /// Generates a secret key inside the token and checks its custody.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    async fn generate_secret(
        &self,
        hsm: &HsmName,
        purpose: KeyPurpose,
        tenant: &super::TenantId,
    ) -> Result<GeneratedKey, HsmError>;

    /// Every private and secret key in the token, with its attributes.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    async fn list(&self, hsm: &HsmName) -> Result<Vec<KeyReport>, HsmError>;

    /// Finds each of these keys that is in this token and judges it as it is judged when it is used: that it is there
    /// once, in custody, of the type and the use of its purpose, and that the mechanisms that it is for are offered.
    /// The answer names those at fault; destroyed keys are not to be asked about.
    ///
    /// # Errors
    ///
    /// [`HsmError`] where the token can't be asked.
    async fn check(&self, hsm: &HsmName, keys: &[HsmKey]) -> Result<Vec<(KeyId, HsmError)>, HsmError>;

    /// What the workers of this token have signed, by key and kind; keys that never signed are left out.
    ///
    /// # Errors
    ///
    /// [`HsmError`] where no worker answers, or the counts can't be read.
    async fn tally(&self, hsm: &HsmName) -> Result<Vec<KeyTally>, HsmError>;

    /// Destroys a key in the token.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    async fn destroy(&self, key: &HsmKey) -> Result<(), HsmError>;

    /// How many signatures were asked of a second worker of this token, since this process began: the first one died,
    /// and may have signed before.
    fn asked_again(&self, hsm: &HsmName) -> u64;
    /// Has every worker of the token let go of its handles and its session copies of keys: a key was destroyed by another
    /// process.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    async fn forget(&self, hsm: &HsmName) -> Result<(), HsmError>;

    /// Tells the tokens which keys wrap, seal and bind. Called at start and after `init`.
    fn use_keys(&self, keys: Vec<HsmKey>);

    /// Tells of a signature of this key that did not verify: what made it is not to be trusted further.
    fn distrust(&self, key: &HsmKey);

    /// Tells of a signature that was asked for at `asked_at` and verified: a token that was suspended before serves again.
    fn trust(&self, key: &HsmKey, asked_at: Instant);

    /// Chooses one of the named tokens for a request that began `spent` ago: of the healthy ones the one with the
    /// least unanswered requests for each of its sessions, in turn where several have as few. A suspended one is chosen
    /// only where none of those named is healthy, and one request at a time tries it; one that is away only where
    /// nothing was tried, for its failure to be told. `None` where nothing, or no time, is left to try.
    fn choose(&self, among: &[&HsmName], tried: &[usize], spent: Duration) -> Option<Choice>;

    /// Whether a request that comes now is likely to be done in time: some worker has room for it, or none is there, which
    /// fails with its own reason.
    fn has_room(&self) -> bool;

    /// The suspended tokens for which it is time to try whether they sign again.
    fn trials_due(&self) -> Vec<(HsmName, Trial)>;

    /// How a token stands. Never waits for it.
    fn standing(&self, hsm: &HsmName) -> Standing;

    /// Whether the token answered, and if not, why; for readiness. Never waits for the token.
    ///
    /// # Errors
    ///
    /// [`HsmError`] with why it does not answer.
    fn health(&self, hsm: &HsmName) -> Result<(), HsmError>;
}
