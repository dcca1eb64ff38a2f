//! Factors as they are printed: never a secret.

use crate::cli::table;
use signet_admin_api::factors::Factor;

fn cells(factor: &Factor) -> [String; 6] {
    let used = factor.last_used_at.clone().unwrap_or_else(|| "never".to_owned());
    let state = match &factor.valid_until {
        Some(until) => format!("{} until {until}", factor.state),
        None => factor.state.clone(),
    };
    let told = [&factor.serial, &factor.public_id, &factor.key_thumbprint, &factor.model];
    let serial = told.into_iter().find_map(Clone::clone).unwrap_or_default();
    [factor.kind.clone(), factor.label.clone(), serial, state, used, factor.id.clone()]
}

pub(in crate::cli) fn factor_table(factors: &[Factor]) -> String {
    table(["kind", "label", "serial", "state", "last used", "id"], factors.iter().map(cells))
}

/// Factors of several users as a table, with the users' names.
pub(super) fn listed_table(factors: &[Factor]) -> String {
    let rows = factors.iter().map(|factor| {
        let [kind, label, serial, state, used, id] = cells(factor);
        [factor.user.clone().unwrap_or_default(), kind, label, serial, state, used, id]
    });
    table(["user", "kind", "label", "serial", "state", "last used", "id"], rows)
}

/// Factors as CSV (RFC 4180), for a spreadsheet.
pub(super) fn csv(factors: &[Factor]) -> String {
    let mut lines =
        vec!["user,kind,label,serial,public_id,model,state,valid_until,created_at,last_used_at,id".to_owned()];
    lines.extend(factors.iter().map(|factor| {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let cells = [
            text(&factor.user),
            factor.kind.clone(),
            factor.label.clone(),
            text(&factor.serial),
            text(&factor.public_id),
            text(&factor.model),
            factor.state.clone(),
            text(&factor.valid_until),
            factor.created_at.clone(),
            text(&factor.last_used_at),
            factor.id.clone(),
        ];
        cells.map(|cell| quoted(&cell)).join(",")
    }));
    lines.join("\n")
}

/// A spreadsheet takes a cell that begins so for a formula: an apostrophe keeps it a text.
pub(super) fn quoted(cell: &str) -> String {
    let cell = if cell.starts_with(['=', '+', '-', '@', '\t']) { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formulas() {
        assert_eq!(quoted("a"), "a");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("=1+1"), "'=1+1");
    }
}
