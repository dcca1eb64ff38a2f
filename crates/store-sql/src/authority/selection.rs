//! Texts that read whole rows of authority tables, and the check of what they give.

use std::sync::Arc;

use super::macs::RowMacs;
use crate::engine::{Query, Result, Row, Text};
use crate::tables::{Table, table};
use signet_store::StoreFailure;

/// Names texts that read rows of authority tables, and lists them as `SELECTIONS`.
macro_rules! selections {
    ($($name:ident = $text:expr;)+) => {
        $(static $name: std::sync::LazyLock<$crate::authority::Selection> =
            std::sync::LazyLock::new(|| $crate::authority::Selection::of($text));)+
        /// The selections of this file.
        pub(super) static SELECTIONS: &[&std::sync::LazyLock<$crate::authority::Selection>] = &[$(&$name),+];
    };
}

/// Names texts that insert rows into authority tables, and lists them as `INSERTIONS`.
macro_rules! insertions {
    ($($name:ident = $table:literal $tail:expr;)+) => {
        $(static $name: std::sync::LazyLock<$crate::authority::Insertion> =
            std::sync::LazyLock::new(|| $crate::authority::Insertion::of($table, $tail));)+
        /// The insertions of this file.
        pub(super) static INSERTIONS: &[&std::sync::LazyLock<$crate::authority::Insertion>] = &[$(&$name),+];
    };
}

pub(crate) use {insertions, selections};

/// A text that reads whole rows: `{users}` is every column of that table, `{users u}` those of what is called `u`, `{users u u_}`
/// those as `u_id`, `u_name`, ... A `?` at the end says that rows of no tenant stand in for what is missing.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) text: Text,
    pub(super) held: Arc<[Held]>,
}

/// A table's row among the columns of a text.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(super) table: &'static Table,
    /// The name of its first column, which the others follow.
    first: String,
    /// Whether rows of no tenant are not its own.
    has_stand_ins: bool,
}

impl Selection {
    pub(crate) fn of(template: &str) -> Self {
        let (mut text, mut held) = (String::new(), Vec::new());
        let mut rest = template;
        while let Some((before, named)) = rest.split_once('{') {
            let (name, after) = named.split_once('}').unwrap_or((named, ""));
            text.push_str(before);
            text.push_str(&columns(name, &mut held));
            rest = after;
        }
        text.push_str(rest);
        Self { text: Text::made(text), held: held.into() }
    }
}

/// The columns that a name stands for.
fn columns(name: &str, held: &mut Vec<Held>) -> String {
    let has_stand_ins = name.ends_with('?');
    let mut words = name.trim_end_matches('?').split_whitespace();
    let (named, alias, prefix) = (words.next(), words.next(), words.next());
    // The test that prepares every text finds one that names no table.
    let Some(table) = named.and_then(table) else { return format!("{{{name}}}") };
    let column = |column: &str| match (alias, prefix) {
        (None, _) => column.to_owned(),
        (Some(alias), None) => format!("{alias}.{column}"),
        (Some(alias), Some(prefix)) => format!("{alias}.{column} AS {prefix}{column}"),
    };
    if table.is_authority {
        let first = table.columns.first().map_or("", |column| column.name);
        held.push(Held { table, first: format!("{}{first}", prefix.unwrap_or_default()), has_stand_ins });
    }
    table.columns.iter().map(|of| column(of.name)).collect::<Vec<_>>().join(", ")
}

/// A selection that nothing is bound to yet.
pub(crate) fn rows(selection: &Selection) -> Query {
    let held = Some(Arc::clone(&selection.held));
    Query { text: selection.text.clone(), values: Vec::new(), held, leaves_out: false }
}

/// A selection of rows each of which counts by itself: one that does not verify is left out, grants nothing, and keeps nobody from the
/// others. Who deletes rows can do no less than who alters them, so nothing may be granted because one is missing.
pub(crate) fn each_of(selection: &Selection) -> Query {
    Query { leaves_out: true, ..rows(selection) }
}

/// What a text gave, each row of an authority table in it checked. One that does not verify is noted, and left out where that
/// is asked for.
/// Errors: [`StoreFailure::Forged`] with the first one that does not verify, where it is not to be left out.
pub(crate) fn checked(held: &[Held], leaves_out: bool, rows: Vec<Row>, macs: &RowMacs) -> Result<Vec<Row>> {
    let mut verified = Vec::with_capacity(rows.len());
    for row in rows {
        match refusal_of(held, &row, macs)? {
            None => verified.push(row),
            Some(_) if leaves_out => {}
            Some(refusal) => return Err(refusal),
        }
    }
    Ok(verified)
}

/// Why a row is refused, if it is.
fn refusal_of(held: &[Held], row: &Row, macs: &RowMacs) -> Result<Option<StoreFailure>> {
    for held in held {
        let values = held.values(row)?;
        if !held.is_stand_in(values) && !macs.verifies(held.table, values) {
            return Ok(Some(macs.refusal(held.table, values)));
        }
    }
    Ok(None)
}

impl Held {
    /// The table's own columns of a row.
    pub(super) fn values<'r>(&self, row: &'r Row) -> Result<&'r [crate::engine::Value]> {
        row.values_from(&self.first, self.table.columns.len()).ok_or(StoreFailure::Corrupt("row"))
    }

    fn is_stand_in(&self, values: &[crate::engine::Value]) -> bool {
        let is_empty =
            |value: &crate::engine::Value| matches!(value, crate::engine::Value::Text(Some(text)) if text.is_empty());
        self.has_stand_ins && values.first().is_some_and(is_empty)
    }
}
