//! The schema of both engines: what the catalogue says of it, and which databases a program takes.

use signet_store_sql::schema::{MIGRATIONS, Migration};
use signet_store_sql::tables::{Column, Kind, TABLES, Table};
use sqlx::{AssertSqlSafe, Executor as _, Row as _, SqliteConnection};

use crate::support::postgres::Database;
use crate::support::store::node;
use crate::support::store::{Place, now, raw};

/// The catalogue's lines, as a database would give them: table, its columns with their types, its key.
fn catalogue(type_of: fn(Kind) -> &'static str) -> Vec<String> {
    let mut lines: Vec<String> = TABLES.iter().map(|table| line(table, type_of)).collect();
    lines.sort();
    lines
}

fn line(table: &Table, type_of: fn(Kind) -> &'static str) -> String {
    let of = |column: &Column| format!("{} {}", column.name, type_of(column.kind));
    let columns: Vec<String> = table.columns.iter().map(of).collect();
    format!("{}({})[{}]", table.name, columns.join(","), table.key.join(","))
}

fn sqlite_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Number => "INTEGER",
        Kind::Text => "TEXT",
        Kind::Bytes => "BLOB",
    }
}

fn postgres_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Number => "bigint",
        Kind::Text => "text",
        Kind::Bytes => "bytea",
    }
}

const OF_SQLITE: &str = "SELECT t.name || '(' || (
        SELECT group_concat(c.name || ' ' || c.type, ',') FROM (SELECT * FROM pragma_table_info(t.name) ORDER BY cid) AS c
    ) || ')[' || (
        SELECT group_concat(k.name, ',') FROM (SELECT * FROM pragma_table_info(t.name) WHERE pk > 0 ORDER BY pk) AS k
    ) || ']' FROM sqlite_master AS t WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY 1";
const OF_POSTGRES: &str = "SELECT string_agg(line, E'\\n' ORDER BY line COLLATE \"C\") FROM (
    SELECT c.table_name || '(' || string_agg(c.column_name || ' ' || c.data_type, ',' ORDER BY c.ordinal_position) || ')['
        || (SELECT string_agg(k.column_name, ',' ORDER BY k.ordinal_position)
            FROM information_schema.table_constraints AS t JOIN information_schema.key_column_usage AS k
                USING (constraint_schema, constraint_name)
            WHERE t.constraint_type = 'PRIMARY KEY' AND t.table_schema = 'public' AND t.table_name = c.table_name)
        || ']' AS line
    FROM information_schema.columns AS c WHERE c.table_schema = 'public' GROUP BY c.table_name) AS lines";

async fn lines(connection: &mut SqliteConnection) -> Vec<String> {
    let rows = connection.fetch_all(OF_SQLITE).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_names_every_table_column_and_key_of_both_engines() {
    let place = Place::new();
    place.open().await.close().await;
    assert_eq!(lines(&mut raw(&place.database()).await).await, catalogue(sqlite_type));
    let database = Database::new();
    database.open().await.close().await;
    let found: Vec<String> = database.sql(OF_POSTGRES).lines().map(str::to_owned).collect();
    assert_eq!(found, catalogue(postgres_type));
}

fn names(done: &[&'static Migration]) -> Vec<i64> {
    done.iter().map(|migration| migration.version).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_applied_once_and_said() {
    let all = names(&MIGRATIONS.iter().collect::<Vec<_>>());
    let database = Database::new();
    let done = signet_store_postgres::migrate(&database.options(), None, now()).await.unwrap();
    assert_eq!(names(&done), all);
    let again = signet_store_postgres::migrate(&database.options(), None, now()).await.unwrap();
    assert!(again.is_empty());
    let place = Place::new();
    assert!(signet_store_sqlite::migrate(&place.options(), now()).await.is_ok(), "a file that is to be made is made");
    assert!(signet_store_sqlite::migrate(&place.options(), now()).await.unwrap().is_empty());
    let kept = "SELECT count(*) FROM schema_migrations WHERE applied_at = 1800000000000 AND length(hash) = 32";
    assert_eq!(database.sql(kept), all.len().to_string());
}

/// Each change of what was applied, and what a program says that opens the database then.
const CHANGED: [(&str, &str); 3] = [
    (
        "INSERT INTO schema_migrations SELECT 99, 'later', hash, 0 FROM schema_migrations WHERE version = 1",
        "migration 99 (later), which this program does not know: use a newer program",
    ),
    (
        "UPDATE schema_migrations SET hash = (SELECT hash FROM schema_migrations WHERE version = 2) WHERE version = 1",
        "migration 1 (first) of the database is not this program's",
    ),
    ("DROP TABLE schema_migrations", "made by an unreleased program"),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_or_changed_migration_is_refused_on_both_engines() {
    for (change, says) in CHANGED {
        let place = Place::new();
        place.open().await.close().await;
        raw(&place.database()).await.execute(AssertSqlSafe(change)).await.unwrap();
        let refused =
            signet_store_sqlite::open(place.options(), node(), place.clock.clone()).await.err().unwrap().to_string();
        assert!(refused.contains(says), "{refused}");
        let database = Database::new();
        database.open().await.close().await;
        database.sql(change);
        for create in [false, true] {
            let mut options = database.options();
            options.create = create;
            let opened = signet_store_postgres::open(options, node(), database.clock.clone()).await;
            let refused = opened.err().unwrap().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }
}

/// Of several that migrate one new database at once, one makes the schema and the others wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_process_at_a_time_changes_the_schema_of_a_database() {
    let database = Database::new();
    let migrating: Vec<_> = (0..6)
        .map(|_| {
            let options = database.options();
            tokio::spawn(async move { signet_store_postgres::migrate(&options, None, now()).await.unwrap().len() })
        })
        .collect();
    let mut applied = Vec::new();
    for one in migrating {
        applied.push(one.await.unwrap());
    }
    applied.sort_unstable();
    assert_eq!(applied, [0, 0, 0, 0, 0, MIGRATIONS.len()]);
}
