//! `init`, `key`, `custody` and `doctor`.

use serde_json::json;

use crate::support::application::{ALL_GRANTS, Application};
use crate::support::caller::Caller;
use crate::support::commands::text;

#[test]
fn init_twice_makes_nothing_twice() {
    let deployment = Application::uninitialised("");
    let made = |report: &serde_json::Value| -> Vec<(String, bool)> {
        let keys = report["keys"].as_array().unwrap();
        keys.iter().map(|key| (text(key, "kid"), key["created"].as_bool().unwrap())).collect()
    };
    let first = made(&deployment.json(&["init"]));
    assert!(first.len() == 6 && first.iter().all(|(_, created)| *created), "{first:?}");
    let audit_key = std::fs::read(deployment.file("audit.jwk")).unwrap();
    let second = made(&deployment.json(&["init"]));
    assert!(second.iter().all(|(_, created)| !created), "{second:?}");
    assert_eq!(
        first.iter().map(|(kid, _)| kid).collect::<Vec<_>>(),
        second.iter().map(|(kid, _)| kid).collect::<Vec<_>>()
    );
    assert_eq!(std::fs::read(deployment.file("audit.jwk")).unwrap(), audit_key);
    assert_eq!(deployment.json(&["key", "list"]).as_array().map(Vec::len), Some(6));
    let objects = deployment.hsm_token().pkcs11_tool(&["--list-objects", "--type", "privkey"]);
    assert_eq!(objects.matches("Private Key Object").count(), 3, "{objects}");
}

#[test]
fn bad_keys_are_not_generated() {
    let deployment = Application::new("");
    for (arguments, code, word) in [
        (["--algorithm", "RS256", "--bits", "1024"].as_slice(), 2, "2048, 3072 or 4096"),
        (&["--algorithm", "RS256", "--bits", "many"], 2, "--bits"),
        (&["--algorithm", "HS256"], 2, "ES256, ES384, EdDSA"),
        (&["--algorithm", "none"], 2, "ES256, ES384, EdDSA"),
        (&["--hsm", "secondary"], 1, "configured: primary"),
    ] {
        deployment.run(&[&["key", "generate"], arguments].concat()).fails(code, &[word]);
    }
    assert_eq!(deployment.json(&["key", "list"]).as_array().map(Vec::len), Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_key_is_published_by_the_running_server_at_once() {
    let deployment = Application::new("");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    let caller = Caller::new(&server, &credentials);
    let before = caller.client_credentials().await.unwrap().text("access_token");
    let second = deployment.json(&["key", "generate", "--algorithm", "ES256"]);
    assert_eq!(second["state"], "next", "a further key of the same algorithm does not sign yet: {second}");
    let other = deployment.json(&["key", "generate", "--algorithm", "EdDSA"]);
    assert_eq!((&other["state"], &other["algorithm"]), (&json!("active"), &json!("EdDSA")));
    let jwks = caller.get("/oauth2/jwks").await.unwrap().json();
    let published: Vec<String> = jwks["keys"].as_array().unwrap().iter().map(|key| text(key, "kid")).collect();
    assert!(published.contains(&text(&second, "kid")) && published.contains(&text(&other, "kid")), "{published:?}");
    let after = caller.client_credentials().await.unwrap().text("access_token");
    assert_eq!(before.split('.').next(), after.split('.').next(), "the old key signs on");
    server.stop();
}

#[test]
fn promise_1_custody_and_doctor_are_well_where_all_is_well() {
    let deployment = Application::new("");
    let report = deployment.json(&["custody"]);
    assert_eq!((&report["held"], &report["exceptions"].as_array().map(Vec::len)), (&json!(true), &Some(1)));
    assert!(report["exceptions"][0].as_str().unwrap().starts_with("the deployment's secret"), "{report}");
    let keys = report["tokens"][0]["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 6);
    for key in keys {
        let attributes = &key["attributes"];
        for name in ["sensitive", "always_sensitive", "never_extractable", "local"] {
            assert_eq!(attributes[name], true, "{name}: {key}");
        }
        assert_eq!(attributes["extractable"], false, "{key}");
    }
    let doctor = deployment.json(&["doctor"]);
    assert_eq!(doctor["ok"], true, "{doctor}");
    let subjects: Vec<&str> =
        doctor["findings"].as_array().unwrap().iter().map(|finding| finding["subject"].as_str().unwrap()).collect();
    for subject in ["configuration", "clock", "store", "disk", "HSM primary", "custody", "signature"] {
        assert!(subjects.contains(&subject), "{subject} is not among {subjects:?}");
    }
}

#[test]
fn doctor_finds_what_is_wrong_and_says_it_in_json_too() {
    let deployment = Application::new("");
    let store = std::fs::read(deployment.file("signet.db")).unwrap();
    std::fs::write(deployment.file("signet.db"), "no database").unwrap();
    deployment.run(&["doctor"]).fails(1, &["FAULT", "store"]);
    std::fs::write(deployment.file("signet.db"), store).unwrap();
    deployment.edit("token_label = \"signet\"", "token_label = \"elsewhere\"");
    let ran = deployment.run(&["--json", "doctor"]);
    ran.fails(1, &["elsewhere"]);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["ok"], false);
    deployment.run(&["custody"]).fails(1, &["elsewhere"]);
}
