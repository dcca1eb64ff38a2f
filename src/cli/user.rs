//! `signet user`

use std::collections::BTreeSet;
use std::path::Path;

use clap::Subcommand;
use serde::Serialize;

use super::deployment::{self, operator};
use super::input;
use super::output::Output;
use super::table::{table, yes_no};
use crate::server::Need;
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
    Show {
        /// The user's name.
        name: String,
    },
    /// Let a user sign in no more, and end the user's refresh tokens.
    Disable {
        /// The user's name.
        name: String,
    },
    /// Let a disabled user sign in again.
    Enable {
        /// The user's name.
        name: String,
    },
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
    Unlock {
        /// The user's name.
        name: String,
    },
    /// List accounts whose tries are exhausted.
    Locked,
    /// Remove a user with all factors and refresh tokens.
    Remove {
        /// The user's name.
        name: String,
    },
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
}

impl UserCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Add { name, roles, password_stdin } => {
                let password = input::secret(password_stdin, "the password", "--password-stdin")?;
                let deployment = deployment::open(config, Need::Hsm, output).await?;
                let roles = roles.into_iter().collect();
                let user = deployment.signet.issuer().accounts.add_user(&name, roles, &password, &operator()).await?;
                let text = |view: &UserView| {
                    format!(
                        "added user {} ({})\nNext: `signet factor add totp --user {}`",
                        view.name, view.id, view.name
                    )
                };
                output.value(&UserView::new(&user, None), text)?;
                deployment.close().await
            }
            Self::SetPassword { name, password_stdin } => {
                let password = input::secret(password_stdin, "the password", "--password-stdin")?;
                let deployment = deployment::open(config, Need::Hsm, output).await?;
                deployment.signet.issuer().accounts.set_password(&name, &password, &operator()).await?;
                deployment::done(deployment, output, &format!("replaced the password of {name}; refresh tokens ended"))
                    .await
            }
            Self::List => list(config, output).await,
            Self::Show { name } => show(config, output, &name).await,
            Self::Disable { name } => enable(config, output, &name, false).await,
            Self::Enable { name } => enable(config, output, &name, true).await,
            Self::SetRoles { name, roles } => {
                let deployment = deployment::open(config, Need::Store, output).await?;
                let roles = roles.into_iter().filter(|role| !role.is_empty()).collect();
                deployment.signet.issuer().accounts.set_roles(&name, roles, &operator()).await?;
                deployment::done(deployment, output, &format!("replaced the roles of {name}")).await
            }
            Self::Unlock { name } => {
                let deployment = deployment::open(config, Need::Store, output).await?;
                let had = deployment.signet.issuer().accounts.unlock_user(&name, &operator()).await?;
                let what = if had { "has all tries again" } else { "had all tries; nothing was locked" };
                deployment::done(deployment, output, &format!("{name} {what}")).await
            }
            Self::Locked => locked(config, output).await,
            Self::Remove { name } => {
                let deployment = deployment::open(config, Need::Store, output).await?;
                deployment.signet.issuer().accounts.remove_user(&name, &operator()).await?;
                deployment::done(deployment, output, &format!("removed user {name}")).await
            }
        }
    }
}

async fn enable(config: &Path, output: &Output, name: &str, enabled: bool) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Store, output).await?;
    deployment.signet.issuer().accounts.enable_user(name, enabled, &operator()).await?;
    let what = if enabled { "may sign in again" } else { "may no longer sign in; refresh tokens ended" };
    deployment::done(deployment, output, &format!("{name} {what}")).await
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

async fn locked(config: &Path, output: &Output) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Store, output).await?;
    let locked = deployment.signet.issuer().accounts.locked_accounts().await?;
    let views: Vec<_> = locked
        .into_iter()
        .map(|(account, user)| LockedView {
            user: user.map(|user| user.name),
            what: account.word,
            counts: account.counts,
            until: account.until.to_string(),
        })
        .collect();
    output.value(&views, |views| {
        let rows: Vec<_> = views
            .iter()
            .map(|view| {
                let name = view.user.clone().unwrap_or_else(|| "(names of nobody)".to_owned());
                [name, view.what.clone(), view.counts.to_string(), view.until.clone()]
            })
            .collect();
        table(["user", "what", "counts", "until"], &rows)
    })?;
    deployment.close().await
}

async fn list(config: &Path, output: &Output) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Store, output).await?;
    let users: Vec<_> =
        deployment.signet.issuer().accounts.list_users().await?.iter().map(|user| UserView::new(user, None)).collect();
    output.value(&users, |users| {
        let rows: Vec<_> = users.iter().map(UserView::row).collect();
        table(["name", "enabled", "roles", "id"], &rows)
    })?;
    deployment.close().await
}

async fn show(config: &Path, output: &Output, name: &str) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Store, output).await?;
    let user = deployment.signet.issuer().accounts.find_user(name).await?;
    let factors = deployment.signet.issuer().factors.lifecycle.list_factors(name).await?;
    output.value(&UserView::new(&user, Some(&factors)), |view| {
        let user = table(["name", "enabled", "roles", "id"], &[view.row()]);
        let factors = view.factors.as_deref().unwrap_or_default();
        if factors.is_empty() {
            return format!("{user}\n\nno factor: {} can't sign in before `signet factor add`", view.name);
        }
        format!("{user}\n\n{}", super::factor::factor_table(factors))
    })?;
    deployment.close().await
}
