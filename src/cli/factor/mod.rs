//! `signet factor`

mod add;
mod import;
mod import_progress;
mod import_report;
mod life;
mod piv;
mod recovery;
mod stock;
mod view;

use std::path::Path;

use clap::Subcommand;

pub(super) use add::qr_code;
pub(super) use view::factor_table;

use super::Output;
use add::tell_pending;

#[derive(Debug, Subcommand)]
pub(super) enum FactorCommand {
    /// Enrol a factor for a user.
    #[command(subcommand)]
    Add(add::Add),
    /// Give a user whose token is lost codes that hold for a while.
    Replace(recovery::Replace),
    #[command(flatten)]
    Stock(stock::StockCommand),
    #[command(flatten)]
    Life(life::Life),
}

impl FactorCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Add(add) => add.run(config, output).await,
            Self::Replace(replace) => replace.run(config, output).await,
            Self::Stock(stock) => stock.run(config, output).await,
            Self::Life(life) => life.run(config, output).await,
        }
    }
}
