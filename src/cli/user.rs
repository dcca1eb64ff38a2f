//! `signet user`

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Output, deployment, input, operator, table, yes_no};
use crate::server::Need;
use signet_core::mfa::lockout::LockedAccount;
use signet_store::{Factor, User};

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user.
    Add {
        /// The name typed at sign-in.
        name: String,
        /// Roles, separated by commas.
        #[arg(long, value_delimiter = ',')]
        roles: Vec<String>,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// List users.
    List,
    /// Show a user and the user's factors.
    Show(Named),
    /// Let a user sign in no more, and end the user's refresh tokens.
    Disable(Named),
    /// Let a disabled user sign in again.
    Enable(Named),
    /// Replace a user's roles.
    SetRoles {
        /// The user's name.
        name: String,
        /// Roles, separated by commas.
        #[arg(long, value_delimiter = ',', required = true)]
        roles: Vec<String>,
    },
    /// Replace a user's password, and end the user's refresh tokens.
    SetPassword {
        /// The user's name.
        name: String,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Give a user all tries at signing in again.
    Unlock(Named),
    /// List accounts whose tries are exhausted.
    Locked,
    /// Remove a user with all factors and refresh tokens.
    Remove(Named),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The user's name.
    name: String,
}

/// A user as printed.
#[derive(Serialize)]
struct UserView {
    id: String,
    name: String,
    roles: BTreeSet<String>,
    enabled: bool,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    factors: Option<Vec<super::factor::FactorView>>,
}

impl UserView {
    fn new(user: &User, factors: Option<&[Factor]>) -> Self {
        Self {
            id: user.id.to_string(),
            name: user.name.clone(),
            roles: user.roles.clone(),
            enabled: user.enabled,
            created_at: user.created_at.to_string(),
            factors: factors.map(|factors| factors.iter().map(super::factor::FactorView::new).collect()),
        }
    }

    fn row(&self) -> [String; 4] {
        let roles = self.roles.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        [self.name.clone(), yes_no(self.enabled), roles, self.id.clone()]
    }

    /// The user with the factors.
    fn shown(&self) -> String {
        let user = table(COLUMNS, [self.row()]);
        let factors = self.factors.as_deref().unwrap_or_default();
        if factors.is_empty() {
            return format!("{user}\n\nno factor: {} can't sign in before `signet factor add`", self.name);
        }
        format!("{user}\n\n{}", super::factor::factor_table(factors))
    }
}

const COLUMNS: [&str; 4] = ["name", "enabled", "roles", "id"];

impl UserCommand {
    /// What a user may do is written under the deployment's secret.
    fn need(&self) -> Need {
        match self {
            Self::List | Self::Show(_) | Self::Locked | Self::Unlock(_) => Need::Store,
            _ => Need::Hsm,
        }
    }

    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let password = match &self {
            Self::Add { password_stdin, .. } | Self::SetPassword { password_stdin, .. } => {
                Some(input::secret(*password_stdin, "the password", "--password-stdin")?)
            }
            _ => None,
        };
        let enables = matches!(self, Self::Enable(_));
        let deployment = deployment::open(config, self.need(), output).await?;
        let (accounts, operator) = (&deployment.signet.issuer().accounts, operator());
        match (self, password) {
            (Self::Add { name, roles, .. }, Some(password)) => {
                let user = accounts.add_user(&name, roles.into_iter().collect(), &password, &operator).await?;
                output.value(&UserView::new(&user, None), |UserView { name, id, .. }| {
                    format!("added user {name} ({id})\nNext: `signet factor add totp --user {name}`")
                })?;
            }
            (Self::SetPassword { name, .. }, Some(password)) => {
                accounts.set_password(&name, &password, &operator).await?;
                output.done(&format!("replaced the password of {name}; refresh tokens ended"))?;
            }
            // Both have their password by now.
            (Self::Add { .. } | Self::SetPassword { .. }, None) => {}
            (Self::List, _) => {
                let users = accounts.list_users().await?;
                let views: Vec<_> = users.iter().map(|user| UserView::new(user, None)).collect();
                output.list(&views, COLUMNS, UserView::row)?;
            }
            (Self::Show(Named { name }), _) => {
                let user = accounts.find_user(&name).await?;
                let factors = deployment.signet.issuer().factors.lifecycle.list_factors(&name).await?;
                output.value(&UserView::new(&user, Some(&factors)), UserView::shown)?;
            }
            (Self::Disable(Named { name }) | Self::Enable(Named { name }), _) => {
                accounts.enable_user(&name, enables, &operator).await?;
                let what = if enables { "may sign in again" } else { "may no longer sign in; refresh tokens ended" };
                output.done(&format!("{name} {what}"))?;
            }
            (Self::SetRoles { name, roles }, _) => {
                let roles = roles.into_iter().filter(|role| !role.is_empty()).collect();
                accounts.set_roles(&name, roles, &operator).await?;
                output.done(&format!("replaced the roles of {name}"))?;
            }
            (Self::Unlock(Named { name }), _) => {
                let had = accounts.unlock_user(&name, &operator).await?;
                let what = if had { "has all tries again" } else { "had all tries; nothing was locked" };
                output.done(&format!("{name} {what}"))?;
            }
            (Self::Locked, _) => {
                let locked = accounts.locked_accounts().await?;
                let views: Vec<_> = locked.into_iter().map(LockedView::new).collect();
                output.list(&views, ["user", "what", "counts", "until"], LockedView::row)?;
            }
            (Self::Remove(Named { name }), _) => {
                accounts.remove_user(&name, &operator).await?;
                output.done(&format!("removed user {name}"))?;
            }
        }
        deployment.close().await
    }
}

/// An account whose tries are exhausted, as printed.
#[derive(Serialize)]
struct LockedView {
    /// Absent for names that are no user's, which are not kept.
    user: Option<String>,
    /// What was guessed at: `digits`, `key`, `recovery`, `none`, or the `account` as a whole, which locks nothing.
    what: String,
    counts: u32,
    until: String,
}

impl LockedView {
    fn new((account, user): (LockedAccount, Option<User>)) -> Self {
        let until = account.until.to_string();
        Self { user: user.map(|user| user.name), what: account.word, counts: account.counts, until }
    }

    fn row(&self) -> [String; 4] {
        let name = self.user.clone().unwrap_or_else(|| "(names of nobody)".to_owned());
        [name, self.what.clone(), self.counts.to_string(), self.until.clone()]
    }
}
