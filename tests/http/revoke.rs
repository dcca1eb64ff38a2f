//! `POST /oauth2/revoke` (RFC 7009).

use std::time::{Duration, Instant};

use super::{ALL_GRANTS, Stage};

#[tokio::test]
async fn a_revoked_access_token_is_inactive_at_once_and_its_family_lives() {
    let stage = Stage::shared();
    let (_, first) = stage.family("access-revoked").await;
    let revoked = stage.revoke(&stage.app, &first.access_token()).await.ok();
    assert_eq!((revoked.body.as_str(), revoked.header("cache-control")), ("", Some("no-store")));
    assert!(!stage.is_active(&stage.app, &first.access_token()).await);
    stage.revoke(&stage.app, &first.access_token()).await.ok();
    let second = stage.refresh(&stage.app, &first.refresh_token()).await.ok();
    assert!(stage.is_active(&stage.app, &second.access_token()).await);
}

#[tokio::test]
async fn promise_7_a_revoked_refresh_token_ends_its_family_for_good() {
    let stage = Stage::shared();
    let (_, first) = stage.family("family-revoked").await;
    let second = stage.refresh(&stage.app, &first.refresh_token()).await.ok();
    let hinted = [("token", &*second.refresh_token()), ("token_type_hint", "access_token")];
    stage.post("/oauth2/revoke", &stage.app, &hinted).await.ok();
    for token in [first.access_token(), second.access_token(), second.refresh_token()] {
        assert!(!stage.is_active(&stage.app, &token).await);
    }
    for token in [second.refresh_token(), first.refresh_token()] {
        let refused = stage.refresh(&stage.app, &token).await;
        assert_eq!(refused.refusal(), (400, "invalid_grant".to_owned()));
    }
}

/// A spent refresh token still names its family.
#[tokio::test]
async fn revoking_a_spent_refresh_token_ends_the_family_too() {
    let stage = Stage::shared();
    let (_, first) = stage.family("spent-revoked").await;
    let second = stage.refresh(&stage.app, &first.refresh_token()).await.ok();
    stage.revoke(&stage.app, &first.refresh_token()).await.ok();
    assert!(!stage.is_active(&stage.app, &second.refresh_token()).await);
}

#[tokio::test]
async fn a_token_that_is_unknown_or_anothers_is_200_and_stays_as_it_is() {
    let stage = Stage::shared();
    let (_, first) = stage.family("not-yours").await;
    let other = stage.add_client("other-revoker", ALL_GRANTS, "read");
    for token in ["garbage", "a.b.c", &first.access_token(), &first.refresh_token()] {
        stage.revoke(&other, token).await.ok();
    }
    assert!(stage.is_active(&stage.app, &first.access_token()).await);
    stage.refresh(&stage.app, &first.refresh_token()).await.ok();
    let missing = stage.post("/oauth2/revoke", &stage.app, &[]).await;
    assert_eq!(missing.refusal(), (400, "invalid_request".to_owned()));
    let anonymous = stage.post_plain("/oauth2/revoke", &[("token", "x")]).await;
    assert_eq!(anonymous.refusal(), (401, "invalid_client".to_owned()));
}

/// Somebody else holds the database's write lock: nothing that must be durable is told as done, no token leaves, and
/// nobody waits without end. Reading goes on.
#[tokio::test]
async fn hazard_39_76_a_locked_database_is_503_within_the_deadline_and_all_is_well_after() {
    let stage = Stage::new("");
    let (user, totp) = stage.person("bob");
    let (_, first) = stage.family("ann").await;
    let held = stage.writes_held().await;
    let started = Instant::now();
    let (access, refresh, code) = (first.access_token(), first.refresh_token(), totp.code());
    let answers = tokio::join!(
        stage.revoke(&stage.app, &access),
        stage.revoke(&stage.app, &refresh),
        stage.refresh(&stage.app, &refresh),
        stage.token(&stage.app, &[("grant_type", "client_credentials")]),
        stage.sign_in(&stage.app, &user, &code),
    );
    let took = started.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
    for answer in [answers.0, answers.1, answers.2, answers.3, answers.4] {
        assert_eq!(answer.refusal(), (503, "temporarily_unavailable".to_owned()));
        assert!(answer.retry_after().is_some());
    }
    assert_eq!(stage.get("/readyz").await.status, 503);
    assert!(stage.is_active(&stage.app, &access).await, "introspection reads");
    assert_eq!(stage.get("/oauth2/jwks").await.status, 200);
    held.end().await;
    let second = stage.refresh(&stage.app, &refresh).await.ok();
    stage.sign_in(&stage.app, &user, &code).await.ok();
    stage.revoke(&stage.app, &second.refresh_token()).await.ok();
    assert!(!stage.is_active(&stage.app, &access).await);
    assert_eq!(stage.get("/readyz").await.status, 200);
}
