//! The configuration that commands are given: its file, its overrides, its faults.

use std::process::Command;

use crate::support::application::Application;
use crate::support::hsm::PROGRAM;
use crate::support::process::feed;

#[test]
fn a_missing_or_broken_configuration_is_named_with_what_to_do() {
    let deployment = Application::uninitialised("");
    let nowhere = deployment.file("nowhere.toml");
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(&nowhere).args(["key", "list"]);
    feed(command, "").fails(1, &["nowhere.toml", "No such file", "--config or SIGNET_CONFIG"]);
    deployment.edit("[store]", "[store");
    deployment.run(&["key", "list"]).fails(1, &["not TOML", "line "]);
    for arguments in [["serve"].as_slice(), &["doctor"], &["init"], &["custody"], &["user", "list"]] {
        deployment.run(arguments).fails(1, &["not TOML"]);
    }
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_one() {
    let deployment = Application::uninitialised("");
    deployment.edit("token_label", "token_lable");
    deployment.run(&["init"]).fails(1, &["token_lable", "did you mean `", "token_label"]);
    deployment.edit("token_lable", "token_label");
    deployment.edit("[store]", "[stor]");
    deployment.run(&["init"]).fails(1, &["`stor`", "did you mean `store`"]);
    deployment.edit("[stor]", "[store]");
    deployment.edit(&format!("public_url = \"{}\"", deployment.issuer()), "public_url = \"http://id.example\"");
    deployment.run(&["serve"]).fails(1, &["server.public_url", "https", "loopback only"]);
}

#[test]
fn the_environment_overrides_and_names_itself_when_it_is_wrong() {
    let deployment = Application::new("");
    let run = |name: &str, value: &str, arguments: &[&str]| {
        let mut command = deployment.command(arguments);
        command.env(name, value);
        feed(command, "")
    };
    run("SIGNET_SERVER__LISTN", "127.0.0.1:1", &["key", "list"])
        .fails(1, &["SIGNET_SERVER__LISTN", "did you mean `server.listen`"]);
    run("SIGNET_SERVER__LISTEN", "somewhere", &["key", "list"]).fails(1, &["SIGNET_SERVER__LISTEN", "127.0.0.1:8080"]);
    run("SIGNET_STORE__URL", "sqlite://elsewhere.db", &["key", "list"]).fails(1, &["elsewhere.db", "signet init"]);
    let moved = run("SIGNET_TOKENS__ALGORITHM", "RS256", &["key", "list"]);
    moved.fails(1, &["`tokens` is kept in the deployment's store", "signet apply --from-configuration"]);
}

#[test]
fn signet_config_names_the_file_and_the_working_folder_is_the_default() {
    let deployment = Application::new("");
    let mut command = Command::new(PROGRAM);
    command.args(["--json", "key", "list"]).env("SIGNET_CONFIG", deployment.configuration()).current_dir("/");
    assert_eq!(feed(command, "").json().as_array().map(Vec::len), Some(6));
    let mut command = Command::new(PROGRAM);
    command.args(["--json", "key", "list"]).env_remove("SIGNET_CONFIG").current_dir(deployment.folder());
    assert_eq!(feed(command, "").json().as_array().map(Vec::len), Some(6));
}

/// Arguments are seen by every process of the machine: there is none that takes a secret.
#[test]
fn hazard_90_no_argument_takes_a_secret() {
    let deployment = Application::uninitialised("");
    for arguments in [
        ["user", "add", "ann", "--password", "secret"].as_slice(),
        &["user", "add", "ann", "secret"],
        &["user", "set-password", "ann", "--password=secret"],
        &["user", "add", "ann", "--password-stdin=secret"],
        &["factor", "add", "yubico-otp", "--user", "ann", "--secret-key", "00"],
        &["factor", "add", "totp", "--user", "ann", "--secret", "JBSWY3DPEHPK3PXP"],
        &["client", "add", "app", "--grant", "password", "--secret", "secret"],
        &["serve", "--pin", "1234"],
        &["token", "verify", "--token", "e30.e30.e30"],
        &["token", "inspect", "e30.e30.e30"],
    ] {
        deployment.run(arguments).fails(2, &["Usage"]);
    }
}

#[test]
fn commands_before_init_say_so() {
    let deployment = Application::uninitialised("");
    for arguments in [["serve"].as_slice(), &["user", "list"], &["audit", "verify", "--key", "k"], &["custody"]] {
        let ran = deployment.run(arguments);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("signet init") || ran.stderr.contains("audit public key"), "{ran:?}");
    }
    let doctor = deployment.run(&["doctor"]);
    assert!(doctor.code == Some(1) && !doctor.stdout.contains("FAULT"), "{doctor:?}");
    assert!(
        doctor.stdout.contains("look   store: it is not made yet") && doctor.stdout.contains("run `signet init`"),
        "{doctor:?}"
    );
    assert!(!deployment.file("signet.db").exists(), "only init makes a store");
}
