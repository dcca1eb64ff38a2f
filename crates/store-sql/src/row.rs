//! Columns to values and back.

use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

use super::engine::{Result, Row};
use signet_core::keys::{HsmName, SealedCopies};
use signet_store::StoreFailure;

/// Bytes of a fixed length.
pub(super) fn array<const N: usize>(row: &Row, column: &'static str) -> Result<[u8; N]> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|_| StoreFailure::Corrupt(column))
}

/// A number that fits a smaller type.
pub(super) fn number<T: TryFrom<i64>>(row: &Row, column: &'static str) -> Result<T> {
    T::try_from(row.try_get::<i64, _>(column)?).map_err(|_| StoreFailure::Corrupt(column))
}

/// A list of texts.
pub(super) fn list<T: DeserializeOwned>(row: &Row, column: &'static str) -> Result<Vec<T>> {
    serde_json::from_str(row.try_get(column)?).map_err(|_| StoreFailure::Corrupt(column))
}

/// A set of texts.
pub(super) fn set(row: &Row, column: &'static str) -> Result<BTreeSet<String>> {
    Ok(list(row, column)?.into_iter().collect())
}

/// Texts as one text: a JSON array.
pub(super) fn joined<T: ToString>(texts: impl IntoIterator<Item = T>) -> String {
    serde_json::Value::from_iter(texts.into_iter().map(|text| text.to_string())).to_string()
}

/// The seal of a row that was joined with its seals, if it has one (`hsm`, `blob`).
pub(super) fn add_seal(row: &Row, seals: &mut BTreeMap<HsmName, Vec<u8>>) -> Result<()> {
    if let Some(hsm) = row.try_get::<Option<String>, _>("hsm")? {
        seals.insert(HsmName::new(hsm), row.try_get("blob")?);
    }
    Ok(())
}

/// Folds joined rows, which come one after another for each value, to values with their seals.
pub(super) fn fold<T>(
    rows: &[Row],
    read: impl Fn(&Row) -> Result<T>,
    seals_of: impl Fn(&mut T) -> &mut SealedCopies,
) -> Result<Vec<T>> {
    let mut values: Vec<T> = Vec::new();
    let mut last_id = None;
    for row in rows {
        let id: String = row.try_get("id")?;
        if last_id.as_ref() != Some(&id) {
            values.push(read(row)?);
            last_id = Some(id);
        }
        if let Some(value) = values.last_mut() {
            add_seal(row, &mut seals_of(value).0)?;
        }
    }
    Ok(values)
}
