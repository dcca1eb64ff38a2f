//! Nodes whose HSM tokens no other node reaches or names share one database.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::application::{ALL_GRANTS, Application};
use crate::support::cluster::Cluster;
use crate::support::process::wait_for;
use crate::support::requests;

/// A key takes over soon, and is published for a while before it does.
const SOON: &str = "[keys]\npublish_ahead = \"2s\"\njwks_max_age = \"1s\"\nclock_skew = \"1s\"";

/// How long a secret may take to the other nodes.
const SOON_ENOUGH: Duration = Duration::from_secs(1);

/// What is missing for the HSM tokens, as a node sees it.
fn waiting(node: &Application, hsm: &str) -> (u64, u64, u64) {
    let listed = node.json(&["hsm", "list"]);
    let listed = listed.as_array().unwrap().iter().find(|listed| listed["name"] == hsm).unwrap().clone();
    let number = |name: &str| listed["seals"][name].as_u64().unwrap();
    (number("secrets"), number("sealed"), number("waiting"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_enrols_on_one_node_signs_in_on_each_other_one_within_a_second() {
    let cluster = Cluster::of_own_tokens(3, SOON);
    let app = cluster.servers[0].add_client("app", ALL_GRANTS, "read");
    let mut tokens = Vec::new();
    for (number, server) in cluster.servers.iter().enumerate() {
        let ann = server.add_user(&format!("ann-{number}"), "reader");
        let key = server.add_yubico(&ann, &format!("vvcccccccc{}", ["bb", "bc", "bd"][number]));
        let enrolled = Instant::now();
        for other in &cluster.servers {
            let answer = loop {
                let answer = other.sign_in(&app, &ann, &key.press()).await;
                if answer.status == 200 || enrolled.elapsed() > SOON_ENOUGH {
                    break answer;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            tokens.push(answer.ok());
        }
    }
    // Nobody's configuration names another one's HSM token, and each signed by its own.
    let jwks: Value = requests::get(&cluster.url("/oauth2/jwks")).await.json();
    assert!(jwks["keys"].as_array().unwrap().len() >= 3, "{jwks}");
    for token in &tokens {
        for server in &cluster.servers {
            assert!(server.is_active(&app, &token.access_token()).await);
        }
    }
    let refresh = tokens[0].refresh_token();
    let mut successors = Vec::new();
    for server in &cluster.servers {
        successors.push(server.refresh(&app, &refresh).await.ok().refresh_token());
    }
    assert!(successors.windows(2).all(|pair| pair[0] == pair[1]), "{successors:?}");
}
