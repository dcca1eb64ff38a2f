//! What a row's MAC covers, and by which key.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use parking_lot::Mutex;

use crate::engine::{Connection, Lock, Result, Row, Statements, Text, Value, WriteConnection};
use crate::keys;
use crate::pages::{Values, key_of};
use crate::tables::{TABLES, Table};
use signet_core::row_keys::{RowKey, RowKeys};
use signet_store::StoreFailure;

/// How rows are spelt for their MACs. Whoever changes that, or what a table's columns are, takes the next number.
const SPELLING: u8 = 1;

/// Begins every text that a row's MAC is made of. The key is the deployment's own already: no row of another one verifies.
const LABEL: &[u8] = b"signet row";

/// How many rows are remembered that were refused, and so told of.
const REMEMBERED: usize = 1000;

/// The purposes of keys that others trust: those of a deployment's own secrets exist before its secret does.
const TRUSTED: [&str; 2] = ["token_signing", "audit_signing"];
/// What becomes of a key whose time is over.
const OVER: [&str; 2] = ["withdrawn", "destroyed"];

/// Whether a row gets nobody a yes as it is, so that it needs no MAC: a key that nobody outside trusts, or trusts any more. Such a
/// key can be written without an HSM, and to become another one it needs a MAC. What can't be understood is no key, and would keep whoever lists them from all
/// others.
fn is_harmless(table: &Table, row: &[Value]) -> bool {
    let text = |name: &str| {
        let place = table.columns.iter().position(|column| column.name == name);
        match place.and_then(|place| row.get(place)) {
            Some(Value::Text(Some(text))) => Some(text.as_str()),
            _ => None,
        }
    };
    let is_one_of = |name: &str, words: &[&str]| text(name).is_some_and(|text| words.contains(&text));
    let is_harmless = table.name == "keys" && (!is_one_of("purpose", &TRUSTED) || is_one_of("state", &OVER));
    is_harmless && keys::is_understood(table, row)
}

/// Gives a row its MAC, where there are keys; one that needs none goes without.
/// Errors: [`StoreFailure::NoRowKeys`].
pub(super) fn sign(macs: Option<&RowMacs>, table: &Table, row: &mut [Value]) -> Result<()> {
    match macs {
        Some(macs) => macs.sign(table, row),
        None if is_harmless(table, row) => {
            if let [.., mac_key, mac] = row {
                *mac_key = Value::Number(Some(0));
                *mac = Value::Bytes(Some(Vec::new()));
            }
            Ok(())
        }
        None => Err(StoreFailure::NoRowKeys),
    }
}

/// Where the keys are, once there are any.
pub(crate) type Trust = Arc<ArcSwapOption<RowMacs>>;

/// How a row stands to the newest generation of the deployment's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was written under it, or needs no MAC.
    Newest,
    /// It verifies under an older one.
    Older,
    /// It does not verify.
    Refused,
}

/// What makes and checks MACs of rows.
pub struct RowMacs {
    /// The generation that rows are written by.
    newest: u8,
    keys: Arc<BTreeMap<(&'static str, u8), RowKey>>,
    refused: Arc<RefusedRows>,
}

/// Rows that this process refused because they did not verify, by what names them, with their keys.
type RefusedRows = Mutex<BTreeMap<(&'static str, String), Values>>;

impl RowMacs {
    /// The keys of all tables.
    pub fn of(keys: &RowKeys) -> Self {
        let of_table = |name: &'static str| {
            keys.generations()
                .filter_map(move |generation| Some(((name, generation), keys.of_table(generation, name)?)))
        };
        let tables = TABLES.iter().filter(|table| table.is_authority);
        Self {
            newest: keys.newest(),
            keys: Arc::new(tables.flat_map(|table| of_table(table.name)).collect()),
            refused: Arc::default(),
        }
    }

    /// Whether rows of a generation verify by these.
    pub(crate) fn has(&self, generation: u8) -> bool {
        self.keys.keys().any(|(_, known)| *known == generation)
    }

    /// These, writing by another generation of them.
    fn writing(&self, generation: u8) -> Self {
        Self { newest: generation, keys: Arc::clone(&self.keys), refused: Arc::clone(&self.refused) }
    }

    /// These, and what the ones before had refused.
    #[must_use]
    pub(crate) fn after(self, before: Option<&Self>) -> Self {
        let refused = before.map_or_else(Arc::default, |before| Arc::clone(&before.refused));
        Self { refused, ..self }
    }

    /// The generation of the deployment's secret that rows are written by.
    pub(crate) fn newest(&self) -> u8 {
        self.newest
    }

    /// How a row stands to the newest generation.
    pub(super) fn standing(&self, table: &Table, row: &[Value]) -> Standing {
        let [.., Value::Number(Some(mac_key)), _] = row else { return Standing::Refused };
        let is_newest = u16::try_from(*mac_key).is_ok_and(|mac_key| mac_key.to_be_bytes()[0] == self.newest);
        match (self.has_mac(table, row), is_newest) {
            (true, true) => Standing::Newest,
            (true, false) => Standing::Older,
            // It grants nothing, and needs no MAC.
            (false, _) if is_harmless(table, row) => Standing::Newest,
            (false, _) => Standing::Refused,
        }
    }

    /// Gives a row its MAC, over the version that it has. The row is in the order of the table's columns.
    /// Errors: [`StoreFailure::NoRowKeys`] where there is no key for this table.
    pub fn sign(&self, table: &Table, row: &mut [Value]) -> Result<()> {
        let key = self.keys.get(&(table.name, self.newest)).ok_or(StoreFailure::NoRowKeys)?;
        let mac = key.mac(&spelt(table, self.newest, row));
        if let [.., mac_key, last] = row {
            *mac_key = Value::Number(Some(i64::from(u16::from_be_bytes([self.newest, SPELLING]))));
            *last = Value::Bytes(Some(mac.to_vec()));
        }
        Ok(())
    }

    /// Whether a row is as Signet wrote it, in the order of the table's columns.
    pub fn verifies(&self, table: &Table, row: &[Value]) -> bool {
        is_harmless(table, row) || self.has_mac(table, row)
    }

    fn has_mac(&self, table: &Table, row: &[Value]) -> bool {
        let [.., Value::Number(Some(mac_key)), Value::Bytes(Some(mac))] = row else { return false };
        let Ok([generation, SPELLING]) = u16::try_from(*mac_key).map(u16::to_be_bytes) else { return false };
        let key = self.keys.get(&(table.name, generation));
        key.is_some_and(|key| key.verifies(&spelt(table, generation, row), mac))
    }

    /// Why a row that does not verify is refused. The log has it once.
    pub(crate) fn refusal(&self, table: &Table, row: &[Value]) -> StoreFailure {
        let id = id_of(table, row);
        let mut refused = self.refused.lock();
        let is_new = !refused.contains_key(&(table.name, id.clone()));
        if is_new && refused.len() < REMEMBERED {
            refused.insert((table.name, id.clone()), key_of(table, row));
            tracing::error!(
                table = table.name,
                row = id,
                "a row of the store does not verify, and is refused: somebody wrote to the store past Signet"
            );
        }
        StoreFailure::Forged { table: table.name, id }
    }

    /// Rows that were refused, with their keys.
    pub(super) fn refused(&self) -> BTreeMap<(&'static str, String), Values> {
        self.refused.lock().clone()
    }

    /// Forgets a row that was refused, and is gone or verifies by now.
    pub(super) fn forget(&self, table: &'static str, id: &str) {
        self.refused.lock().remove(&(table, id.to_owned()));
    }
}

/// What names a row: no secret is part of a key.
pub(crate) fn id_of(table: &Table, row: &[Value]) -> String {
    let text = |value: &Value| match value {
        Value::Number(number) => number.unwrap_or_default().to_string(),
        Value::Text(text) => text.clone().unwrap_or_default(),
        Value::Bytes(bytes) => crate::pages::base64url(bytes.as_deref().unwrap_or_default()),
    };
    key_of(table, row).iter().map(text).collect::<Vec<_>>().join(" ")
}

/// A row as one text that no other row has: each column that decides with what it is, and its length.
fn spelt(table: &Table, generation: u8, row: &[Value]) -> Vec<u8> {
    let mut text = Vec::with_capacity(1024);
    text.extend_from_slice(LABEL);
    text.extend_from_slice(&[SPELLING, generation]);
    add(&mut text, b't', table.name.as_bytes());
    for (column, value) in table.columns.iter().zip(row).filter(|(column, _)| column.decides) {
        match value {
            Value::Number(Some(number)) => add(&mut text, b'n', &number.to_be_bytes()),
            Value::Text(Some(value)) => add(&mut text, b't', value.as_bytes()),
            Value::Bytes(Some(bytes)) => add(&mut text, b'b', bytes),
            Value::Number(None) | Value::Text(None) | Value::Bytes(None) => {
                add(&mut text, b'0', column.kind.name().as_bytes())
            }
        }
    }
    text
}

fn add(text: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    text.push(kind);
    text.extend_from_slice(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
    text.extend_from_slice(bytes);
}

/// A connection that writes, with the keys that are there by then.
pub(crate) struct Trusted {
    pub(crate) connection: Box<dyn WriteConnection>,
    pub(crate) trust: Trust,
    /// The generation of the deployment's secret that rows are written by, where a transaction has said so.
    pub(crate) generation: Option<u8>,
}

#[async_trait]
impl Statements for Trusted {
    async fn rows(&mut self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>> {
        self.connection.rows(text, values).await
    }

    async fn change(&mut self, text: &Text, values: Vec<Value>) -> Result<u64> {
        self.connection.change(text, values).await
    }

    fn row_macs(&self) -> Option<Arc<RowMacs>> {
        let macs = self.trust.load_full()?;
        match self.generation.filter(|generation| *generation != macs.newest && macs.has(*generation)) {
            Some(generation) => Some(Arc::new(macs.writing(generation))),
            None => Some(macs),
        }
    }

    fn write_by(&mut self, generation: u8) {
        self.generation = Some(generation);
    }
}

#[async_trait]
impl WriteConnection for Trusted {
    async fn begin(&mut self, first: &Text, values: Vec<Value>) -> Result<Option<Row>> {
        self.connection.begin(first, values).await
    }

    async fn lock(&mut self, locks: &[Lock]) -> Result<Vec<i64>> {
        self.connection.lock(locks).await
    }

    async fn wait_for(&mut self, locks: &[Lock], patience: Duration) -> Result<()> {
        self.connection.wait_for(locks, patience).await
    }

    async fn alone(&mut self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>> {
        self.connection.alone(text, values).await
    }

    async fn commit(&mut self) -> Result<()> {
        self.connection.commit().await
    }

    async fn rollback(&mut self) -> Result<()> {
        self.connection.rollback().await
    }

    fn statements(&mut self) -> &mut Connection {
        self
    }

    async fn close(self: Box<Self>) {
        self.connection.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::null;
    use crate::tables::Column;
    use signet_core::secret::SecretBytes;

    fn macs(generation: u8) -> RowMacs {
        RowMacs::of(&RowKeys::of(generation, &SecretBytes::new(vec![7; 32])))
    }

    fn filled(table: &Table) -> Vec<Value> {
        let value = |kind| match kind {
            crate::tables::Kind::Number => Value::Number(Some(1)),
            crate::tables::Kind::Text => Value::Text(Some("1".to_owned())),
            crate::tables::Kind::Bytes => Value::Bytes(Some(b"1".to_vec())),
        };
        let of = |column: &Column| match (table.name, column.name) {
            ("keys", "purpose") => Value::Text(Some(TRUSTED[0].to_owned())),
            _ => value(column.kind),
        };
        table.columns.iter().map(of).collect()
    }

    #[test]
    fn every_column_that_decides_is_covered_and_no_other() {
        let macs = macs(1);
        for table in TABLES.iter().filter(|table| table.is_authority) {
            let mut row = filled(table);
            macs.sign(table, &mut row).unwrap();
            assert!(macs.verifies(table, &row), "{}", table.name);
            for (place, column) in table.columns.iter().enumerate() {
                for other in [null(column.kind), Value::Text(Some("other".to_owned())), Value::Number(Some(2))] {
                    let mut altered = row.clone();
                    altered[place] = other;
                    let is_of_mac = ["mac_key", "mac"].contains(&column.name);
                    let still = macs.has_mac(table, &altered);
                    assert_eq!(still, !column.decides && !is_of_mac, "{} {}", table.name, column.name);
                }
            }
        }
    }

    #[test]
    fn a_key_that_nobody_trusts_needs_no_mac_and_becomes_no_other() {
        let (macs, table) = (macs(1), crate::tables::table("keys").unwrap());
        let place = |name: &str| table.columns.iter().position(|column| column.name == name).unwrap();
        let key = |purpose: &str, state: &str| {
            let mut row = filled(table);
            let end = (state != "active").then(|| "expired".to_owned());
            row[place("public_jwk")] = Value::Text(None);
            row[place("purpose")] = Value::Text(Some(purpose.to_owned()));
            row[place("state")] = Value::Text(Some(state.to_owned()));
            (row[place("state_until")], row[place("end_reason")]) = (Value::Number(None), Value::Text(end));
            row
        };
        for (purpose, state) in [("sealing", "active"), ("token_signing", "withdrawn"), ("audit_signing", "destroyed")]
        {
            let mut row = key(purpose, state);
            sign(None, table, &mut row).unwrap();
            assert!(macs.verifies(table, &row), "{purpose} {state}");
            (row[place("purpose")], row[place("state")]) =
                (Value::Text(Some("token_signing".to_owned())), Value::Text(Some("active".to_owned())));
            assert!(!macs.verifies(table, &row), "{purpose} {state}");
        }
        let mut senseless = key("sealing", "active");
        assert!(macs.verifies(table, &senseless));
        senseless[place("state")] = Value::Text(Some("elsewhere".to_owned()));
        assert!(!macs.verifies(table, &senseless), "one that can't be read would keep everybody from the others");
        for state in ["next", "active", "retiring"] {
            assert_eq!(sign(None, table, &mut key("token_signing", state)), Err(StoreFailure::NoRowKeys));
        }
    }

    #[test]
    fn a_row_holds_in_its_own_table_and_by_its_own_key_alone() {
        let of = |name| crate::tables::table(name).unwrap();
        let mut row = filled(of("users"));
        macs(1).sign(of("users"), &mut row).unwrap();
        assert!(!macs(1).verifies(of("clients"), &row));
        assert!(!macs(2).verifies(of("users"), &row));
    }

    #[test]
    fn what_ends_one_column_and_begins_the_next_counts() {
        let table = crate::tables::table("clients").unwrap();
        let spelt_of = |first: &str, second: &str| {
            let mut row = filled(table);
            (row[0], row[1]) = (Value::Text(Some(first.to_owned())), Value::Text(Some(second.to_owned())));
            spelt(table, 1, &row)
        };
        assert_ne!(spelt_of("ab", "c"), spelt_of("a", "bc"));
    }
}
