//! `signet backup`: while a server runs, whole or not at all, and checked by the audit key alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use crate::support::application::{ALL_GRANTS, Application};
use crate::support::hsm::PROGRAM;
use crate::support::process::feed;

async fn is_made_and_verified(application: &Arc<Application>) {
    let server = application.serve();
    let app = server.add_client("app", ALL_GRANTS, "read write");
    let ann = server.add_user("ann", "reader");
    let totp = server.add_totp(&ann, &[]);
    server.sign_in(&app, &ann, &totp.code()).await.ok();
    let made = application.json(&["backup", "one.backup"]);
    let file = application.file("one.backup");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let beside = fs::read_dir(application.folder()).unwrap().flatten();
    assert!(!beside.into_iter().any(|entry| entry.file_name().to_string_lossy().ends_with(".part")));
    let verified = application.json(&["backup", "verify", "one.backup"]);
    assert_eq!((&verified["genuine"], &verified["rows"]), (&true.into(), &made["rows"]));
    assert_eq!(verified["issuer"], application.issuer().as_str());
    let (anchored, last) = (verified["anchored_up_to"].as_i64(), verified["audit_records"][0].as_i64());
    assert!(anchored > last, "the backup's own record came after it: {verified}");
    server.token(&app, &[("grant_type", "client_credentials")]).await.ok();
    application.run(&["backup", "one.backup"]).fails(1, &["there is one of that name already"]);
    application.run(&["backup"]).fails(2, &["FILE"]);
    let custody = application.json(&["custody"]);
    assert_eq!(custody["well"], true, "{custody}");
    server.stop();

    // Nothing but the file and the audit key is there.
    let elsewhere = tempfile::tempdir().unwrap();
    for name in ["one.backup", "audit.jwk"] {
        fs::copy(application.file(name), elsewhere.path().join(name)).unwrap();
    }
    let verify = || {
        let mut command = std::process::Command::new(PROGRAM);
        command.args(["backup", "verify", "one.backup", "--key", "audit.jwk"]).current_dir(elsewhere.path());
        feed(command, "")
    };
    assert!(verify().ok().stdout.contains("genuine and whole"));
    let (place, whole) = (elsewhere.path().join("one.backup"), fs::read_to_string(&file).unwrap());
    fs::write(&place, whole.replace("\"ann\"", "\"eve\"")).unwrap();
    verify().fails(1, &["is refused", "altered: the rows of the table"]);
    fs::write(&place, &whole[..whole.len() - 300]).unwrap();
    verify().fails(1, &["is refused", "shortened"]);
}

#[tokio::test]
async fn promise_3_a_backup_of_a_running_deployment_is_verified_by_the_audit_key_alone() {
    is_made_and_verified(&Application::new("")).await;
}

#[tokio::test]
async fn promise_3_a_backup_of_a_running_deployment_on_postgresql_is_verified_alike() {
    is_made_and_verified(&Application::on_postgres("")).await;
}

/// Where the statement can't be signed there is no file.
#[test]
fn a_backup_that_can_not_be_closed_leaves_no_file() {
    let application = Application::new("");
    application.run(&["backup", "no/such/folder/one.backup"]).fails(1, &["can't write"]);
    fs::rename(application.file("tokens"), application.file("taken")).unwrap();
    assert_ne!(application.run(&["backup", "one.backup"]).code, Some(0));
    let left = fs::read_dir(application.folder()).unwrap().flatten();
    assert!(!left.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("one.backup")));
}
