//! `signet custody`

use std::path::Path;

use super::Ended;
use super::output::{Output, table, yes_no};
use super::wiring::{Deployment, Need};
use crate::jose::Algorithm;
use crate::service::custody::{CustodyReport, KeyCustody, TokenCustody};

#[derive(Debug, clap::Args)]
pub(super) struct CustodyCommand {}

impl CustodyCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let deployment = Deployment::open(config, Need::Hsm, output).await?;
        let report = deployment.signet.custody(deployment.config.server.tls.is_some()).await?;
        output.value(&report, as_text)?;
        deployment.close().await?;
        if report.held { Ok(()) } else { Err(Ended::Refused.into()) }
    }
}

fn as_text(report: &CustodyReport) -> String {
    let mut parts: Vec<String> = report.tokens.iter().map(token_text).collect();
    parts.extend(report.exceptions.iter().map(|exception| format!("exception: {exception}")));
    parts.push(if report.held {
        "Every key was generated in its HSM token and can't leave it.".to_owned()
    } else {
        "NOT every key is in custody: see the faults above.".to_owned()
    });
    parts.join("\n\n")
}

fn token_text(token: &TokenCustody) -> String {
    let info = &token.token;
    let head = format!(
        "HSM token {}: {} {}, serial {}, firmware {}, label {} ({})",
        token.hsm, info.manufacturer, info.model, info.serial, info.firmware, info.label, token.library
    );
    let rows: Vec<_> = token.keys.iter().map(key_row).collect();
    let columns =
        ["purpose", "kind", "algorithm", "sensitive", "always", "extractable", "never", "local", "held", "kid"];
    let mut text = format!("{head}\n{}", table(columns, &rows));
    for key in &token.keys {
        for fault in &key.faults {
            text.push_str(&format!("\nFAULT {}: {fault}", key.kid));
        }
    }
    if !token.unknown.is_empty() {
        text.push_str(&format!("\nkeys that this deployment does not know: {}", token.unknown.join(", ")));
    }
    text
}

fn key_row(key: &KeyCustody) -> [String; 10] {
    let attribute = |value: Option<bool>| value.map_or_else(|| "?".to_owned(), yes_no);
    let attributes = key.attributes;
    [
        key.purpose.name().to_owned(),
        key.kind.clone().unwrap_or_else(|| "missing".to_owned()),
        key.algorithm.map_or("", Algorithm::name).to_owned(),
        attribute(attributes.map(|it| it.sensitive)),
        attribute(attributes.map(|it| it.always_sensitive)),
        attribute(attributes.map(|it| it.extractable)),
        attribute(attributes.map(|it| it.never_extractable)),
        attribute(attributes.map(|it| it.local)),
        yes_no(key.held),
        key.kid.clone(),
    ]
}
