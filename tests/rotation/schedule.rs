//! The schedule, the lease, and the limits of what a configuration may say.

use super::{in_stage, published, quick, ring, told, wait_long};
use crate::support::application::{ALL_GRANTS, Application};
use crate::support::caller::Caller;
use crate::support::commands::text;
use crate::support::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_rotated_by_hand_signs_when_everybody_knows_it() {
    let deployment = Application::new(&quick("never"));
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    let caller = Caller::new(&server, &credentials);
    let first = in_stage(&deployment, "active").remove(0);
    let rotated = deployment.json(&["key", "rotate"]);
    assert_eq!((&rotated[0]["created"], &rotated[0]["key"]["state"]), (&true.into(), &"next".into()));
    let next = text(&rotated[0]["key"], "kid");
    let jwks = caller.get("/oauth2/jwks").await.unwrap().json();
    assert!(published(&jwks).contains(&next) && published(&jwks).contains(&first));
    tokio::task::block_in_place(|| {
        wait_long("the hand-over", || in_stage(&deployment, "active").contains(&next).then_some(()));
    });
    // By the times that the store holds, it was published long enough before.
    let sql = format!("SELECT state_since - created_at FROM keys WHERE key_id = '{next}'");
    let published_for = deployment.sql(&sql);
    assert!(published_for.parse::<i64>().unwrap() >= 2000, "{published_for} ms");
    assert_eq!(in_stage(&deployment, "retiring"), std::slice::from_ref(&first));
    // The one signature that is begun by what the server knew before may still be the old key's.
    caller.client_credentials().await.unwrap().text("access_token");
    let signed = caller.client_credentials().await.unwrap().text("access_token");
    assert_eq!(signet_verify::inspect(&signed).unwrap().unverified_header["kid"], next.as_str());
    server.stop();
    let words = deployment.run(&["key", "list"]).stdout;
    assert!(words.contains("stopped signing at") && words.contains("in use since"), "{words}");
    for (event, key) in [("key.activated", &next), ("key.retired", &first)] {
        assert!(told(&deployment, event).iter().any(|record| record["key"] == key.as_str()), "{event}");
    }
}

#[test]
fn a_rotation_that_waits_already_is_not_begun_twice() {
    let deployment = Application::new("");
    let rotated = deployment.json(&["key", "rotate"]);
    let again = deployment.json(&["key", "rotate"]);
    assert_eq!(again[0]["created"], false);
    assert_eq!(text(&again[0]["key"], "kid"), text(&rotated[0]["key"], "kid"));
    assert_eq!(ring(&deployment).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_nodes_one_rotates() {
    let deployment = Application::on_postgres(&quick("2s"));
    let servers = [deployment.serve(), deployment.another_node().serve(), deployment.another_node().serve()];
    tokio::task::block_in_place(|| wait_long("four keys", || (ring(&deployment).len() >= 4).then_some(())));
    assert_eq!(deployment.sql("SELECT COUNT(*) FROM leases"), "1");
    servers.into_iter().for_each(Server::stop);
    assert_eq!(deployment.sql("SELECT COUNT(*) FROM leases"), "0", "given back at the end");
    let activated = told(&deployment, "key.activated");
    let mut keys: Vec<_> = activated.iter().map(|record| text(record, "key")).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), activated.len(), "each key began to sign once");
    let generated = ring(&deployment).len() - 1;
    assert!(generated <= activated.len() + 1, "{generated} generated for {} hand-overs", activated.len());
    assert!(told(&deployment, "key.rotated").is_empty(), "no step failed for a lost race");
}

#[test]
fn a_schedule_that_would_break_verifiers_is_refused() {
    for (keys, words) in [
        ("publish_ahead = \"5m\"", ["keys.publish_ahead", "310s", "jwks_max_age"]),
        ("jwks_max_age = \"2h\"\npublish_ahead = \"1h\"", ["keys.publish_ahead", "7210s", "clock_skew"]),
        ("rotate_every = \"30m\"", ["keys.rotate_every", "1h", "publish_ahead"]),
        ("rotate_every = \"sometimes\"", ["keys.rotate_every", "duration", "expected"]),
    ] {
        let deployment = Application::uninitialised(&format!("[keys]\n{keys}"));
        let file = deployment.settings().unwrap();
        deployment.run(&["init", "--settings", file.to_str().unwrap()]).fails(1, &words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jwks_says_how_long_it_may_be_kept() {
    let deployment = Application::new("[keys]\njwks_max_age = \"7s\"");
    let server = deployment.serve();
    let answer = crate::support::requests::get(&server.url("/oauth2/jwks")).await.ok();
    assert_eq!(answer.header("cache-control"), Some("public, max-age=7"));
    server.stop();
}

/// `init` three times at once, on one HSM token and one store, makes one key of each kind that is used.
#[test]
fn processes_that_initialise_at_once_make_one_active_key_of_each_kind() {
    let deployment = Application::uninitialised("");
    let spawn = || {
        let mut command = deployment.command(&["--json", "init"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    for racer in [spawn(), spawn(), spawn()] {
        let ended = racer.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    let active = "SELECT COUNT(*), COUNT(DISTINCT purpose) FROM keys WHERE state = 'active'";
    assert_eq!(deployment.sql(active), "6|6");
    deployment.serve().stop();
}
