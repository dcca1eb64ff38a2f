//! Factors as they are printed: never a secret.

use serde::Serialize;

use crate::cli::table;
use signet_store::{Factor, FactorState, ListedFactor};

/// A factor as printed.
#[derive(Serialize)]
pub(in crate::cli) struct FactorView {
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    pub(super) kind: &'static str,
    pub(super) label: String,
    pub(super) serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) public_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_thumbprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attested: Option<bool>,
    /// A security key's AAGUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    pub(super) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requested_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) valid_until: Option<String>,
    pub(super) created_at: String,
    pub(super) last_used_at: Option<String>,
}

impl FactorView {
    pub(in crate::cli) fn new(factor: &Factor) -> Self {
        let facts = factor.detail.facts();
        let requested_by = match &factor.state {
            FactorState::Pending { requested_by } => Some(requested_by.clone()),
            FactorState::Enabled | FactorState::Disabled => None,
        };
        Self {
            id: factor.id.to_string(),
            user: None,
            kind: factor.detail.kind().name(),
            label: factor.label.clone(),
            serial: factor.serial.clone(),
            public_id: facts.public_id.map(str::to_owned),
            key_thumbprint: facts.key_thumbprint.map(str::to_owned),
            attested: facts.attested,
            model: facts.model.map(str::to_owned),
            state: factor.state.name(),
            requested_by,
            valid_until: factor.valid_until.map(|at| at.to_string()),
            created_at: factor.created_at.to_string(),
            last_used_at: factor.last_used_at.map(|at| at.to_string()),
        }
    }

    pub(super) fn listed(listed: &ListedFactor) -> Self {
        Self { user: Some(listed.user_name.clone()), ..Self::new(&listed.factor) }
    }

    fn cells(&self) -> [String; 6] {
        let used = self.last_used_at.clone().unwrap_or_else(|| "never".to_owned());
        let state = match &self.valid_until {
            Some(until) => format!("{} until {until}", self.state),
            None => self.state.to_owned(),
        };
        let told = [&self.serial, &self.public_id, &self.key_thumbprint, &self.model];
        let serial = told.into_iter().find_map(Clone::clone).unwrap_or_default();
        [self.kind.to_owned(), self.label.clone(), serial, state, used, self.id.clone()]
    }
}

pub(in crate::cli) fn factor_table(factors: &[FactorView]) -> String {
    table(["kind", "label", "serial", "state", "last used", "id"], factors.iter().map(FactorView::cells))
}

/// Factors of several users as a table, with the users' names.
pub(super) fn listed_table(factors: &[FactorView]) -> String {
    let rows = factors.iter().map(|factor| {
        let [kind, label, serial, state, used, id] = factor.cells();
        [factor.user.clone().unwrap_or_default(), kind, label, serial, state, used, id]
    });
    table(["user", "kind", "label", "serial", "state", "last used", "id"], rows)
}

/// Factors as CSV (RFC 4180), for a spreadsheet.
pub(super) fn csv(factors: &[FactorView]) -> String {
    let mut lines =
        vec!["user,kind,label,serial,public_id,model,state,valid_until,created_at,last_used_at,id".to_owned()];
    lines.extend(factors.iter().map(|factor| {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let cells = [
            text(&factor.user),
            factor.kind.to_owned(),
            factor.label.clone(),
            text(&factor.serial),
            text(&factor.public_id),
            text(&factor.model),
            factor.state.to_owned(),
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
