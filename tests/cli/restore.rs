//! `signet restore`: a backup goes into an empty store of either engine, and what could have ended since is ended.

use std::fs;
use std::sync::Arc;

use crate::support::application::{ALL_GRANTS, Application};
use crate::support::codes::{Totp, YubiKey};
use crate::support::postgres::{Database, is_wanted};

const RESTORE: [&str; 4] = ["restore", "one.backup", "--why", "the disk failed"];
const NOTHING: [&str; 3] = ["restore", "--ended", "nothing had ended"];

/// A deployment with a backup, and what a person did before and after it.
struct Backed {
    application: Arc<Application>,
    totp: Totp,
    key: YubiKey,
    refresh_token: String,
    client: crate::support::application::TestClient,
    user: crate::support::application::TestUser,
}

async fn backed_up() -> Backed {
    let application = Application::new("");
    let server = application.serve();
    let client = server.add_client("app", ALL_GRANTS, "read write");
    let user = server.add_user("ann", "reader");
    let totp = server.add_totp(&user, &[]);
    let key = server.add_yubico(&user, "ccccccccccbd");
    let first = server.sign_in(&client, &user, &totp.code()).await.ok();
    server.json(&["factor", "add", "recovery", "--user", "ann"]);
    server.json(&["backup", "one.backup"]);
    let second = server.refresh(&client, &first.refresh_token()).await.ok();
    server.json(&["user", "set-roles", "ann", "--roles", "writer"]);
    server.stop();
    Backed { application, totp, key, refresh_token: second.refresh_token(), client, user }
}

impl Backed {
    /// What holds of the restored store, whichever engine it is in.
    async fn is_restored(&self, restored: &serde_json::Value) {
        let Self { application, totp, key, refresh_token, client, user } = self;
        assert_eq!((&restored["ended_grants"], &restored["raised_totp"]), (&1.into(), &1.into()));
        application.run(&["serve"]).fails(1, &["nobody has said yet what had ended", "signet restore --ended"]);
        assert_eq!(application.json(&NOTHING)["want_two_codes"], 1, "nobody knows how far it was counted");
        for (sql, count) in [
            ("SELECT count(*) FROM grants WHERE ended_at IS NULL", "0"),
            ("SELECT count(*) FROM refresh_tokens", "0"),
            ("SELECT count(*) FROM recovery_codes", "0"),
            ("SELECT count(*) FROM factors WHERE kind = 'recovery'", "0"),
            ("SELECT count(*) FROM seals WHERE kind = 'factors.secret'", "2"),
            ("SELECT count(*) FROM sessions", "0"),
            ("SELECT count(*) FROM leases", "0"),
            ("SELECT count(*) FROM factors WHERE kind = 'yubico_otp' AND state = 'wants_two_codes'", "1"),
            ("SELECT count(*) FROM audit_records WHERE text LIKE '%store.restored%the disk failed%'", "1"),
        ] {
            assert_eq!(application.sql(sql), count, "{sql}");
        }
        assert!(
            fs::read_dir(application.folder())
                .unwrap()
                .flatten()
                .any(|entry| { entry.file_name().to_string_lossy().starts_with("audit.anchor.before-") })
        );
        let server = application.serve();
        assert_eq!(server.refresh(client, refresh_token).await.status, 400, "its family may have ended");
        for steps in [-1, 0] {
            let code = totp.at(steps);
            assert_eq!(server.sign_in(client, user, &code).await.status, 400, "{steps}: it may have been spent");
        }
        server.token(client, &[("grant_type", "client_credentials")]).await.ok();
        // Two codes in a row, of which the first alone does nothing.
        let [first, passed_over, second, third] = [(); 4].map(|()| key.press());
        assert_eq!(server.sign_in(client, user, &first).await.status, 400, "it may have been spent");
        assert_eq!(server.sign_in(client, user, &second).await.status, 400, "not the one directly after it");
        assert_eq!(server.sign_in(client, user, &passed_over).await.status, 400, "it was passed over");
        server.sign_in(client, user, &third).await.ok();
        server.sign_in(client, user, &key.press()).await.ok();
        server.json(&["factor", "add", "recovery", "--user", "ann"]);
        let ann = server.json(&["user", "show", "ann"]);
        assert_eq!(ann["roles"], serde_json::json!(["reader"]), "as it was at the backup");
        server.stop();
        assert_eq!(application.json(&["audit", "verify"])["intact"], true);
    }
}

#[tokio::test]
async fn a_backup_is_restored_into_a_new_file_and_what_could_have_ended_has() {
    if is_wanted() {
        // The other test restores into PostgreSQL.
        return;
    }
    let backed = backed_up().await;
    let application = &backed.application;
    application.run(&RESTORE).fails(1, &["is not empty", "only an empty database is filled"]);
    fs::remove_file(application.database()).unwrap();
    application.run(&["restore", "one.backup"]).fails(2, &["--why"]);
    application.run(&["restore", "one.backup", "--why", " "]).fails(2, &["--why"]);
    let whole = fs::read_to_string(application.file("one.backup")).unwrap();
    fs::write(application.file("bad.backup"), whole.replace("\"ann\"", "\"eve\"")).unwrap();
    application.run(&["restore", "bad.backup", "--why", "no"]).fails(1, &["is refused", "altered"]);
    assert!(!application.database().exists(), "nothing is made of a backup that is refused");
    let restored = application.json(&RESTORE);
    backed.is_restored(&restored).await;
    application.run(&RESTORE).fails(1, &["is not empty"]);
}

#[tokio::test]
async fn a_backup_of_one_engine_is_restored_into_the_other() {
    if is_wanted() {
        return;
    }
    let backed = backed_up().await;
    let (application, database) = (&backed.application, Database::new());
    let url = format!("url = \"{}\"\nstate_folder = \".\"", database.url());
    application.edit("url = \"sqlite://signet.db\"", &url);
    let restored = application.json(&RESTORE);
    let count = |sql: &str| database.sql(sql);
    assert_eq!(count("SELECT count(*) FROM users"), "1");
    assert_eq!(count("SELECT count(*) FROM grants WHERE ended_at IS NULL"), "0");
    assert_eq!(restored["ended_grants"], 1);
    application.json(&NOTHING);
    assert_eq!(count("SELECT count(*) FROM factors WHERE state = 'wants_two_codes'"), "1");
    let server = application.serve();
    server.token(&backed.client, &[("grant_type", "client_credentials")]).await.ok();
    server.stop();
    assert_eq!(application.json(&["audit", "verify"])["intact"], true);
}

/// A store that was half filled is opened by nobody.
#[tokio::test]
async fn a_restore_that_did_not_end_leaves_a_store_that_nobody_opens() {
    if is_wanted() {
        return;
    }
    let backed = backed_up().await;
    let (application, database) = (&backed.application, Database::new());
    let url = format!("url = \"{}\"\nstate_folder = \".\"", database.url());
    application.edit("url = \"sqlite://signet.db\"", &url);
    application.json(&["store", "migrate"]);
    database.sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no more'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON audit_records FOR EACH ROW EXECUTE FUNCTION fail()",
    );
    application.run(&RESTORE).fails(1, &["no more"]);
    database.sql("DROP TRIGGER fail ON audit_records");
    application.run(&["serve"]).fails(1, &["was being filled from backup:", "signet restore"]);
    application.run(&RESTORE).fails(1, &["was filled before: make a new one"]);
}

/// The file is put back by other means than `signet restore`, and the anchor knows of records that are gone.
#[tokio::test(flavor = "multi_thread")]
async fn hazard_78_a_store_that_was_put_back_is_gone_on_with_only_where_an_operator_says_so() {
    if is_wanted() {
        return;
    }
    let application = Application::new("[audit]\ncheckpoint_interval = \"1s\"");
    let in_place = ["restore", "--in-place", "--why", "the disk was put back"];
    let server = application.serve();
    let client = server.add_client("app", ALL_GRANTS, "read write");
    let user = server.add_user("ann", "reader");
    let totp = server.add_totp(&user, &[]);
    let token = server.sign_in(&client, &user, &totp.code()).await.ok();
    application.run(&in_place).fails(1, &["another server runs on"]);
    server.stop();
    application.run(&in_place).fails(1, &["nothing to decide"]);
    let kept = fs::read(application.database()).unwrap();
    let server = application.serve();
    server.revoke(&client, &token.refresh_token()).await.ok();
    server.stop();
    fs::write(application.database(), kept).unwrap();
    application.run(&["serve"]).fails(1, &["an old copy of the store", "signet restore --in-place"]);
    let went_on = application.json(&in_place);
    assert_eq!((&went_on["ended_grants"], &went_on["raised_totp"]), (&1.into(), &1.into()), "{went_on}");
    assert!(went_on["anchor_moved_to"].is_string());
    application.run(&in_place).fails(1, &["nothing to decide"]);
    application.run(&["serve"]).fails(1, &["signet restore --ended"]);
    application.json(&NOTHING);
    application.run(&NOTHING).fails(1, &["there is nothing to say"]);
    let server = application.serve();
    assert_eq!(server.refresh(&client, &token.refresh_token()).await.status, 400, "it had been revoked since");
    assert!(!server.is_active(&client, &token.access_token()).await);
    server.token(&client, &[("grant_type", "client_credentials")]).await.ok();
    assert_eq!(application.json(&["audit", "verify"])["intact"], true);
    let told = application.audit().await;
    assert!(
        told.iter()
            .any(|record| record["event"] == "store.restored" && record["detail"] == "in place; the disk was put back")
    );
}
