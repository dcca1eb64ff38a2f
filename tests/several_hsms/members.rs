//! `signet hsm add`, `retire` and `list`, and a running server that takes tokens in and out.

use crate::support::application::ALL_GRANTS;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::group::{Group, state, until_state};
use super::load::{Load, until_signed_by};
use crate::support::caller::Caller;
use crate::support::commands::{exported, text};
use crate::support::process::{signal, wait_for};
use crate::support::server::Server;

use crate::support::application::PASSWORD;
/// What `signet hsm list` says of a token.
fn listed(group: &Group, hsm: &str) -> Value {
    let listed = group.deployment.json(&["hsm", "list"]);
    listed.as_array().unwrap().iter().find(|listed| listed["name"] == hsm).unwrap().clone()
}

/// Has the server read its configuration again, and waits until it says this.
fn reload(group: &Group, server: &Server, wanted: &str) {
    let before = group.log().len();
    signal(server.id(), "HUP");
    let said = || group.log().get(before..).unwrap_or_default().to_owned();
    wait_for(wanted, || {
        said().contains(wanted).then_some(()).or_else(|| {
            assert!(!said().contains("HSM tokens") || said().contains(wanted), "{}", said());
            None
        })
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_added_to_and_retired_from_a_server_under_load_and_no_request_fails() {
    let mut group = Group::new(&["second"], "");
    let credentials = group.deployment.add_client("app", ALL_GRANTS, "read write");
    let ann = group.deployment.add_user("ann", "reader");
    let totp = group.deployment.add_totp(&ann, &[]);
    let server = group.serve();
    let caller = Caller::new(&server, &credentials);
    until_state(&caller, "second", "ok").await;
    let load = Load::start(&caller);
    group.configure("third", "");
    assert_eq!(listed(&group, "third")["membership"], "not_added");
    let added = group.deployment.json(&["hsm", "add", "third"]);
    assert_eq!(added["seals"]["sealed"], added["seals"]["secrets"], "{added}");
    let key = added["keys"].as_array().unwrap().iter().find(|key| key["purpose"] == "token_signing").unwrap();
    let key = text(key, "kid");
    let jwks = caller.get("/oauth2/jwks").await.unwrap().json();
    assert!(jwks.to_string().contains(&key), "published before it signs");
    assert_eq!(listed(&group, "third")["signing_key"], "next");
    // The server has read its configuration for it.
    assert!(group.log().contains("HSM tokens: added third"));
    group.promote_signing_key("third");
    until_state(&caller, "third", "ok").await;
    until_signed_by(3, &caller).await;
    let retired = group.deployment.json(&["hsm", "retire", "primary", "--yes"]);
    assert!(retired["removed_seals"].as_u64().unwrap() > 0, "{retired}");
    let without = Instant::now();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let keys = group.deployment.json(&["key", "list"]);
    let is_signing = |key: &&Value| key["hsm"] == "primary" && key["purpose"] == "token_signing";
    let primary = text(keys.as_array().unwrap().iter().find(is_signing).unwrap(), "kid");
    let deployment = &group.deployment;
    let config = fs::read_to_string(deployment.configuration()).unwrap();
    let (head, rest) = config.split_once("[[hsm]]\nname = \"primary\"").unwrap();
    let (_, rest) = rest.split_once("[[hsm]]").unwrap();
    fs::write(deployment.configuration(), format!("{head}[[hsm]]{rest}")).unwrap();
    tokio::task::block_in_place(|| reload(&group, &server, "HSM tokens: removed primary"));
    let signed_in = caller.sign_in("ann", PASSWORD, &totp.code()).await.unwrap();
    assert_eq!(signed_in.status, 200, "{signed_in:?}");
    let answers = load.stop().await;
    answers.lost_none();
    let after = answers.by_key(without, Instant::now());
    assert!(after.len() == 2 && !after.contains_key(&primary), "{after:?}");
    // What the retired key signed verifies on.
    let jwks = caller.get("/oauth2/jwks").await.unwrap().json();
    assert_eq!(jwks["keys"].as_array().map(Vec::len), Some(3));
    assert_eq!(server.workers().len(), 2);
    server.stop();
    let events = exported(&deployment.run(&["audit", "export"]).stdout);
    for event in ["hsm.added", "hsm.retired"] {
        assert!(events.iter().any(|record| record["event"] == event), "{event}");
    }
    deployment.json(&["audit", "verify"]);
}

#[test]
fn what_is_added_twice_or_was_interrupted_is_made_up_for() {
    let mut group = Group::new(&[], "");
    let ann = group.deployment.add_user("ann", "reader");
    group.deployment.add_totp(&ann, &[]);
    group.configure("second", "");
    let first = group.deployment.json(&["hsm", "add", "second"]);
    // As if it had ended in the middle: half of the keys, none of the seals.
    group
        .deployment
        .sql("DELETE FROM seals WHERE hsm = 'second'; DELETE FROM keys WHERE hsm = 'second' AND purpose = 'wrapping';");
    let again = group.deployment.json(&["hsm", "add", "second"]);
    assert_eq!(again["resealed"], first["resealed"]);
    let created =
        |report: &Value| report["keys"].as_array().unwrap().iter().filter(|key| key["created"] == true).count();
    assert_eq!((created(&first), created(&again)), (6, 1));
    let third = group.deployment.json(&["hsm", "add", "second"]);
    assert_eq!((created(&third), &third["resealed"]), (0, &0.into()));
    let ran = group.deployment.run(&["hsm", "list"]);
    assert!(ran.stdout.contains("member") && ran.stdout.contains("next"), "{ran:?}");
}

#[test]
fn what_can_not_be_added_or_retired_is_refused_in_words() {
    let mut group = Group::new(&[], "");
    group.deployment.run(&["hsm", "add", "nowhere"]).fails(1, &["no [[hsm]] named `nowhere`"]);
    group.deployment.run(&["hsm", "retire", "nowhere", "--yes"]).fails(1, &["`nowhere`", "signet hsm list"]);
    group.deployment.run(&["hsm", "retire", "primary", "--yes"]).fails(1, &["last HSM token", "signet hsm add"]);
    // The same token under another name.
    let text = fs::read_to_string(group.deployment.configuration()).unwrap();
    let section = text[text.find("[[hsm]]").unwrap()..].replace("\"primary\"", "\"twin\"");
    fs::write(group.deployment.configuration(), format!("{text}\n{section}")).unwrap();
    group.deployment.run(&["hsm", "add", "twin"]).fails(1, &["`twin`", "as `primary`", "serial"]);
    fs::write(group.deployment.configuration(), text).unwrap();
    // A token that does not sign yet does not replace one that does.
    group.configure("second", "");
    group.deployment.json(&["hsm", "add", "second"]);
    group.deployment.run(&["hsm", "retire", "primary", "--yes"]).fails(1, &["signs", "active"]);
    group.promote_signing_key("second");
    // Nor does one that lacks what the other alone can open.
    group.deployment.add_user("ann", "reader");
    group.deployment.sql("DELETE FROM seals WHERE hsm = 'second'");
    let refused = group.deployment.run(&["hsm", "retire", "primary", "--yes"]);
    refused.fails(1, &["sealed for `primary` alone", "signet hsm add second"]);
    group.deployment.json(&["hsm", "add", "second"]);
    group.deployment.json(&["hsm", "retire", "primary", "--yes"]);
    assert_eq!(listed(&group, "primary")["membership"], "retired");
    // `init` takes nobody in by the way, and the same command goes on from where it ended.
    group.deployment.json(&["init"]);
    assert_eq!(listed(&group, "primary")["membership"], "retired");
    assert_eq!(group.deployment.json(&["hsm", "retire", "primary", "--yes"])["removed_seals"], 0);
    group.deployment.run(&["hsm", "retire", "second", "--yes"]).fails(1, &["last HSM token"]);
    // It can come back.
    group.deployment.json(&["hsm", "add", "primary"]);
    assert_eq!(listed(&group, "primary")["membership"], "member");
}

/// What the retired token signed and sealed stands under its name.
#[test]
fn another_token_under_a_retired_name_is_told_to_take_another_name() {
    let mut group = Group::new(&["second"], "");
    group.deployment.json(&["hsm", "retire", "second", "--yes"]);
    group.unconfigure("second", "");
    group.forget("second");
    group.configure("second", "");
    group.deployment.run(&["hsm", "add", "second"]).fails(1, &["serial number", "another name"]);
}

/// The keys of a token that are there to be used, now or later.
fn in_use(group: &Group, hsm: &str) -> usize {
    let keys = group.deployment.json(&["key", "list"]);
    let is_used = |key: &&Value| key["hsm"] == hsm && (key["state"] == "next" || key["state"] == "active");
    keys.as_array().unwrap().iter().filter(is_used).count()
}

#[test]
fn no_key_is_made_in_a_token_that_was_retired_or_never_added() {
    let mut group = Group::new(&["second"], "");
    group.configure("third", "");
    let signing = group.deployment.json(&["key", "list"]);
    let signing =
        signing.as_array().unwrap().iter().find(|key| key["hsm"] == "primary" && key["purpose"] == "token_signing");
    let kid = text(signing.unwrap(), "kid");
    group.deployment.json(&["hsm", "retire", "primary", "--yes"]);
    let rotated = group.deployment.json(&["key", "rotate"]);
    assert_eq!(rotated.as_array().unwrap().iter().map(|one| text(one, "hsm")).collect::<Vec<_>>(), ["second"]);
    for hsm in ["primary", "third"] {
        for asked in ["rotate", "generate"] {
            let ran = group.deployment.run(&["key", asked, "--hsm", hsm]);
            ran.fails(1, &[&format!("`{hsm}` is not part of this deployment"), "signet hsm list"]);
        }
    }
    // It may be suspect: its key is revoked, and no other one is made there.
    let revoked = group.deployment.json(&["key", "rotate", "--emergency", &kid, "--yes"]);
    assert_eq!(revoked["left_to_the_server"], Value::Null, "{revoked}");
    assert_eq!((in_use(&group, "primary"), in_use(&group, "third")), (0, 0));
    // What its [[hsm]] is still there for.
    assert!(group.deployment.run(&["hsm", "list"]).stdout.contains("primary: its signing keys are destroyed"));
}

#[test]
fn doctor_and_custody_make_no_fault_of_a_token_that_is_not_needed() {
    let mut group = Group::new(&["second"], "");
    group.configure("third", "");
    let custody = group.deployment.run(&["custody"]);
    assert!(custody.code == Some(0) && custody.stdout.contains("`signet hsm add third`"), "{custody:?}");
    let doctor = group.deployment.run(&["doctor", "--quick"]);
    assert!(doctor.code == Some(0) && doctor.stdout.contains("look   HSM third"), "{doctor:?}");
    // Of two that serve one is gone: less in reserve, and custody is not seen whole.
    group.empty("primary");
    let [doctor, custody] = group.deployment.run_at_once([&["doctor", "--quick"], &["custody"]]);
    assert!(doctor.code == Some(0) && doctor.stdout.contains("look   HSM primary"), "{doctor:?}");
    assert!(doctor.stdout.contains("look   signature: none by primary"), "{doctor:?}");
    assert!(doctor.stdout.contains("each can be used in second"), "{doctor:?}");
    custody.fails(1, &["WRONG: HSM token primary does not show its keys"]);
    // Retired, it is nothing that anybody waits for.
    group.deployment.json(&["hsm", "retire", "primary", "--yes"]);
    let [custody, doctor, listed] =
        group.deployment.run_at_once([&["custody"], &["doctor", "--quick"], &["hsm", "list"]]);
    assert!(
        custody.code == Some(0) && custody.stdout.contains("note: HSM token primary, which was retired"),
        "{custody:?}"
    );
    assert!(doctor.code == Some(0) && doctor.stdout.contains("look   HSM primary"), "{doctor:?}");
    assert!(listed.stdout.contains("the server destroys it then"));
    // The last one that serves is not to be missed.
    group.empty("second");
    assert_eq!(group.deployment.run(&["doctor", "--quick"]).code, Some(1));
}

/// The server that has no more than the dead token's neighbours goes on without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_is_retired_without_being_asked() {
    let group = Group::new(&["second"], "");
    let credentials = group.deployment.add_client("app", ALL_GRANTS, "read write");
    let ann = group.deployment.add_user("ann", "reader");
    let totp = group.deployment.add_totp(&ann, &[]);
    let server = group.serve();
    let caller = Caller::new(&server, &credentials);
    until_state(&caller, "second", "ok").await;
    group.take_away("primary");
    group.deployment.json(&["hsm", "retire", "primary", "--yes"]);
    assert_eq!(caller.sign_in("ann", PASSWORD, &totp.code()).await.unwrap().status, 200);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_can_not_be_used_leaves_the_server_as_it_is() {
    let mut group = Group::new(&["second"], "");
    let credentials = group.deployment.add_client("app", ALL_GRANTS, "read write");
    let server = group.serve();
    let caller = Caller::new(&server, &credentials);
    until_state(&caller, "second", "ok").await;
    let workers = server.workers();
    let good = fs::read_to_string(group.deployment.configuration()).unwrap();
    fs::write(group.deployment.configuration(), good.replace("token_label", "token_lable")).unwrap();
    tokio::task::block_in_place(|| reload(&group, &server, "stay as they are: unknown key `hsm[0].token_lable`"));
    fs::write(group.deployment.configuration(), &good).unwrap();
    group.unconfigure("second", "");
    tokio::task::block_in_place(|| reload(&group, &server, "signet hsm retire second"));
    fs::write(group.deployment.configuration(), &good).unwrap();
    tokio::task::block_in_place(|| reload(&group, &server, "nothing changed"));
    assert_eq!(server.workers(), workers);
    // Other sessions are other workers; a change that does not work keeps the old ones.
    let changed = good.replacen("sessions = 2", "sessions = 3", 1);
    fs::write(group.deployment.configuration(), changed).unwrap();
    tokio::task::block_in_place(|| reload(&group, &server, "HSM tokens: changed primary"));
    assert_eq!(state(&caller, "primary").await, "ok");
    for _ in 0..4 {
        assert_eq!(caller.client_credentials().await.unwrap().status, 200);
    }
    let changed = server.workers();
    assert!(changed != workers && changed.len() == 2);
    fs::write(
        group.deployment.configuration(),
        good.replacen("token_label = \"signet\"", "token_label = \"other\"", 1),
    )
    .unwrap();
    tokio::task::block_in_place(|| reload(&group, &server, "which goes on as it was"));
    assert_eq!(server.workers(), changed);
    assert_eq!(caller.client_credentials().await.unwrap().status, 200);
    server.stop();
}
