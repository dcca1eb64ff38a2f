//! The deployment's secret is renewed while the nodes serve, each with an HSM token of its own: nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::own_tokens::SOON;
use crate::support::application::ALL_GRANTS;
use crate::support::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_renewed_while_two_nodes_serve() {
    let cluster = Arc::new(Cluster::of_own_tokens(2, SOON));
    let one = &cluster.servers[0];
    let app = one.add_client("app", ALL_GRANTS, "read");
    let ann = one.add_user("ann", "reader");
    let key = one.add_yubico(&ann, "vvccccccccbb");
    let stop = Arc::<AtomicBool>::default();
    let mut working = Vec::new();
    for _ in 0..4 {
        let mut token = one.sign_in(&app, &ann, &key.press()).await.ok().refresh_token();
        let (cluster, app, stop) = (cluster.clone(), app.clone(), stop.clone());
        working.push(tokio::spawn(async move {
            let mut turns = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                let [here, there] = [turns, turns + 1].map(|turn| &cluster.servers[turn % 2]);
                let next = here.refresh(&app, &token).await.ok().refresh_token();
                // Whoever did not hear the answer asks the other node.
                assert_eq!(there.refresh(&app, &token).await.ok().refresh_token(), next);
                (token, turns) = (next, turns + 1);
            }
            turns
        }));
    }
    let first = cluster.first.clone();
    let renewed =
        tokio::task::spawn_blocking(move || first.json(&["secret", "renew", "--why", "a drill"])).await.unwrap();
    assert_eq!(
        (&renewed["generation"], &renewed["under_way"], &renewed["void_rows"]),
        (&2.into(), &false.into(), &0.into())
    );
    let renewed_at = Instant::now();
    // The other node forgets the old one within a second.
    while renewed_at.elapsed() < Duration::from_millis(1500) {
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    for working in working {
        assert!(working.await.unwrap() > 2);
    }
    assert_eq!(cluster.first.json(&["audit", "verify", "--store"])["intact"], true);
    assert_eq!(cluster.first.json(&["secret", "show"])["generation"], 2);
    for server in &cluster.servers {
        let log = server.log();
        assert!(!log.contains("ALARM") && !log.contains("does not verify"), "{log}");
        server.sign_in(&app, &ann, &key.press()).await.ok();
    }
}
