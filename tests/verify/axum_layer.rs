//! Requests through the axum layer: RFC 6750's answers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use reqwest::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use serde_json::json;
use signet_jose::Algorithm;
use signet_verify::axum::BearerLayer;
use signet_verify::{Level, VerifiedClaims};

use crate::issuer::{NOW, SoftKey};

async fn greet(claims: VerifiedClaims) -> String {
    claims.subject().to_owned()
}

async fn start(key: &SoftKey) -> String {
    let guard = BearerLayer::new(Arc::new(key.verifier())).realm("test");
    let app = Router::new()
        .route("/read", get(greet).layer(guard.clone().require_scope("read")))
        .route("/write", get(greet).layer(guard.clone().require_scope("read").require_scope("write")))
        .route("/strong", get(greet).layer(guard.clone().require_level(Level::Aal3)))
        .route("/recent", get(greet).layer(guard.clone().max_age(Duration::from_secs(60))))
        .route("/admin", get(greet).layer(guard.require_role("admin")))
        .route("/forgotten", get(greet));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

async fn ask(url: &str, authorization: &[&str]) -> (u16, String, String) {
    let mut request = reqwest::Client::new().get(url);
    for value in authorization {
        request = request.header(AUTHORIZATION, *value);
    }
    let response = request.send().await.unwrap();
    let challenge = response.headers().get(WWW_AUTHENTICATE).map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), challenge.unwrap_or_default(), response.text().await.unwrap())
}

#[tokio::test]
async fn an_acceptable_token_is_let_in() {
    let key = SoftKey::generate(Algorithm::Es256);
    let url = start(&key).await;
    for scheme in ["Bearer", "bearer"] {
        let answer = ask(&format!("{url}/read"), &[&format!("{scheme} {}", key.honest())]).await;
        assert_eq!(answer, (200, String::new(), "user".to_owned()));
    }
}

#[tokio::test]
async fn without_a_token_the_challenge_names_no_error() {
    let key = SoftKey::generate(Algorithm::Es256);
    let url = start(&key).await;
    for authorization in [&[][..], &["Basic dXNlcjpwYXNz"]] {
        let answer = ask(&format!("{url}/read"), authorization).await;
        assert_eq!(answer, (401, "Bearer realm=\"test\"".to_owned(), String::new()));
    }
    let in_url = ask(&format!("{url}/read?access_token={}", key.honest()), &[]).await;
    assert_eq!(in_url.0, 401);
}

#[tokio::test]
async fn a_bad_token_is_told_in_one_way() {
    let key = SoftKey::generate(Algorithm::Es256);
    let url = start(&key).await;
    let expired = key.changed(|_, claims| claims["exp"] = json!(1));
    let (status, challenge, _) = ask(&format!("{url}/read"), &[&format!("Bearer {expired}")]).await;
    assert_eq!(status, 401);
    assert!(challenge.contains("error=\"invalid_token\", error_description=\"the token has expired\""), "{challenge}");

    let other_audience = key.changed(|_, claims| claims["aud"] = "other".into());
    let forged = SoftKey::generate(Algorithm::Es256).honest();
    let mut answers = Vec::new();
    for token in [other_audience.as_str(), &forged, "x", "a b", "\u{e9}"] {
        answers.push(ask(&format!("{url}/read"), &[&format!("Bearer {token}")]).await);
    }
    assert_eq!(answers[0].0, 401);
    assert!(answers[0].1.contains("error=\"invalid_token\""));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn two_tokens_or_half_of_one_is_a_bad_request() {
    let key = SoftKey::generate(Algorithm::Es256);
    let url = start(&key).await;
    let bearer = format!("Bearer {}", key.honest());
    for authorization in [&[bearer.as_str(), &bearer][..], &["Bearer"]] {
        let (status, challenge, _) = ask(&format!("{url}/read"), authorization).await;
        assert_eq!(status, 400);
        assert!(challenge.contains("error=\"invalid_request\""), "{challenge}");
    }
}

#[tokio::test]
async fn too_little_scope_or_a_missing_role_is_forbidden() {
    let key = SoftKey::generate(Algorithm::Es256);
    let url = start(&key).await;
    let bearer = format!("Bearer {}", key.honest());
    let (status, challenge, _) = ask(&format!("{url}/write"), &[&bearer]).await;
    assert_eq!(status, 403);
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    assert!(challenge.ends_with("scope=\"read write\""), "{challenge}");
    let (status, challenge, _) = ask(&format!("{url}/admin"), &[&bearer]).await;
    assert_eq!(status, 403);
    assert!(!challenge.contains("scope=\""), "{challenge}");
}

#[tokio::test]
async fn a_handler_without_the_layer_lets_nobody_in() {
    let key = SoftKey::generate(Algorithm::Es256);
    let url = start(&key).await;
    let answer = ask(&format!("{url}/forgotten"), &[&format!("Bearer {}", key.honest())]).await;
    assert_eq!(answer.0, 401);
}

#[tokio::test]
async fn hazard_57_a_weak_or_old_sign_in_is_told_what_would_do() {
    let key = SoftKey::generate(Algorithm::Es256);
    let url = start(&key).await;
    let token = |acr: &str, age: i64| {
        let signed_in = NOW - age;
        key.changed(|_, claims| (claims["acr"], claims["auth_time"]) = (acr.into(), signed_in.into()))
    };
    let ask_with = async |path: &str, token: &str| ask(&format!("{url}{path}"), &[&format!("Bearer {token}")]).await;
    let (weak, strong) = (token("urn:signet:aal2", 0), token("urn:signet:aal3", 0));
    assert_eq!(ask_with("/strong", &strong).await.0, 200);
    let (status, challenge, _) = ask_with("/strong", &weak).await;
    assert_eq!(status, 401);
    assert!(challenge.contains("error=\"insufficient_user_authentication\""), "{challenge}");
    assert!(challenge.ends_with("acr_values=\"urn:signet:aal3\""), "{challenge}");
    assert_eq!(ask_with("/recent", &token("urn:signet:aal2", 59)).await.0, 200);
    let (status, challenge, _) = ask_with("/recent", &token("urn:signet:aal3", 3600)).await;
    assert_eq!(status, 401);
    assert!(challenge.ends_with("max_age=\"60\""), "{challenge}");
    assert_eq!(ask_with("/recent", &token("urn:signet:aal3", -3600)).await.0, 401, "it is still to come");
    // Software proved nothing as a person.
    let software = key.changed(|_, claims| {
        let claims = claims.as_object_mut().unwrap();
        claims.remove("acr");
        claims.remove("auth_time");
    });
    for path in ["/strong", "/recent"] {
        assert_eq!(ask_with(path, &software).await.0, 401);
    }
}
