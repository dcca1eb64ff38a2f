//! `signet store copy`

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::progress::RowProgress;
use super::super::{Output, admin, operator, table};
use crate::config::Config;
use crate::server::{Destination, StoreCopy};
use signet_core::keys::hexadecimal;
use signet_store_sql::copy::{Progress, Step};
use signet_store_sql::pages::TableSum;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Copy {
    /// The PostgreSQL database, an empty one: `postgres://ROLE@HOST/DATABASE`.
    #[arg(long, value_name = "URL", required_unless_present = "give_up")]
    to: Option<String>,
    /// The role's password, in the first line of a file that only its owner can read.
    #[arg(long, value_name = "FILE", requires = "to")]
    password_file: Option<PathBuf>,
    /// Who vouches for the database's certificate (PEM). With it TLS is demanded, and certificate and name checked.
    #[arg(long, value_name = "FILE", requires = "to")]
    ca_file: Option<PathBuf>,
    /// Take the store back whose copy was interrupted, and go on with it.
    #[arg(long, conflicts_with_all = ["to", "password_file", "ca_file"])]
    give_up: bool,
}

#[derive(Serialize)]
struct Report {
    to: String,
    tables: Vec<Compared>,
}

#[derive(Serialize)]
struct Compared {
    table: &'static str,
    rows: u64,
    sha256: String,
}

impl Copy {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let config = Config::load_with_environment(config)?;
        let _no_server = admin::lock_without_server(&config, output).await?;
        let copy = StoreCopy::open(&config).await?;
        let done = match self.to {
            Some(url) => {
                let destination = Destination { url, password_file: self.password_file, ca_file: self.ca_file };
                copied(&copy, destination, output).await
            }
            None => given_up(&copy, output).await,
        };
        copy.close().await;
        done
    }
}

async fn copied(copy: &StoreCopy, destination: Destination, output: &Output) -> anyhow::Result<()> {
    let progress = RowProgress::new(output);
    let told = |Progress { step, table, done, of }| progress.tell(table, in_words(step), done, of);
    let sums = copy.run(&destination, &operator(), &told).await?;
    let report = Report { to: destination.url, tables: sums.iter().map(compared).collect() };
    output.value(&report, |report| {
        let rows = report.tables.iter().map(|one| [one.table.to_owned(), one.rows.to_string(), one.sha256.clone()]);
        format!(
            "{}\n\nAll rows are equal on both sides. The old store is closed for good.\nNext: set store.url to {}, \
             and store.state_folder to the folder of the old file; then start the server.",
            table(["table", "rows", "sha256"], rows),
            report.to
        )
    })
}

const fn in_words(step: Step) -> &'static str {
    match step {
        Step::Copying => "copied",
        Step::Comparing => "compared",
    }
}

fn compared(sum: &TableSum) -> Compared {
    Compared { table: sum.table, rows: sum.rows, sha256: hexadecimal(&sum.hash) }
}

async fn given_up(copy: &StoreCopy, output: &Output) -> anyhow::Result<()> {
    match copy.give_up(&operator()).await? {
        Some(to) => output.done(&format!("the store goes on here; remove what was copied to {to}")),
        None => output.done("the store was not being copied: nothing to take back"),
    }
}
