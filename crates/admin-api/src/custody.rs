//! Custody: where every key lies, what it has signed, and what is wrong. The signed report holds the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All HSM tokens with their keys.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"well": true, "held": true, "wrong": [], "notes": [], "tokens": [], "accounts": [], "secrets": [],
    "alone": {}, "exceptions": [], "audit": {"sequence": 12, "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "signed": 12}}))]
pub struct CustodyReport {
    /// Whether nothing is wrong: every key is held, and every signature has its record.
    pub well: bool,
    /// Whether every key that the deployment depends on is held.
    pub held: bool,
    /// What is wrong, in words.
    pub wrong: Vec<String>,
    /// What a person should know, and is not wrong.
    pub notes: Vec<String>,
    /// Each HSM token.
    pub tokens: Vec<TokenCustody>,
    /// Signatures against records, by key and kind.
    pub accounts: Vec<Account>,
    /// Secrets at rest, and how they are sealed.
    pub secrets: Vec<SealedSecrets>,
    /// How many secrets open in one HSM token alone, by its name: they are lost with it.
    pub alone: BTreeMap<String, u64>,
    /// Keys that no HSM holds, and why.
    pub exceptions: Vec<String>,
    /// The audit log as it was.
    pub audit: AuditEnd,
}

/// The end of the audit chain.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditEnd {
    /// The last record.
    pub sequence: i64,
    /// Its hash, in hexadecimal.
    pub hash: String,
    /// The last record that a checkpoint covers.
    pub signed: i64,
}

/// One HSM token with its keys.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenCustody {
    /// The configured name.
    pub hsm: String,
    /// Where it stands: `member`, `not_added`, `not_configured` or `retired`. What is gone from one that was retired is nothing wrong.
    pub membership: String,
    /// The token.
    pub token: TokenInfo,
    /// The library that serves it.
    pub library: String,
    /// The keys that the deployment depends on.
    pub keys: Vec<KeyCustody>,
    /// Private and secret keys in the token that the deployment does not know.
    pub unknown: Vec<UnknownKey>,
}

/// An HSM token as its module describes it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    /// Its label.
    pub label: String,
    /// Who made it.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its serial number; another one under the same label is another token.
    pub serial: String,
    /// Its firmware version.
    pub firmware: String,
}

/// A key in the token that the deployment does not know.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UnknownKey {
    /// `CKA_LABEL`.
    pub label: String,
    /// `CKA_ID`, in hexadecimal.
    pub cka_id: String,
    /// Type and size.
    pub kind: String,
    /// The thumbprint of its public half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbprint: Option<String>,
}

/// One key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyCustody {
    /// Its name; of a pair, the RFC 7638 thumbprint of its public half.
    pub kid: String,
    /// `CKA_ID`, in hexadecimal.
    pub cka_id: String,
    /// What it is for.
    pub purpose: String,
    /// Its algorithm, where it signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// The mechanism by which it is used.
    pub mechanism: String,
    /// Type and size, e.g. `EC P-256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its stage: `next`, `active`, `retiring` or `destroyed`.
    pub stage: String,
    /// Since when, in RFC 3339.
    pub since: String,
    /// When it was made.
    pub created_at: String,
    /// What the HSM says of it; absent where the HSM does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<KeyAttributes>,
    /// What it has signed, of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedCount>,
    /// Whether it is held.
    pub held: bool,
    /// What is wrong, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// What an HSM says of a private or secret key.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct KeyAttributes {
    /// `CKA_SENSITIVE`: its value can't be read in clear.
    pub sensitive: bool,
    /// `CKA_ALWAYS_SENSITIVE`: it could never be read in clear.
    pub always_sensitive: bool,
    /// `CKA_EXTRACTABLE`: it can be wrapped by another key and so leave.
    pub extractable: bool,
    /// `CKA_NEVER_EXTRACTABLE`: it never could be wrapped.
    pub never_extractable: bool,
    /// `CKA_LOCAL`: it was generated in this HSM token.
    pub local: bool,
    /// `CKA_ALWAYS_AUTHENTICATE`: it wants the PIN again for each operation, which a service can't give.
    pub always_authenticate: bool,
    /// The key's size in bits, where the HSM says.
    pub bits: Option<u32>,
}

/// What one pair has signed, as its workers counted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SignedCount {
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
    /// What the worker was asked for and refused.
    pub refused: u64,
    /// The first signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_at: Option<String>,
    /// The last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<String>,
}

/// The books of one key and kind.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// The key.
    pub kid: String,
    /// What it signed: `token`, `checkpoint`, `report`, `backup` or `admission`.
    pub signed: String,
    /// Signatures by the workers' count.
    pub made: u64,
    /// Those that have a record.
    pub recorded: u64,
    /// Those without one that are accounted for, by settlements in the audit log.
    pub explained: i64,
    /// How many more may be under way, or be explained when all is at rest.
    pub open: u64,
    /// What is left: more than `open`, or less than nought, is an alarm.
    pub difference: i64,
    /// Alarms that were raised and that no operator has accepted.
    pub alarm: i64,
}

/// How many secrets of a kind an HSM token opens.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SealedSecrets {
    /// What they are, e.g. `users.password`.
    pub kind: String,
    /// The HSM token that opens them.
    pub hsm: String,
    /// `wrapped`: used inside the HSM only. `sealed`: opened for each use. Absent: not sealed in any way that Signet knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// How many.
    pub count: u64,
}

/// What a signed report is to carry.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"nonce": "2026-11-30, for the auditor"}))]
pub struct NewSignedReport {
    /// What the auditor asks it to carry, so that it can't be an older one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024)]
    pub nonce: Option<String>,
}

/// A report that the audit key signed inside the HSM.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"custody": "eyJhbGciOi...", "well": true, "wrong": []}))]
pub struct SignedReport {
    /// The report as a JWS; `signet custody verify` checks it offline.
    pub custody: String,
    /// Whether it says that nothing is wrong.
    pub well: bool,
    /// What it says is wrong, in words.
    pub wrong: Vec<String>,
}

/// Whose alarms are accepted, and why that is well.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"why": "a drill of the second of May"}))]
pub struct Acceptance {
    /// The key; every key where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Why it is well, for the audit log.
    #[schema(min_length = 1, max_length = 1024)]
    pub why: String,
}

/// What an operator answered for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"accepted": 1, "counts_dropped": false}))]
pub struct Accepted {
    /// How many signatures.
    pub accepted: i64,
    /// Whether kept counts that were false were dropped.
    pub counts_dropped: bool,
}
