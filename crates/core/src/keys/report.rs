//! What HSM tokens and their workers say of themselves and of their keys.

use serde::{Deserialize, Serialize};

use super::{Custody, KeyAttributes, SealMode, SignedKind};
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenReport {
    /// The token.
    pub token: TokenInfo,
    /// The library that serves it, e.g. `SoftHSM 2.6`.
    pub library: String,
    /// The algorithms that Signet can sign with there.
    pub algorithms: Vec<Algorithm>,
    /// How it can keep OTP secrets: the preferred mode first; empty where it can't.
    pub seal_modes: Vec<SealMode>,
    /// Whether it can have a transport key: secrets of other nodes' HSM tokens come to it.
    pub takes_envelopes: bool,
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
    /// Statements over backups.
    pub backups: u64,
    /// Admissions of nodes.
    pub admissions: u64,
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
        let (first_at, last_at) = (None, None);
        Self {
            key_id,
            tokens: 0,
            checkpoints: 0,
            reports: 0,
            backups: 0,
            admissions: 0,
            tests: 0,
            refused: 0,
            first_at,
            last_at,
        }
    }

    /// How many signatures of one kind were counted.
    pub const fn signed(&self, kind: SignedKind) -> u64 {
        match kind {
            SignedKind::Token => self.tokens,
            SignedKind::Checkpoint => self.checkpoints,
            SignedKind::Report => self.reports,
            SignedKind::Backup => self.backups,
            SignedKind::Admission => self.admissions,
            SignedKind::Test => self.tests,
        }
    }

    /// The count of one kind of signature, to be added to.
    pub const fn signed_mut(&mut self, kind: SignedKind) -> &mut u64 {
        match kind {
            SignedKind::Token => &mut self.tokens,
            SignedKind::Checkpoint => &mut self.checkpoints,
            SignedKind::Report => &mut self.reports,
            SignedKind::Backup => &mut self.backups,
            SignedKind::Admission => &mut self.admissions,
            SignedKind::Test => &mut self.tests,
        }
    }
}
