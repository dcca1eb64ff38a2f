//! `signet audit verify --store`: every row that could get somebody a yes, held against its MAC.

use std::path::Path;

use super::admin::Admin;
use super::{Ended, Output, table};
use crate::server::Need;
use signet_admin_api::audit::{CheckedRows, CheckedTable};

/// Checks every such row of the store, as it is at one moment.
/// Errors: no HSM token opens the deployment's secret; [`Ended::Refused`] where a row does not verify, which was printed.
pub(super) async fn verify(config: &Path, output: &Output) -> anyhow::Result<()> {
    let admin = Admin::open(config, Need::Hsm, output).await?;
    let checked = admin.get::<CheckedRows>(&["audit", "rows"]).await;
    admin.close().await?;
    let checked = checked?;
    output.value(&checked, in_words)?;
    if checked.intact { Ok(()) } else { Err(Ended::Refused.into()) }
}

fn in_words(checked: &CheckedRows) -> String {
    let row = |of: &CheckedTable| [of.table.clone(), of.rows.to_string(), of.forged.to_string()];
    let counts = table(["table", "rows", "do not verify"], checked.tables.iter().map(row));
    if checked.intact {
        return format!("{counts}\n\nintact: Signet wrote every one of these rows");
    }
    let named = checked.tables.iter().flat_map(|of| of.named.iter().map(|id| format!("\n  {} {id}", of.table)));
    format!(
        "{counts}\n\nSomebody wrote these rows past Signet. They grant nothing; remove them, and find out who did:{}",
        named.collect::<String>()
    )
}
