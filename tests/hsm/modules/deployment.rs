//! A token that only signs, in a deployment: alone it is refused with what is missing, beside one that keeps secrets it
//! signs.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use signet_hsm::{HsmConfig, PinSource};

use crate::support::application::Application;
use crate::support::hsm::PROGRAM;
use crate::support::modules::Make;

/// The configuration's `[[hsm]]` of a token.
fn section(name: &str, hsm: &HsmConfig) -> String {
    let PinSource::File(pin) = &hsm.pin else { unreachable!() };
    let mut section = format!(
        "\n[[hsm]]\nname = \"{name}\"\nmodule = \"{}\"\ntoken_label = \"signet\"\npin_file = \"{}\"\nsessions = 1\n\
         deadline = \"20s\"\n[hsm.environment]\n",
        hsm.module.display(),
        pin.display()
    );
    for (variable, value) in &hsm.environment {
        writeln!(section, "{variable} = \"{value}\"").unwrap();
    }
    section
}

#[tokio::test]
async fn a_tpm_signs_in_a_deployment_whose_secrets_another_token_keeps() {
    let tpm = Make::Tpm2.token();
    let application = Application::new(&section("tpm", &tpm.config()));
    let keys = application.json(&["key", "list"]);
    let of_tpm = |key: &&serde_json::Value| key["hsm"] == "tpm";
    let purposes: Vec<_> = keys.as_array().unwrap().iter().filter(of_tpm).map(|key| &key["purpose"]).collect();
    assert_eq!(purposes, ["token_signing", "audit_signing"], "{keys}");

    let server = Arc::clone(&application).serve();
    let app = application.add_client("app", "password,refresh_token", "read write");
    let ann = application.add_user("ann", "reader");
    let totp = application.add_totp(&ann, &[]);
    let answer = server.sign_in(&app, &ann, &totp.code()).await;
    assert_eq!(answer.status, 200, "{}", application.log());
    server.refresh(&app, &answer.refresh_token()).await.ok();
    let keys = server.get("/oauth2/jwks").await.ok();
    assert_eq!(keys.json()["keys"].as_array().unwrap().len(), 2, "a key of each token");
}

#[test]
fn a_tpm_alone_is_refused_with_what_is_missing() {
    let tpm = Make::Tpm2.token();
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("signet.toml");
    let server = "[server]\npublic_url = \"http://localhost:8080\"\nlisten = \"127.0.0.1:0\"\n";
    fs::write(&configuration, format!("{server}{}", section("tpm", &tpm.config()))).unwrap();
    let output = Command::new(PROGRAM).arg("--config").arg(&configuration).arg("init").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("none of the HSM tokens can keep secrets") && told.contains("CKM_AES_GCM"), "{told}");
}
