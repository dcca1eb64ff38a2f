//! `signet user sessions`, `grants` and what ends them: where a person is signed in, and what apps may have of them.

use clap::Subcommand;

use super::Output;
use super::admin::Admin;
use super::user::Named;
use crate::server::Need;
use signet_admin_api::users::{Grant, Session};

#[derive(Debug, Subcommand)]
pub(super) enum SignInsCommand {
    /// List the browsers in which a user is signed in.
    Sessions(Named),
    /// End all that a user's credentials have led to: sessions, refresh tokens, sign-ins under way.
    SignOut {
        /// The user's name.
        name: String,
        /// This session alone.
        #[arg(long, value_name = "ID")]
        session: Option<String>,
    },
    /// List what apps may have of a user: each is a sign-in by one, with the tokens that come of it.
    Grants(Named),
    /// End one of them: its refresh tokens get nothing any more.
    EndGrant {
        /// The user's name.
        name: String,
        /// The grant's id, as `signet user grants` shows it.
        id: String,
    },
}

impl SignInsCommand {
    /// What ends is written under the deployment's secret.
    pub(super) fn need(&self) -> Need {
        match self {
            Self::Sessions(_) | Self::Grants(_) => Need::Store,
            Self::SignOut { .. } | Self::EndGrant { .. } => Need::Hsm,
        }
    }

    pub(super) async fn ask(self, admin: &Admin, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Sessions(Named { name }) => {
                let sessions: Vec<Session> = admin.get(&["users", &name, "sessions"]).await?;
                let columns = ["signed in", "last used", "ends", "address", "factors", "id"];
                output.list("sign-ins in a browser", &sessions, columns, session_row)
            }
            Self::SignOut { name, session } => {
                let mut path = vec!["users", &name, "sessions"];
                path.extend(session.as_deref());
                admin.delete(&path).await?;
                output.done(&match &session {
                    Some(id) => format!("ended the session {id} of {name}"),
                    None => format!("{name} is signed out everywhere; refresh tokens ended"),
                })
            }
            Self::Grants(Named { name }) => {
                let grants = admin.all::<Grant>(&["users", &name, "grants"]).await?;
                output.list("grants that hold", &grants, GRANT_COLUMNS, grant_row)
            }
            Self::EndGrant { name, id } => {
                admin.delete(&["users", &name, "grants", &id]).await?;
                output.done(&format!("ended the grant {id} of {name}"))
            }
        }
    }
}

const GRANT_COLUMNS: [&str; 6] = ["client", "scopes", "since", "last used", "ends", "id"];

fn grant_row(grant: &Grant) -> [String; 6] {
    [
        grant.client.clone(),
        grant.scope.clone(),
        grant.began_at.clone(),
        grant.last_used_at.clone().unwrap_or_default(),
        grant.ends_at.clone(),
        grant.id.clone(),
    ]
}

fn session_row(session: &Session) -> [String; 6] {
    [
        session.signed_in_at.clone(),
        session.last_used_at.clone(),
        session.ends_at.clone(),
        session.client_address.clone().unwrap_or_default(),
        session.factors.join(","),
        session.id.clone(),
    ]
}
