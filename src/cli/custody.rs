//! `signet custody`

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;

use super::admin::Admin;
use super::{Ended, Output, table, yes_no};
use crate::server::Need;
use signet_admin_api::custody::{
    Acceptance, Accepted, Account, CustodyReport, KeyCustody, NewSignedReport, SignedReport, TokenCustody,
};
use signet_jose::clock::Timestamp;
use signet_jose::{Jwk, JwkSet, VerifyingKey};
use signet_service::custody::report::{SignedClaims, verify_custody};

/// A longer one is refused all the same.
const MAX_REPORT: u64 = 8 * 1024 * 1024;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct CustodyCommand {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print the report as a JWS, signed by the audit key inside the HSM, for an auditor.
    #[arg(long)]
    signed: bool,
    /// What the auditor asks the signed report to carry, so that it can't be an older one.
    #[arg(long, requires = "signed", value_name = "TEXT")]
    nonce: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check a signed report, offline. Exit code 1 where it is not the audit key's, or says that something is wrong.
    Verify {
        /// The signed report; `-` is standard input.
        file: PathBuf,
        /// The audit keys: the file that `signet init` wrote, from where you kept it.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// What the report must carry.
        #[arg(long, value_name = "TEXT")]
        nonce: Option<String>,
    },
    /// Accept the differences that an alarm was raised for, once it is known where they come from.
    Accept {
        /// The key; every key where not given.
        #[arg(long, value_name = "KID", allow_hyphen_values = true)]
        key: Option<String>,
        /// Why it is well, for the audit log.
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
}

impl CustodyCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self.action {
            Some(Action::Verify { file, key, nonce }) => verify(&file, &key, nonce.as_deref(), output),
            Some(Action::Accept { key, why }) => accept(config, key, why, output).await,
            None => show(config, self.signed, self.nonce, output).await,
        }
    }
}

async fn show(config: &Path, signed: bool, nonce: Option<String>, output: &Output) -> anyhow::Result<()> {
    let admin = Admin::open(config, Need::Hsm, output).await?;
    let is_well = if signed { print_signed(&admin, nonce, output).await } else { print(&admin, output).await };
    admin.close().await?;
    if is_well? { Ok(()) } else { Err(Ended::Refused.into()) }
}

async fn print(admin: &Admin, output: &Output) -> anyhow::Result<bool> {
    let report: CustodyReport = admin.get(&["custody"]).await?;
    output.value(&report, as_text)?;
    Ok(report.well)
}

async fn print_signed(admin: &Admin, nonce: Option<String>, output: &Output) -> anyhow::Result<bool> {
    let signed: SignedReport = admin.post(&["custody", "reports"], &NewSignedReport { nonce }).await?;
    for wrong in &signed.wrong {
        output.note(&format!("WRONG: {wrong}"));
    }
    output.value(&signed, |signed| signed.custody.clone())?;
    Ok(signed.well)
}

async fn accept(config: &Path, key: Option<String>, why: String, output: &Output) -> anyhow::Result<()> {
    if why.trim().is_empty() {
        return Err(Ended::Usage("--why must say why the difference is acceptable".to_owned()).into());
    }
    let admin = Admin::open(config, Need::Hsm, output).await?;
    let accepted = admin.post::<Accepted>(&["custody", "acceptances"], &Acceptance { key, why }).await;
    admin.close().await?;
    output.value(&accepted?, |accepted| accepted_text(*accepted))
}

fn accepted_text(accepted: Accepted) -> String {
    let counts = "dropped the kept counts, which were false: the server counts all records anew";
    match (accepted.accepted, accepted.counts_dropped) {
        (0, false) => "there is no alarm to accept".to_owned(),
        (0, true) => format!("{counts}; the audit log says who and why"),
        (count, false) => format!("accepted a difference of {count}; the audit log says who and why"),
        (count, true) => format!("accepted a difference of {count}, and {counts}; the audit log says who and why"),
    }
}

fn verify(file: &Path, key: &Path, nonce: Option<&str>, output: &Output) -> anyhow::Result<()> {
    let text = if file == Path::new("-") {
        let mut bytes = zeroize::Zeroizing::new(Vec::new());
        std::io::stdin().lock().take(MAX_REPORT).read_to_end(&mut bytes).context("standard input can't be read")?;
        std::mem::take(&mut *signet_text_file::text(bytes).context("standard input is no text")?)
    } else {
        signet_text_file::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?
    };
    // With --json the report was printed as the member of an object.
    let text = match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(value) => value.get("custody").and_then(|jws| jws.as_str()).unwrap_or_default().to_owned(),
        Err(_) => text.trim().to_owned(),
    };
    let keys = signet_text_file::read_to_string(key).with_context(|| format!("can't read {}", key.display()))?;
    let keys = JwkSet::from_json(&keys).map(|set| set.keys).or_else(|_| Jwk::from_json(&keys).map(|jwk| vec![jwk]));
    let keys = keys.with_context(|| format!("{} is neither a JWKS nor a JWK", key.display()))?;
    let keys: Vec<VerifyingKey> = keys.into_iter().map(VerifyingKey::new).collect();
    let claims = verify_custody(&text, &keys, nonce)
        .map_err(|refused| anyhow::anyhow!("the report in {} is refused: {refused}", file.display()))?;
    let is_well = claims.report.get("well").and_then(serde_json::Value::as_bool) == Some(true);
    output.value(&claims, |claims| verified_text(claims, is_well))?;
    if is_well { Ok(()) } else { Err(Ended::Refused.into()) }
}

fn verified_text(claims: &SignedClaims, is_well: bool) -> String {
    let at = Timestamp::from_unix_seconds(claims.iat);
    let mut text = format!("The report is genuine: signed at {at} for {} by the audit key {}", claims.iss, claims.jkt);
    if let Some(nonce) = &claims.nonce {
        text.push_str(&format!(", with the nonce \"{nonce}\""));
    }
    text.push('.');
    let list = |name: &str| {
        let lines = claims.report.get(name).and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
        lines.iter().filter_map(|line| line.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    for wrong in list("wrong") {
        text.push_str(&format!("\nWRONG: {wrong}"));
    }
    for exception in list("exceptions") {
        text.push_str(&format!("\nexception: {exception}"));
    }
    text.push_str(if is_well { "\nIt says that nothing is wrong." } else { "\nIt says that something is WRONG." });
    text.push_str("\n`--json` prints all of it.");
    text
}

fn as_text(report: &CustodyReport) -> String {
    let mut parts: Vec<String> = report.tokens.iter().map(token_text).collect();
    if !report.accounts.is_empty() {
        let columns = ["signatures", "made", "recorded", "explained", "under way", "difference", "alarm", "kid"];
        parts.push(table(columns, report.accounts.iter().map(account_row)));
    }
    let secrets = report.secrets.iter().map(|secrets| {
        let mode = match secrets.mode.as_deref() {
            Some("wrapped") => "wrapped: used inside the HSM only",
            Some(_) => "sealed: opened for each use",
            None => "NOT SEALED",
        };
        format!("{} {} ({mode}) by {}", secrets.count, secrets.kind, secrets.hsm)
    });
    let secrets: Vec<String> = secrets.collect();
    if !secrets.is_empty() {
        parts.push(format!("secrets at rest: {}", secrets.join("; ")));
    }
    parts.extend(report.exceptions.iter().map(|exception| format!("exception: {exception}")));
    parts.extend(report.notes.iter().map(|note| format!("note: {note}")));
    parts.extend(report.wrong.iter().map(|wrong| format!("WRONG: {wrong}")));
    parts.push(
        match (report.well, report.held) {
            (true, _) => "Every key was generated in its HSM token and can't leave it; every signature has its record.",
            (false, true) => "Every key was generated in its HSM token and can't leave it. NOT all is well: see above.",
            (false, false) => "NOT every key is in custody: see the faults above.",
        }
        .to_owned(),
    );
    parts.join("\n\n")
}

fn account_row(account: &Account) -> [String; 8] {
    [
        format!("{}s", account.signed),
        account.made.to_string(),
        account.recorded.to_string(),
        account.explained.to_string(),
        // What a running server may have under way is no news while nothing differs.
        if account.difference == 0 { String::new() } else { format!("up to {}", account.open) },
        account.difference.to_string(),
        account.alarm.to_string(),
        account.kid.clone(),
    ]
}

fn token_text(token: &TokenCustody) -> String {
    let info = &token.token;
    let head = format!(
        "HSM token {}: {} {}, serial {}, firmware {}, label {} ({})",
        token.hsm, info.manufacturer, info.model, info.serial, info.firmware, info.label, token.library
    );
    let columns = [
        "purpose",
        "kind",
        "mechanism",
        "stage",
        "sensitive",
        "always",
        "extractable",
        "never",
        "local",
        "held",
        "kid",
    ];
    let signed = token.keys.iter().filter_map(|key| Some((key, key.signed.as_ref()?)));
    let signed = signed.map(|(key, signed)| {
        [
            key.purpose.clone(),
            key.algorithm.clone().unwrap_or_default(),
            signed.tokens.to_string(),
            signed.checkpoints.to_string(),
            signed.reports.to_string(),
            signed.backups.to_string(),
            signed.admissions.to_string(),
            signed.tests.to_string(),
            signed.refused.to_string(),
            signed.first_at.clone().unwrap_or_default(),
            signed.last_at.clone().unwrap_or_default(),
        ]
    });
    let signed_columns = [
        "signed by",
        "algorithm",
        "tokens",
        "checkpoints",
        "reports",
        "backups",
        "admissions",
        "tests",
        "refused",
        "first",
        "last",
    ];
    format!("{head}\n{}\n\n{}", table(columns, token.keys.iter().map(key_row)), table(signed_columns, signed))
}

fn key_row(key: &KeyCustody) -> [String; 11] {
    let attribute = |value: Option<bool>| value.map_or_else(|| "?".to_owned(), yes_no);
    let attributes = key.attributes;
    [
        key.purpose.clone(),
        key.kind.clone().unwrap_or_else(|| "missing".to_owned()),
        key.mechanism.clone(),
        key.stage.clone(),
        attribute(attributes.map(|it| it.sensitive)),
        attribute(attributes.map(|it| it.always_sensitive)),
        attribute(attributes.map(|it| it.extractable)),
        attribute(attributes.map(|it| it.never_extractable)),
        attribute(attributes.map(|it| it.local)),
        yes_no(key.held),
        key.kid.clone(),
    ]
}
