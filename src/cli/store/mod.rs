//! `signet store`

mod copy;
mod migrate;

use std::path::Path;

use clap::Subcommand;

use super::Output;

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Bring the store's schema up to date, and give a role of PostgreSQL what it needs to serve. Nodes may serve
    /// meanwhile.
    Migrate(migrate::Migrate),
    /// Move the deployment from its SQLite file to an empty PostgreSQL database, compare every row, and close the file for
    /// good. Again: go on after an interruption.
    Copy(copy::Copy),
}

impl StoreCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Migrate(command) => command.run(config, output).await,
            Self::Copy(command) => command.run(config, output).await,
        }
    }
}
