//! Who may use the socket, and what stands in its place.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

use super::{ask, get, with_json};
use crate::support::application::Application;
use crate::support::skipped::skipped;

#[tokio::test]
async fn the_kernel_says_who_asks_and_a_claim_is_a_claim() {
    let application = Application::new("");
    let server = application.serve();
    let socket = application.file("admin.sock");
    let there = fs::metadata(&socket).unwrap();
    assert!(there.file_type().is_socket());
    assert_eq!(there.permissions().mode() & 0o777, 0o600);
    let new = serde_json::json!({"name": "ann", "password": "correct horse battery staple"});
    for (claim, told) in [(None, "root (uid 0)"), (Some("bob"), "bob by root (uid 0)")] {
        if !rustix::process::getuid().is_root() {
            return skipped("the test knows the name of root alone");
        }
        ask(&application, |http, base| {
            let request = with_json(http.post(format!("{base}/users")), &new);
            if let Some(claim) = claim { request.header("signet-operator", claim) } else { request }
        })
        .await;
        let records = application.audit().await;
        let added = records.iter().rfind(|record| record["change"] == "added").unwrap();
        assert_eq!(added["operator"], told);
        application.json(&["user", "remove", "ann", "--yes"]);
    }
    let forged =
        ask(&application, |http, base| http.get(format!("{base}/users")).header("signet-operator", "a (uid 7)"));
    assert_eq!(forged.await.status, 400);
    server.stop();
    assert!(!socket.exists(), "the socket goes with its server");
}

#[tokio::test]
async fn another_account_is_not_let_in_and_hears_why() {
    if !rustix::process::getuid().is_root() {
        return skipped("only root can be somebody else");
    }
    let application = Application::new("");
    let server = application.serve();
    let as_nobody = |arguments: &[&str]| application.run_as_nobody(arguments).unwrap();
    as_nobody(&["user", "list"]).fails(1, &["does not let this account in", "admin.group"]);
    // Where the group is named, its members are let in, and told by their own name.
    server.stop();
    application.reconfigure("[admin]\ngroup = \"nogroup\"");
    let server = application.serve();
    assert_eq!(fs::metadata(application.file("admin.sock")).unwrap().permissions().mode() & 0o777, 0o660);
    let added = as_nobody(&["client", "add", "app", "--grant", "client_credentials"]);
    assert_eq!(added.code, Some(0), "{added:?}");
    let records = application.audit().await;
    let told = records.iter().rfind(|record| record["change"] == "added").unwrap();
    assert_eq!(told["operator"], "nobody (uid 65534)");
    server.stop();
}

#[tokio::test]
async fn what_a_killed_server_left_is_in_nobodys_way() {
    let application = Application::new("");
    let mut server = application.serve();
    server.kill();
    assert!(application.file("admin.sock").exists(), "nothing was left");
    application.add_user("ann", "reader");
    drop(server);
    let server = application.serve();
    assert_eq!(get(&application, "/users/ann").await.ok().text("name"), "ann");
    server.stop();
    fs::write(application.file("admin.sock"), "something else").unwrap();
    let ran = application.run(&["serve"]);
    ran.fails(1, &["admin.sock", "no socket"]);
    assert_eq!(fs::read_to_string(application.file("admin.sock")).unwrap(), "something else");
}
