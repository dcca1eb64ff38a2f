//! `signet client`

use std::collections::BTreeSet;
use std::path::Path;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;

use super::admin::Admin;
use super::confirm::Agreement;
use super::{Ended, Output, table, yes_no};
use crate::server::Need;
use signet_admin_api::clients::{Client, ClientChange, NewClient};
use signet_core::admin::{AUDIENCE, AdminScope, AdminScopes, Noun};
use signet_core::oauth::GrantType;

#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Add a client. Its secret is shown this once.
    Add {
        /// The client's name.
        name: String,
        /// Grant types, separated by commas: password, refresh_token, client_credentials.
        #[arg(long, value_delimiter = ',', required_unless_present_any = ["admin", "admin_noun"])]
        grant: Vec<String>,
        /// Scopes, separated by spaces.
        #[arg(long, default_value = "")]
        scope: String,
        /// The resource server that its tokens are for; may be given again. The issuer itself where none.
        #[arg(long, value_name = "URL")]
        audience: Vec<String>,
        /// The client of one operator's machine: people sign in with it for the admin API, and have there what their roles grant.
        #[arg(long, conflicts_with_all = ["grant", "scope", "audience"])]
        admin: bool,
        /// A client of the admin API that is software and acts by itself, for this noun (`users`, or `users:read`); may be given
        /// again.
        #[arg(long, value_name = "NOUN", conflicts_with_all = ["grant", "scope", "audience", "admin"])]
        admin_noun: Vec<String>,
        /// A network that it may ask from, e.g. 10.0.0.0/8; may be given again. Any where none.
        #[arg(long, value_name = "CIDR", num_args = 1..)]
        allow_from: Vec<String>,
        /// A web site whose scripts may read what it is answered, e.g. https://app.example; may be given again.
        #[arg(long, value_name = "URL")]
        origin: Vec<String>,
    },
    /// List clients.
    List,
    /// Show a client.
    Show(Named),
    /// Change what a client may ask for; what is not named stays. Tokens that are out hold until they expire.
    #[command(group = ArgGroup::new("rights").required(true).multiple(true).args(["grant", "scope", "audience", "allow_from", "allow_from_anywhere", "origin", "no_origin"]))]
    Set {
        /// The client's name or id.
        name: String,
        /// All grant types from now on, separated by commas.
        #[arg(long, value_delimiter = ',')]
        grant: Vec<String>,
        /// All scopes from now on, separated by spaces.
        #[arg(long)]
        scope: Option<String>,
        /// All audiences from now on; may be given again.
        #[arg(long, value_name = "URL")]
        audience: Vec<String>,
        /// All networks from now on that it may ask from; may be given again.
        #[arg(long, value_name = "CIDR", num_args = 1..)]
        allow_from: Vec<String>,
        /// It may ask from anywhere.
        #[arg(long, conflicts_with = "allow_from")]
        allow_from_anywhere: bool,
        /// All web sites from now on whose scripts may read what it is answered; may be given again.
        #[arg(long, value_name = "URL")]
        origin: Vec<String>,
        /// No web site's scripts may.
        #[arg(long, conflicts_with = "origin")]
        no_origin: bool,
    },
    /// Let a client ask for tokens no more, and end its refresh tokens.
    Disable(Named),
    /// Let a disabled client ask again.
    Enable(Named),
    /// Give a client a new secret, shown this once.
    RenewSecret(Named),
    /// Remove a client with its refresh tokens.
    Remove {
        /// The client's name or id.
        name: String,
        #[command(flatten)]
        agreement: Agreement,
    },
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The client's name or id.
    name: String,
}

const COLUMNS: [&str; 7] = ["name", "enabled", "grants", "scope", "audiences", "allow_from", "client_id"];

fn row(client: &Client) -> [String; 7] {
    let joined = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    let (grants, audiences) = (joined(&client.grants), joined(&client.audiences));
    let from = if client.allow_from.is_empty() { "anywhere".to_owned() } else { joined(&client.allow_from) };
    let (name, id) = (client.name.clone(), client.client_id.clone());
    [name, yes_no(client.enabled), grants, client.scope.clone(), audiences, from, id]
}

/// A client of the admin API.
fn for_admin(name: String, grant: GrantType, scopes: AdminScopes) -> NewClient {
    let (grants, audiences) = ([grant.name().to_owned()].into(), [AUDIENCE.to_owned()].into());
    new_client(name, grants, scopes.to_string(), audiences)
}

fn new_client(name: String, grants: BTreeSet<String>, scope: String, audiences: BTreeSet<String>) -> NewClient {
    let (allow_from, origins) = (BTreeSet::new(), BTreeSet::new());
    NewClient { name, grants, scope, audiences, allow_from, origins, declared: false }
}

/// All of these from now on: none where that is said, and what there was where nothing is.
fn all_of(named: Vec<String>, is_none: bool) -> Option<BTreeSet<String>> {
    (is_none || !named.is_empty()).then(|| named.into_iter().collect())
}

fn scopes_of(nouns: &[String]) -> Vec<String> {
    nouns.iter().map(|noun| format!("admin:{noun}")).collect()
}

fn tell_notes(output: &Output, client: &Client) -> anyhow::Result<()> {
    client.notes.iter().for_each(|note| output.note(note));
    Ok(())
}

fn secret_of(client: &Client) -> &str {
    client.client_secret.as_ref().map_or("", |secret| secret.expose())
}

impl ClientCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        self.judge()?;
        // What a client may do is written under the deployment's secret.
        let need = if matches!(self, Self::List | Self::Show(_)) { Need::Store } else { Need::Hsm };
        let admin = Admin::open(config, need, output).await?;
        let done = self.ask(&admin, output).await;
        admin.close().await?;
        done
    }

    /// Refuses what was typed wrong before anything is opened.
    fn judge(&self) -> Result<(), Ended> {
        let (grants, scope, audiences) = match self {
            Self::Add { grant, scope, audience, .. } => (grant, Some(scope), audience),
            Self::Set { grant, scope, audience, .. } => (grant, scope.as_ref(), audience),
            _ => return Ok(()),
        };
        if let Self::Add { admin_noun, .. } = self
            && let Some(unknown) =
                admin_noun.iter().zip(scopes_of(admin_noun)).find(|(_, scope)| AdminScope::named(scope).is_none())
        {
            let known = Noun::ALL.map(Noun::name).join(", ");
            let text = format!(
                "there is no noun `{}`: those of the admin API are {known}, each with `:read` to read alone",
                unknown.0
            );
            return Err(Ended::Usage(text));
        }
        for grant in grants {
            grant.parse::<GrantType>().map_err(|error| Ended::Usage(format!("`{grant}`: {error}")))?;
        }
        if let Some(bad) = audiences.iter().find(|audience| url::Url::parse(audience).is_err()) {
            return Err(Ended::Usage(format!("--audience must be an absolute URL; `{bad}` is not one")));
        }
        if scope.is_some_and(|scope| scope.contains(',')) {
            return Err(Ended::Usage("--scope takes scopes separated by spaces, in quotes: \"read write\"".to_owned()));
        }
        Ok(())
    }

    async fn ask(self, admin: &Admin, output: &Output) -> anyhow::Result<()> {
        let change = async |name: &str, change: ClientChange| admin.patch::<Client>(&["clients", name], &change).await;
        match self {
            Self::Add { name, grant, scope, audience, admin: is_operators, admin_noun, allow_from, origin } => {
                let new = match (is_operators, admin_noun.as_slice()) {
                    (true, _) => for_admin(name, GrantType::Password, AdminScopes::all()),
                    (false, []) => {
                        let (grants, audiences) = (grant.into_iter().collect(), audience.into_iter().collect());
                        new_client(name, grants, scope, audiences)
                    }
                    (false, nouns) => {
                        for_admin(name, GrantType::ClientCredentials, AdminScopes::among(&scopes_of(nouns)))
                    }
                };
                let (allow_from, origins) = (allow_from.into_iter().collect(), origin.into_iter().collect());
                let new = NewClient { allow_from, origins, ..new };
                let client: Client = admin.post(&["clients"], &new).await?;
                output.value(&client, |client| {
                    let (id, secret) = (&client.client_id, secret_of(client));
                    format!("client_id      {id}\nclient_secret  {secret}\n\nThe secret is shown this once.")
                })?;
                tell_notes(output, &client)
            }
            Self::List => output.list("clients", &admin.all::<Client>(&["clients"]).await?, COLUMNS, row),
            Self::Show(Named { name }) => {
                let client: Client = admin.get(&["clients", &name]).await?;
                output.value(&client, |client| table(COLUMNS, [row(client)]))
            }
            Self::Set { name, grant, scope, audience, allow_from, allow_from_anywhere, origin, no_origin } => {
                let rights = ClientChange {
                    grants: all_of(grant, false),
                    scope,
                    audiences: all_of(audience, false),
                    allow_from: all_of(allow_from, allow_from_anywhere),
                    origins: all_of(origin, no_origin),
                    enabled: None,
                };
                let client = change(&name, rights).await?;
                output.value(&client, |client| table(COLUMNS, [row(client)]))?;
                tell_notes(output, &client)
            }
            Self::RenewSecret(Named { name }) => {
                let client: Client = admin.post(&["clients", &name, "secret"], &json!({})).await?;
                output.value(&client, |client| format!("client_secret  {}", secret_of(client)))
            }
            Self::Disable(Named { name }) => {
                change(&name, ClientChange { enabled: Some(false), ..ClientChange::default() }).await?;
                output.done(&format!("{name} may no longer ask for tokens; its refresh tokens ended"))
            }
            Self::Enable(Named { name }) => {
                change(&name, ClientChange { enabled: Some(true), ..ClientChange::default() }).await?;
                output.done(&format!("{name} may ask for tokens again"))
            }
            Self::Remove { name, agreement } => remove(&name, agreement, admin, output).await,
        }
    }
}

async fn remove(name: &str, agreement: Agreement, admin: &Admin, output: &Output) -> anyhow::Result<()> {
    let client: Client = admin.get(&["clients", name]).await?;
    let breaks = [
        "end every refresh token that it was given".to_owned(),
        format!("end the id {} for good: whoever uses it needs another id and secret", client.client_id),
    ];
    agreement.asked(output, &format!("Removing client {name}"), &breaks)?;
    admin.delete(&["clients", name]).await?;
    output.done(&format!("removed client {name}"))
}
