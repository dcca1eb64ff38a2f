//! `signet export`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::file::{DeploymentFile, StatedClient, StatedUser};
use crate::cli::Output;
use crate::cli::admin::Admin;
use crate::server::Need;
use signet_admin_api::clients::Client;
use signet_admin_api::users::User;
use signet_core::settings::SettingsDocument;

/// Write settings, roles, clients and users in the form that `signet apply` takes. There is no secret in it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// Write it to this file; standard output where none is named.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Leave clients and users out.
    #[arg(long)]
    settings_alone: bool,
}

impl Export {
    pub(in crate::cli) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let admin = Admin::open(config, Need::Hsm, output).await?;
        let read = self.read(&admin).await;
        admin.close().await?;
        let file = read?;
        let text = toml::to_string_pretty(&file)?;
        let Some(out) = &self.out else { return output.value(&file, |_| text.clone()) };
        let text = if output.is_json() { serde_json::to_string_pretty(&file)? } else { text };
        std::fs::write(out, text).with_context(|| format!("can't write {}", out.display()))
    }

    async fn read(&self, admin: &Admin) -> anyhow::Result<DeploymentFile> {
        let settings: SettingsDocument = admin.get(&["settings"]).await?;
        if self.settings_alone {
            return Ok(DeploymentFile::of(settings, Vec::new(), Vec::new()));
        }
        let clients: Vec<Client> = admin.all(&["clients"]).await?;
        let users: Vec<User> = admin.all(&["users"]).await?;
        let clients = clients.into_iter().map(|client| StatedClient {
            scopes: client.scope.split_whitespace().map(str::to_owned).collect(),
            name: client.name,
            grants: client.grants,
            audiences: client.audiences,
            allow_from: Some(client.allow_from).filter(|networks| !networks.is_empty()),
            origins: Some(client.origins).filter(|sites| !sites.is_empty()),
            enabled: Some(client.enabled),
        });
        let users = users.into_iter().map(|user| StatedUser {
            name: user.name,
            roles: user.roles,
            enabled: Some(user.enabled),
        });
        Ok(DeploymentFile::of(settings, clients.collect(), users.collect()))
    }
}
