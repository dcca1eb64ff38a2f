//! `signet init`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::admin::{self, Admin, Found};
use super::declared::file::DeploymentFile;
use super::{Output, deployment, operator, table};
use crate::config::{Config, EXAMPLE};
use crate::server::{Need, Runtime};
use signet_admin_api::keys::Key;
use signet_core::keys::{HsmName, KeyPurpose};
use signet_core::settings::SettingsDocument;
use signet_service::hsm_membership::initialise::InitialisedKey;

#[derive(Debug, clap::Args)]
pub(super) struct Init {
    /// What a new deployment begins with: a file of settings as `signet apply` takes it. Everything is as by default where none is
    /// named.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// What was made.
#[derive(Serialize)]
pub(super) struct Report {
    issuer: String,
    keys: Vec<InitialisedKey>,
    audit_key_file: String,
}

impl Init {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        if !config.exists() {
            return Err(write_example(config));
        }
        let founding = match &self.settings {
            Some(file) => DeploymentFile::read(file)?.settings(),
            None => SettingsDocument::default(),
        };
        let judged = deployment::here(config)?;
        // Where there is no folder yet, nobody runs.
        let found = if judged.store.folder().exists() { Some(admin::find(&judged, output).await?) } else { None };
        let _alone = match found {
            Some(Found::Server(admin)) => return print(&there_already(&judged, &admin).await?, output),
            Some(Found::Nobody(lock)) => Some(lock),
            None => None,
        };
        let deployment = deployment::open(config, Need::HsmAndNewStore, output).await?;
        print(&initialise(&deployment, &founding, output).await?, output)?;
        deployment.close().await
    }
}

/// What a server that runs was started with: it would not run without.
async fn there_already(config: &Config, admin: &Admin) -> anyhow::Result<Report> {
    let keys = admin.all::<Key>(&["keys"]).await?;
    let in_use = keys.into_iter().filter(|key| key.state == "active" || key.state == "next");
    let keys = in_use.filter_map(|key| {
        let purpose = KeyPurpose::named(&key.purpose)?;
        Some(InitialisedKey { hsm: HsmName::new(key.hsm), purpose, kid: key.kid, created: false })
    });
    Ok(Report {
        issuer: config.server.public_url.as_str().to_owned(),
        keys: keys.collect(),
        audit_key_file: config.audit.public_key.display().to_string(),
    })
}

/// Writes a commented configuration to start from; what comes of it is always a word on what to do.
fn write_example(path: &Path) -> anyhow::Error {
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let path = path.display();
    match written.and_then(|mut file| file.write_all(EXAMPLE.as_bytes())) {
        Ok(()) => anyhow::anyhow!(
            "there was no configuration, so {path} was written to start from: set module, token_label and the PIN's place \
             under [[hsm]] in it, then run `signet init` again (`signet doctor` checks it)"
        ),
        Err(error) => anyhow::anyhow!("there is no configuration {path}, and none can be written there: {error}"),
    }
}

/// Initialises an open deployment; says what was made.
pub(super) async fn initialise(
    deployment: &Runtime,
    founding: &SettingsDocument,
    output: &Output,
) -> anyhow::Result<Report> {
    let initialisation = &deployment.signet.initialisation;
    let keys = initialisation.initialise(founding, &operator(), &|text| output.progress(text)).await?;
    let made: Vec<String> = keys.iter().filter(|key| key.created).map(|key| key.kid.clone()).collect();
    let audit_key_file = deployment.audit_keys().add(&made).await?;
    Ok(Report {
        issuer: deployment.signet.issuer().settings.issuer.clone(),
        keys,
        audit_key_file: audit_key_file.display().to_string(),
    })
}

/// Prints what was made.
pub(super) fn print(report: &Report, output: &Output) -> anyhow::Result<()> {
    output.value(report, |report| {
        let rows = report.keys.iter().map(|key| {
            let made = if key.created { "generated" } else { "there already" };
            [key.hsm.to_string(), key.purpose.name().replace('_', " "), made.to_owned(), key.kid.clone()]
        });
        let keys = table(["hsm", "purpose", "", "kid"], rows);
        format!(
            "{keys}\n\nThe audit log's public key is in {}: keep a copy where whoever can write to this machine can't \
             reach it.\nNext: `signet user add`, `signet factor add`, `signet client add`, `signet serve`.",
            report.audit_key_file
        )
    })
}
