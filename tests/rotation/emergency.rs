//! `signet key rotate --emergency`.

use signet_verify::inspect;

use super::{cka_id, in_hsm, in_stage, published, quick, ring, told, wait_long};
use crate::support::application::{ALL_GRANTS, AUDIENCE, Application};
use crate::support::caller::Caller;
use crate::support::commands::text;
use crate::support::process::signal;

fn key_of(token: &str) -> String {
    inspect(token).unwrap().unverified_header["kid"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_19_a_revoked_key_is_out_at_once_and_for_good() {
    let deployment = Application::new(&quick("never"));
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    let caller = Caller::new(&server, &credentials);
    let token = caller.client_credentials().await.unwrap().text("access_token");
    let kid = key_of(&token);
    let hsm_id = cka_id(&deployment, &kid);

    // It says first what it breaks, and does nothing.
    let asked = deployment.run(&["key", "rotate", "--emergency", &kid]);
    asked.fails(1, &["1 token", AUDIENCE, "keys.jwks_max_age", "--yes", "another one is made"]);
    let asked = deployment.run(&["--json", "key", "rotate", "--emergency", &kid]);
    let report: serde_json::Value = serde_json::from_str(&asked.stdout).unwrap();
    assert_eq!((&report["revoked"], &report["consequences"]["unexpired_tokens"]), (&false.into(), &1.into()));
    assert_eq!(caller.introspect(&token).await.unwrap().json()["active"], true);

    let done = deployment.json(&["key", "rotate", "--emergency", &kid, "--yes"]);
    assert_eq!((&done["revoked"], &done["left_to_the_server"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(caller.introspect(&token).await.unwrap().json()["active"], false);
    let jwks = caller.get("/oauth2/jwks").await.unwrap().json();
    assert!(!published(&jwks).contains(&kid), "{jwks}");
    assert!(caller.verifier().await.verify(&token).await.is_err());
    // Another key signs already.
    let fresh = caller.client_credentials().await.unwrap();
    assert_eq!(fresh.status, 200, "{fresh:?}");
    assert_eq!(key_of(&fresh.text("access_token")), text(&done["replacement"], "kid"));
    assert_eq!(caller.introspect(&fresh.text("access_token")).await.unwrap().json()["active"], true);
    assert!(!in_hsm(&deployment).contains(&hsm_id), "the key is gone from the HSM");
    server.stop();

    // The store remembers, also when it is asked again.
    let remembered = ring(&deployment).into_iter().find(|key| text(key, "kid") == kid).unwrap();
    assert_eq!((&remembered["state"], &remembered["end"]), (&"destroyed".into(), &"revoked".into()));
    deployment.run(&["key", "rotate", "--emergency", &kid, "--yes"]).fails(1, &["destroyed already"]);
    for event in ["key.revoked", "key.destroyed"] {
        assert!(told(&deployment, event).iter().any(|record| record["key"] == kid.as_str()), "{event}");
    }
}

/// A key that was published already is better than one that nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_key_takes_the_place_of_a_revoked_one() {
    let deployment = Application::new("");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    let first = in_stage(&deployment, "active").remove(0);
    let next = text(&deployment.json(&["key", "rotate"])[0]["key"], "kid");
    deployment.json(&["key", "rotate", "--emergency", &first, "--yes"]);
    assert_eq!(in_stage(&deployment, "active"), std::slice::from_ref(&next));
    let token = Caller::new(&server, &credentials).client_credentials().await.unwrap().text("access_token");
    assert_eq!(key_of(&token), next);
    server.stop();
}

/// The revocation needs no HSM. What does is done by the server when the HSM is back: the key is replaced and destroyed.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_revoked_while_its_hsm_is_away() {
    let deployment = Application::new(&quick("never"));
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    let caller = Caller::new(&server, &credentials);
    let token = caller.client_credentials().await.unwrap().text("access_token");
    let kid = key_of(&token);
    let hsm_id = cka_id(&deployment, &kid);
    let (tokens, away) = (deployment.file("tokens"), deployment.file("away"));
    std::fs::rename(&tokens, &away).unwrap();
    signal(server.workers()[0], "KILL");
    let done = tokio::task::block_in_place(|| deployment.json(&["key", "rotate", "--emergency", &kid, "--yes"]));
    assert!(done["revoked"] == true && done["left_to_the_server"].is_string(), "{done}");
    assert_eq!(caller.introspect(&token).await.unwrap().json()["active"], false);
    assert_eq!(in_stage(&deployment, "withdrawn"), std::slice::from_ref(&kid));
    // Also a server that starts now comes up, with no key that signs.
    server.stop();
    let server = deployment.start_serving();
    let caller = Caller::new(&server, &credentials);
    assert!(caller.client_credentials().await.unwrap().is_try_again());
    assert_eq!(caller.introspect(&token).await.unwrap().json()["active"], false);
    std::fs::rename(&away, &tokens).unwrap();
    tokio::task::block_in_place(|| {
        wait_long("its end", || in_stage(&deployment, "destroyed").contains(&kid).then_some(()));
        wait_long("another key", || (in_stage(&deployment, "active").len() == 1).then_some(()));
    });
    assert!(!in_hsm(&deployment).contains(&hsm_id));
    let signs_again = caller.client_credentials().await.unwrap();
    assert_eq!(signs_again.status, 200, "{signs_again:?}");
    server.stop();
}

#[test]
fn only_a_signing_key_that_is_there_is_revoked() {
    let deployment = Application::new("");
    deployment.run(&["key", "rotate", "--emergency", "nobody", "--yes"]).fails(1, &["no key `nobody`"]);
    let keys = deployment.json(&["key", "list"]);
    let audit = keys.as_array().unwrap().iter().find(|key| key["purpose"] == "audit_signing").unwrap();
    deployment.run(&["key", "rotate", "--emergency", &text(audit, "kid"), "--yes"]).fails(1, &["audit signing key"]);
    deployment.run(&["key", "rotate", "--yes"]).fails(2, &["--emergency"]);
    deployment.run(&["key", "rotate", "--emergency", "x", "--hsm", "primary"]).fails(2, &["--hsm"]);
}
