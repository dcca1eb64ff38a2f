//! `signet factor import`, `stock` and `assign`.

use std::path::Path;

use clap::Subcommand;

use super::import::Import;
use super::tell_pending;
use crate::cli::admin::Admin;
use crate::cli::confirm::Agreement;
use crate::cli::{Output, input};
use crate::server::Need;
use signet_admin_api::factors::Factor;
use signet_admin_api::stock::{Assignment, StockToken};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum StockCommand {
    /// Import a file of tokens into the stock: PSKC (RFC 6030), OATH or Yubico CSV, the personalization tool's log, or
    /// otpauth URIs. Run it again after an interruption: what is there already is skipped.
    Import(Import),
    /// List the tokens that belong to nobody yet.
    Stock {
        /// Remove the token of this serial number.
        #[arg(long, value_name = "SERIAL")]
        remove: Option<String>,
        #[command(flatten)]
        agreement: Agreement,
    },
    /// Give a token of the stock to a user.
    Assign {
        /// The token's serial number.
        #[arg(long)]
        serial: String,
        /// The user's name.
        #[arg(long)]
        user: String,
        /// What the user calls it; its model where nothing is given.
        #[arg(long)]
        label: Option<String>,
        /// Read a code that the token shows from standard input: proof that the user holds it.
        #[arg(long)]
        code_stdin: bool,
    },
}

impl StockCommand {
    pub(in crate::cli) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Import(import) => import.run(config, output).await,
            Self::Stock { remove: Some(serial), agreement } => {
                let breaks = ["forget its secret, which only an import brings back".to_owned()];
                agreement.asked(output, &format!("Removing token {serial} from the stock"), &breaks)?;
                let admin = Admin::open(config, Need::Store, output).await?;
                let removed = admin.delete(&["stock", &serial]).await;
                admin.close().await?;
                removed?;
                output.done(&format!("removed token {serial} from the stock"))
            }
            Self::Stock { remove: None, .. } => list(config, output).await,
            Self::Assign { serial, user, label, code_stdin } => {
                let code = code_stdin.then(|| input::secret_from_stdin("the code")).transpose()?;
                let admin = Admin::open(config, Need::Hsm, output).await?;
                let to = Assignment { user, label, code };
                let factor = admin.post::<Factor>(&["stock", &serial, "assignment"], &to).await;
                admin.close().await?;
                let factor = factor?;
                output.value(&factor, |factor| format!("{} has {serial} as factor {}", to.user, factor.id))?;
                tell_pending(output, &factor);
                Ok(())
            }
        }
    }
}

async fn list(config: &Path, output: &Output) -> anyhow::Result<()> {
    let admin = Admin::open(config, Need::Store, output).await?;
    let stock = admin.all::<StockToken>(&["stock"]).await;
    admin.close().await?;
    output.list("tokens in the stock", &stock?, ["serial", "kind", "model", "imported", "usable"], |token| {
        let model = token.model.clone().unwrap_or_default();
        let usable = match (&token.valid_from, &token.valid_until) {
            (None, None) => String::new(),
            (Some(from), None) => format!("from {from}"),
            (None, Some(until)) => format!("until {until}"),
            (Some(from), Some(until)) => format!("from {from} until {until}"),
        };
        [token.serial.clone(), token.kind.clone(), model, token.imported_at.clone(), usable]
    })
}
