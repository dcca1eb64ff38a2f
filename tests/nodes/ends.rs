//! How a node ends: killed, stopped, retired, or taken over by another process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::application::ALL_GRANTS;
use crate::support::cluster::Cluster;
use crate::support::process::{Paused, children, feed};
use crate::support::requests;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_under_load_loses_nothing_and_another_one_joins() {
    let mut cluster = Cluster::of(2, "");
    let app = cluster.first.add_client("app", ALL_GRANTS, "read");
    let ends = Arc::new(AtomicBool::new(false));
    let url = cluster.url("/oauth2/token");
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (ends, app, url) = (Arc::clone(&ends), app.clone(), url.clone());
            tokio::spawn(async move {
                let mut tokens = Vec::new();
                while !ends.load(Ordering::Relaxed) {
                    // A connection to the node that is killed breaks.
                    let asked = reqwest::Client::new().post(&url).basic_auth(&app.id, Some(&app.secret));
                    let asked = asked.header("content-type", "application/x-www-form-urlencoded");
                    let asked = asked.body(requests::form(&[("grant_type", "client_credentials")])).send().await;
                    if let Ok(answer) = asked
                        && let Ok(answer) = requests::Answer::read(answer).await
                        && answer.status == 200
                    {
                        tokens.push(answer.access_token());
                    }
                }
                tokens
            })
        })
        .collect();
    cluster.servers[1].kill();
    cluster.join();
    let fourth = cluster.servers[2].token(&app, &[("grant_type", "client_credentials")]).await.ok();
    ends.store(true, Ordering::Relaxed);
    let mut tokens = vec![fourth.access_token()];
    for task in load {
        tokens.extend(task.await.unwrap());
    }
    assert!(tokens.len() > 8, "{}", tokens.len());
    let records = cluster.first.sql(
        "SELECT COUNT(DISTINCT jti) FROM (
        SELECT CAST(text AS JSON) ->> 'jti' AS jti FROM audit_records) r WHERE jti IS NOT NULL",
    );
    assert!(records.parse::<usize>().unwrap() >= tokens.len(), "{records} records of {} tokens", tokens.len());
    cluster.servers[1].restart();
    cluster.servers[1].token(&app, &[("grant_type", "client_credentials")]).await.ok();
    let verified = cluster.first.json(&["audit", "verify"]);
    assert_eq!(verified["intact"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stood_still_until_it_was_retired_writes_nothing_and_ends() {
    let mut cluster = Cluster::of(2, "");
    let app = cluster.first.add_client("app", ALL_GRANTS, "read");
    let other = cluster.servers.pop().unwrap();
    other.token(&app, &[("grant_type", "client_credentials")]).await.ok();
    let nodes = cluster.first.json(&["node", "list"])["nodes"].clone();
    let id = nodes[1]["id"].as_str().unwrap().to_owned();
    let last = || cluster.first.sql(&format!("SELECT head_sequence FROM nodes WHERE id = '{id}'"));
    let mut processes = children(other.id());
    processes.push(other.id());
    let paused = Paused::new(processes);
    cluster.first.run(&["node", "retire", &id, "--yes"]).ok();
    cluster.first.run(&["node", "retire", &id, "--yes"]).fails(1, &["was retired already"]);
    let at_its_end = last();
    drop(paused);
    let late = other.token(&app, &[("grant_type", "client_credentials")]).await;
    assert_ne!(late.status, 200, "{}", late.body);
    let log = other.application().clone();
    other.ended();
    assert!(log.log().contains("this node was retired"), "{}", log.log());
    assert_eq!(last(), at_its_end);
    log.run(&["serve"]).fails(1, &["this node was retired"]);
    let listed = cluster.first.json(&["node", "list"])["nodes"].clone();
    assert_eq!(listed[1]["state"], "retired");
    assert_eq!(cluster.first.json(&["audit", "verify"])["intact"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time_is_a_node_and_one_that_was_overtaken_stops() {
    let mut cluster = Cluster::of(1, "");
    let application = Arc::clone(&cluster.first);
    let mut second = application.command(&["serve"]);
    second.env("SIGNET_SERVER__LISTEN", "127.0.0.1:0");
    feed(second, "").fails(1, &["another server runs on"]);
    // The same machine's server is not another one, however its last one ended.
    let mut server = cluster.servers.pop().unwrap();
    server.kill_and_restart();
    server.get("/readyz").await.ok();
    // A copy of the state folder is no successor, also on the same machine: nothing says that the first one has ended.
    let copy = application.another_node();
    std::fs::copy(application.file("node-id"), copy.file("node-id")).unwrap();
    copy.run(&["serve"]).fails(1, &["another server is this node", "node-id"]);
    server.get("/readyz").await.ok();
    // Another machine with a copy of the state folder has taken the node over.
    application.sql("UPDATE nodes SET lease = lease + 1, process = 'elsewhere', leased_until = 9999999999999");
    server.ended();
    assert!(application.log().contains("another process is this node by now"), "{}", application.log());
}
