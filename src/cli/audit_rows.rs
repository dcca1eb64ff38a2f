//! `signet audit verify --store`: every row that could get somebody a yes, held against its MAC.

use std::path::Path;

use serde_json::json;

use super::{Ended, Output, deployment, table};
use crate::server::Need;
use signet_store_sql::authority::TableCheck;

/// Checks every such row of the store, as it is at one moment.
/// Errors: no HSM token opens the deployment's secret; [`Ended::Refused`] where a row does not verify, which was printed.
pub(super) async fn verify(config: &Path, output: &Output) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Hsm, output).await?;
    let checked = deployment.store.check_rows().await;
    deployment.close().await?;
    let checked = checked?;
    let is_intact = checked.iter().all(|table| table.forged == 0);
    let tables =
        checked.iter().map(|of| json!({ "table": of.table, "rows": of.rows, "forged": of.forged, "named": of.named }));
    let value = json!({ "intact": is_intact, "tables": tables.collect::<Vec<_>>() });
    output.value(&value, |_| in_words(&checked, is_intact))?;
    if is_intact { Ok(()) } else { Err(Ended::Refused.into()) }
}

fn in_words(checked: &[TableCheck], is_intact: bool) -> String {
    let row = |of: &TableCheck| [of.table.to_owned(), of.rows.to_string(), of.forged.to_string()];
    let counts = table(["table", "rows", "do not verify"], checked.iter().map(row));
    if is_intact {
        return format!("{counts}\n\nintact: Signet wrote every one of these rows");
    }
    let named = checked.iter().flat_map(|of| of.named.iter().map(|id| format!("\n  {} {id}", of.table)));
    format!(
        "{counts}\n\nSomebody wrote these rows past Signet. They grant nothing; remove them, and find out who did:{}",
        named.collect::<String>()
    )
}
