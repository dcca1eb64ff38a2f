//! The HSM is not what the configuration says: the server refuses to start, and says what to do.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::application::{ALL_GRANTS, Application};
use crate::support::process::{Ran, wait_for};

/// The end of a server that refuses to start.
fn refusal(deployment: &Application) -> Ran {
    deployment.run(&["serve"])
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A server of a deployment that is bound to a token starts without its module
/// (`rotation::without_hsm::hazard_61_a_server_starts_without_its_module_and_heals`); a command that needs it says what is wrong.
#[test]
fn a_missing_module_is_named() {
    let deployment = Application::new("");
    let module = deployment.hsm_token().module().to_str().unwrap().to_owned();
    deployment.edit(&module, "/nowhere/libpkcs11.so");
    deployment.run(&["key", "generate"]).fails(1, &["/nowhere/libpkcs11.so", "install it", "`module`"]);
    let server = deployment.start_serving();
    let log = std::fs::read_to_string(deployment.file("server.log")).unwrap();
    assert!(log.contains("/nowhere/libpkcs11.so") && log.contains("serving without this HSM token"), "{log}");
    server.stop();
    // What needs no HSM goes on.
    deployment.json(&["key", "list"]);
    deployment.json(&["audit", "verify"]);
}

#[test]
fn a_file_that_is_no_module_is_refused() {
    let deployment = Application::new("");
    let module = deployment.hsm_token().module().to_str().unwrap().to_owned();
    let text = deployment.file("text.so");
    std::fs::write(&text, "no library").unwrap();
    deployment.edit(&module, text.to_str().unwrap());
    deployment.run(&["custody"]).fails(1, &["text.so", "can't be loaded as a PKCS#11 module"]);
}

#[test]
fn an_unknown_label_is_answered_with_those_that_are_there() {
    let deployment = Application::new("");
    deployment.edit("token_label = \"signet\"", "token_label = \"elsewhere\"");
    refusal(&deployment).fails(1, &["\"elsewhere\"", "seen: \"signet\"", "token_label"]);
}

/// The token counts what is shown to it; the marker beside the PIN says that it was shown, once for all starts.
#[test]
fn promise_9_and_hazard_63_a_wrong_pin_is_presented_once() {
    let deployment = Application::with_hsm("sessions = 2\nworkers = 3", "");
    let pin = deployment.hsm_token().pin();
    std::fs::write(deployment.hsm_token().pin_file(), "not the PIN 0123").unwrap();
    let first = refusal(&deployment);
    first.fails(1, &["CKR_PIN_INCORRECT", "correct it", "signet hsm allow-login primary"]);
    let marker = deployment.file("pin.refused");
    let written = std::fs::metadata(&marker).unwrap().modified().unwrap();
    for _ in 0..2 {
        let again = refusal(&deployment);
        again.fails(1, &["refused the PIN of this node", "not sent again", "signet hsm allow-login primary --node"]);
    }
    deployment.run(&["custody"]).fails(1, &["not sent again"]);
    deployment.run(&["doctor"]).fails(1, &["not sent again"]);
    assert_eq!(std::fs::metadata(&marker).unwrap().modified().unwrap(), written);
    for ran in [&first, &refusal(&deployment)] {
        assert!(!ran.stderr.contains("not the PIN 0123"), "{ran:?}");
    }
    std::fs::write(deployment.hsm_token().pin_file(), pin).unwrap();
    // Another content of the file is no word of an operator's.
    refusal(&deployment).fails(1, &["not sent again"]);
    deployment
        .run(&["doctor"])
        .fails(1, &["at HSM token primary the PIN of node", "CKR_PIN_INCORRECT", "signet hsm list"]);
    let listed = deployment.run(&["hsm", "list"]).ok().stdout;
    assert!(
        listed.contains("logins are stopped at node") && listed.contains("hsm allow-login primary --node"),
        "{listed}"
    );
    let allowed = deployment.run(&["hsm", "allow-login", "primary"]).ok();
    assert!(allowed.stdout.contains("One login at primary is allowed now"), "{allowed:?}");
    deployment.serve().stop();
    assert!(!marker.exists());
    let exported = deployment.run(&["audit", "export"]).ok().stdout;
    let told: Vec<&str> = exported.lines().filter(|line| line.contains("hsm.login_allowed")).collect();
    assert!(told.len() == 1 && told[0].contains("HSM token primary: one login of node"), "{told:?}");
}

#[test]
fn hazard_91_a_pin_that_others_can_read_is_refused() {
    let deployment = Application::new("");
    for mode in [0o644, 0o640, 0o604] {
        set_mode(&deployment.hsm_token().pin_file(), mode);
        refusal(&deployment).fails(1, &["can be read or written by others", "chmod 600"]);
    }
    set_mode(&deployment.hsm_token().pin_file(), 0o600);
    std::fs::remove_file(deployment.hsm_token().pin_file()).unwrap();
    refusal(&deployment).fails(1, &["PIN file", "pin"]);
}

#[test]
fn hazard_91_a_pin_in_the_configuration_or_the_environment_is_refused() {
    let deployment = Application::new("");
    deployment.edit("pin_file = \"pin\"", "pin = \"1234-plain\"");
    let ran = refusal(&deployment);
    ran.fails(1, &["pin_file", "0600"]);
    assert!(!ran.stderr.contains("1234-plain"), "{ran:?}");
    let arguments = deployment.run(&["serve", "--pin", "1234-plain"]);
    arguments.fails(2, &["unexpected argument '--pin'"]);
}

#[test]
fn hazard_71_another_token_under_the_same_label_is_refused() {
    let deployment = Application::new("");
    let module = deployment.hsm_token().module().to_str().unwrap().to_owned();
    let pin = deployment.hsm_token().pin();
    let tool = |arguments: &[&str]| {
        let output =
            deployment.hsm_token().command("softhsm2-util").args(["--module", &module]).args(arguments).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    tool(&["--delete-token", "--token", "signet"]);
    tool(&["--init-token", "--free", "--label", "signet", "--so-pin", "12345678", "--pin", &pin]);
    refusal(&deployment).fails(1, &["serial number", "bound to", "re-initialised"]);
    deployment.run(&["init"]).fails(1, &["serial number", "bound to"]);
    deployment.run(&["custody"]).fails(1, &["bound to"]);
}

#[test]
fn hazard_68_two_tokens_of_one_label_are_refused() {
    let deployment = Application::new("");
    let module = deployment.hsm_token().module().to_str().unwrap().to_owned();
    let mut command = deployment.hsm_token().command("softhsm2-util");
    command.args(["--module", &module, "--init-token", "--free", "--label", "signet"]);
    let output = command.args(["--so-pin", "12345678", "--pin", "87654321"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    refusal(&deployment).fails(1, &["2 tokens carry the label \"signet\""]);
}

/// The module is there and its tokens are not, as with a network HSM that is away: that heals by itself, so the server
/// serves what needs no HSM.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_its_hsm_refuses_tokens_and_verifies_on() {
    let deployment = Application::new("");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let mut server = deployment.start_serving();
    let caller = crate::support::caller::Caller::new(&server, &credentials);
    let token = caller.client_credentials().await.unwrap().text("access_token");
    let (tokens, away) = (deployment.file("tokens"), deployment.file("away"));
    std::fs::rename(&tokens, &away).unwrap();
    crate::support::process::signal(server.workers()[0], "KILL");
    let refused = caller.client_credentials().await.unwrap();
    assert!(refused.is_try_again() && refused.has_no_token(), "{refused:?}");
    assert_eq!(caller.get("/readyz").await.unwrap().status, 503);
    assert_eq!(caller.get("/healthz").await.unwrap().status, 200);
    assert_eq!(caller.introspect(&token).await.unwrap().json()["active"], true);
    std::fs::rename(&away, &tokens).unwrap();
    tokio::task::block_in_place(|| wait_for("the HSM", || Some(()).filter(|()| !server.workers().is_empty())));
    server.kill();
    deployment.serve().stop();
}
