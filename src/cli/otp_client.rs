//! `signet otp-client`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Ended, Output, deployment, input, operator, yes_no};
use crate::server::Need;
use signet_core::mfa::yubico_export;
use signet_core::mfa::yubico_validation::ClientNumber;
use signet_core::secret::SecretText;
use signet_service::ChangeError;
use signet_service::otp_validation::clients::NewOtpClient;
use signet_store::OtpClient;

#[derive(Debug, Subcommand)]
pub(super) enum OtpClientCommand {
    /// Add a client. Its number and API key are what its software is configured with; the key is shown this once.
    Add {
        /// What you call it.
        name: String,
        /// Its number, 1 to 9999999999; the next free one where none is given.
        #[arg(long)]
        id: Option<String>,
        /// Read an API key that it has already, in base64, from standard input.
        #[arg(long)]
        key_stdin: bool,
        /// Refuse its requests where they are not signed by the API key.
        #[arg(long)]
        require_signature: bool,
    },
    /// List clients.
    List,
    /// Let a client ask no more.
    Disable(Named),
    /// Let a disabled client ask again.
    Enable(Named),
    /// Remove a client with its API key.
    Remove(Named),
    /// Take over the clients of a YK-VAL, with their numbers and keys. Those whose number is taken are left as they are.
    Import {
        /// What `ykval-export-clients` wrote; - for standard input.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The client's number or name.
    client: String,
}

/// A client as printed.
#[derive(Serialize)]
struct ClientView {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
    name: String,
    requires_signature: bool,
    enabled: bool,
    created_at: String,
}

/// What an import did.
#[derive(Serialize)]
struct Imported {
    imported: usize,
    /// The numbers that were taken.
    skipped: Vec<u64>,
}

impl ClientView {
    fn new(client: &OtpClient, key: Option<&SecretText>) -> Self {
        Self {
            id: client.id.get(),
            api_key: key.map(|key| key.expose().to_owned()),
            name: client.name.clone(),
            requires_signature: client.needs_signature,
            enabled: client.enabled,
            created_at: client.created_at.to_string(),
        }
    }

    fn row(&self) -> [String; 4] {
        [self.id.to_string(), self.name.clone(), yes_no(self.enabled), yes_no(self.requires_signature)]
    }
}

impl OtpClientCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Add { name, id, key_stdin, require_signature } => {
                let id = id.as_deref().map(client_number).transpose()?;
                let key = key_stdin.then(|| input::secret_from_stdin("the API key")).transpose()?;
                let new = NewOtpClient { name, id, key, needs_signature: require_signature, enabled: true };
                add(config, output, new).await
            }
            Self::Import { file } => import(config, output, &file).await,
            Self::List => {
                let deployment = deployment::open(config, Need::Store, output).await?;
                let clients = deployment.signet.issuer().otp_validation.clients.list_otp_clients().await?;
                let views: Vec<_> = clients.iter().map(|client| ClientView::new(client, None)).collect();
                output.list(&views, ["id", "name", "enabled", "requires signature"], ClientView::row)?;
                deployment.close().await
            }
            Self::Disable(Named { client }) => enable(config, output, &client, false).await,
            Self::Enable(Named { client }) => enable(config, output, &client, true).await,
            Self::Remove(Named { client }) => {
                let deployment = deployment::open(config, Need::Store, output).await?;
                deployment.signet.issuer().otp_validation.clients.remove_otp_client(&client, &operator()).await?;
                output.done(&format!("removed OTP client {client}"))?;
                deployment.close().await
            }
        }
    }
}

async fn enable(config: &Path, output: &Output, client: &str, enabled: bool) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Hsm, output).await?;
    deployment.signet.issuer().otp_validation.clients.enable_otp_client(client, enabled, &operator()).await?;
    let what = if enabled { "may have OTPs verified again" } else { "may no longer have OTPs verified" };
    output.done(&format!("{client} {what}"))?;
    deployment.close().await
}

async fn add(config: &Path, output: &Output, new: NewOtpClient) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Hsm, output).await?;
    let (client, key) = deployment.signet.issuer().otp_validation.clients.add_otp_client(new, &operator()).await?;
    output.value(&ClientView::new(&client, Some(&key)), |view| {
        let key = view.api_key.as_deref().unwrap_or_default();
        format!("id       {}\napi key  {key}\n\nThe key is shown this once.", view.id)
    })?;
    deployment.close().await
}

async fn import(config: &Path, output: &Output, file: &Path) -> anyhow::Result<()> {
    let text = input::secret_file(file)?;
    let exported = yubico_export::clients(text.expose())?;
    let deployment = deployment::open(config, Need::Hsm, output).await?;
    let mut done = Imported { imported: 0, skipped: Vec::new() };
    for client in exported {
        let (id, enabled) = (client.id, client.active);
        let name = format!("ykval-{id}");
        let new = NewOtpClient { name, id: Some(id), key: Some(client.key), needs_signature: false, enabled };
        match deployment.signet.issuer().otp_validation.clients.add_otp_client(new, &operator()).await {
            Ok(_) => done.imported += 1,
            Err(ChangeError::Taken { .. }) => done.skipped.push(id.get()),
            Err(error) => return Err(anyhow::Error::from(error).context(format!("client {id} was not imported"))),
        }
    }
    output.value(&done, |done| {
        format!("imported {} clients; {} numbers were taken already", done.imported, done.skipped.len())
    })?;
    deployment.close().await
}

fn client_number(text: &str) -> anyhow::Result<ClientNumber> {
    let wrong = || Ended::Usage("--id must be a number from 1 to 9999999999".to_owned());
    Ok(ClientNumber::parse(text).ok_or_else(wrong)?)
}
