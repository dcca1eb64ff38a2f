//! Commands beside a server, and without one.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::application::{ALL_GRANTS, Application, PASSWORD};
use crate::support::commands::text;
use crate::support::hsm::PROGRAM;
use crate::support::piv::PivKey;
use crate::support::process::feed;

/// What follows in the day.
const LATER: [&[&str]; 17] = [
    &["factor", "stock"],
    &["factor", "stock", "--remove", "1", "--yes"],
    &["factor", "assign", "--serial", "1", "--user", "nobody"],
    &["custody", "accept", "--why", "a drill"],
    &["custody", "accept", "--why", " "],
    &["node", "retire", "nobody", "--yes"],
    &["node", "admit", "no", "code"],
    &["key", "list"],
    &["key", "rotate"],
    &["key", "rotate", "--hsm", "nowhere"],
    &["key", "generate", "--algorithm", "ES384"],
    &["key", "rotate", "--emergency", "nobody"],
    &["hsm", "list"],
    &["hsm", "add", "primary"],
    &["hsm", "add", "nowhere"],
    &["hsm", "retire", "primary", "--yes"],
    &["hsm", "allow-login", "nowhere"],
];

/// A day's commands on users, factors and clients. What they print, without ids, times and secrets.
fn day(application: &Application) -> Vec<Value> {
    let run = |arguments: &[&str], input: &str| {
        let ran = application.run_with(&[&["--json"], arguments].concat(), input);
        let mut value: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| json!(problems(&ran.stderr)));
        forget(&mut value);
        (value, ran.stdout)
    };
    let mut said = vec![
        run(&["user", "add", "ann", "--roles", "reader", "--password-stdin"], PASSWORD).0,
        run(&["user", "add", "ann", "--password-stdin"], PASSWORD).0,
        run(&["user", "set-roles", "ann", "--roles", "reader,writer"], "").0,
        run(&["client", "add", "app", "--grant", ALL_GRANTS, "--scope", "read write"], "").0,
        run(&["client", "set", "app", "--scope", "read"], "").0,
        run(&["client", "set", "app", "--grant", "magic"], "").0,
    ];
    let (factor, printed) = run(&["factor", "add", "totp", "--user", "ann"], "");
    let id = text(&serde_json::from_str(&printed).unwrap(), "id");
    said.extend([
        factor,
        run(&["factor", "rename", &id, "phone"], "").0,
        run(&["user", "show", "ann"], "").0,
        run(&["factor", "list", "--all"], "").0,
        run(&["user", "sessions", "ann"], "").0,
        run(&["user", "grants", "ann"], "").0,
        run(&["user", "end-grant", "ann", "gone"], "").0,
        run(&["user", "unlock", "ann"], "").0,
        run(&["user", "sign-out", "ann"], "").0,
        run(&["user", "remove", "ann", "--yes"], "").0,
        run(&["user", "show", "ann"], "").0,
        run(&["client", "renew-secret", "app"], "").0,
        run(&["client", "remove", "app", "--yes"], "").0,
        run(&["client", "list"], "").0,
    ]);
    let key = ["otp-key", "add", "--public-id", "cccccccccccb", "--private-id", "010203040506", "--secret-key-stdin"];
    said.extend([
        run(&["otp-client", "add", "vpn", "--require-signature"], "").0,
        run(&["otp-client", "add", "vpn"], "").0,
        run(&["otp-client", "disable", "vpn"], "").0,
        run(&["otp-client", "list"], "").0,
        run(&["otp-client", "remove", "vpn", "--yes"], "").0,
        run(&key, "000102030405060708090a0b0c0d0e0f").0,
        run(&key, "000102030405060708090a0b0c0d0e0f").0,
        run(&["otp-key", "disable", "cccccccccccb"], "").0,
        run(&["otp-key", "list"], "").0,
        run(&["otp-key", "remove", "cccccccccccb", "--yes"], "").0,
    ]);
    said.extend(LATER.iter().map(|arguments| run(arguments, "").0));
    said.extend(reads(application));
    said
}

/// The members of what commands print that only look.
fn reads(application: &Application) -> Vec<Value> {
    let commands: [&[&str]; 6] = [
        &["custody"],
        &["custody", "--signed", "--nonce", "n"],
        &["node", "list"],
        &["audit", "verify"],
        &["audit", "verify", "--store"],
        &["backup", "b"],
    ];
    let members =
        |command: &&[&str]| -> Vec<String> { application.json(command).as_object().unwrap().keys().cloned().collect() };
    commands.iter().map(|command| json!(members(command))).collect()
}

/// What went wrong. Of progress there is more where no server runs.
fn problems(told: &str) -> String {
    told.lines().filter(|line| !line.starts_with('…')).map(|line| format!("{line}\n")).collect()
}

/// Takes out what differs from one deployment to another.
fn forget(value: &mut Value) {
    const OWN: [&str; 13] = [
        "id",
        "client_id",
        "client_secret",
        "api_key",
        "created_at",
        "secret_base32",
        "otpauth_uri",
        "kid",
        "since",
        "ends_at",
        "what_follows",
        "serial",
        "audit_keys",
    ];
    match value {
        Value::Object(members) => {
            // A command that needs no HSM asks none.
            members.remove("health");
            for (name, member) in members.iter_mut() {
                if OWN.contains(&name.as_str()) {
                    assert!(!member.is_null() || name == "serial", "{name}");
                    *member = json!("...");
                }
                if name == "done" {
                    *member = json!("done");
                }
                if name == "audiences" {
                    *member = json!("the issuer");
                }
                forget(member);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        _ => {}
    }
}

#[test]
fn commands_do_the_same_beside_a_server_and_without_one() {
    let (alone, beside) = (Application::new(""), Application::new(""));
    let server = beside.serve();
    let (one, other) = (day(&alone), day(&beside));
    assert_eq!(one, other);
    assert!(one[1].to_string().contains("a user named `ann` already") && one.len() == 53, "{one:?}");
    assert_eq!((&one[23][0]["enabled"], &one[23][0]["requires_signature"]), (&json!(false), &json!(true)), "{one:?}");
    assert_eq!(one[8]["roles"], json!(["reader", "writer"]));
    assert_eq!(one[33], json!({"accepted": 0, "counts_dropped": false}));
    assert_eq!(one[8]["factors"][0]["label"], json!("phone"));
    server.stop();
}

#[test]
fn beside_a_server_no_such_command_opens_the_store_or_a_module() {
    let application = Application::new("");
    let server = application.serve();
    application.add_user("ann", "reader");
    let trace = application.file("trace");
    fs::write(application.file("tokens.csv"), "4711,0101010101010101010101010101010101010101,hotp,6,0\n").unwrap();
    fs::write(application.file("card.pub"), PivKey::new().public_pem()).unwrap();
    let keys = application.json(&["key", "list"]);
    let is_active = |key: &&Value| key["purpose"] == "token_signing" && key["state"] == "active";
    let active = text(keys.as_array().unwrap().iter().find(is_active).unwrap(), "kid");
    for (arguments, input) in [
        (&["user", "add", "bob", "--password-stdin"][..], PASSWORD),
        (&["user", "list"], ""),
        (&["factor", "add", "totp", "--user", "bob"], ""),
        (&["factor", "list", "--all"], ""),
        (&["client", "add", "app", "--grant", ALL_GRANTS], ""),
        (&["client", "set", "app", "--scope", "read"], ""),
        (&["user", "remove", "ann", "--yes"], ""),
        (&["otp-client", "add", "vpn"], ""),
        (&["otp-client", "list"], ""),
        (&["otp-key", "list"], ""),
        (&["factor", "stock"], ""),
        (&["init"], ""),
        (&["factor", "import", "tokens.csv"], ""),
        (&["factor", "add", "piv", "--user", "bob", "--public-key", "card.pub"], ""),
        (&["custody"], ""),
        (&["custody", "--signed"], ""),
        (&["custody", "accept", "--why", "a drill"], ""),
        (&["node", "list"], ""),
        (&["key", "list"], ""),
        (&["key", "rotate"], ""),
        (&["key", "generate"], ""),
        (&["key", "rotate", "--emergency", &active, "--yes"], ""),
        (&["hsm", "list"], ""),
        (&["hsm", "add", "primary"], ""),
        (&["hsm", "allow-login", "primary"], ""),
        (&["audit", "verify"], ""),
        (&["audit", "verify", "--store"], ""),
        (&["audit", "export"], ""),
        (&["backup", "a.backup"], ""),
        (&["doctor"], ""),
    ] {
        let mut command = Command::new("strace");
        let plain = application.command(arguments);
        command.args(["-f", "-e", "trace=openat,open,execve,connect", "-o"]).arg(&trace);
        command.arg(plain.get_program()).args(plain.get_args()).current_dir(application.folder());
        let ran = feed(command, input);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        let traced = fs::read_to_string(&trace).unwrap();
        assert!(traced.contains("admin.sock") && traced.contains("signet.toml"), "{arguments:?}: nothing was traced");
        for never in ["signet.db", "softhsm", "hsm-worker", "/pin\"", "5432"] {
            let line = traced.lines().find(|line| line.contains(never) && !line.contains("ENOENT"));
            // The argument of the first call is the program with its configuration.
            assert!(line.is_none(), "{arguments:?} touches {never}: {line:?}");
        }
        assert_eq!(traced.matches("execve(").count(), 1, "{arguments:?} starts a program");
    }
    server.stop();
}

#[test]
fn a_name_of_dots_leads_to_nothing_else() {
    let application = Application::new("");
    let server = application.serve();
    // What `users/../sessions` would come to.
    application.add_user("sessions", "reader");
    for name in [".", "..", ""] {
        application.run(&["user", "sign-out", name]).fails(2, &["nothing is named"]);
        application.run(&["user", "remove", name, "--yes"]).fails(2, &["nothing is named"]);
        application.run_with(&["user", "add", name, "--password-stdin"], PASSWORD).fails(1, &["name"]);
    }
    assert_eq!(application.json(&["user", "list"]).as_array().map(Vec::len), Some(1));
    // Other odd names are names.
    application.add_user("a/b?c%2Fd#e", "reader");
    assert_eq!(application.json(&["user", "show", "a/b?c%2Fd#e"])["name"], "a/b?c%2Fd#e");
    application.json(&["user", "remove", "a/b?c%2Fd#e", "--yes"]);
    server.stop();
}

#[test]
fn init_beside_a_server_says_what_is_there_and_makes_nothing() {
    let application = Application::new("");
    let alone = application.json(&["init"]);
    let server = application.serve();
    let beside = application.json(&["init"]);
    server.stop();
    for member in ["issuer", "audit_key_file"] {
        assert_eq!(beside[member], alone[member]);
    }
    let sorted = |report: &Value| {
        let mut keys: Vec<String> = report["keys"].as_array().unwrap().iter().map(Value::to_string).collect();
        keys.sort();
        keys
    };
    assert_eq!(sorted(&beside), sorted(&alone));
}

#[test]
fn what_destroys_says_first_what_it_breaks_and_asks() {
    let application = Application::new("");
    let ann = application.add_user("ann", "reader");
    let totp = application.add_totp(&ann, &[]);
    application.add_client("app", ALL_GRANTS, "read");
    let server = application.serve();
    for (arguments, breaks) in [
        (["user", "remove", "ann"], "forget 1 factors"),
        (["client", "remove", "app"], "end every refresh token"),
        (["factor", "remove", &totp.id], "without a way to sign in"),
        (["hsm", "retire", "primary"], "sign and seal nothing"),
        (["node", "retire", "another"], "chain of its audit records"),
    ] {
        let ran = application.run(&arguments);
        assert!(ran.code == Some(1) && ran.stdout.contains(breaks) && ran.stdout.contains("add --yes"), "{ran:?}");
    }
    let told = application.run(&["--json", "user", "remove", "ann"]);
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert!(told["done"].is_null() && told["would"].as_array().map(Vec::len) == Some(3), "{told}");
    // A person at a terminal is asked.
    for (answer, is_done) in [("n", false), ("", false), ("y", true)] {
        let mut command = Command::new("script");
        let config = application.configuration();
        let line = format!("{PROGRAM} --config {} user remove ann", config.display());
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(application.folder());
        let asked = feed(command, &format!("{answer}\n"));
        assert!(asked.stdout.contains("Do it? [y/N]"), "{asked:?}");
        assert_eq!(asked.code, Some(if is_done { 0 } else { 1 }), "{asked:?}");
        assert_eq!(application.json(&["user", "list"]).as_array().map(Vec::len), Some(usize::from(!is_done)));
    }
    server.stop();
}

#[test]
fn two_commands_at_once_without_a_server_come_one_after_the_other() {
    let application = Application::new("");
    let names: Vec<String> = (0..6).map(|number| format!("user-{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            let application = &application;
            scope.spawn(move || application.add_user(name, "reader"));
        }
    });
    let listed = application.json(&["user", "list"]);
    let listed: BTreeSet<String> = listed.as_array().unwrap().iter().map(|user| text(user, "name")).collect();
    assert_eq!(listed, names.into_iter().collect());
    application.json(&["audit", "verify"]);
}

#[test]
fn a_role_or_scope_that_nobody_knows_is_taken_and_told() {
    let application = Application::new("[roles]\nreader = [\"read\"]");
    let add = ["user", "add", "Böb&M", "--roles", "raeder", "--password-stdin"];
    let added = application.run_with(&add, PASSWORD).ok();
    assert!(added.stderr.contains("did you mean `reader`?") && added.stdout.contains("--user 'Böb&M'"), "{added:?}");
    let set = application.run(&["user", "set-roles", "Böb&M", "--roles", "reader"]).ok();
    assert!(!set.stderr.contains("did you mean"), "{set:?}");
    let client = application.json(&["client", "add", "app", "--grant", ALL_GRANTS, "--scope", "raed"]);
    assert!(client["notes"][0].as_str().unwrap().contains("did you mean `read`?"), "{client}");
    let set = application.json(&["client", "set", "app", "--scope", "read"]);
    assert!(set["notes"].is_null(), "{set}");
}

#[tokio::test]
async fn a_client_that_may_have_less_gets_less() {
    let application = Application::new("");
    let server = application.serve();
    let app = application.add_client("app", ALL_GRANTS, "read write");
    let asks = [("grant_type", "client_credentials")];
    assert_eq!(server.token(&app, &asks).await.ok().text("scope"), "read write");
    application.json(&["client", "set", "app", "--scope", "read"]);
    assert_eq!(server.token(&app, &asks).await.ok().text("scope"), "read");
    application.json(&["client", "set", "app", "--grant", "password"]);
    assert_eq!(server.token(&app, &asks).await.refusal().1, "unauthorized_client");
    let told = application.audit().await;
    let told = told.iter().rfind(|record| record["change"] == "rights_replaced").unwrap();
    let detail = told["detail"].as_str().unwrap();
    assert!(
        detail.contains("client_credentials") && detail.ends_with("[password; read; https://api.example]"),
        "{detail}"
    );
    assert!(told["operator"].as_str().unwrap().ends_with(')') && told["request_id"].is_string(), "{told}");
    application.run(&["client", "set", "app"]).fails(2, &["--scope"]);
    application.run(&["client", "set", "nobody", "--scope", "x"]).fails(1, &["no client `nobody`"]);
    server.stop();
}
