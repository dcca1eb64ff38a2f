//! `signet secret`

use std::path::Path;
use std::time::Duration;

use clap::Subcommand;

use super::admin::Admin;
use super::progress::RowProgress;
use super::{Ended, Output};
use crate::server::Need;
use signet_admin_api::deployment_secret::{DeploymentSecret, SecretRenewal};

/// How long is waited where somebody else goes on with it, or it waits.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
pub(super) enum SecretCommand {
    /// Say of which generation the deployment's secret is, and whether it is being renewed.
    Show,
    /// Renew it, for example where a server's memory may have been read: every row by which rights are given is written under the new
    /// one, while servers run, and what only the old one authenticates grants nothing from then on. Interrupted, it is run again.
    Renew {
        /// Why, for the audit log.
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
}

impl SecretCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Show => {
                let admin = Admin::open(config, Need::Store, output).await?;
                let shown = admin.get::<DeploymentSecret>(&["deployment-secret"]).await;
                admin.close().await?;
                output.value(&shown?, shown_text)
            }
            Self::Renew { why } => {
                if why.trim().is_empty() {
                    return Err(Ended::Usage("--why must say why the secret is renewed".to_owned()).into());
                }
                let admin = Admin::open(config, Need::Hsm, output).await?;
                let renewed = renew(&admin, output, why).await;
                admin.close().await?;
                output.value(&renewed?, renewed_text)
            }
        }
    }
}

async fn renew(admin: &Admin, output: &Output, why: String) -> anyhow::Result<DeploymentSecret> {
    let present: DeploymentSecret = admin.get(&["deployment-secret"]).await?;
    let next = if present.under_way { present.generation } else { present.generation.saturating_add(1) };
    let renewal = SecretRenewal { generation: next, why };
    let (progress, mut waited_for) = (RowProgress::new(output), Vec::new());
    loop {
        let standing: DeploymentSecret = admin.post(&["deployment-secret", "renewal"], &renewal).await?;
        if !standing.under_way {
            return Ok(standing);
        }
        if standing.waits_for != waited_for && !standing.waits_for.is_empty() {
            output.progress(&format!(
                "waiting for nodes that have not opened the new secret: {}. One that is gone is taken out by `signet node retire`",
                standing.waits_for.join(", ")
            ));
        }
        waited_for.clone_from(&standing.waits_for);
        progress.tell("the renewed secret", "written under it", standing.rows_done, standing.rows);
        tokio::time::sleep(PAUSE).await;
    }
}

fn shown_text(secret: &DeploymentSecret) -> String {
    let generation = secret.generation;
    match (secret.under_way, secret.waits_for.is_empty()) {
        (false, _) => format!("The deployment's secret is of generation {generation}."),
        (true, true) => format!("Rows are being written under generation {generation} of the deployment's secret."),
        (true, false) => format!(
            "Generation {generation} of the deployment's secret was made, and waits for nodes that have not opened it: {}",
            secret.waits_for.join(", ")
        ),
    }
}

fn renewed_text(secret: &DeploymentSecret) -> String {
    let mut text = format!(
        "The deployment's secret is of generation {}: what only the one before authenticates grants nothing any more.",
        secret.generation
    );
    if secret.void_rows > 0 {
        text.push_str(&format!(
            "\n{} rows do not verify and stay void: `signet audit verify --store` names them.",
            secret.void_rows
        ));
    }
    text
}
