//! What the MAC of a row costs: to make it, and to check it.

use std::hint::black_box;
use std::time::Instant;

use signet_core::row_keys::RowKeys;
use signet_core::secret::SecretBytes;
use signet_store_sql::authority::RowMacs;
use signet_store_sql::engine::Value;
use signet_store_sql::tables::{Kind, Table, table};

const TIMES: u32 = 200_000;

/// A row of a table with so many bytes in it, in the texts and bytes that it has.
fn row_of(table: &Table, bytes: usize) -> Vec<Value> {
    let texts = table.columns.iter().filter(|column| column.decides && column.kind != Kind::Number).count();
    let numbers = table.columns.iter().filter(|column| column.decides && column.kind == Kind::Number).count();
    let each = bytes.saturating_sub(numbers * 8) / texts;
    let value = |kind| match kind {
        Kind::Number => Value::Number(Some(1_800_000_000_000)),
        Kind::Text => Value::Text(Some("x".repeat(each))),
        Kind::Bytes => Value::Bytes(Some(vec![7; each])),
    };
    table.columns.iter().map(|column| value(column.kind)).collect()
}

/// Prints what a row of 512 bytes costs.
pub(crate) fn measure() {
    let macs = RowMacs::of(&RowKeys::of(1, &SecretBytes::new(vec![7; 32])));
    println!("| row of 512 bytes | make, ns | check, ns |");
    println!("|---|---|---|");
    for name in ["factors", "grants", "sessions", "users"] {
        let table = table(name).unwrap();
        let mut row = row_of(table, 512);
        let started = Instant::now();
        for _ in 0..TIMES {
            macs.sign(table, black_box(&mut row)).unwrap();
        }
        let made = started.elapsed() / TIMES;
        let started = Instant::now();
        for _ in 0..TIMES {
            assert!(macs.verifies(table, black_box(&row)));
        }
        let checked = started.elapsed() / TIMES;
        println!("| {name} | {} | {} |", made.as_nanos(), checked.as_nanos());
    }
}
