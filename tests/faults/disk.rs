//! The disk takes no more while the server runs: 503, no token, no record lost, and all is well when there is room.
//!
//! A limit on the size of files makes each write beyond it fail, as a full disk does, and can be lifted from outside.

use std::process::{Command, Stdio};

use super::caller::Caller;
use super::deployment::{Deployment, PATIENCE, Server, exported, totp};
use crate::support::hsm::PROGRAM;

const PASSWORD: &str = "correct horse battery staple";

/// A server that does not die of the signal that comes with the limit.
fn serve(deployment: &Deployment) -> Server {
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#, PROGRAM, "--config"]).arg(deployment.config()).arg("serve");
    command.current_dir(deployment.path()).stdout(Stdio::null());
    Server::start(command, deployment.file("server.log"))
}

fn limit_files_to(server: &Server, bytes: &str) {
    let fsize = format!("--fsize={bytes}:unlimited");
    let output = Command::new("prlimit").args(["--pid", &server.id().to_string(), &fsize]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_73_and_79_a_full_disk_issues_nothing_and_loses_nothing() {
    let deployment = Deployment::new();
    deployment.add_user("ann", PASSWORD);
    let (_, secret) = deployment.add_totp("ann");
    let credentials = deployment.add_client("app");
    let server = serve(&deployment);
    let caller = Caller::new(&server, &credentials);
    let before = caller.client_credentials().await.unwrap().text("access_token");
    let session = caller.sign_in("ann", PASSWORD, &totp(&secret, 0)).await.unwrap().text("refresh_token");

    limit_files_to(&server, "4096");
    for _ in 0..20 {
        let answer = caller.client_credentials().await.unwrap();
        assert!(answer.is_try_again() && answer.has_no_token(), "{answer:?}");
    }
    for answer in [
        caller.refresh(&session).await.unwrap(),
        caller.sign_in("ann", PASSWORD, &totp(&secret, 1)).await.unwrap(),
        caller.revoke(&before).await.unwrap(),
        caller.get("/readyz").await.unwrap(),
    ] {
        assert!(answer.status == 503 && answer.has_no_token(), "{answer:?}");
    }
    assert_eq!(caller.introspect(&before).await.unwrap().body["active"], true, "who verifies notices nothing");
    assert_eq!(caller.get("/oauth2/jwks").await.unwrap().status, 200);
    deployment.json(&["audit", "verify"]);

    limit_files_to(&server, "unlimited");
    let until = std::time::Instant::now() + PATIENCE;
    while caller.client_credentials().await.unwrap().status != 200 {
        assert!(std::time::Instant::now() < until, "no tokens although there is room again");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(caller.refresh(&session).await.unwrap().status, 200, "the family is there");
    let again = caller.sign_in("ann", PASSWORD, &totp(&secret, 1)).await.unwrap();
    assert_eq!(again.status, 200, "a code that was never accepted is not spent: {again:?}");
    assert_eq!(caller.revoke(&before).await.unwrap().status, 200);
    assert_eq!(caller.introspect(&before).await.unwrap().body["active"], false);
    server.stop();
    deployment.json(&["audit", "verify"]);
    assert_eq!(super::deployment::sqlite(&deployment, "PRAGMA integrity_check"), "ok");
    let records = exported(&deployment.run(&["audit", "export"]).stdout);
    let issued = records.iter().filter(|record| record["event"] == "token.issued").count();
    assert_eq!(issued, 4, "one for each token that left: {records:#?}");
}
