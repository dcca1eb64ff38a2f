//! The joint that makes, lists and looks after keys: [`KeyAdmin`], and what it says of tokens and keys.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::joint::{HsmError, SealMode};
use super::{AnnouncedKey, Choice, Custody, HsmKey, HsmName, KeyAttributes, KeyPurpose, SignedKind, Standing, Trial};
use signet_jose::algorithm::KeyType;
use signet_jose::clock::Timestamp;
use signet_jose::{Algorithm, KeyId, PublicKey};

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

    /// Whether some HSM token would take one more request now: where none would, the caller is told at once, before anything
    /// is done for it.
    fn has_room(&self) -> bool;

    /// Chooses one of the named tokens for a request that began `spent` ago: of the healthy ones the one with the
    /// least unanswered requests for each of its sessions, in turn where several have as few. A suspended one is chosen
    /// only where none of those named is healthy, and one request at a time tries it; one that is away only where
    /// nothing was tried, for its failure to be told. `None` where nothing, or no time, is left to try.
    fn choose(&self, among: &[&HsmName], tried: &[usize], spent: Duration) -> Option<Choice>;

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
