//! How rows of authority tables are written: inserted, and changed where they still are what was read.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::macs::{RowMacs, sign};
use super::selection::{Selection, rows};
use crate::engine::{Connection, FromValue, Query, Result, Text, ToValue, Value};
use crate::pages::{PAGE, Values, key_of, null};
use crate::tables::{TABLES, Table, table};
use signet_store::StoreFailure;

/// What is set of a row, by the columns' names.
pub(crate) struct Fields(Vec<(&'static str, Value)>);

/// Nothing set yet.
pub(crate) const fn fields() -> Fields {
    Fields(Vec::new())
}

impl Fields {
    pub(crate) fn set(mut self, column: &'static str, value: impl ToValue) -> Self {
        self.0.push((column, value.to_value()));
        self
    }

    /// Writes them over a row. Returns whether any of them decides nothing.
    fn over(self, table: &Table, row: &mut [Value]) -> Result<bool> {
        let mut beside = false;
        for (name, value) in self.0 {
            let place = table.columns.iter().position(|column| column.name == name);
            let place = place.ok_or(StoreFailure::Corrupt(name))?;
            beside |= table.columns.get(place).is_some_and(|column| !column.decides);
            *row.get_mut(place).ok_or(StoreFailure::Corrupt(name))? = value;
        }
        Ok(beside)
    }
}

/// A text that inserts one row of an authority table.
#[derive(Debug)]
pub(crate) struct Insertion {
    table: Option<&'static Table>,
    pub(crate) text: Text,
}

impl Insertion {
    /// `tail` is what follows the values, such as `WHERE EXISTS ...`. In it `{id}` stands for what is inserted into that column, and
    /// `{1}`, `{2}`, ... for what is bound besides.
    pub(crate) fn of(name: &str, tail: &str) -> Self {
        let Some(table) = table(name) else { return Self { table: None, text: Text::made(name.to_owned()) } };
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let places: Vec<String> = (1..=columns.len()).map(|place| format!("${place}")).collect();
        let mut tail = tail.to_owned();
        for (column, place) in columns.iter().zip(&places) {
            tail = tail.replace(&format!("{{{column}}}"), place);
        }
        for more in 1..=9 {
            tail = tail.replace(&format!("{{{more}}}"), &format!("${}", columns.len() + more));
        }
        let (columns, places) = (columns.join(", "), places.join(", "));
        let is_conditional = tail.trim_start().starts_with("WHERE");
        let text = if is_conditional {
            format!("INSERT INTO {name} ({columns}) SELECT {places} {tail}")
        } else {
            format!("INSERT INTO {name} ({columns}) VALUES ({places}) {tail}")
        };
        Self { table: Some(table), text: Text::made(text) }
    }
}

fn macs_of(connection: &Connection) -> Result<Arc<RowMacs>> {
    connection.row_macs().ok_or(StoreFailure::NoRowKeys)
}

/// Sets a row's version, which stands before what its MAC is and was made by.
fn set_version(row: &mut [Value], version: i64) {
    if let [.., place, _, _] = row {
        *place = Value::Number(Some(version));
    }
}

/// Inserts a row; columns that are not set are null. `more` is bound besides. Returns whether it was inserted.
/// Errors: [`StoreFailure::NoRowKeys`]; what the engine says.
pub(crate) async fn insert(
    insertion: &Insertion,
    fields: Fields,
    more: Vec<Value>,
    connection: &mut Connection,
) -> Result<bool> {
    let macs = connection.row_macs();
    let table = insertion.table.ok_or(StoreFailure::Corrupt("table"))?;
    let mut row: Values = table.columns.iter().map(|column| null(column.kind)).collect();
    fields.over(table, &mut row)?;
    set_version(&mut row, 1);
    sign(macs.as_deref(), table, &mut row)?;
    row.extend(more);
    Ok(connection.change(&insertion.text, row).await? > 0)
}

/// A row that was read in this transaction, and verified.
#[derive(Debug, Clone)]
pub(crate) struct StoredRow {
    pub(super) table: &'static Table,
    pub(super) row: Values,
}

impl StoredRow {
    /// What stands in a column.
    /// Errors: as for a [`Row`](crate::engine::Row).
    pub(crate) fn value<'r, T: FromValue<'r>>(&'r self, column: &str) -> Result<T> {
        let place = self.table.columns.iter().position(|of| of.name == column);
        place.and_then(|place| self.row.get(place)).and_then(T::from_value).ok_or(StoreFailure::Corrupt("row"))
    }

    fn mac(&self) -> Value {
        self.row.last().cloned().unwrap_or(Value::Bytes(None))
    }

    /// The row with what is set, the next version and its MAC; and whether anything was set that decides nothing.
    fn changed(mut self, fields: Fields, macs: Option<&RowMacs>) -> Result<(Values, bool)> {
        let version: i64 = self.value("version")?;
        let beside = fields.over(self.table, &mut self.row)?;
        set_version(&mut self.row, version.saturating_add(1));
        sign(macs, self.table, &mut self.row)?;
        Ok((self.row, beside))
    }
}

impl Query {
    /// The rows of a selection of one table, to be changed. Where no keys are at hand they were not checked, and what needs a MAC
    /// is not written.
    /// Errors: [`StoreFailure::Forged`]; what the engine says.
    pub(crate) async fn stored(self, connection: &mut Connection) -> Result<Vec<StoredRow>> {
        let held = self.held.as_ref().and_then(|held| held.first().cloned()).ok_or(StoreFailure::Corrupt("row"))?;
        let rows = self.fetch_all(connection).await?;
        let stored = |row| Ok(StoredRow { table: held.table, row: held.values(row)?.to_vec() });
        rows.iter().map(stored).collect()
    }

    /// The rows of a selection of one table that verify, to be changed together, and the last row's key, whether it verifies or
    /// not. One that does not grants nothing, and keeps nobody from ending what does.
    /// Errors: [`StoreFailure::NoRowKeys`]; what the engine says.
    pub(crate) async fn stored_that_verify(
        self,
        connection: &mut Connection,
    ) -> Result<(Vec<StoredRow>, Option<Values>)> {
        let macs = macs_of(connection)?;
        let held = self.held.as_ref().and_then(|held| held.first().cloned()).ok_or(StoreFailure::Corrupt("row"))?;
        let rows = connection.rows(&self.text, self.values).await?;
        let last = rows.last().map(|row| Ok::<_, StoreFailure>(key_of(held.table, held.values(row)?))).transpose()?;
        let mut stored = Vec::with_capacity(rows.len());
        for row in &rows {
            let row = held.values(row)?;
            if macs.verifies(held.table, row) {
                stored.push(StoredRow { table: held.table, row: row.to_vec() });
            } else {
                // The log has it.
                macs.refusal(held.table, row);
            }
        }
        Ok((stored, last))
    }

    /// The one row of such a selection.
    /// Errors: as for [`stored`](Self::stored).
    pub(crate) async fn stored_one(self, connection: &mut Connection) -> Result<Option<StoredRow>> {
        Ok(self.stored(connection).await?.into_iter().next())
    }
}

/// What is run on each authority table.
pub(crate) struct TableTexts {
    pub(super) find: Selection,
    /// So many rows after a key, in its order.
    pub(super) page: Selection,
    /// Sets what decides, and the version and MAC.
    update: Text,
    /// Sets every column.
    update_beside: Text,
    /// Changes so many rows at once.
    update_many: [(usize, Text); 3],
}

/// Each table's, by its name.
pub(crate) static TABLE_TEXTS: LazyLock<BTreeMap<&'static str, TableTexts>> = LazyLock::new(|| {
    TABLES.iter().filter(|table| table.is_authority).map(|table| (table.name, TableTexts::of(table))).collect()
});

impl TableTexts {
    fn of(table: &'static Table) -> Self {
        let key: Vec<String> =
            table.key.iter().enumerate().map(|(place, name)| format!("{name} = ${}", place + 1)).collect();
        let key = key.join(" AND ");
        let update = |of: &dyn Fn(bool) -> bool| {
            let set: Vec<&str> = set_by_update(table, of).map(|(name, _)| name).collect();
            let places =
                set.iter().enumerate().map(|(place, name)| format!("{name} = ${}", table.key.len() + 2 + place));
            let (places, old) = (places.collect::<Vec<_>>().join(", "), table.key.len() + 1);
            Text::made(format!("UPDATE {} SET {places} WHERE {key} AND mac = ${old}", table.name))
        };
        Self {
            find: Selection::of(&format!("SELECT {{{}}} FROM {} WHERE {key}", table.name, table.name)),
            page: page(table),
            update: update(&|decides| decides),
            update_beside: update(&|_| true),
            update_many: [256, 64, 16].map(|rows| (rows, update_many(table, rows))),
        }
    }

    /// All of them, for the test that prepares each.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &Text> {
        let many = self.update_many.iter().map(|(_, text)| text);
        [&self.find.text, &self.page.text, &self.update, &self.update_beside].into_iter().chain(many)
    }
}

fn page(table: &Table) -> Selection {
    let (name, key) = (table.name, table.key.join(", "));
    let places: Vec<String> = (1..=table.key.len()).map(|place| format!("${place}")).collect();
    Selection::of(&format!(
        "SELECT {{{name}}} FROM {name} WHERE ({key}) > ({}) ORDER BY {key} LIMIT {PAGE} FOR NO KEY UPDATE",
        places.join(", ")
    ))
}

/// The columns that an update sets, with their places: none of the key, and those that decide nothing only where `of` says so.
fn set_by_update<'t>(
    table: &'t Table,
    of: &'t dyn Fn(bool) -> bool,
) -> impl Iterator<Item = (&'static str, usize)> + use<'t> {
    let columns = table.columns.iter().enumerate();
    columns
        .filter(|(_, column)| !table.key.contains(&column.name))
        .filter(|(_, column)| ["mac_key", "mac"].contains(&column.name) || of(column.decides))
        .map(|(place, column)| (column.name, place))
}

/// Puts whole rows in the place of those of the version before.
fn update_many(table: &Table, rows: usize) -> Text {
    let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    let set = names.iter().filter(|name| !table.key.contains(name)).map(|name| format!("{name} = excluded.{name}"));
    let places = (0..rows).map(|row| {
        let places = (1..=names.len()).map(|place| format!("${}", row * names.len() + place));
        format!("({})", places.collect::<Vec<_>>().join(", "))
    });
    Text::made(format!(
        "INSERT INTO {of} ({}) VALUES {} ON CONFLICT ({}) DO UPDATE SET {} WHERE {of}.version = excluded.version - 1",
        names.join(", "),
        places.collect::<Vec<_>>().join(", "),
        table.key.join(", "),
        set.collect::<Vec<_>>().join(", "),
        of = table.name,
    ))
}

pub(super) fn texts_of(table: &Table) -> Result<&'static TableTexts> {
    TABLE_TEXTS.get(table.name).ok_or(StoreFailure::Corrupt("table"))
}

/// The row of a key, to be changed.
/// Errors: as for [`Query::stored`].
pub(crate) async fn find(
    name: &str,
    key: &[&dyn ErasedValue],
    connection: &mut Connection,
) -> Result<Option<StoredRow>> {
    let texts = TABLE_TEXTS.get(name).ok_or(StoreFailure::Corrupt("table"))?;
    let mut query = rows(&texts.find);
    query.values = key.iter().map(|value| value.erased()).collect();
    query.stored_one(connection).await
}

/// A value of whatever type, by reference.
pub(crate) trait ErasedValue: Send + Sync {
    fn erased(&self) -> Value;
}

impl<T: ToValue + Send + Sync> ErasedValue for T {
    fn erased(&self) -> Value {
        self.to_value()
    }
}

/// Changes a row where it still is what was read. Returns whether it was.
/// Errors: [`StoreFailure::NoRowKeys`]; what the engine says.
pub(crate) async fn change(row: StoredRow, fields: Fields, connection: &mut Connection) -> Result<bool> {
    let macs = connection.row_macs();
    let (table, old) = (row.table, row.mac());
    let texts = texts_of(table)?;
    let (changed, beside) = row.changed(fields, macs.as_deref())?;
    let mut values = key_of(table, &changed);
    values.push(old);
    let of: &(dyn Fn(bool) -> bool + Sync) = if beside { &|_| true } else { &|decides| decides };
    values.extend(set_by_update(table, of).filter_map(|(_, place)| changed.get(place).cloned()));
    let text = if beside { &texts.update_beside } else { &texts.update };
    Ok(connection.change(text, values).await? > 0)
}

/// Changes many rows that were read and locked, each by what is set of it. Returns how many.
/// Errors: [`StoreFailure::Busy`] where one of them is not what was read any more; as for [`change`].
pub(super) async fn change_all(mut rest: Vec<(StoredRow, Fields)>, connection: &mut Connection) -> Result<u64> {
    let macs = macs_of(connection)?;
    let mut done = 0_u64;
    while let Some((first, _)) = rest.first() {
        let texts = texts_of(first.table)?;
        let many = texts.update_many.iter().find(|(size, _)| *size <= rest.len());
        let Some((size, text)) = many else {
            let (row, set) = rest.remove(0);
            done = done.saturating_add(all_of(u64::from(change(row, set, connection).await?), 1)?);
            continue;
        };
        let mut values = Vec::new();
        for (row, set) in rest.drain(..*size) {
            values.extend(row.changed(set, Some(&macs))?.0);
        }
        done = done.saturating_add(all_of(connection.change(text, values).await?, *size as u64)?);
    }
    Ok(done)
}

/// Changes what is selected page by page: a selection of one table, in the order of its key, after the key that is bound last.
/// `fields` says what is set of a row, or that nothing is. Returns how many were changed.
/// Errors: as for [`change_all`].
pub(crate) async fn change_each(
    selection: &Selection,
    bound: &[Value],
    from: Values,
    fields: impl Fn(&StoredRow) -> Result<Option<Fields>> + Send + Sync,
    connection: &mut Connection,
) -> Result<u64> {
    let (mut after, mut done) = (from, 0_u64);
    while let Some((changed, last)) = change_page(selection, bound, after, &fields, &mut *connection).await? {
        done = done.saturating_add(changed);
        after = last;
    }
    Ok(done)
}

/// Changes one such page. Returns how many were changed, and the key after which the next page stands; `None` where nothing was left.
/// Errors: as for [`change_each`].
pub(crate) async fn change_page(
    selection: &Selection,
    bound: &[Value],
    after: Values,
    fields: &(impl Fn(&StoredRow) -> Result<Option<Fields>> + Send + Sync),
    connection: &mut Connection,
) -> Result<Option<(u64, Values)>> {
    let mut page = rows(selection);
    page.values = [bound, &after].concat();
    let (found, last) = page.stored_that_verify(&mut *connection).await?;
    let Some(last) = last else { return Ok(None) };
    let mut changing = Vec::with_capacity(found.len());
    for row in found {
        if let Some(set) = fields(&row)? {
            changing.push((row, set));
        }
    }
    let done = change_all(changing, &mut *connection).await?;
    Ok(Some((done, last.into_iter().rev().take(after.len()).rev().collect())))
}

fn all_of(changed: u64, asked: u64) -> Result<u64> {
    let busy = || StoreFailure::Busy("a row was changed meanwhile".to_owned());
    if changed == asked { Ok(changed) } else { Err(busy()) }
}
