//! `signet client`

use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Ended, Output, deployment, operator, table, yes_no};
use crate::server::Need;
use signet_core::oauth::{Client, GrantType, scope};
use signet_core::secret::SecretText;
use signet_service::clients::registry::NewClient;

#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Add a client. Its secret is shown this once.
    Add {
        /// The client's name.
        name: String,
        /// Grant types, separated by commas: password, refresh_token, client_credentials.
        #[arg(long, value_delimiter = ',', required = true)]
        grant: Vec<String>,
        /// Scopes, separated by spaces.
        #[arg(long, default_value = "")]
        scope: String,
        /// The resource server that its tokens are for; may be given again. The issuer itself where none.
        #[arg(long, value_name = "URL")]
        audience: Vec<String>,
    },
    /// List clients.
    List,
    /// Show a client.
    Show(Named),
    /// Let a client ask for tokens no more, and end its refresh tokens.
    Disable(Named),
    /// Let a disabled client ask again.
    Enable(Named),
    /// Give a client a new secret, shown this once.
    RenewSecret(Named),
    /// Remove a client with its refresh tokens.
    Remove(Named),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The client's name or id.
    name: String,
}

/// A client as printed.
#[derive(Serialize)]
struct ClientView {
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    name: String,
    grants: Vec<&'static str>,
    scope: String,
    audiences: Vec<String>,
    enabled: bool,
    created_at: String,
}

impl ClientView {
    fn new(client: &Client, secret: Option<&SecretText>) -> Self {
        Self {
            client_id: client.id.to_string(),
            client_secret: secret.map(|secret| secret.expose().to_owned()),
            name: client.name.clone(),
            grants: client.grants.iter().map(|grant| grant.name()).collect(),
            scope: scope::join(&client.scopes),
            audiences: client.audiences.iter().cloned().collect(),
            enabled: client.enabled,
            created_at: client.created_at.to_string(),
        }
    }

    fn row(&self) -> [String; 6] {
        let (grants, audiences) = (self.grants.join(","), self.audiences.join(","));
        [self.name.clone(), yes_no(self.enabled), grants, self.scope.clone(), audiences, self.client_id.clone()]
    }
}

const COLUMNS: [&str; 6] = ["name", "enabled", "grants", "scope", "audiences", "client_id"];

impl ClientCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let new = match &self {
            Self::Add { name, grant, scope, audience } => Some(new_client(name, grant, scope, audience)?),
            _ => None,
        };
        // What a client may do is written under the deployment's secret.
        let need = if matches!(self, Self::List | Self::Show(_)) { Need::Store } else { Need::Hsm };
        let deployment = deployment::open(config, need, output).await?;
        let (clients, operator) = (&deployment.signet.issuer().clients, operator());
        match (self, new) {
            (_, Some(new)) => {
                let (client, secret) = clients.add_client(new, &operator).await?;
                output.value(&ClientView::new(&client, Some(&secret)), |view| {
                    let (id, secret) = (&view.client_id, secret.expose());
                    format!("client_id      {id}\nclient_secret  {secret}\n\nThe secret is shown this once.")
                })?;
            }
            (Self::List, _) => {
                let all = clients.list_clients().await?;
                let views: Vec<_> = all.iter().map(|client| ClientView::new(client, None)).collect();
                output.list(&views, COLUMNS, ClientView::row)?;
            }
            (Self::Show(Named { name }), _) => {
                let view = ClientView::new(&clients.find_client(&name).await?, None);
                output.value(&view, |view| table(COLUMNS, [view.row()]))?;
            }
            (Self::RenewSecret(Named { name }), _) => {
                let secret = clients.renew_client_secret(&name, &operator).await?;
                let client = clients.find_client(&name).await?;
                let view = ClientView::new(&client, Some(&secret));
                output.value(&view, |_| format!("client_secret  {}", secret.expose()))?;
            }
            (Self::Disable(Named { name }), _) => {
                clients.enable_client(&name, false, &operator).await?;
                output.done(&format!("{name} may no longer ask for tokens; its refresh tokens ended"))?;
            }
            (Self::Enable(Named { name }), _) => {
                clients.enable_client(&name, true, &operator).await?;
                output.done(&format!("{name} may ask for tokens again"))?;
            }
            (Self::Remove(Named { name }), _) => {
                clients.remove_client(&name, &operator).await?;
                output.done(&format!("removed client {name}"))?;
            }
            // It has what to add by now.
            (Self::Add { .. }, None) => {}
        }
        deployment.close().await
    }
}

fn new_client(name: &str, grants: &[String], scopes: &str, audiences: &[String]) -> anyhow::Result<NewClient> {
    let grants = grants
        .iter()
        .map(|grant| grant.parse::<GrantType>().map_err(|error| Ended::Usage(format!("`{grant}`: {error}"))));
    if let Some(bad) = audiences.iter().find(|audience| url::Url::parse(audience).is_err()) {
        return Err(Ended::Usage(format!("--audience must be an absolute URL; `{bad}` is not one")).into());
    }
    if scopes.contains(',') {
        return Err(
            Ended::Usage("--scope takes scopes separated by spaces, in quotes: \"read write\"".to_owned()).into()
        );
    }
    let scopes = scopes.split_whitespace().map(str::to_owned).collect();
    Ok(NewClient {
        name: name.to_owned(),
        grants: grants.collect::<Result<_, _>>()?,
        scopes,
        audiences: audiences.iter().cloned().collect(),
    })
}
