//! `kill -9` in the middle of many refreshes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::http::Stage;
use crate::support::application::TestClient;
use crate::support::requests::{FORM, basic, form};

/// What a client with one family holds when the server is gone.
struct Holder {
    /// The refresh token shown last. Its answer may be lost.
    shown: String,
    /// The access tokens received.
    received: Vec<String>,
}

/// Refreshes until the server does not answer. Each answer is counted.
async fn refresh_until_gone(url: String, client: TestClient, first: String, answered: Arc<AtomicUsize>) -> Holder {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut holder = Holder { shown: first, received: Vec::new() };
    loop {
        let request = http
            .post(&url)
            .header("authorization", basic(&client.id, &client.secret))
            .header("content-type", FORM)
            .body(form(&[("grant_type", "refresh_token"), ("refresh_token", &holder.shown)]));
        let Ok(response) = request.send().await else { return holder };
        let status = response.status();
        let Ok(body) = response.text().await else { return holder };
        assert_eq!(status, 200, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        holder.received.push(answer["access_token"].as_str().unwrap().to_owned());
        answer["refresh_token"].as_str().unwrap().clone_into(&mut holder.shown);
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

/// No family is lost (each client goes on with the token that it showed last), none is revived (a revoked one stays so),
/// and every token that somebody received has its record in a chain that is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hazard_74_promise_3_kill_9_in_a_refresh_storm_loses_and_revives_nothing() {
    let mut stage = Stage::new("[tokens]\nrefresh_retry_window = \"1m\"");
    let mut families = Vec::new();
    for number in 0..6 {
        families.push(stage.family(&format!("user-{number}")).await.1.refresh_token());
    }
    let dead = stage.family("revoked").await.1.refresh_token();
    stage.revoke(&stage.app, &dead).await.ok();
    let url = format!("{}/oauth2/token", stage.issuer());
    for _ in 0..2 {
        let answered = Arc::new(AtomicUsize::new(0));
        let storm: Vec<JoinHandle<Holder>> = families
            .drain(..)
            .map(|first| tokio::spawn(refresh_until_gone(url.clone(), stage.app.clone(), first, answered.clone())))
            .collect();
        let deadline = Instant::now() + Duration::from_secs(20);
        while answered.load(Ordering::SeqCst) < 30 {
            assert!(Instant::now() < deadline && !storm.iter().any(JoinHandle::is_finished), "no storm gets going");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stage.server.kill();
        stage.server.restart();
        let told: BTreeSet<String> =
            stage.audit().await.iter().filter_map(|record| Some(record["jti"].as_str()?.to_owned())).collect();
        for holder in storm {
            let holder = holder.await.unwrap();
            for token in &holder.received {
                let claims = jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(token).unwrap().claims;
                assert!(told.contains(claims["jti"].as_str().unwrap()), "a token left without its record");
            }
            families.push(stage.refresh(&stage.app, &holder.shown).await.ok().refresh_token());
        }
        assert_eq!(stage.refresh(&stage.app, &dead).await.status, 400);
        let verified = stage.run(&["audit", "verify"]);
        assert!(verified.code == Some(0), "{}", verified.stderr);
    }
    assert_eq!(stage.rows("grants").await, 7);
}
