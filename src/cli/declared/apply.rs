//! `signet apply`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::{Value, json};

use super::file::DeploymentFile;
use super::plan::{Act, There, Told, plan};
use crate::cli::admin::{Admin, Refused};
use crate::cli::confirm::Agreement;
use crate::cli::progress::RowProgress;
use crate::cli::{Ended, Output};
use crate::server::Need;
use signet_admin_api::Page;
use signet_admin_api::settings::{Declared, DeclaredKind, DeclaredQuery, SettingChange, Stated, StatingQuery};
use signet_admin_api::users::{User, WaitingRoles};

/// Lines that are printed of what changes and of what was refused.
const PRINTED: usize = 40;
/// How many things are changed at once.
const AT_ONCE: usize = 16;

/// States settings, roles, clients and users by a file: what differs is shown, then changed. What the file does not name stays.
#[derive(Debug, Args)]
pub(in crate::cli) struct Apply {
    /// The file, a folder whose `.toml` files are taken together, or `-` for standard input.
    #[arg(short, long, value_name = "FILE", required_unless_present = "from_configuration")]
    file: Option<PathBuf>,
    /// Take over what an older configuration says of what lies in the store now.
    #[arg(long, conflicts_with = "file")]
    from_configuration: bool,
    /// Say alone what would change. Exit code 1 where something would.
    #[arg(long)]
    dry_run: bool,
    /// Remove the users and clients that an earlier file stated and this one does not. Nobody else is removed.
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    agreement: Agreement,
}

/// What was done.
#[derive(Debug, Default, Serialize)]
struct Report {
    settings: Vec<SettingChange>,
    waits_for_approval: bool,
    changes: Vec<Told>,
    done: usize,
    refused: Vec<RefusedAct>,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct RefusedAct {
    #[serde(flatten)]
    told: Told,
    reason: String,
}

impl Apply {
    pub(in crate::cli) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let (file, elsewhere) = match &self.file {
            Some(file) => (DeploymentFile::read(file)?, Vec::new()),
            None => DeploymentFile::of_configuration(config)?,
        };
        let admin = match self.from_configuration {
            true => Admin::open_by_older(config, Need::Hsm, output).await?,
            false => Admin::open(config, Need::Hsm, output).await?,
        };
        let done = self.apply(&admin, &file, output).await;
        admin.close().await?;
        let report = done?;
        print(&report, output)?;
        if self.from_configuration {
            tell_what_is_left(&elsewhere, output);
        }
        let is_undone = report.dry_run && !(report.settings.is_empty() && report.changes.is_empty());
        if is_undone || !report.refused.is_empty() { Err(Ended::Refused.into()) } else { Ok(()) }
    }

    async fn apply(&self, admin: &Admin, file: &DeploymentFile, output: &Output) -> anyhow::Result<Report> {
        let there = look(admin, file, self.prune, output).await?;
        let stated: Stated = state(admin, file, true).await?;
        let acts = plan(file, &there);
        let mut report = Report {
            settings: stated.changes,
            waits_for_approval: stated.waits_for_approval,
            changes: acts.iter().map(|(_, told)| told.clone()).collect(),
            dry_run: self.dry_run,
            ..Report::default()
        };
        if self.dry_run {
            return Ok(report);
        }
        show(&report, output);
        let removed: Vec<String> = report
            .changes
            .iter()
            .filter(|told| told.act == "remove")
            .map(|told| format!("remove {} {}", told.what, told.name))
            .collect();
        if !removed.is_empty() {
            self.agreement.asked(output, "Applying this", &removed)?;
        }
        if !report.settings.is_empty() {
            let stated = state(admin, file, false).await?;
            (report.settings, report.waits_for_approval) = (stated.changes, stated.waits_for_approval);
        }
        carry_out(admin, acts, &mut report, output).await?;
        Ok(report)
    }
}

async fn state(admin: &Admin, file: &DeploymentFile, dry_run: bool) -> anyhow::Result<Stated> {
    let settings = file.settings();
    if settings.is_empty() {
        return Ok(Stated { changes: Vec::new(), waits_for_approval: false });
    }
    admin.patch_by(&["settings"], &StatingQuery { dry_run }, &settings).await
}

/// Looks at what the file is about.
async fn look(admin: &Admin, file: &DeploymentFile, prune: bool, output: &Output) -> anyhow::Result<There> {
    let mut there = There { clients: Vec::new(), users: Vec::new(), declared: BTreeSet::new() };
    if prune || !file.clients.is_empty() {
        there.clients = admin.all(&["clients"]).await?;
    }
    if prune || !file.users.is_empty() {
        output.progress("looking at the users that are there");
        there.users = admin.all(&["users"]).await?;
        take_as_given(&mut there.users, admin.get(&["role-requests"]).await?);
    }
    if prune {
        for kind in [DeclaredKind::Users, DeclaredKind::Clients] {
            let mut after = None;
            loop {
                let query = DeclaredQuery { kind, after, limit: Some(1000) };
                let page: Page<Declared> = admin.ask(&["settings", "declared"], &query).await?;
                there.declared.extend(page.items.into_iter().map(|declared| declared.id));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
    }
    Ok(there)
}

/// Roles that wait for another person were asked for already.
fn take_as_given(users: &mut [User], waiting: Vec<WaitingRoles>) {
    let mut waiting: BTreeMap<_, _> = waiting.into_iter().map(|roles| (roles.user, roles.roles)).collect();
    for user in users {
        user.roles.extend(waiting.remove(&Some(user.name.clone())).into_iter().flatten());
    }
}

/// Does what is to be done, each thing by itself: what is refused keeps nothing else from being done.
async fn carry_out(admin: &Admin, acts: Vec<(Act, Told)>, report: &mut Report, output: &Output) -> anyhow::Result<()> {
    let (progress, all) = (RowProgress::new(output), acts.len());
    // Clients and users one kind after the other, as they are planned.
    let mut outcomes =
        stream::iter(acts).map(|(act, told)| async move { (carry_out_one(admin, act).await, told) }).buffered(AT_ONCE);
    while let Some((outcome, told)) = outcomes.next().await {
        match outcome {
            Ok(()) => report.done += 1,
            Err(error) if Refused::is_final(&error) => {
                report.refused.push(RefusedAct { told, reason: error.to_string() });
            }
            Err(error) => {
                let text = format!("{} of {all} are done, and the rest waits: run it again", report.done);
                return Err(error.context(text));
            }
        }
        let done = report.done + report.refused.len();
        progress.tell("clients and users", "applied", done as u64, all as u64);
    }
    Ok(())
}

async fn carry_out_one(admin: &Admin, act: Act) -> anyhow::Result<()> {
    match act {
        Act::AddClient(new, enabled) => {
            admin.post::<Value>(&["clients"], &new).await?;
            enable(admin, "clients", &new.name, enabled).await
        }
        Act::AddUser(new, enabled) => {
            admin.post::<Value>(&["users"], &new).await?;
            enable(admin, "users", &new.name, enabled).await
        }
        Act::ChangeClient(name, change) => admin.patch::<Value>(&["clients", &name], &change).await.map(drop),
        Act::ChangeUser(name, change) => admin.patch::<Value>(&["users", &name], &change).await.map(drop),
        Act::RemoveClient(name) => admin.delete(&["clients", &name]).await,
        Act::RemoveUser(name) => admin.delete(&["users", &name]).await,
    }
}

async fn enable(admin: &Admin, noun: &str, name: &str, enabled: Option<bool>) -> anyhow::Result<()> {
    match enabled {
        None => Ok(()),
        Some(enabled) => admin.patch::<Value>(&[noun, name], &json!({ "enabled": enabled })).await.map(drop),
    }
}

/// Says what is about to change.
fn show(report: &Report, output: &Output) {
    let lines = report.settings.iter().map(setting).chain(report.changes.iter().map(Told::to_string));
    let all = report.settings.len() + report.changes.len();
    for line in lines.take(PRINTED) {
        output.note(&line);
    }
    if all > PRINTED {
        output.note(&format!("... and {} more; `--dry-run --json` says all", all - PRINTED));
    }
}

fn setting(change: &SettingChange) -> String {
    let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    format!("~ {}: {} \u{2192} {}", change.setting, word(&change.before), word(&change.after))
}

fn print(report: &Report, output: &Output) -> anyhow::Result<()> {
    if report.dry_run && !output.is_json() {
        show(report, output);
    }
    output.value(report, |report| {
        let Report { settings, changes, refused, .. } = report;
        if settings.is_empty() && changes.is_empty() {
            return "Nothing to change: everything is as the file states it.".to_owned();
        }
        let count = |act: &str| changes.iter().filter(|told| told.act == act).count();
        let counts = format!(
            "settings: {}; clients and users: {} to add, {} to change, {} to remove",
            settings.len(),
            count("add"),
            count("change"),
            count("remove")
        );
        if report.dry_run {
            return format!("{counts}. Nothing was done (--dry-run).");
        }
        let refused = if refused.is_empty() { "all done".to_owned() } else { format!("{} refused", refused.len()) };
        match report.waits_for_approval {
            true => format!(
                "{counts}: {refused}, but the settings: they hold once another person has approved them (`signet settings approve`)."
            ),
            false => format!("{counts}: {refused}."),
        }
    })?;
    for act in report.refused.iter().take(PRINTED) {
        output.problem(&format!("{}: {}", act.told, act.reason));
    }
    if report.changes.iter().any(|told| told.act == "add") && !report.dry_run && !output.is_json() {
        output.note("New users have no password yet (`signet user set-password`), and new clients a secret that nobody has seen (`signet client renew-secret`).");
    }
    Ok(())
}

fn tell_what_is_left(elsewhere: &[String], output: &Output) {
    for line in elsewhere {
        output.note(line);
    }
    output.note("Remove these sections from the configuration now: tokens, keys, roles, policy, mfa.");
}
