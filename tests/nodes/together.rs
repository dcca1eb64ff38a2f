//! What is done on one node holds on each.

use crate::support::application::ALL_GRANTS;
use crate::support::cluster::Cluster;
use crate::support::requests;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_enrols_on_one_node_signs_in_on_each_other_one_and_a_retry_gives_the_same_successor() {
    let cluster = Cluster::of(3, "");
    let [one, two, three] = &cluster.servers[..] else { panic!("three nodes") };
    let app = one.add_client("app", ALL_GRANTS, "read");
    let ann = two.add_user("ann", "reader");
    let key = three.add_yubico(&ann, "vvccccccccbb");
    let mut tokens = Vec::new();
    for server in &cluster.servers {
        tokens.push(server.sign_in(&app, &ann, &key.press()).await.ok());
    }
    let by_balancer = [("grant_type", "client_credentials")];
    requests::post(&cluster.url("/oauth2/token"), Some(&app), &by_balancer).await.ok();
    let refresh = tokens[0].refresh_token();
    let mut successors = Vec::new();
    for server in &cluster.servers {
        successors.push(server.refresh(&app, &refresh).await.ok().refresh_token());
    }
    assert!(successors.windows(2).all(|pair| pair[0] == pair[1]), "{successors:?}");
    for server in &cluster.servers {
        assert!(server.is_active(&app, &tokens[1].access_token()).await);
    }
}

/// Not within a second: by the first request after the command has ended.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_and_a_changed_client_are_seen_on_every_node_at_once() {
    let cluster = Cluster::of(3, "");
    let one = &cluster.servers[0];
    let app = one.add_client("app", ALL_GRANTS, "read");
    let ann = one.add_user("ann", "reader");
    let key = one.add_yubico(&ann, "vvccccccccbc");
    let token = one.sign_in(&app, &ann, &key.press()).await.ok();
    // Each has the client in its memory.
    for server in &cluster.servers {
        server.token(&app, &[("grant_type", "client_credentials")]).await.ok();
    }
    one.run(&["user", "disable", "ann"]).ok();
    for server in &cluster.servers {
        assert!(!server.is_active(&app, &token.access_token()).await);
        assert_eq!(server.refresh(&app, &token.refresh_token()).await.refusal().0, 400);
        assert_eq!(server.sign_in(&app, &ann, &key.press()).await.refusal().0, 400);
    }
    one.run(&["client", "disable", "app"]).ok();
    for server in &cluster.servers {
        let refused = server.token(&app, &[("grant_type", "client_credentials")]).await;
        assert_eq!(refused.refusal(), (401, "invalid_client".to_owned()));
    }
}

/// Each node's records are a chain of their own, and one export holds them all.
#[tokio::test(flavor = "multi_thread")]
async fn the_chains_of_all_nodes_are_listed_verified_and_exported() {
    let cluster = Cluster::of(3, "[audit]\ncheckpoint_interval = \"1s\"");
    let app = cluster.first.add_client("app", ALL_GRANTS, "read");
    for server in &cluster.servers {
        server.token(&app, &[("grant_type", "client_credentials")]).await.ok();
    }
    let nodes = cluster.first.json(&["node", "list"])["nodes"].clone();
    let states: Vec<_> = nodes.as_array().unwrap().iter().map(|node| node["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["serving"; 3]);
    let verified = cluster.first.json(&["audit", "verify"]);
    assert_eq!(verified["nodes"].as_array().unwrap().len(), 3, "{verified}");
    let file = cluster.first.file("export.jsonl");
    cluster.first.run(&["audit", "export", "--output", file.to_str().unwrap()]).ok();
    let of_file = cluster.first.json(&["audit", "verify", "--file", file.to_str().unwrap()]);
    assert_eq!(of_file["nodes"].as_array().unwrap().len(), 3, "{of_file}");
    assert_eq!(of_file["records"], of_file["signed_up_to"]);
    // A chain that is not the exporting node's is taken out.
    let text = std::fs::read_to_string(&file).unwrap();
    let gone = nodes[1]["id"].as_str().unwrap();
    let without: String = text
        .lines()
        .filter(|line| !line.contains(&format!("\"node\":\"{gone}\",\"seq\"")))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&file, without).unwrap();
    cluster
        .first
        .run(&["audit", "verify", "--file", file.to_str().unwrap()])
        .fails(1, &[gone, "cut off, removed or replaced"]);
    cluster.first.sql(&format!("DELETE FROM audit_records WHERE node = '{gone}' AND sequence > 1;
        UPDATE nodes SET head_sequence = 1, head_hash = (SELECT hash FROM audit_records WHERE node = '{gone}') WHERE id = '{gone}';
        DELETE FROM audit_checkpoints WHERE node = '{gone}'"));
    cluster.first.run(&["audit", "verify"]).fails(1, &[gone, "a signed checkpoint of another node names"]);
}
