//! One of two tokens dies, hangs or lies under load: no request is lost.

use crate::support::application::ALL_GRANTS;
use std::time::{Duration, Instant};

use super::group::{Group, until_state};
use super::load::{Load, until_signed_by};
use crate::support::caller::Caller;
use crate::support::commands::text;
use crate::support::process::{signal, wait_for};
use crate::support::server::Server;

/// The active signing key of a token.
fn signing_key(group: &Group, hsm: &str) -> String {
    let keys = group.deployment.json(&["key", "list"]);
    let is_it =
        |key: &&serde_json::Value| key["hsm"] == hsm && key["purpose"] == "token_signing" && key["state"] == "active";
    text(keys.as_array().unwrap().iter().find(is_it).unwrap(), "kid")
}

fn audit(group: &Group, event: &str) -> usize {
    let ran = group.deployment.run(&["audit", "export"]);
    ran.stdout
        .lines()
        .filter(|line| {
            line.contains(&format!("\"event\\\":\\\"{event}")) || line.contains(&format!("\"event\":\"{event}\""))
        })
        .count()
}

fn start() -> (Group, Server, Caller) {
    let group = Group::new(&["second"], "deadline = \"2s\"");
    let credentials = group.deployment.add_client("app", ALL_GRANTS, "read write");
    let server = group.serve();
    let caller = Caller::new(&server, &credentials);
    (group, server, caller)
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_66_killing_the_workers_of_one_of_two_tokens_loses_no_request() {
    let (group, server, caller) = start();
    until_state(&caller, "second", "ok").await;
    let load = Load::start(&caller);
    until_signed_by(2, &caller).await;
    for hsm in ["primary", "second", "primary"] {
        let worker = group.worker(hsm);
        signal(worker, "KILL");
        tokio::task::block_in_place(|| {
            wait_for("another worker", || (group.worker(hsm) != worker).then_some(()));
        });
        until_state(&caller, hsm, "ok").await;
    }
    // Both sign, before and after.
    until_signed_by(2, &caller).await;
    load.stop().await.lost_none();
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_65_a_hanging_token_loses_no_request_and_is_suspended_until_it_signs() {
    let (group, server, caller) = start();
    until_state(&caller, "second", "ok").await;
    let (primary, second) = (signing_key(&group, "primary"), signing_key(&group, "second"));
    let load = Load::start(&caller);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let worker = group.worker("second");
    signal(worker, "STOP");
    until_state(&caller, "second", "suspended").await;
    let suspended = Instant::now();
    // The new worker may sign before anybody looks: what counts is when the old one was seen last.
    let mut seen = suspended;
    tokio::task::block_in_place(|| {
        wait_for("another worker", || {
            let now = Instant::now();
            if group.worker("second") != worker {
                return Some(());
            }
            seen = now;
            None
        });
    });
    until_state(&caller, "second", "ok").await;
    until_signed_by(2, &caller).await;
    let answers = load.stop().await;
    answers.lost_none();
    assert!(answers.longest() < Duration::from_secs(3), "{:?}", answers.longest());
    let meanwhile = answers.by_key(suspended, seen);
    assert!(
        !meanwhile.contains_key(&second) && meanwhile.get(&primary).is_some_and(|count| *count > 0),
        "{meanwhile:?}"
    );
    assert!(audit(&group, "hsm.down") >= 1 && audit(&group, "hsm.up") >= 3);
    server.stop();
}
