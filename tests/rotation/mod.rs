//! Rotation of the signing keys, from outside: what clients and verifiers notice of it, and what an HSM token holds.

mod emergency;
mod faults;
mod schedule;
mod under_load;
mod without_hsm;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::application::Application;
use crate::support::commands::text;

/// Keys that follow each other in seconds, as a configuration may say it.
pub(super) fn quick(rotate_every: &str) -> String {
    format!(
        "[tokens]\naccess_lifetime = \"10s\"\n[keys]\nrotate_every = \"{rotate_every}\"\n\
         publish_ahead = \"2s\"\njwks_max_age = \"1s\"\nclock_skew = \"1s\""
    )
}

/// The token-signing keys, the oldest first.
pub(super) fn ring(deployment: &Application) -> Vec<Value> {
    let keys = deployment.json(&["key", "list"]);
    keys.as_array().unwrap().iter().filter(|key| key["purpose"] == "token_signing").cloned().collect()
}

/// The ids of the signing keys in this stage.
pub(super) fn in_stage(deployment: &Application, stage: &str) -> Vec<String> {
    ring(deployment).iter().filter(|key| key["state"] == stage).map(|key| text(key, "kid")).collect()
}

/// The thumbprints that the JWKS names.
pub(super) fn published(jwks: &Value) -> BTreeSet<String> {
    jwks["keys"].as_array().unwrap().iter().map(|key| text(key, "kid")).collect()
}

/// The `CKA_ID`s of the private keys in the HSM token, by a program that is not ours.
pub(super) fn in_hsm(deployment: &Application) -> BTreeSet<String> {
    let listed = deployment.hsm_token().pkcs11_tool(&["--list-objects", "--type", "privkey"]);
    let ids = listed.lines().filter_map(|line| line.trim().strip_prefix("ID:"));
    ids.map(|id| id.trim().to_owned()).collect()
}

/// The `CKA_ID` of a key, by the store.
pub(super) fn cka_id(deployment: &Application, kid: &str) -> String {
    let hexadecimal = if deployment.postgres().is_some() { "encode(cka_id, 'hex')" } else { "lower(hex(cka_id))" };
    deployment.sql(&format!("SELECT {hexadecimal} FROM keys WHERE key_id = '{kid}'"))
}

/// The audit records of one kind of event.
pub(super) fn told(deployment: &Application, event: &str) -> Vec<Value> {
    let ran = deployment.run(&["audit", "export"]);
    crate::support::commands::exported(&ran.stdout).into_iter().filter(|record| record["event"] == event).collect()
}

/// Waits for something that is looked for by commands, which take seconds each where the machine is busy.
#[track_caller]
pub(super) fn wait_long<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(180);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
