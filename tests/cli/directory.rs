//! Users, factors and clients, with and without a running server, which sees each change at once.

use serde_json::json;

use crate::support::application::{ALL_GRANTS, AUDIENCE, Application, TestClient};
use crate::support::caller::Caller;
use crate::support::commands::text;

use crate::support::application::PASSWORD;
const AES_KEY: &str = "000102030405060708090a0b0c0d0e0f";

fn yubico<'a>(user: &'a str, public_id: &'a str, private_id: &'a str) -> Vec<&'a str> {
    let start = ["factor", "add", "yubico-otp", "--user", user, "--public-id", public_id];
    [&start[..], &["--private-id", private_id, "--secret-key-stdin"]].concat()
}

#[test]
fn users_are_added_shown_changed_and_removed() {
    let deployment = Application::new("");
    let add = ["--json", "user", "add", "ann", "--roles", "reader,writer", "--password-stdin"];
    let added = deployment.run_with(&add, &format!("{PASSWORD}\n")).json();
    assert_eq!(
        (&added["name"], &added["roles"], &added["enabled"]),
        (&json!("ann"), &json!(["reader", "writer"]), &json!(true))
    );
    assert!(added.as_object().unwrap().keys().all(|key| !key.contains("password")));
    deployment.run_with(&add, PASSWORD).fails(1, &["a user named `ann` already"]);
    deployment.run(&["user", "add", "bob", "--password-stdin"]).fails(2, &["password", "standard input"]);
    deployment.run_with(&["user", "add", "bob", "--password-stdin"], "\n").fails(2, &["password", "standard input"]);
    deployment.run(&["user", "add", "bob"]).fails(2, &["--password-stdin"]);
    deployment.run_with(&["user", "add", "bob", "--password-stdin"], "short").fails(1, &["too short"]);
    deployment.run_with(&["user", "add", " bob", "--password-stdin"], PASSWORD).fails(1, &["name"]);
    deployment.run_with(&["user", "add", "b\u{7}ob", "--password-stdin"], PASSWORD).fails(1, &["control characters"]);
    let roles = ["user", "add", "bob", "--roles", "two words", "--password-stdin"];
    deployment.run_with(&roles, PASSWORD).fails(1, &["`two words` is no role"]);
    assert_eq!(deployment.json(&["user", "list"]).as_array().map(Vec::len), Some(1), "nothing of that was added");

    for (arguments, field, expected) in [
        (["user", "disable", "ann"].as_slice(), "enabled", json!(false)),
        (&["user", "enable", "ann"], "enabled", json!(true)),
        (&["user", "set-roles", "ann", "--roles", "auditor"], "roles", json!(["auditor"])),
    ] {
        assert!(deployment.json(arguments)["done"].is_string());
        assert_eq!(deployment.json(&["user", "show", "ann"])[field], expected);
    }
    let set = deployment.run_with(&["--json", "user", "set-password", "ann", "--password-stdin"], "another password");
    assert!(set.json()["done"].is_string());
    assert!(deployment.json(&["user", "remove", "ann", "--yes"])["done"].is_string());
    for command in ["show", "disable", "enable", "remove"] {
        deployment.run(&["user", command, "ann"]).fails(1, &["there is no user `ann`"]);
    }
    deployment.run_with(&["user", "set-password", "ann", "--password-stdin"], PASSWORD).fails(1, &["no user `ann`"]);
}

#[test]
fn factors_are_enrolled_once_and_bad_ones_not_at_all() {
    let deployment = Application::new("");
    deployment.add_user("ann", "reader");
    let made = deployment.json(&["factor", "add", "totp", "--user", "ann"]);
    let (id, secret, uri) = (text(&made, "id"), text(&made, "secret_base32"), text(&made, "otpauth_uri"));
    assert!(uri.starts_with("otpauth://totp/") && uri.contains(&secret), "{uri}");
    let shown = deployment.run(&["factor", "add", "totp", "--user", "ann", "--hash", "SHA256", "--digits", "8"]);
    assert!(shown.stdout.contains('█') && shown.stdout.contains("shown this once"), "{shown:?}");

    let good = deployment.run_with(&yubico("ann", "ccccccccccbd", "010203040506"), AES_KEY);
    assert_eq!(good.code, Some(0), "{good:?}");
    deployment.add_user("bob", "reader");
    for (user, public_id, private_id, key, code, word) in [
        ("bob", "ccccccccccbd", "010203040506", AES_KEY, 1, "ccccccccccbd"),
        ("bob", "ccccccccccxy", "010203040506", AES_KEY, 2, "modhex"),
        ("bob", "ccccccccccccccccc", "010203040506", AES_KEY, 2, "modhex"),
        ("bob", "ccccccccccbe", "0102030405", AES_KEY, 2, "12 hex digits"),
        ("bob", "ccccccccccbe", "01020304050g", AES_KEY, 2, "12 hex digits"),
        ("bob", "ccccccccccbe", "010203040506", "0001", 2, "32 hex digits"),
        ("bob", "ccccccccccbe", "010203040506", "", 2, "standard input"),
        ("eve", "ccccccccccbe", "010203040506", AES_KEY, 1, "no user `eve`"),
    ] {
        let ran = deployment.run_with(&yubico(user, public_id, private_id), key);
        ran.fails(code, &[word]);
        assert!(!ran.stderr.contains(AES_KEY), "{ran:?}");
    }
    for arguments in [["--digits", "7"], ["--period", "45"], ["--hash", "MD5"]] {
        let ran = deployment.run(&[&["factor", "add", "totp", "--user", "bob"], arguments.as_slice()].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
    deployment.run(&["factor", "add", "totp", "--user", "eve"]).fails(1, &["no user `eve`"]);
    assert_eq!(deployment.json(&["factor", "list", "--user", "bob"]), json!([]));
    assert_eq!(deployment.json(&["factor", "list", "--user", "ann"]).as_array().map(Vec::len), Some(3));
    assert!(deployment.json(&["factor", "remove", &id, "--yes"])["done"].is_string());
    deployment.run(&["factor", "remove", &id, "--yes"]).fails(1, &["there is no factor"]);
    deployment.run(&["factor", "list", "--user", "eve"]).fails(1, &["no user `eve`"]);
    assert_eq!(deployment.json(&["user", "show", "ann"])["factors"].as_array().map(Vec::len), Some(2));
}

#[test]
fn clients_are_added_shown_changed_and_removed() {
    let deployment = Application::new("");
    let TestClient { id, secret, .. } = deployment.add_client("app", ALL_GRANTS, "read write");
    let shown = deployment.json(&["client", "show", "app"]);
    assert_eq!((&shown["client_id"], &shown["audiences"]), (&json!(id), &json!([AUDIENCE])));
    assert!(shown.get("client_secret").is_none(), "{shown}");
    assert_eq!(deployment.json(&["client", "show", &id]), shown);
    deployment.run(&["client", "add", "app", "--grant", "password"]).fails(1, &["a client named `app` already"]);
    deployment
        .run(&["client", "add", "b", "--grant", "implicit"])
        .fails(2, &["unknown grant type", "client_credentials"]);
    deployment.run(&["client", "add", "b"]).fails(2, &["--grant"]);
    deployment.run(&["client", "add", "b", "--grant", "password", "--scope", "sc\"ope"]).fails(1, &["is no scope"]);
    assert_ne!(text(&deployment.json(&["client", "renew-secret", "app"]), "client_secret"), secret);
    assert!(deployment.json(&["client", "disable", "app"])["done"].is_string());
    assert_eq!(deployment.json(&["client", "list"])[0]["enabled"], false);
    assert!(deployment.json(&["client", "enable", "app"])["done"].is_string());
    assert!(deployment.json(&["client", "remove", "app", "--yes"])["done"].is_string());
    assert_eq!(deployment.json(&["client", "list"]), json!([]));
    for command in ["show", "disable", "enable", "remove", "renew-secret"] {
        deployment.run(&["client", command, "app"]).fails(1, &["there is no client `app`"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_sees_each_change_at_once() {
    let deployment = Application::new("");
    let server = deployment.serve();
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let caller = Caller::new(&server, &credentials);
    let granted = caller.client_credentials().await.unwrap();
    assert_eq!(granted.status, 200, "{granted:?}");
    let ann = deployment.add_user("ann", "reader");
    let totp = deployment.add_totp(&ann, &[]);
    let first = caller.sign_in("ann", PASSWORD, &totp.at(0)).await.unwrap();
    assert_eq!(first.status, 200, "{first:?}");

    deployment.json(&["user", "disable", "ann"]);
    let (access, refresh) = (first.text("access_token"), first.text("refresh_token"));
    assert_eq!(caller.introspect(&access).await.unwrap().json(), json!({ "active": false }));
    assert_eq!(caller.refresh(&refresh).await.unwrap().status, 400, "the family ended");
    deployment.json(&["user", "enable", "ann"]);
    assert_eq!(caller.refresh(&refresh).await.unwrap().status, 400, "and stays so");
    deployment.json(&["factor", "remove", &totp.id, "--yes"]);
    assert_eq!(caller.sign_in("ann", PASSWORD, &totp.at(1)).await.unwrap().status, 400);

    let renewed = text(&deployment.json(&["client", "renew-secret", "app"]), "client_secret");
    assert_eq!(caller.client_credentials().await.unwrap().status, 401);
    let caller = Caller::new(&server, &TestClient { secret: renewed, ..credentials });
    assert_eq!(caller.client_credentials().await.unwrap().status, 200);
    deployment.json(&["client", "disable", "app"]);
    assert_eq!(caller.client_credentials().await.unwrap().status, 401);
    for arguments in [["custody"].as_slice(), &["doctor"], &["audit", "verify"], &["user", "list"], &["init"]] {
        deployment.json(arguments);
    }
    server.stop();
}
