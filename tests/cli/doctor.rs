//! `signet doctor`: each fault is named once, with what to do, and none is made worse by looking.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::support::application::Application;
use crate::support::process::feed;
use crate::support::write_secret;

fn findings(report: &Value, subject: &str) -> Vec<Value> {
    let all = report["findings"].as_array().unwrap();
    all.iter().filter(|finding| finding["subject"] == subject).cloned().collect()
}

/// What `doctor --json` says, whatever its exit code.
fn doctor(deployment: &Application, options: &[&str]) -> (Option<i32>, Value) {
    let ran = deployment.run(&[&["--json", "doctor", "--quick"], options].concat());
    (ran.code, serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}")))
}

#[test]
fn the_speed_is_measured_and_sessions_are_recommended() {
    let deployment = Application::new("");
    let ran = deployment.run(&["--json", "doctor"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &report["ok"]), (Some(0), &Value::Bool(true)), "{ran:?}");
    let speed = findings(&report, "speed of primary");
    let measured = speed[0]["text"].as_str().unwrap();
    for part in ["with 1 session,", "with 16 sessions", "with 2 workers of 1 session", "ES256 signatures a second"] {
        assert!(measured.contains(part), "{measured}");
    }
    assert!(speed[1]["text"].as_str().unwrap().starts_with("configured: 2 sessions, "), "{speed:?}");
    assert!(ran.stderr.contains("measuring primary with 4 sessions"), "{ran:?}");
    // What was measured with is no token, and so no difference.
    assert_eq!(deployment.json(&["custody"])["well"], true);
    let quick = doctor(&deployment, &[]).1;
    assert_eq!(findings(&quick, "speed of primary"), Vec::<Value>::new());
    let alone = findings(&quick, "secrets")[0].to_string();
    assert!(alone.contains("open in HSM token primary alone") && alone.contains("signet hsm add"), "{alone}");
}

/// SoftHSM sets the flag at a wrong PIN and takes it back at a right one; hardware counts down to a lock.
#[test]
fn promise_9_and_hazard_63_doctor_presents_no_pin_where_wrong_ones_are_counted() {
    let deployment = Application::new("");
    let wrong = ["--module", deployment.hsm_token().module().to_str().unwrap(), "--token-label", "signet", "--login"];
    let output =
        deployment.hsm_token().command("pkcs11-tool").args(wrong).args(["--pin", "not it 0815", "-O"]).output();
    assert!(!output.unwrap().status.success());
    for _ in 0..2 {
        let (code, report) = doctor(&deployment, &[]);
        let told = findings(&report, "HSM primary")[0].to_string();
        assert!(code == Some(1) && told.contains("CKF_USER_PIN_COUNT_LOW") && told.contains("--present-pin"), "{told}");
    }
    assert!(!deployment.file("pin.refused").exists());
    assert_eq!(doctor(&deployment, &["--present-pin"]).0, Some(0));
    assert_eq!(doctor(&deployment, &[]).0, Some(0), "the right PIN has reset the count");
}

#[test]
fn a_variable_that_was_meant_as_an_override_is_refused_and_a_strange_one_is_worth_a_look() {
    let deployment = Application::new("");
    let run = |name: &str, arguments: &[&str]| {
        let mut command = deployment.command(arguments);
        command.env(name, "127.0.0.1:0");
        feed(command, "")
    };
    for arguments in [["doctor", "--quick"].as_slice(), &["serve"], &["key", "list"]] {
        run("SIGNET_SERVER_LISTEN", arguments).fails(1, &["SIGNET_SERVER_LISTEN", "SIGNET_SERVER__LISTEN"]);
    }
    let strange = run("SIGNET_LISTEN", &["doctor", "--quick"]);
    assert_eq!(strange.code, Some(0), "{strange:?}");
    assert!(strange.stdout.contains("look   configuration: the variable SIGNET_LISTEN does nothing"), "{strange:?}");
}

/// A policy for a name that is typed wrong protects nothing, and nobody would notice.
#[test]
fn a_policy_that_names_what_is_not_there_is_worth_a_look() {
    let app =
        Application::new("[policy.clients]\nconsle = [\"piv\"]\n[policy.scopes]\npay = [\"piv\"]\nread = [\"totp\"]");
    app.add_client("console", "password", "read");
    let output = app.run(&["doctor", "--quick", "--json"]);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let told: Vec<String> = findings(&report, "policy").iter().map(ToString::to_string).collect();
    assert_eq!((output.code, told.len()), (Some(0), 2), "{told:?}");
    assert!(told[0].contains("consle") && told[1].contains("pay"), "{told:?}");
    app.add_client("consle", "password", "pay");
    let report: Value = serde_json::from_str(&app.run(&["doctor", "--quick", "--json"]).stdout).unwrap();
    assert_eq!(findings(&report, "policy"), Vec::<Value>::new());
}

#[test]
fn a_clock_behind_the_audit_log_and_a_lost_anchor_are_faults() {
    let deployment = Application::new("");
    let (code, well) = doctor(&deployment, &[]);
    assert_eq!((code, findings(&well, "audit").len()), (Some(0), 2), "{well}");
    deployment
        .sql("UPDATE audit_records SET at = at + 86400000 WHERE sequence = (SELECT max(sequence) FROM audit_records)");
    let (code, report) = doctor(&deployment, &[]);
    let clock = findings(&report, "clock");
    assert!(code == Some(1) && clock[1]["text"].as_str().unwrap().contains("the last audit record"), "{report}");
    assert!(clock[1]["advice"].as_str().unwrap().contains("set the clock"), "{report}");
    deployment
        .sql("UPDATE audit_records SET at = at - 86400000 WHERE sequence = (SELECT max(sequence) FROM audit_records)");
    std::fs::rename(deployment.file("audit.anchor"), deployment.file("kept")).unwrap();
    deployment.run(&["doctor", "--quick"]).fails(1, &["FAULT  audit: the anchor", "put it back"]);
    std::fs::rename(deployment.file("kept"), deployment.file("audit.anchor")).unwrap();
    assert_eq!(doctor(&deployment, &[]).0, Some(0));
}

#[test]
fn a_checkpoint_of_another_audit_key_is_a_fault() {
    let (deployment, other) = (Application::new(""), Application::with_own_keys());
    std::fs::copy(other.file("audit.jwk"), deployment.file("audit.jwk")).unwrap();
    deployment.run(&["doctor", "--quick"]).fails(1, &["FAULT  audit", "not signed by the audit key"]);
    std::fs::remove_file(deployment.file("audit.jwk")).unwrap();
    let (code, report) = doctor(&deployment, &[]);
    assert_eq!(code, Some(0), "{report}");
    assert!(report.to_string().contains("public half can't be read"), "{report}");
}

#[test]
fn a_folder_that_is_not_there_is_a_fault() {
    let deployment = Application::new("[audit]\nanchor = \"anchors/audit.anchor\"\n");
    deployment.run(&["doctor", "--quick"]).fails(1, &["FAULT  disk", "the anchor", "mkdir -p"]);
    std::fs::create_dir(deployment.file("anchors")).unwrap();
    assert_eq!(doctor(&deployment, &[]).0, Some(0));
}

fn certify(application: &Application, parameters: &rcgen::CertificateParams, other_key: bool) {
    let (key, other) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let certificate = parameters.self_signed(&key).unwrap();
    std::fs::write(application.folder().join("certificate.pem"), certificate.pem()).unwrap();
    let kept = if other_key { &other } else { &key };
    write_secret(&application.folder().join("key.pem"), &kept.serialize_pem());
}

#[test]
fn an_expired_certificate_one_of_another_name_and_a_key_of_another_are_faults() {
    use std::os::unix::fs::PermissionsExt as _;
    let application: Arc<Application> = Application::with_tls("");
    let doctor = || {
        let output = application.run(&["doctor", "--quick"]);
        (output.code, output.stdout)
    };
    let name = application.address().ip().to_string();
    let parameters = |name: &str| rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    let (code, well) = doctor();
    assert_eq!(code, Some(0), "{well}");
    assert!(well.contains(&format!("the certificate is for {name}")) && well.contains("is valid until"), "{well}");
    let fails = |word: &str| {
        let (code, told) = doctor();
        assert!(code == Some(1) && told.contains(word), "{word}: {told}");
    };
    let mut expired = parameters(&name);
    expired.not_before = rcgen::date_time_ymd(2020, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2021, 1, 1);
    certify(&application, &expired, false);
    fails("expired on 2021-01-01");
    certify(&application, &parameters("other.example"), false);
    fails("is not for 127.");
    certify(&application, &parameters(&name), true);
    fails("is not that of the certificate");
    certify(&application, &parameters(&name), false);
    let key: &Path = &application.folder().join("key.pem");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
    fails("chmod 0600");
    std::fs::remove_file(application.folder().join("certificate.pem")).unwrap();
    fails("certificate.pem");
    // That of the admin API's own listener is looked at, too.
    certify(&application, &parameters(&name), false);
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(doctor().0, Some(0));
    application.reconfigure(
        "[admin]\nlisten = \"127.0.0.1:1\"\n[admin.tls]\ncertificate = \"admin.pem\"\nkey = \"admin-key.pem\"",
    );
    fails("admin.pem");
}

#[tokio::test]
async fn nodes_that_may_ask_an_hsm_token_for_more_than_it_can_do_are_worth_a_look() {
    let deployment = Application::with_hsm("max_signatures_per_second = 300\ncapacity = 500", "");
    let told = |deployment: &Application| findings(&doctor(deployment, &[]).1, "nodes");
    assert_eq!(told(&deployment), Vec::<Value>::new());
    deployment.edit("max_signatures_per_second = 300", "max_signatures_per_second = 501");
    let server = deployment.serve();
    let listed = server.json(&["node", "list"])["hsm"].clone();
    assert_eq!((&listed[0]["most_per_second"], &listed[0]["capacity"]), (&501.into(), &500.into()), "{listed}");
    let said = told(&deployment);
    assert!(
        said[0].to_string().contains("can sign 500 a second, and the nodes that serve (1) may ask it for 501"),
        "{said:?}"
    );
    let text = server.run(&["node", "list"]).ok().stdout;
    assert!(text.contains("at most 501") && text.contains("less than it may be asked for"), "{text}");
    server.stop();
}
