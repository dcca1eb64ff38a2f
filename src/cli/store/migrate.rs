//! `signet store migrate`

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::Output;
use crate::config::Config;
use crate::server::{self, OtherRole};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Migrate {
    /// The role that owns the tables, where it is another one than that of `store.url`.
    #[arg(long = "as", value_name = "ROLE")]
    owner: Option<String>,
    /// The owning role's password, in the first line of a file that only its owner can read.
    #[arg(long, value_name = "FILE", requires = "owner")]
    password_file: Option<PathBuf>,
    /// Grant this role what a server needs, and nothing else: rows, no tables; of the audit log to read it and add to it.
    #[arg(long, value_name = "ROLE")]
    serve_role: Option<String>,
}

#[derive(Serialize)]
struct Report {
    applied: Vec<Step>,
    serve_role: Option<String>,
}

#[derive(Serialize)]
struct Step {
    version: i64,
    name: &'static str,
}

impl Migrate {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let config = Config::load_with_environment(config)?;
        let password_file = self.password_file;
        let owner = self.owner.map(|name| OtherRole { name, password_file });
        let done = server::migrate_store(&config, owner.as_ref(), self.serve_role.as_deref()).await?;
        let applied = done.into_iter().map(|(version, name)| Step { version, name }).collect();
        output.value(&Report { applied, serve_role: self.serve_role }, as_text)
    }
}

fn as_text(report: &Report) -> String {
    let mut lines: Vec<String> =
        report.applied.iter().map(|step| format!("applied migration {} ({})", step.version, step.name)).collect();
    if lines.is_empty() {
        lines.push("the schema is up to date".to_owned());
    }
    if let Some(role) = &report.serve_role {
        lines.push(format!(
            "{role} may serve: it reads and writes rows, and adds to the audit log; it makes and alters nothing"
        ));
    }
    lines.join("\n")
}
