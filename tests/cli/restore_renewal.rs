//! A restore ends with a new generation of the deployment's secret: rows of the time that was lost are void, although Signet had
//! written them.

use std::fs;
use std::sync::Arc;

use signet_store_sql::tables::table;

use crate::support::application::{ALL_GRANTS, Application, TestClient};
use crate::support::postgres::{Database, is_wanted};
use crate::support::process::feed;

const NOTHING: [&str; 3] = ["restore", "--ended", "nothing had ended"];

fn columns() -> impl Iterator<Item = &'static str> {
    table("clients").unwrap().columns.iter().map(|column| column.name)
}

/// A deployment that is in the place of one that was lost, before anybody has said what had ended.
struct PutBack {
    application: Arc<Application>,
    database: Option<Database>,
    client: TestClient,
    /// A client of the lost time, and its row as SQLite quotes it.
    late: TestClient,
    row: String,
}

impl PutBack {
    /// Restored to an SQLite file, or to PostgreSQL.
    fn new(to: Option<Database>) -> Self {
        let application = Application::new("");
        let client = application.add_client("app", ALL_GRANTS, "read write");
        application.json(&["backup", "one.backup"]);
        let late = application.add_client("late", ALL_GRANTS, "read write");
        let quoted = columns().map(|name| format!("quote({name})")).collect::<Vec<_>>().join(" || ', ' || ");
        let row = application.sql(&format!("SELECT {quoted} FROM clients WHERE name = 'late'"));
        match &to {
            Some(database) => {
                let url = format!("url = \"{}\"\nstate_folder = \".\"", database.url());
                application.edit("url = \"sqlite://signet.db\"", &url);
            }
            None => fs::remove_file(application.database()).unwrap(),
        }
        application.json(&["restore", "one.backup", "--why", "the disk failed"]);
        Self { application, database: to, client, late, row }
    }

    fn sql(&self, sql: &str) -> String {
        self.database.as_ref().map_or_else(|| self.application.sql(sql), |database| database.sql(sql))
    }

    /// Puts a row of the lost time beside those that are there.
    fn plant(&self) {
        let row = if self.database.is_some() { self.row.replace("X'", "'\\x") } else { self.row.clone() };
        self.sql(&format!("INSERT INTO clients ({}) VALUES ({row})", columns().collect::<Vec<_>>().join(", ")));
    }

    fn generations(&self) -> String {
        self.sql("SELECT count(*) FROM seals WHERE kind = 'deployment.secret'")
    }
}

async fn is_void_from_then_on(to: Option<Database>) {
    let put_back = PutBack::new(to);
    let application = &put_back.application;
    assert_eq!(put_back.generations(), "1");
    for commit in [1, 4, 9] {
        let mut command = application.command(&NOTHING);
        command.env("SIGNET_FAILPOINT", format!("committed:{commit}"));
        assert_eq!(feed(command, "").code, None, "{commit}: it ended otherwise");
        assert_eq!(put_back.generations(), "2", "{commit}: it had begun");
        application.run(&["serve"]).fails(1, &["signet restore --ended"]);
        assert_eq!(application.json(&["audit", "verify", "--store"])["intact"], true, "{commit}: both hold meanwhile");
    }
    let answered = application.json(&NOTHING);
    assert_eq!((&answered["secret_generation"], &answered["void_rows_count"]), (&2.into(), &0.into()), "{answered}");
    assert_eq!(put_back.generations(), "1");
    assert_eq!(application.json(&["audit", "verify", "--store"])["intact"], true);
    put_back.plant();
    let server = application.serve();
    let software = [("grant_type", "client_credentials")];
    server.token(&put_back.client, &software).await.ok();
    let refused = server.token(&put_back.late, &software).await;
    assert!([401, 503].contains(&refused.status), "{refused:?}");
    server.stop();
    let id = put_back.sql("SELECT id FROM clients WHERE name = 'late'");
    application.run(&["audit", "verify", "--store"]).fails(1, &[&format!("clients default {id}")]);
    assert_eq!(application.json(&["audit", "verify"])["intact"], true);
    put_back.sql("DELETE FROM clients WHERE name = 'late'");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_lost_time_is_void_after_a_restore() {
    if is_wanted() {
        return;
    }
    is_void_from_then_on(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_lost_time_is_void_after_a_restore_into_postgresql() {
    if is_wanted() {
        return;
    }
    is_void_from_then_on(Some(Database::new())).await;
}

/// What somebody wrote past Signet before the restore is answered is no better afterwards.
#[test]
fn a_forged_row_gets_no_mac_by_a_restore() {
    if is_wanted() {
        return;
    }
    let put_back = PutBack::new(None);
    put_back.sql("UPDATE clients SET scopes = '[\"admin\"]'");
    let id = put_back.sql("SELECT id FROM clients");
    let answered = put_back.application.json(&NOTHING);
    let named = serde_json::json!([format!("clients default {id}")]);
    assert_eq!((&answered["void_rows_count"], &answered["void_rows"]), (&1.into(), &named), "{answered}");
    assert_eq!(put_back.sql("SELECT mac_key / 256 FROM clients"), "1");
    assert_eq!(
        put_back.sql("SELECT DISTINCT mac_key / 256 FROM keys WHERE state = 'active' AND purpose = 'token_signing'"),
        "2"
    );
    put_back.application.run(&["audit", "verify", "--store"]).fails(1, &["clients default"]);
}
