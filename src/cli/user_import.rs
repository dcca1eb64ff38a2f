//! `signet user import`: many users from a file, with a word on each.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::admin::{Admin, Refused};
use super::progress::RowProgress;
use super::{Ended, Output, input};
use crate::server::Need;
use signet_admin_api::users::{NewUser, User};
use signet_core::secret::SecretText;
use signet_core::user_name::compared_name;

/// Refused lines that are printed; the report has all of them.
const PRINTED: usize = 20;
/// How many are added at once: each has its password hashed, which takes a core of the server.
const AT_ONCE: usize = 8;

/// Many users from a file.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// A CSV file (RFC 4180) whose first line names its columns: `name`, `password` and, where there are any, `roles`, separated by
    /// blanks or semicolons. `-` is standard input.
    file: PathBuf,
    /// Add the good ones of a file that has faulty lines too.
    #[arg(long)]
    skip_faulty: bool,
    /// Write what became of each line to this file, as CSV.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// What became of a line.
#[derive(Debug, Serialize)]
struct Line {
    line: u64,
    name: String,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Added,
    /// A user has the name already, and stays as it was.
    Skipped,
    Refused,
}

/// What became of the file.
#[derive(Debug, Default, Serialize)]
struct Report {
    added: usize,
    skipped: usize,
    refused: usize,
    lines: Vec<Line>,
}

impl Report {
    fn tell(&mut self, line: u64, name: &str, outcome: Outcome, reason: Option<String>) {
        *match outcome {
            Outcome::Added => &mut self.added,
            Outcome::Skipped => &mut self.skipped,
            Outcome::Refused => &mut self.refused,
        } += 1;
        self.lines.push(Line { line, name: name.to_owned(), outcome, reason });
    }
}

impl Import {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let text = input::secret_file(&self.file)?;
        let (users, mut report) = read(text.expose())?;
        drop(text);
        // Before anybody is added, so that what became of each line is not lost.
        let told = self.report.as_deref().map(input::report_file).transpose()?;
        if report.refused == 0 || self.skip_faulty {
            let admin = Admin::open(config, Need::Hsm, output).await?;
            let done = add(&admin, users, &mut report, output).await;
            admin.close().await?;
            done?;
        }
        report.lines.sort_by_key(|line| line.line);
        if let Some(file) = told {
            write_csv(file, &report.lines)?;
        }
        self.tell(output, &report)
    }

    fn tell(&self, output: &Output, report: &Report) -> anyhow::Result<()> {
        output.value(report, |report| {
            let Report { added, skipped, refused, .. } = report;
            format!("added {added}, skipped {skipped} that are there already, refused {refused}")
        })?;
        let refused = || report.lines.iter().filter(|line| line.outcome == Outcome::Refused);
        for line in refused().take(PRINTED) {
            let reason = line.reason.as_deref().unwrap_or_default();
            let name = if line.name.is_empty() { String::new() } else { format!(", {}", line.name) };
            output.problem(&format!("line {}{name}: {reason}", line.line));
        }
        if report.refused > PRINTED {
            output.note(&format!("and {} more; `--report FILE` writes all of them", report.refused - PRINTED));
        }
        if report.refused == 0 {
            return Ok(());
        }
        if report.added + report.skipped == 0 && !self.skip_faulty {
            output.note("Nobody was added: correct the file, or add the good lines alone with --skip-faulty");
        }
        Err(Ended::Refused.into())
    }
}

/// The users of a file, with the lines that they stand in; what can't be one is in the report.
/// Errors: it is no such file.
fn read(text: &str) -> anyhow::Result<(Vec<(u64, NewUser)>, Report)> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().context("the file is no CSV")?.clone();
    let column = |name: &str| columns.iter().position(|column| column.trim().eq_ignore_ascii_case(name));
    let (Some(name), Some(password)) = (column("name"), column("password")) else {
        anyhow::bail!("the first line must name the columns `name` and `password`, and may name `roles`");
    };
    let roles = column("roles");
    let (mut users, mut report, mut seen) = (Vec::new(), Report::default(), HashMap::<String, u64>::new());
    let mut lines = Lines { text: text.as_bytes(), at: 0, line: 1 };
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let why = "it has more or fewer cells than the first line";
                report.tell(lines.of(error.position()), "", Outcome::Refused, Some(why.to_owned()));
                continue;
            }
        };
        let line = lines.of(record.position());
        let cell = |place: usize| record.get(place).unwrap_or_default();
        let user = cell(name).trim();
        if !is_plain(user) {
            // A quote that does not close has swallowed other values, and passwords are among them.
            let why = "its name has a line end or a quote in it: is a quote not closed?";
            report.tell(line, "", Outcome::Refused, Some(why.to_owned()));
            continue;
        }
        let fault = match (user, cell(password), seen.get(&compared_name(user))) {
            ("", ..) => Some("it has no name".to_owned()),
            (_, "", _) => Some("it has no password".to_owned()),
            (.., Some(first)) => Some(format!("the name stands in line {first} already")),
            _ => None,
        };
        if let Some(reason) = fault {
            report.tell(line, user, Outcome::Refused, Some(reason));
            continue;
        }
        seen.insert(compared_name(user), line);
        let roles = roles.map(cell).unwrap_or_default().split([' ', ';']).filter(|role| !role.is_empty());
        let password = SecretText::new(cell(password).to_owned());
        users.push((
            line,
            NewUser {
                name: user.to_owned(),
                roles: roles.map(str::to_owned).collect(),
                password: Some(password),
                declared: false,
            },
        ));
    }
    anyhow::ensure!(!users.is_empty() || report.refused > 0, "there is no user in the file");
    Ok((users, report))
}

/// Whether a name is one value, of which a report may tell.
fn is_plain(name: &str) -> bool {
    !name.chars().any(|letter| letter.is_control() || letter == '"')
}

/// In which line a record begins, of records that come one after the other: the reader counts no line before it has read the record.
struct Lines<'t> {
    text: &'t [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    fn of(&mut self, position: Option<&csv::Position>) -> u64 {
        let begin = position.and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(self.at);
        // What ends the line before may not be read yet.
        while let Some(byte) = self.text.get(self.at).filter(|byte| self.at < begin || matches!(byte, b'\r' | b'\n')) {
            self.line += u64::from(*byte == b'\n');
            self.at += 1;
        }
        self.line
    }
}

async fn add(admin: &Admin, users: Vec<(u64, NewUser)>, report: &mut Report, output: &Output) -> anyhow::Result<()> {
    let (progress, all) = (RowProgress::new(output), u64::try_from(users.len())?);
    let ask =
        |(line, user): (u64, NewUser)| async move { (line, admin.post::<User>(&["users"], &user).await, user.name) };
    let mut answers = stream::iter(users).map(ask).buffered(AT_ONCE);
    let mut done = 0;
    while let Some((line, answer, name)) = answers.next().await {
        match answer {
            Ok(added) => {
                let notes = Some(added.notes.join("; ")).filter(|notes| !notes.is_empty());
                report.tell(line, &name, Outcome::Added, notes);
            }
            Err(error) if Refused::is_conflict(&error) => report.tell(line, &name, Outcome::Skipped, None),
            Err(error) if Refused::is_final(&error) => {
                report.tell(line, &name, Outcome::Refused, Some(error.to_string()));
            }
            Err(error) => {
                let text = format!("{done} of {all} lines are done, up to {name}: run it again");
                return Err(error.context(text));
            }
        }
        done += 1;
        progress.tell("users", "added", done, all);
    }
    Ok(())
}

fn write_csv(file: std::fs::File, lines: &[Line]) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(std::io::BufWriter::new(file));
    writer.write_record(["line", "name", "outcome", "reason"])?;
    for line in lines {
        let outcome = match line.outcome {
            Outcome::Added => "added",
            Outcome::Skipped => "skipped",
            Outcome::Refused => "refused",
        };
        let reason = line.reason.as_deref().unwrap_or_default();
        writer.write_record([line.line.to_string().as_str(), &line.name, outcome, reason])?;
    }
    let mut file = writer.into_inner().map_err(|_| anyhow::anyhow!("the report can't be written"))?;
    Ok(file.flush()?)
}
