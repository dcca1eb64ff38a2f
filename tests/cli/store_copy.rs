//! `signet store copy`: a deployment moves from its file to PostgreSQL, and its users notice nothing.

use crate::support::application::{ALL_GRANTS, Application};
use crate::support::postgres::{Database, is_wanted};

#[tokio::test]
async fn a_deployment_moves_to_postgresql_with_everything_that_holds() {
    if is_wanted() {
        // What is copied is a file.
        return;
    }
    let (application, database) = (Application::new(""), Database::new());
    let server = application.serve();
    let app = server.add_client("app", ALL_GRANTS, "read write");
    let ann = server.add_user("ann", "reader");
    let totp = server.add_totp(&ann, &[]);
    let code = totp.code();
    let first = server.sign_in(&app, &ann, &code).await.ok();
    let copy = ["store", "copy", "--to", &database.url()];
    application.run(&copy).fails(1, &["this machine's server runs: stop it first"]);
    server.stop();

    application.run(&["store", "copy", "--to", "postgres://signet:secret@127.0.0.1/x"]).fails(1, &["password"]);
    let copied = application.json(&copy);
    let of =
        |name: &str| copied["tables"].as_array().unwrap().iter().find(|table| table["table"] == name).unwrap().clone();
    assert_eq!(of("users")["rows"], 1);
    assert_eq!(of("users")["sha256"].as_str().unwrap().len(), 64);
    application.run(&["serve"]).fails(1, &["the store moved to", &database.url()]);
    application.run(&["user", "list"]).fails(1, &["set store.url to that one"]);

    let url = format!("url = \"{}\"\nstate_folder = \".\"", database.url());
    application.edit("url = \"sqlite://signet.db\"", &url);
    let server = application.serve();
    let second = server.refresh(&app, &first.refresh_token()).await.ok();
    server.refresh(&app, &second.refresh_token()).await.ok();
    let spent = server.sign_in(&app, &ann, &code).await;
    assert_eq!(spent.status, 400, "a code that was spent before stays spent");
    server.json(&["user", "set-roles", "ann", "--roles", "writer"]);
    server.stop();
    let verified = application.json(&["audit", "verify"]);
    assert_eq!((&verified["intact"], &verified["records"]), (&true.into(), &verified["signed_up_to"]));
    application.json(&["custody"]);
}
