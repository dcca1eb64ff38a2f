//! A server whose role makes and alters nothing, and adds to the audit log alone.

use signet_store_sql::schema::MIGRATIONS;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use crate::support::application::{ALL_GRANTS, Application};
use crate::support::process::wait_for;

/// Roles belong to a server of PostgreSQL, which all tests of a process share.
const SERVING: &str = "serving";

async fn refused(connection: &mut PgConnection, statement: &str) {
    let failed = connection.execute(AssertSqlSafe(statement.to_owned())).await.err();
    let code = failed.and_then(|error| Some(error.as_database_error()?.code()?.into_owned()));
    assert_eq!(code.as_deref(), Some("42501"), "{statement}");
}

#[tokio::test]
async fn a_role_without_ddl_serves_and_can_not_change_the_audit_log() {
    let application = Application::on_postgres("[tokens]\nrefresh_retry_window = \"0s\"");
    application.run(&["store", "migrate", "--serve-role", SERVING]).fails(1, &["no role serving", "CREATE ROLE"]);
    application.sql("CREATE ROLE serving LOGIN SUPERUSER");
    application.run(&["store", "migrate", "--serve-role", SERVING]).fails(1, &["name another one to serve"]);
    application.sql("ALTER ROLE serving NOSUPERUSER; GRANT CREATE ON SCHEMA public TO serving");
    application.run(&["store", "migrate", "--serve-role", SERVING]).fails(1, &["REVOKE CREATE ON SCHEMA public"]);
    application.sql("REVOKE CREATE ON SCHEMA public FROM serving");
    application.edit("postgres://signet@", "postgres://serving@");
    application.run(&["serve"]).fails(1, &["store migrate --serve-role"]);
    let migrated = application.json(&["store", "migrate", "--as", "signet", "--serve-role", SERVING]);
    assert_eq!((&migrated["applied"], &migrated["serve_role"]), (&serde_json::json!([]), &SERVING.into()));

    application.forges_rows();
    application.sql("INSERT INTO revocations VALUES ('default', 'long ago', 1, 1, 1, 1, '')");
    let server = application.serve();
    let app = server.add_client("app", ALL_GRANTS, "read write");
    let ann = server.add_user("ann", "reader");
    let totp = server.add_totp(&ann, &[]);
    let signed_in = server.sign_in(&app, &ann, &totp.code()).await.ok();
    server.refresh(&app, &signed_in.refresh_token()).await.ok();
    server.token(&app, &[("grant_type", "client_credentials")]).await.ok();
    server.json(&["key", "rotate"]);
    wait_for("what has expired to be pruned", || {
        (application.sql("SELECT count(*) FROM revocations") == "0").then_some(())
    });
    server.json(&["user", "disable", "ann"]);
    server.json(&["audit", "verify"]);
    server.stop();
    let log = application.log();
    assert!(!log.contains("42501") && !log.contains("could not be"), "{log}");

    let mut role = application.postgres().unwrap().raw().await;
    role.execute("SET ROLE serving").await.unwrap();
    for statement in [
        "CREATE TABLE theirs (id BIGINT)",
        "CREATE SCHEMA theirs",
        "ALTER TABLE users ADD COLUMN extra TEXT",
        "DROP TABLE users",
        "TRUNCATE users",
        "UPDATE audit_records SET text = ''",
        "DELETE FROM audit_records",
        "TRUNCATE audit_records",
        "UPDATE audit_checkpoints SET jws = ''",
        "DELETE FROM audit_checkpoints",
        "INSERT INTO schema_migrations VALUES (99, 'later', '', 0)",
        "CREATE TRIGGER theirs BEFORE INSERT ON audit_records EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ] {
        refused(&mut role, statement).await;
    }
}

#[tokio::test]
async fn serving_makes_no_schema() {
    let application = Application::on_postgres("");
    application.sql("DELETE FROM schema_migrations WHERE version = (SELECT MAX(version) FROM schema_migrations)");
    application.run(&["serve"]).fails(1, &["run `signet store migrate`"]);
    application.run(&["user", "list"]).fails(1, &["run `signet store migrate`"]);
    assert_eq!(application.sql("SELECT count(*) FROM schema_migrations"), (MIGRATIONS.len() - 1).to_string());
}
