//! The audit log, backups and the diagnosis over the API, beside a server: what is long comes whole or is refused.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{get, post};
use crate::support::application::{Application, PASSWORD};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn records_come_by_pages_and_filters() {
    let application = Application::new("");
    let server = application.serve();
    for name in ["ann", "bob"] {
        post(&application, "/users", &json!({"name": name, "password": PASSWORD})).await;
    }
    let mut all = Vec::new();
    let mut path = "/audit/records?limit=2".to_owned();
    loop {
        let page = get(&application, &path).await.ok().json();
        all.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/audit/records?limit=2&after={next}");
    }
    let numbers: Vec<i64> = all.iter().map(|record| record["seq"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>());
    let found = async |query: &str| {
        let page = get(&application, &format!("/audit/records?{query}")).await.ok().json();
        page["items"].as_array().unwrap().clone()
    };
    let of_bob = found("user=bob&event=user.changed").await;
    assert_eq!(of_bob.len(), 1, "{of_bob:?}");
    let bob = get(&application, "/users/bob").await.json();
    assert_eq!(of_bob[0]["user"], bob["id"]);
    assert!(of_bob[0]["hash"].is_string() && of_bob[0]["operator"].is_string(), "{of_bob:?}");
    assert_eq!(found(&format!("user={}&event=user.changed", bob["id"].as_str().unwrap())).await, of_bob);
    let at = of_bob[0]["at"].as_str().unwrap();
    let (since, until) = (found(&format!("since={at}")).await, found(&format!("until={at}")).await);
    assert_eq!(since[0]["at"], of_bob[0]["at"]);
    assert_eq!([until, since].concat()[..numbers.len()], all[..]);
    assert_eq!(found("node=nobody").await.len() + found("user=nobody").await.len(), 0);
    for bad in ["after=1", "since=today", "event=magic", "colour=red", "limit=0"] {
        assert_eq!(get(&application, &format!("/audit/records?{bad}")).await.status, 400, "{bad}");
    }
    server.stop();
}

#[tokio::test]
async fn a_log_that_was_altered_beside_a_server_is_found_and_its_export_is_cut_off() {
    let (application, other) = (Application::new(""), Application::with_own_keys());
    let server = application.serve();
    application.add_user("ann", "reader");
    application.run(&["audit", "export", "--output", "whole.jsonl"]).ok();
    let exported = lines(&fs::read_to_string(application.file("whole.jsonl")).unwrap());
    assert!(exported.last().unwrap()["checkpoint"].is_string());
    assert_eq!(application.json(&["audit", "verify", "--file", "whole.jsonl"])["intact"], true);
    let found = application.json(&["audit", "verify"]);
    assert_eq!((&found["intact"], &found["nodes"][0]["records"]), (&json!(true), &found["records"]));
    assert_eq!(application.json(&["audit", "verify", "--store"])["intact"], true);
    let (own, foreign) = (application.file("audit.jwk"), other.file("audit.jwk"));
    assert_eq!(application.json(&["audit", "verify", "--key", own.to_str().unwrap()])["intact"], true);
    application.run(&["audit", "verify", "--key", foreign.to_str().unwrap()]).fails(1, &["checkpoint"]);
    application.run(&["audit", "verify", "--at-least", "100000"]).fails(1, &["--at-least"]);

    application.sql("DELETE FROM audit_records WHERE sequence = 3");
    application.run(&["audit", "verify"]).fails(1, &["records 3 to 3 were removed"]);
    let told = get(&application, "/audit/verification").await.ok().json();
    assert_eq!((&told["intact"], &told["records"]), (&json!(false), &json!(0)), "{told}");
    let ran = application.run(&["audit", "export"]);
    ran.fails(1, &["broke off"]);
    assert!(application.log().contains("record 3 is missing"), "{}", application.log());
    drop(server);
}

#[tokio::test]
async fn a_backup_that_a_server_can_not_close_leaves_no_file() {
    let application = Application::with_hsm("sessions = 2\ndeadline = \"1s\"", "");
    let server = application.serve();
    assert!(application.json(&["backup", "good.backup"])["rows"].as_u64() > Some(5));
    assert_eq!(application.json(&["backup", "verify", "good.backup"])["genuine"], true);
    let paused = server.pause_hsm();
    application.run(&["backup", "cut.backup"]).fails(1, &["broke off"]);
    let left = fs::read_dir(application.folder()).unwrap().flatten();
    assert!(!left.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("cut.backup")));
    drop(paused);
    server.stop();
}

/// What is away is named, at once, and what a server says is what a command finds that opens everything itself.
#[tokio::test]
async fn a_server_is_diagnosed_as_the_deployment_is_without_it() {
    let application = Application::with_hsm("sessions = 2\ndeadline = \"1s\"", "");
    let subjects = |report: &Value| -> Vec<String> {
        let all = report["findings"].as_array().unwrap().iter();
        all.map(|finding| finding["subject"].as_str().unwrap().to_owned()).collect()
    };
    let here = application.json(&["doctor", "--quick"]);
    let server = application.serve();
    let asked = get(&application, "/diagnosis").await.ok().json();
    assert_eq!((&here["ok"], &asked["ok"]), (&json!(true), &json!(true)), "{asked:#}");
    assert!(subjects(&here).ends_with(&subjects(&asked)), "{here:#} {asked:#}");
    let beside = application.json(&["doctor"]);
    let mut of_doctor = subjects(&beside);
    assert_eq!(of_doctor.pop().as_deref(), Some("speed"));
    assert!(of_doctor.ends_with(&subjects(&asked)) && of_doctor.contains(&"server".to_owned()), "{beside:#}");
    let paused = server.pause_hsm();
    let begun = Instant::now();
    let ran = application.run(&["doctor"]);
    ran.fails(1, &["FAULT  HSM primary"]);
    assert!(begun.elapsed() < Duration::from_secs(12), "it took {:?}", begun.elapsed());
    drop(paused);
    server.stop();
}
