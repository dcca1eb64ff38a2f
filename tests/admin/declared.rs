//! `signet apply` and `signet export`: a deployment as a file states it, against a running server and without one.

use std::fs;

use serde_json::{Value, json};

use crate::support::application::{Application, PASSWORD};
use crate::support::process::feed;
use crate::support::requests::get;

const FILE: &str = "[tokens]\naccess_lifetime = \"10m\"\n[roles]\nclerk = [\"read\"]\n\
    [[clients]]\nname = \"billing\"\ngrants = [\"client_credentials\"]\nscopes = [\"read\"]\n\
    [[users]]\nname = \"ann\"\nroles = [\"clerk\"]\n[[users]]\nname = \"bob\"\nenabled = false\n";

fn apply(application: &Application, text: &str, more: &[&str]) -> (Option<i32>, Value) {
    let arguments = [&["--json", "apply", "-f", "-"], more].concat();
    let ran = application.run_with(&arguments, text);
    (ran.code, serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr)))
}

fn acts(told: &Value) -> Vec<String> {
    let told = told["changes"].as_array().unwrap().iter();
    told.map(|act| format!("{} {} {}", act["act"], act["what"], act["name"]).replace('"', "")).collect()
}

fn states_a_deployment(application: &Application) {
    application.add_user("eve", "reader");
    let (code, told) = apply(application, FILE, &["--dry-run"]);
    assert_eq!((code, told["dry_run"].as_bool(), told["done"].as_u64()), (Some(1), Some(true), Some(0)), "{told}");
    let all = ["add client billing", "add user ann", "add user bob"];
    assert_eq!(acts(&told), all);
    assert_eq!(application.json(&["user", "list"]).as_array().unwrap().len(), 1, "looking changes nothing");
    let (code, told) = apply(application, FILE, &[]);
    assert_eq!(
        (code, acts(&told), told["done"].as_u64()),
        (Some(0), all.map(str::to_owned).to_vec(), Some(3)),
        "{told}"
    );
    let settings: Vec<&str> =
        told["settings"].as_array().unwrap().iter().map(|it| it["setting"].as_str().unwrap()).collect();
    assert_eq!(settings, ["roles", "roles.clerk", "tokens.access_lifetime"]);
    let (code, told) = apply(application, FILE, &["--prune"]);
    assert_eq!((code, acts(&told), &told["settings"]), (Some(0), vec![], &json!([])), "a second run changes nothing");
    // What is altered by hand is put back; who was added by hand stays.
    application.json(&["user", "set-roles", "ann", "--roles", "chief"]);
    let without_bob = FILE.split("[[users]]\nname = \"bob\"").next().unwrap();
    let (code, told) = apply(application, without_bob, &["--prune"]);
    assert_eq!((code, told["needs"].as_str()), (Some(1), Some("--yes")), "{told}");
    let (code, told) = apply(application, without_bob, &["--prune", "--yes"]);
    assert_eq!((code, acts(&told)), (Some(0), vec!["change user ann".to_owned(), "remove user bob".to_owned()]));
    let users = application.json(&["user", "list"]);
    let names: Vec<&str> = users.as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ann", "eve"]);
    // What is exported is what is there.
    let exported = application.run(&["export"]);
    let (code, told) = apply(application, &exported.stdout, &["--prune", "--dry-run"]);
    assert_eq!((code, acts(&told), &told["settings"]), (Some(0), vec![], &json!([])), "{}", exported.stdout);
    assert!(!exported.stdout.contains("secret"), "{}", exported.stdout);
}

#[test]
fn a_file_states_a_deployment_without_a_server() {
    states_a_deployment(&Application::new(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_states_a_deployment_beside_its_server_and_it_holds_at_once() {
    let server = Application::new("").serve();
    tokio::task::block_in_place(|| states_a_deployment(&server));
    let client = server.add_client("app", "client_credentials", "read");
    let token = async || server.token(&client, &[("grant_type", "client_credentials")]).await.ok();
    assert_eq!(token().await.json()["expires_in"], 600);
    server.state("[tokens]\naccess_lifetime = \"20s\"\n[keys]\njwks_max_age = \"7s\"");
    assert_eq!(token().await.json()["expires_in"], 20);
    let jwks = get(&server.url("/oauth2/jwks")).await.ok();
    assert_eq!(jwks.header("cache-control"), Some("public, max-age=7"));
    // A person whom a file states signs in once an operator has set a password.
    server.run_with(&["user", "set-password", "ann", "--password-stdin"], PASSWORD).ok();
    let told = server.audit().await;
    let told: Vec<&Value> = told.iter().filter(|record| record["event"] == "settings.stated").collect();
    assert!(told.last().unwrap()["detail"].as_str().unwrap().contains("tokens.access_lifetime: 10m \u{2192} 20s"));
    server.stop();
}

#[test]
fn what_can_not_be_so_is_refused_by_name_and_nothing_is_done() {
    let application = Application::new("");
    for (text, told) in [
        ("[tokens]\naccess_lifetime = \"2h\"", "raise `longest_token` in each [[hsm]] first"),
        ("[tokens]\nalgorithm = \"RS256\"", "signet key generate --algorithm RS256"),
        ("[tokens]\nlifetime = \"2m\"", "unknown field `lifetime`"),
        ("[[users]]\nname = \"ann\"\npassword = \"x\"", "unknown field `password`"),
        ("[mfa.piv]\nroots = [\"nowhere.pem\"]", "nowhere.pem"),
        ("[[users]]\nname = \"ann\"\n[[users]]\nname = \"ann\"", "the user `ann` is stated twice"),
    ] {
        application.run_with(&["apply", "-f", "-"], text).fails(1, &[told]);
    }
    assert_eq!(application.json(&["user", "list"]), json!([]));
    // One that is refused keeps nobody else from being added, and is told.
    let text = "[[users]]\nname = \"ann\"\n[[users]]\nname = \"bob\"\nroles = [\"a b\"]\n[[users]]\nname = \"zoe\"";
    let ran = application.run_with(&["apply", "-f", "-"], text);
    ran.fails(1, &["user bob", "role"]);
    assert_eq!(application.json(&["user", "list"]).as_array().unwrap().len(), 2);
}

#[test]
fn what_an_older_configuration_says_is_taken_over() {
    let application = Application::new("");
    let mut text = fs::read_to_string(application.configuration()).unwrap();
    text.push_str("[tokens]\naccess_lifetime = \"15m\"\n[mfa]\nfour_eyes = true\nissuer_name = \"Bank\"\n");
    fs::write(application.configuration(), &text).unwrap();
    application
        .run(&["key", "list"])
        .fails(1, &["`tokens` is kept in the deployment's store", "apply --from-configuration"]);
    let taken = application.run(&["apply", "--from-configuration"]);
    assert!(taken.code == Some(0) && taken.stderr.contains("mfa.four_eyes is now admin.four_eyes"), "{taken:?}");
    fs::write(application.configuration(), text.split("[tokens]").next().unwrap()).unwrap();
    let settings = application.json(&["export", "--settings-alone"]);
    assert_eq!(
        (&settings["tokens"]["access_lifetime"], &settings["mfa"]["issuer_name"]),
        (&"15m".into(), &"Bank".into())
    );
}

/// Whoever is killed on the way goes on where they were.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_is_finished_by_running_it_again() {
    let server = Application::new("").serve();
    let users: String = (0..400).map(|number| format!("[[users]]\nname = \"user-{number:04}\"\n")).collect();
    fs::write(server.file("many.toml"), users).unwrap();
    let many = || server.command(&["--json", "apply", "-f", "many.toml"]);
    let mut killed = many().stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let added = || server.json(&["user", "list"]).as_array().unwrap().len();
    while added() < 20 {
        assert!(killed.try_wait().unwrap().is_none(), "it was done before it could be killed");
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let before = added();
    assert!((20..400).contains(&before), "{before}");
    let told = feed(many(), "").json();
    assert_eq!(told["done"].as_u64(), Some(400 - before as u64));
    let again = feed(many(), "").json();
    assert_eq!((acts(&again), added()), (vec![], 400));
    // Each was stated by the file, whichever run added them.
    let none = server.run_with(&["--json", "apply", "-f", "-", "--prune", "--yes"], "[policy]\n").json();
    assert_eq!((none["done"].as_u64(), added()), (Some(400), 0));
    server.stop();
}
