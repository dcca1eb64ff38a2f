//! A server whose store is in PostgreSQL: what differs from one whose store is a file. Everything else of this folder runs on
//! either (`SIGNET_TEST_STORE=postgres`).

use crate::support::application::Application;

#[tokio::test]
async fn a_server_whose_clock_is_not_the_databases_is_not_ready_and_says_so() {
    let application = Application::on_postgres("");
    application.sql(
        "CREATE SCHEMA ahead;
        CREATE FUNCTION ahead.clock_timestamp() RETURNS timestamptz LANGUAGE sql
            AS $$ SELECT pg_catalog.clock_timestamp() + interval '6 seconds' $$;
        DO $$ BEGIN
            EXECUTE format('ALTER DATABASE %I SET search_path = ahead, pg_catalog, public', current_database());
        END $$",
    );
    let server = application.start_serving();
    let answer = server.get("/readyz").await;
    assert_eq!((answer.status, &answer.json()["clock"]), (503, &"differs from the database's".into()));
    server.get("/readyz/verification").await.ok();
    let doctor = application.run(&["doctor"]);
    assert!(doctor.stdout.contains("the database's"), "{}", doctor.stdout);
}
