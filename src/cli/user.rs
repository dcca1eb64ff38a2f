//! `signet user`

use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::json;

use super::admin::Admin;
use super::confirm::Agreement;
use super::user_import::Import;
use super::user_sign_ins::SignInsCommand;
use super::{Output, input, table, yes_no};
use crate::server::Need;
use signet_admin_api::users::{
    FailedSignIns, NewPassword, NewUser, Session, Unlocked, User, UserChange, UserFailures, WaitingRoles,
};
use signet_core::secret::SecretText;

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
    /// Add many users from a CSV file, with a word on each line. Run it again after an interruption: who is there already is skipped.
    Import(Import),
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
    /// Forget the failed sign-ins of a user, and end what they lock.
    Unlock(Named),
    /// List failed sign-ins that their person has not answered for: somebody knows the password, or has the token.
    Failures,
    /// List those of them that lock the digits of a user, or a factor, now.
    Locked,
    #[command(flatten)]
    SignIns(SignInsCommand),
    /// Approve roles that another person asked for, by a token of your own (`--server`).
    ///
    /// Under the four-eyes rule a role that lets somebody do what operators do waits for that: `signet user show NAME` says which.
    ApproveRoles(Named),
    /// List roles that wait for another person's approval.
    RoleRequests,
    /// Remove a user with all factors and refresh tokens.
    Remove {
        /// The user's name.
        name: String,
        #[command(flatten)]
        agreement: Agreement,
    },
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The user's name.
    pub(super) name: String,
}

const COLUMNS: [&str; 4] = ["name", "enabled", "roles", "id"];

fn row(user: &User) -> [String; 4] {
    let roles = user.roles.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    [user.name.clone(), yes_no(user.enabled), roles, user.id.clone()]
}

/// A user with the factors.
fn shown(user: &User) -> String {
    let mut text = table(COLUMNS, [row(user)]);
    if let Some(waiting) = &user.waiting {
        text.push_str(&format!("\n\n{}", waits(user, waiting)));
    }
    let factors = user.factors.as_deref().unwrap_or_default();
    if factors.is_empty() {
        return format!("{text}\n\nno factor: {} can't sign in before `signet factor add`", user.name);
    }
    format!("{text}\n\n{}", super::factor::factor_table(factors))
}

impl UserCommand {
    /// What a user may do is written under the deployment's secret.
    fn need(&self) -> Need {
        match self {
            Self::List | Self::Show(_) | Self::RoleRequests => Need::Store,
            Self::SignIns(command) => command.need(),
            _ => Need::Hsm,
        }
    }

    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        if let Self::Import(import) = self {
            return import.run(config, output).await;
        }
        let password = match &self {
            Self::Add { password_stdin, .. } | Self::SetPassword { password_stdin, .. } => {
                Some(input::secret(*password_stdin, "the password", "--password-stdin")?)
            }
            _ => None,
        };
        let admin = Admin::open(config, self.need(), output).await?;
        let done = self.ask(&admin, password, output).await;
        admin.close().await?;
        done
    }

    async fn ask(self, admin: &Admin, password: Option<SecretText>, output: &Output) -> anyhow::Result<()> {
        let change = async |name: &str, change: UserChange| admin.patch::<User>(&["users", name], &change).await;
        match (self, password) {
            (Self::Add { name, roles, .. }, Some(password)) => {
                let roles = roles.into_iter().collect();
                add(admin, NewUser { name, roles, password: Some(password), declared: false }, output).await
            }
            (Self::SetPassword { name, .. }, Some(password)) => {
                admin.put(&["users", &name, "password"], &NewPassword { password }).await?;
                output.done(&format!("replaced the password of {name}; refresh tokens ended"))
            }
            // Those have their password by now, and that one its file.
            (Self::Add { .. } | Self::SetPassword { .. } | Self::Import(_), None) | (Self::Import(_), _) => Ok(()),
            (Self::List, _) => output.list("users", &admin.all::<User>(&["users"]).await?, COLUMNS, row),
            (Self::Show(Named { name }), _) => output.value(&admin.get::<User>(&["users", &name]).await?, shown),
            (Self::Disable(Named { name }), _) => {
                change(&name, UserChange { enabled: Some(false), ..UserChange::default() }).await?;
                output.done(&format!("{name} may no longer sign in; refresh tokens ended"))
            }
            (Self::Enable(Named { name }), _) => {
                let user = change(&name, UserChange { enabled: Some(true), ..UserChange::default() }).await?;
                note_waiting(&user, output);
                output.done(&format!("{name} may sign in again"))
            }
            (Self::SetRoles { name, roles }, _) => {
                let roles = roles.into_iter().filter(|role| !role.is_empty()).collect();
                let user = change(&name, UserChange { roles: Some(roles), ..UserChange::default() }).await?;
                user.notes.iter().for_each(|note| output.note(note));
                note_waiting(&user, output);
                output.done(&format!("replaced the roles of {name}"))
            }
            (Self::Unlock(Named { name }), _) => {
                let unlocked: Unlocked = admin.post(&["users", &name, "unlock"], &json!({})).await?;
                let had = unlocked.had_tries_counted;
                output.done(&if had {
                    format!("the failed sign-ins of {name} are forgotten, and lock nothing any more")
                } else {
                    format!("{name} had no failed sign-ins, and nothing was locked")
                })
            }
            (Self::Failures, _) => list_failures(admin, output, |_| true).await,
            (Self::Locked, _) => list_failures(admin, output, |of| of.is_locked).await,
            (Self::SignIns(command), _) => command.ask(admin, output).await,
            (Self::ApproveRoles(Named { name }), _) => {
                let user: User = admin.post(&["users", &name, "roles", "approval"], &json!({})).await?;
                output.value(&user, approved)
            }
            (Self::RoleRequests, _) => {
                let waiting: Vec<WaitingRoles> = admin.get(&["role-requests"]).await?;
                output.list("roles that wait", &waiting, ["user", "roles", "asked for by", "since"], waiting_row)
            }
            (Self::Remove { name, agreement }, _) => remove(admin, output, &name, agreement).await,
        }
    }
}

/// Says which roles wait for another person.
fn note_waiting(user: &User, output: &Output) {
    if let Some(waiting) = &user.waiting {
        output.note(&waits(user, waiting));
    }
}

fn waits(user: &User, WaitingRoles { roles, requested_by, .. }: &WaitingRoles) -> String {
    let roles = roles.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    format!(
        "{roles} waits for another person's `signet user approve-roles {}`; {requested_by} asked",
        quoted(&user.name)
    )
}

fn approved(user: &User) -> String {
    match &user.waiting {
        Some(waiting) => format!("approved once: {}", waits(user, waiting)),
        None => format!("approved: {} has the roles", user.name),
    }
}

fn waiting_row(waiting: &WaitingRoles) -> [String; 4] {
    let roles = waiting.roles.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    let user = waiting.user.clone().unwrap_or_default();
    [user, roles, waiting.requested_by.clone(), waiting.requested_at.clone()]
}

/// A name as a shell takes it.
fn quoted(name: &str) -> String {
    let is_plain = name.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_' | '@' | '+'));
    if is_plain { name.to_owned() } else { format!("'{}'", name.replace('\'', r"'\''")) }
}

async fn remove(admin: &Admin, output: &Output, name: &str, agreement: Agreement) -> anyhow::Result<()> {
    let user: User = admin.get(&["users", name]).await?;
    let sessions: Vec<Session> = admin.get(&["users", name, "sessions"]).await?;
    let factors = user.factors.as_ref().map_or(0, Vec::len);
    let breaks = [
        format!("end {} sign-ins in browsers, and every refresh token", sessions.len()),
        format!("forget {factors} factors: a token of the stock must be imported again before anybody else has it"),
        format!("end the id {} for good: a new user of that name gets another one", user.id),
    ];
    agreement.asked(output, &format!("Removing user {name}"), &breaks)?;
    admin.delete(&["users", name]).await?;
    output.done(&format!("removed user {name}"))
}

async fn list_failures(admin: &Admin, output: &Output, keep: impl Fn(&FailedSignIns) -> bool) -> anyhow::Result<()> {
    let users: Vec<UserFailures> = admin.all(&["failed-sign-ins"]).await?;
    let mut failures: Vec<FailedSignIns> = users.into_iter().flat_map(|user| user.failures).collect();
    failures.retain(keep);
    output.list("such failures", &failures, ["user", "wrong", "failures", "last", "locked"], failure_row)
}

fn failure_row(of: &FailedSignIns) -> [String; 5] {
    let wrong = of.factor.as_ref().map_or(of.wrong.clone(), |factor| format!("{} beside {factor}", of.wrong));
    let locked = match (of.is_locked, &of.locked_until) {
        (false, _) => "no".to_owned(),
        (true, Some(until)) => format!("until {until}"),
        (true, None) => "until answered for or unlocked".to_owned(),
    };
    [of.user.clone(), wrong, of.failures.to_string(), of.last_at.clone(), locked]
}

async fn add(admin: &Admin, new: NewUser, output: &Output) -> anyhow::Result<()> {
    let user: User = admin.post(&["users"], &new).await?;
    output.value(&user, |User { name, id, .. }| {
        format!("added user {name} ({id})\nNext: `signet factor add totp --user {}`", quoted(name))
    })?;
    user.notes.iter().for_each(|note| output.note(note));
    note_waiting(&user, output);
    Ok(())
}
