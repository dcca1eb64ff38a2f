//! The custody report (promise 1): every key that the deployment depends on, as its HSM token describes it, what it has
//! signed, and what is wrong, in words.

pub mod balance;
mod comparison;
pub mod ledger;
mod record_counts;
pub mod report;

use std::collections::BTreeMap;

use crate::custody::balance::{Account, Reconciliation};
use crate::hsm_membership::{Membership, membership};
use crate::{ChangeError, SignatureAccounts};
use signet_core::keys::{
    Custody, HsmKey, HsmName, KeyAttributes, KeyPurpose, KeyReport, KeyTally, TokenInfo, hexadecimal,
};
use signet_jose::Algorithm;
use signet_store::audit_log::head_of;
use signet_store::{HsmMember, SealedSecrets};

/// All HSM tokens with their keys.
#[derive(Debug, Clone)]
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
    pub alone: BTreeMap<HsmName, u64>,
    /// Keys that no HSM holds, and why.
    pub exceptions: Vec<String>,
    /// The audit log as it was.
    pub audit: AuditEnd,
}

/// The end of the audit chain.
#[derive(Debug, Clone)]
pub struct AuditEnd {
    /// The last record.
    pub sequence: i64,
    /// Its hash, in hexadecimal.
    pub hash: String,
    /// The last record that a checkpoint covers.
    pub signed: i64,
}

/// One HSM token with its keys.
#[derive(Debug, Clone)]
pub struct TokenCustody {
    /// The configured name.
    pub hsm: HsmName,
    /// Where it stands. What is gone from a token that was retired is nothing wrong.
    pub membership: Membership,
    /// The token.
    pub token: TokenInfo,
    /// The library that serves it.
    pub library: String,
    /// The keys that the deployment depends on.
    pub keys: Vec<KeyCustody>,
    /// Private and secret keys in the token that the deployment does not know.
    pub unknown: Vec<UnknownKey>,
}

/// A key in the token that the deployment does not know.
#[derive(Debug, Clone)]
pub struct UnknownKey {
    /// `CKA_LABEL`.
    pub label: String,
    /// `CKA_ID`, in hexadecimal.
    pub cka_id: String,
    /// Type and size.
    pub kind: String,
    /// The thumbprint of its public half.
    pub thumbprint: Option<String>,
}

/// One key.
#[derive(Debug, Clone)]
pub struct KeyCustody {
    /// Its name; of a pair, the RFC 7638 thumbprint of its public half.
    pub kid: String,
    /// `CKA_ID`, in hexadecimal.
    pub cka_id: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Its algorithm, where it signs.
    pub algorithm: Option<Algorithm>,
    /// The mechanism by which it is used.
    pub mechanism: &'static str,
    /// Type and size, e.g. `EC P-256`.
    pub kind: Option<String>,
    /// Its stage: `next`, `active`, `retiring` or `destroyed`.
    pub stage: &'static str,
    /// Since when, in RFC 3339.
    pub since: String,
    /// When it was made.
    pub created_at: String,
    /// What the HSM says of it; absent where the HSM does not have it.
    pub attributes: Option<KeyAttributes>,
    /// What it has signed, of a pair.
    pub signed: Option<SignedCount>,
    /// Whether it is held.
    pub held: bool,
    /// What is wrong, in words.
    pub faults: Vec<String>,
}

/// What one pair has signed, as its workers counted.
#[derive(Debug, Clone)]
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
    pub first_at: Option<String>,
    /// The last one.
    pub last_at: Option<String>,
}

impl From<KeyTally> for SignedCount {
    fn from(tally: KeyTally) -> Self {
        Self {
            tokens: tally.tokens,
            checkpoints: tally.checkpoints,
            reports: tally.reports,
            backups: tally.backups,
            admissions: tally.admissions,
            tests: tally.tests,
            refused: tally.refused,
            first_at: tally.first_at.map(|at| at.to_string()),
            last_at: tally.last_at.map(|at| at.to_string()),
        }
    }
}

module! {
    /// Reports where every key lies and what every secret is sealed by.
    pub struct CustodyCheck {
        takes key_admin, audit_log, keys, membership, nodes, secrets_at_rest;
        calls balance: SignatureAccounts;
    }
}

impl CustodyCheck {
    /// Asks every HSM token for its keys and judges them, and compares signatures with records.
    /// Errors: [`ChangeError`] where the store does not answer. A token that does not answer is wrong: custody that
    /// can't be seen is not claimed.
    pub async fn custody(&self, has_tls_key: bool) -> Result<CustodyReport, ChangeError> {
        let keys = self.keys.keys().await?;
        let books = self.balance.accounts().await?;
        let (mut tokens, mut wrong, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        let members = self.membership.hsm_members().await?;
        for hsm in self.key_admin.tokens() {
            let membership = membership(&members, &hsm);
            match self.token_custody(&hsm, membership, &keys, &books).await {
                Ok(token) => tokens.push(token),
                Err(error) => {
                    let says = if membership == Membership::Member { &mut wrong } else { &mut notes };
                    says.push(format!("HSM token {hsm}{} does not show its keys: {error}", in_words(membership)));
                }
            }
        }
        let is_member = |token: &TokenCustody| token.membership == Membership::Member;
        let held = wrong.is_empty() && tokens.iter().any(is_member) && tokens.iter().all(TokenCustody::is_held);
        tokens.iter().for_each(|token| say_keys(token, &mut wrong, &mut notes));
        for (hsm, error) in &books.silent {
            let membership = membership(&members, hsm);
            let says = if membership == Membership::Member { &mut wrong } else { &mut notes };
            says.push(format!("HSM token {hsm}{} does not say what it signed: {error}", in_words(membership)));
        }
        say_books(&books, &mut wrong);
        let secrets = self.secrets(&mut wrong).await?;
        let alone = self.secrets_alone(&members).await?;
        notes.extend(alone.iter().map(|(hsm, secrets)| alone_in_words(hsm, *secrets)));
        let node = self.nodes.node();
        let head = head_of(&self.audit_log.heads().await?, node);
        let last = self.audit_log.last_checkpoint(node).await?;
        Ok(CustodyReport {
            well: wrong.is_empty() && held,
            held,
            wrong,
            notes,
            tokens,
            accounts: books.accounts,
            secrets,
            alone,
            exceptions: exceptions(has_tls_key),
            audit: AuditEnd {
                sequence: head.sequence,
                hash: hexadecimal(&head.hash),
                signed: last.map_or(0, |last| last.sequence),
            },
        })
    }

    async fn token_custody(
        &self,
        hsm: &HsmName,
        membership: Membership,
        keys: &[HsmKey],
        books: &Reconciliation,
    ) -> Result<TokenCustody, ChangeError> {
        let description = self.key_admin.describe(hsm).await?;
        let found = self.key_admin.list(hsm).await?;
        let of_token = keys.iter().filter(|key| key.hsm == *hsm);
        let is_there = |key: &HsmKey| found.iter().any(|report| report.cka_id == key.cka_id);
        let ours: Vec<&HsmKey> = of_token.filter(|key| key.state.is_published() || is_there(key)).collect();
        let unknown = found.iter().filter(|report| !ours.iter().any(|key| key.cka_id == report.cka_id));
        Ok(TokenCustody {
            unknown: unknown.map(unknown_key).collect(),
            keys: ours.iter().map(|key| judge(key, &found, books)).collect(),
            token: description.token,
            library: description.library,
            hsm: hsm.clone(),
            membership,
        })
    }

    async fn secrets(&self, wrong: &mut Vec<String>) -> Result<Vec<SealedSecrets>, ChangeError> {
        let sealed = self.membership.sealed_secrets().await?;
        for secrets in sealed.iter().filter(|secrets| secrets.mode.is_none()) {
            wrong.push(format!("{} of {} are not sealed in any way that Signet knows", secrets.count, secrets.kind));
        }
        Ok(sealed)
    }

    /// Of each HSM token of the deployment, the secrets that no other one opens; those without any are left out.
    async fn secrets_alone(&self, members: &[HsmMember]) -> Result<BTreeMap<HsmName, u64>, ChangeError> {
        let mut alone = BTreeMap::new();
        for member in members {
            let count = self.secrets_at_rest.count_seals(&member.name).await?.alone;
            if count > 0 {
                alone.insert(member.name.clone(), count);
            }
        }
        Ok(alone)
    }
}

/// What it means that secrets open in one HSM token alone.
pub fn alone_in_words(hsm: &HsmName, secrets: u64) -> String {
    format!("{secrets} secrets at rest (passwords, factors) open in HSM token {hsm} alone: they are lost with it")
}

impl TokenCustody {
    /// Whether the key is gone with the token that was taken out: it signs nothing for anybody.
    fn is_gone_well(&self, key: &KeyCustody) -> bool {
        self.membership == Membership::Retired && key.kind.is_none()
    }

    fn is_held(&self) -> bool {
        let has_keys = !self.keys.is_empty() || self.membership != Membership::Member;
        has_keys && self.keys.iter().all(|key| key.held || self.is_gone_well(key))
    }
}

const fn in_words(membership: Membership) -> &'static str {
    match membership {
        Membership::Member | Membership::NotConfigured => "",
        Membership::NotAdded => ", which is not part of this deployment,",
        Membership::Retired => ", which was retired,",
    }
}

/// Keys that no HSM holds, and why.
fn exceptions(has_tls_key: bool) -> Vec<String> {
    let secret = "the deployment's secret is in the server's memory while it runs: names of accounts and refresh tokens are \
                  derived by it, and it signs nothing. At rest it is sealed by the HSM";
    let tls = "the server's TLS key is read from a file: it authenticates the server and signs no token";
    let tls = has_tls_key.then(|| tls.to_owned());
    [secret.to_owned()].into_iter().chain(tls).collect()
}

fn say_keys(token: &TokenCustody, wrong: &mut Vec<String>, notes: &mut Vec<String>) {
    let hsm = &token.hsm;
    match token.membership {
        Membership::NotAdded => {
            notes.push(format!("HSM token {hsm} is not part of this deployment: `signet hsm add {hsm}` adds it"));
        }
        Membership::Member if token.keys.is_empty() => {
            wrong.push(format!("HSM token {hsm} holds no key of this deployment: run `signet init`"));
        }
        _ => {}
    }
    for key in &token.keys {
        for fault in &key.faults {
            let retired = if token.membership == Membership::Retired { " (retired)" } else { "" };
            let says = if token.is_gone_well(key) { &mut *notes } else { &mut *wrong };
            says.push(format!("{} key {} in {hsm}{retired}: {fault}", key.purpose.name(), key.kid));
        }
        if let Some(refused) = key.signed.as_ref().map(|signed| signed.refused).filter(|refused| *refused > 0) {
            notes.push(format!(
                "the worker refused {refused} requests to sign with {}: nothing of Signet asks for what it refuses, so \
                 find out who did",
                key.kid
            ));
        }
    }
    for key in &token.unknown {
        notes.push(format!(
            "{} holds a key that this deployment does not know: \"{}\" ({}, CKA_ID {}). Other software's, or left by a \
             generation that failed; it signs nothing of Signet's, and can be deleted if nobody needs it",
            token.hsm, key.label, key.kind, key.cka_id
        ));
    }
}

fn say_books(books: &Reconciliation, wrong: &mut Vec<String>) {
    if let Some(up_to) = books.false_counts {
        wrong.push(format!(
            "what this node's server keeps of its counts up to record {up_to} is not what the audit log says: somebody wrote to the \
             store. Find out who; then `signet custody accept --why ...` has them counted anew"
        ));
    }
    for account in books.accounts.iter().filter(|account| !account.is_well()) {
        let Account { kid, made, recorded, explained, difference, alarm, .. } = account;
        let kind = account.signed.name();
        let count = if account.alarm == 0 { account.unexplained() } else { *alarm };
        let what = if count < 0 {
            "the count of signatures is behind the records: it was put back, removed or lost"
        } else {
            "signatures were made that have no record: somebody else used the key"
        };
        wrong.push(format!(
            "ALARM, key {kid}: {what}. {kind}s made {made}, recorded {recorded}, explained {explained}, difference \
             {difference}, alarm {alarm}. Find out who (docs/evidence/custody.md); then `signet custody accept --key {kid} --why ...`"
        ));
    }
}

fn unknown_key(report: &KeyReport) -> UnknownKey {
    UnknownKey {
        label: report.label.clone(),
        cka_id: hexadecimal(&report.cka_id),
        kind: report.kind.clone(),
        thumbprint: report.thumbprint.clone(),
    }
}

/// The family of mechanisms; whether the module hashes or Signet does is the module's choice.
const fn mechanism(key: &HsmKey) -> &'static str {
    match (&key.public, key.purpose) {
        (_, KeyPurpose::Transport) => "CKM_ECDH1_DERIVE",
        (Some(jwk), _) => match jwk.algorithm {
            Algorithm::Es256 | Algorithm::Es384 => "CKM_ECDSA",
            Algorithm::EdDsa => "CKM_EDDSA",
            Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 => "CKM_RSA_PKCS",
            Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => "CKM_RSA_PKCS_PSS",
        },
        (None, KeyPurpose::Wrapping) => "CKM_AES_KEY_WRAP_PAD",
        (None, KeyPurpose::Sealing) => "CKM_AES_GCM",
        (None, KeyPurpose::Binding) => "CKM_SHA256_HMAC",
        (None, KeyPurpose::TokenSigning | KeyPurpose::AuditSigning) => "none: its public half is missing",
    }
}

fn judge(key: &HsmKey, found: &[KeyReport], books: &Reconciliation) -> KeyCustody {
    let reports: Vec<&KeyReport> = found.iter().filter(|report| report.cka_id == key.cka_id).collect();
    let faults = match reports.as_slice() {
        _ if !key.state.is_published() => vec!["it was destroyed, and is in the HSM token still".to_owned()],
        [] => vec!["the key is not in the HSM token".to_owned()],
        [report] if report.copies != 1 => vec![format!("{} keys carry the same CKA_ID", report.copies)],
        // The id alone proves nothing: whoever can write to the token chooses it.
        [report] if key.purpose.is_pair() && report.thumbprint.as_deref() != Some(key.key_id.as_str()) => {
            vec!["its public half in the HSM token is missing or another key's".to_owned()]
        }
        [report] => match &report.custody {
            Custody::Held => Vec::new(),
            Custody::Refused(faults) => faults.iter().map(ToString::to_string).collect(),
        },
        several => vec![format!("{} keys carry the same CKA_ID", several.len())],
    };
    let tally = || books.tallies.get(&key.key_id).cloned().unwrap_or_else(|| KeyTally::new(key.key_id.clone()));
    KeyCustody {
        kid: key.key_id.to_string(),
        cka_id: hexadecimal(&key.cka_id),
        purpose: key.purpose,
        algorithm: key.public.as_ref().filter(|_| key.purpose.signs()).map(|jwk| jwk.algorithm),
        mechanism: mechanism(key),
        kind: reports.first().map(|report| report.kind.clone()),
        stage: key.state.name(),
        since: key.state.since().to_string(),
        created_at: key.created_at.to_string(),
        attributes: reports.first().map(|report| report.attributes),
        signed: key.purpose.signs().then(|| tally().into()),
        held: faults.is_empty(),
        faults,
    }
}
