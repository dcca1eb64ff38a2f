//! The HSM is slow, and meanwhile something happens that takes the right to the token away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::http::Stage;
use crate::support::requests::Answer;

/// Long enough for a request to reach the HSM on a busy machine. A test that came too early would see an answer at once,
/// and fail.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Asks for a token while the HSM stands still; `meanwhile` happens before it goes on.
async fn overtake<F, M>(stage: &Stage, request: F, meanwhile: M) -> Answer
where
    F: Future<Output = Answer> + Send + 'static,
    M: AsyncFnOnce(),
{
    let paused = stage.pause_hsm();
    let request = tokio::spawn(request);
    tokio::time::sleep(UNDER_WAY).await;
    meanwhile().await;
    tokio::time::sleep(UNDER_WAY).await;
    if request.is_finished() {
        let answer = request.await.unwrap();
        panic!("the request did not wait for the HSM: it was judged after what happened meanwhile: {answer:?}");
    }
    drop(paused);
    request.await.unwrap()
}

#[tokio::test]
async fn promise_7_a_revocation_that_overtakes_a_slow_refresh_wins() {
    let stage = Arc::new(Stage::new(""));
    let (_, first) = stage.family("ann").await;
    let token = first.refresh_token();
    let request = {
        let (stage, token) = (stage.clone(), token.clone());
        async move { stage.refresh(&stage.app, &token).await }
    };
    let refused = overtake(&stage, request, async || {
        stage.revoke(&stage.app, &token).await.ok();
    });
    assert_eq!(refused.await.refusal(), (400, "invalid_grant".to_owned()));
    assert!(!stage.is_active(&stage.app, &token).await);
    let records = stage.audit().await;
    let refreshed = records.iter().filter(|record| record["event"] == "token.refreshed");
    assert_eq!(refreshed.count(), 0, "a token that is discarded is not told as issued");
}

#[tokio::test]
async fn hazard_57_a_client_that_is_disabled_while_its_token_is_signed_gets_none() {
    let stage = Arc::new(Stage::new(""));
    stage.client_token().await;
    let request = {
        let stage = stage.clone();
        async move { stage.token(&stage.app, &[("grant_type", "client_credentials")]).await }
    };
    let refused = overtake(&stage, request, async || {
        stage.json(&["client", "disable", "app"]);
    });
    assert_eq!(refused.await.refusal(), (401, "invalid_client".to_owned()));
}

#[tokio::test]
async fn hazard_57_a_user_who_is_disabled_while_a_refresh_is_signed_gets_nothing() {
    let stage = Arc::new(Stage::new(""));
    let (user, first) = stage.family("ann").await;
    let request = {
        let stage = stage.clone();
        async move { stage.refresh(&stage.app, &first.refresh_token()).await }
    };
    let refused = overtake(&stage, request, async || {
        stage.json(&["user", "disable", &user.name]);
    });
    assert_eq!(refused.await.refusal(), (400, "invalid_grant".to_owned()));
}

/// What needs no key asks the HSM nothing: a stranger's flood of made-up tokens can't keep it busy, and verification
/// goes on without it.
#[tokio::test]
async fn hazard_88_made_up_tokens_ask_the_hsm_nothing() {
    let stage = Stage::new("");
    let (_, first) = stage.family("ann").await;
    let paused = stage.pause_hsm();
    let started = Instant::now();
    for made_up in ["made-up", &"x".repeat(5000), "a.b.c"] {
        assert_eq!(stage.refresh(&stage.app, made_up).await.refusal(), (400, "invalid_grant".to_owned()));
        assert!(!stage.is_active(&stage.app, made_up).await);
        stage.revoke(&stage.app, made_up).await.ok();
    }
    assert!(stage.is_active(&stage.app, &first.access_token()).await);
    stage.get("/oauth2/jwks").await.ok();
    stage.get("/.well-known/openid-configuration").await.ok();
    stage.revoke(&stage.app, &first.refresh_token()).await.ok();
    assert!(started.elapsed() < Duration::from_secs(10), "nothing of this waited for the HSM's deadline");
    drop(paused);
    stage.client_token().await;
}
