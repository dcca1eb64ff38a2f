//! `signet otp-client`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::admin::{Admin, Refused};
use super::confirm::Agreement;
use super::{Ended, Output, input, yes_no};
use crate::server::Need;
use signet_admin_api::otp_validation::{Enabled, NewOtpClient, OtpClient};
use signet_core::mfa::yubico_export::{self, ExportedClient};
use signet_core::mfa::yubico_validation::ClientNumber;
use signet_core::secret::SecretText;

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
    Remove {
        /// The client's number or name.
        client: String,
        #[command(flatten)]
        agreement: Agreement,
    },
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

/// What an import did.
#[derive(Serialize)]
struct Imported {
    imported: usize,
    /// The numbers that were taken.
    skipped: Vec<u64>,
}

fn row(client: &OtpClient) -> [String; 4] {
    [client.id.to_string(), client.name.clone(), yes_no(client.enabled), yes_no(client.requires_signature)]
}

impl OtpClientCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let key = match &self {
            Self::Add { id, key_stdin, .. } => {
                id.as_deref().map(client_number).transpose()?;
                key_stdin.then(|| input::secret_from_stdin("the API key")).transpose()?
            }
            _ => None,
        };
        let exported = match &self {
            Self::Import { file } => yubico_export::clients(input::secret_file(file)?.expose())?,
            _ => Vec::new(),
        };
        let need = if matches!(self, Self::List) { Need::Store } else { Need::Hsm };
        let admin = Admin::open(config, need, output).await?;
        let done = match self {
            Self::Import { .. } => import(&admin, output, exported).await,
            other => other.ask(&admin, key, output).await,
        };
        admin.close().await?;
        done
    }

    async fn ask(self, admin: &Admin, api_key: Option<SecretText>, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Add { name, id, require_signature, .. } => {
                let id = id.as_deref().map(client_number).transpose()?.map(ClientNumber::get);
                let new = NewOtpClient { name, id, api_key, requires_signature: require_signature, enabled: true };
                let client: OtpClient = admin.post(&["otp-clients"], &new).await?;
                output.value(&client, |client| {
                    let key = client.api_key.as_ref().map_or("", |key| key.expose());
                    format!("id       {}\napi key  {key}\n\nThe key is shown this once.", client.id)
                })
            }
            Self::List => {
                let clients: Vec<OtpClient> = admin.all(&["otp-clients"]).await?;
                output.list(
                    "clients of the validation protocol",
                    &clients,
                    ["id", "name", "enabled", "requires signature"],
                    row,
                )
            }
            Self::Disable(Named { client }) => {
                admin.patch::<OtpClient>(&["otp-clients", &client], &Enabled { enabled: false }).await?;
                output.done(&format!("{client} may no longer have OTPs verified"))
            }
            Self::Enable(Named { client }) => {
                admin.patch::<OtpClient>(&["otp-clients", &client], &Enabled { enabled: true }).await?;
                output.done(&format!("{client} may have OTPs verified again"))
            }
            Self::Remove { client, agreement } => {
                let breaks = ["forget its API key: whatever uses it needs another number and key".to_owned()];
                agreement.asked(output, &format!("Removing OTP client {client}"), &breaks)?;
                admin.delete(&["otp-clients", &client]).await?;
                output.done(&format!("removed OTP client {client}"))
            }
            // It has its clients by now.
            Self::Import { .. } => Ok(()),
        }
    }
}

async fn import(admin: &Admin, output: &Output, exported: Vec<ExportedClient>) -> anyhow::Result<()> {
    let mut done = Imported { imported: 0, skipped: Vec::new() };
    for client in exported {
        let id = client.id.get();
        let new = NewOtpClient {
            name: format!("ykval-{id}"),
            id: Some(id),
            api_key: Some(client.key),
            requires_signature: false,
            enabled: client.active,
        };
        match admin.post::<OtpClient>(&["otp-clients"], &new).await {
            Ok(_) => done.imported += 1,
            Err(error) if Refused::is_conflict(&error) => done.skipped.push(id),
            Err(error) => return Err(error.context(format!("client {id} was not imported"))),
        }
    }
    output.value(&done, |done| {
        format!("imported {} clients; {} numbers were taken already", done.imported, done.skipped.len())
    })
}

fn client_number(text: &str) -> anyhow::Result<ClientNumber> {
    let wrong = || Ended::Usage("--id must be a number from 1 to 9999999999".to_owned());
    Ok(ClientNumber::parse(text).ok_or_else(wrong)?)
}
