//! Rows that are made to say something else, as if Signet had written that: with a MAC by the deployment's secret, which an HSM
//! worker of the test opens. How a row is spelt for its MAC stands here a second time, so that a change of it is found.

use signet_core::keys::{RowBinding, TenantId, Vault as _};
use signet_core::row_keys::{RowKey, RowKeys};
use signet_core::secret::SecretBytes;
use signet_store::SecretsAtRest as _;
use signet_store_sql::tables::{Kind, table};

use super::application::Application;
use super::crowd::Crowd;

/// The key of a table's rows.
async fn key_of(application: &Application, table: &str) -> RowKey {
    let crowd = Crowd::of(application).await;
    let row = RowBinding::new(&TenantId::default_tenant(), "deployment", "1", "secret");
    let seals = crowd.store.deployment_secrets().await.unwrap().remove(&1).unwrap();
    let secret = crowd.group.open(&row, &seals).await.unwrap();
    crowd.close().await;
    RowKeys::of(1, &secret).of_table(1, table).unwrap()
}

/// Sets a column of those rows of a table that meet a condition to another expression, and their MACs with it.
pub(crate) async fn set_signed(application: &Application, name: &str, condition: &str, column: &str, expression: &str) {
    let (key, table) = (key_of(application, name).await, table(name).unwrap());
    let is_postgres = application.postgres().is_some();
    let columns = table.columns.iter().filter(|column| column.decides).map(|of| {
        let value = if of.name == column { expression } else { of.name };
        let hexadecimal = match (of.kind, is_postgres) {
            (Kind::Number, _) => format!("CAST({value} AS TEXT)"),
            (_, false) => format!("hex(CAST({value} AS BLOB))"),
            (Kind::Text, true) => format!("encode(convert_to({value}, 'UTF8'), 'hex')"),
            (Kind::Bytes, true) => format!("encode({value}, 'hex')"),
        };
        format!("CASE WHEN {value} IS NULL THEN '-' ELSE {hexadecimal} END")
    });
    let read = columns.collect::<Vec<_>>().join(" || '|' || ");
    let keys = table.key.join(" || '|' || ");
    for row in application.sql(&format!("SELECT {keys} || '#' || {read} FROM {name} WHERE {condition}")).lines() {
        let (id, values) = row.split_once('#').unwrap();
        let mac = in_hex(&key.mac(&spelt(name, values)));
        let mac = if is_postgres { format!("decode('{mac}', 'hex')") } else { format!("x'{mac}'") };
        application.sql(&format!("UPDATE {name} SET {column} = {expression}, mac = {mac} WHERE {keys} = '{id}'"));
    }
}

fn in_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spelt(name: &str, values: &str) -> Vec<u8> {
    let mut text = b"signet row\x01\x01".to_vec();
    let mut add = |kind: u8, bytes: &[u8]| {
        text.push(kind);
        text.extend((bytes.len() as u64).to_be_bytes());
        text.extend(bytes);
    };
    add(b't', name.as_bytes());
    let columns = table(name).unwrap().columns.iter().filter(|column| column.decides);
    for (column, value) in columns.zip(values.split('|')) {
        let bytes = || SecretBytes::from_hex(value).unwrap().expose().to_vec();
        match (column.kind, value) {
            (kind, "-") => add(b'0', kind.name().as_bytes()),
            (Kind::Number, number) => add(b'n', &number.parse::<i64>().unwrap().to_be_bytes()),
            (Kind::Text, _) => add(b't', &bytes()),
            (Kind::Bytes, _) => add(b'b', &bytes()),
        }
    }
    text
}
