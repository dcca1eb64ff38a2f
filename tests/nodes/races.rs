//! What is used once is used once, on however many nodes. `make soak` runs more rounds.

use std::sync::Arc;

use crate::store::races::rounds_of_soak;
use crate::support::application::ALL_GRANTS;
use crate::support::cluster::Cluster;
use crate::support::requests;

const ROUNDS: usize = 20;
const RACERS: usize = 100;

/// Asserts that no transactions waited for each other, by PostgreSQL's own count, once the servers have ended.
fn no_deadlock(mut cluster: Cluster) {
    // A connection's counts are told when it has ended.
    cluster.servers.clear();
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(cluster.first.sql(deadlocks), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_4_one_of_a_hundred_who_show_a_refresh_token_at_three_nodes_gets_its_successor() {
    refresh_tokens(ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_44_of_a_hundred_at_once_on_three_nodes_one_verification_wins() {
    verifications(ROUNDS).await;
}

mod soak {
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "ten thousand racers: make soak"]
    async fn refresh_tokens() {
        let since = std::time::Instant::now();
        super::refresh_tokens(super::rounds_of_soak()).await;
        println!("nodes refresh_tokens: {} in {:.1?}", super::rounds_of_soak(), since.elapsed());
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "ten thousand racers: make soak"]
    async fn verifications() {
        let since = std::time::Instant::now();
        super::verifications(super::rounds_of_soak()).await;
        println!("nodes verifications: {} in {:.1?}", super::rounds_of_soak(), since.elapsed());
    }
}

async fn refresh_tokens(rounds: usize) {
    let cluster = Cluster::of(3, "[tokens]\nrefresh_retry_window = \"0s\"");
    let app = cluster.first.add_client("app", ALL_GRANTS, "read");
    let ann = cluster.first.add_user("ann", "reader");
    let key = cluster.first.add_yubico(&ann, "vvccccccccbd");
    let urls: Vec<String> = cluster.servers.iter().map(|server| server.url("/oauth2/token")).collect();
    for _ in 0..rounds {
        let token = cluster.servers[0].sign_in(&app, &ann, &key.press()).await.ok().refresh_token();
        let racers = (0..RACERS).map(|racer| {
            let (url, app, token) = (urls[racer % urls.len()].clone(), app.clone(), token.clone());
            tokio::spawn(async move {
                let fields = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
                requests::post(&url, Some(&app), &fields).await
            })
        });
        let mut won = 0;
        for racer in racers.collect::<Vec<_>>() {
            let answer = racer.await.unwrap();
            match answer.status {
                200 => won += 1,
                _ => assert_eq!(answer.refusal(), (400, "invalid_grant".to_owned())),
            }
        }
        assert!(won <= 1, "{won} successors");
        // A replay ends the family, and may do so before the one who was first has its token.
        assert_eq!(cluster.servers[1].refresh(&app, &token).await.status, 400);
    }
    let rotated = "SELECT COUNT(*) FROM audit_records WHERE CAST(text AS JSON) ->> 'event' = 'token.refreshed'";
    assert_eq!(cluster.first.sql(rotated), rounds.to_string(), "one rotation in each round");
    no_deadlock(cluster);
}

async fn verifications(rounds: usize) {
    let cluster = Cluster::of(3, "");
    let added = cluster.first.json(&["otp-client", "add", "app"]);
    let id = added["id"].to_string().trim_matches('"').to_owned();
    let ann = cluster.first.add_user("ann", "reader");
    let key = cluster.first.add_yubico(&ann, "vvccccccccbf");
    let urls: Arc<Vec<String>> =
        Arc::new(cluster.servers.iter().map(|server| server.url("/wsapi/2.0/verify")).collect());
    let (mut sure, mut unsure) = (0, 0);
    for round in 0..rounds {
        let otp = key.press();
        let racers = (0..RACERS).map(|racer| {
            let (urls, id, otp) = (Arc::clone(&urls), id.clone(), otp.clone());
            tokio::spawn(async move {
                let url = &urls[racer % urls.len()];
                requests::get(&format!("{url}?id={id}&otp={otp}&nonce=nonce0000000{round:04}x{racer:04}")).await.body
            })
        });
        let (mut accepted, mut unanswered) = (0, 0);
        for racer in racers.collect::<Vec<_>>() {
            let answer = racer.await.unwrap();
            if answer.contains("status=OK") {
                accepted += 1;
            } else if answer.contains("status=BACKEND_ERROR") {
                // A machine that is too busy: whoever was first may be among these.
                unanswered += 1;
            } else {
                assert!(answer.contains("status=REPLAYED_OTP"), "{answer}");
            }
        }
        assert!(accepted == 1 || (accepted == 0 && unanswered > 0), "{accepted} in round {round}");
        sure += accepted;
        unsure += usize::from(accepted == 0);
    }
    let told = "SELECT COUNT(*) FROM audit_records WHERE CAST(text AS JSON) ->> 'event' = 'otp.validated'
        AND CAST(text AS JSON) ->> 'outcome' = 'done'";
    let told: usize = cluster.first.sql(told).parse().unwrap();
    assert!((sure..=sure + unsure).contains(&told), "{told} spent, {sure} answered so, {unsure} unanswered");
    no_deadlock(cluster);
}
