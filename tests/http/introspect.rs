//! `POST /oauth2/introspect` (RFC 7662).

use std::collections::BTreeSet;

use serde_json::{Value, json};
use signet_verify::introspection::{Introspection, IntrospectionClient, IntrospectionError};

use super::{ALL_GRANTS, Stage};
use crate::support::application::{AUDIENCE, Application, TestClient};
use crate::support::requests::Answer;

fn members(answer: &Value) -> BTreeSet<&str> {
    answer.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn an_active_token_is_told_whole() {
    let stage = Stage::shared();
    let (user, first) = stage.family("told").await;
    let access = stage.introspect(&stage.app, &first.access_token()).await.ok();
    assert_eq!(access.header("cache-control"), Some("no-store"));
    let access = access.json();
    let expected = [
        "acr",
        "active",
        "amr",
        "aud",
        "auth_time",
        "client_id",
        "exp",
        "iat",
        "iss",
        "jti",
        "roles",
        "scope",
        "sub",
        "token_type",
        "username",
    ];
    assert_eq!(members(&access), BTreeSet::from(expected));
    assert_eq!((&access["active"], &access["token_type"]), (&json!(true), &json!("Bearer")));
    assert_eq!((&access["username"], &access["sub"]), (&json!(user.name), &json!(user.id)));
    assert_eq!((&access["iss"], &access["client_id"]), (&json!(stage.issuer()), &json!(stage.app.id)));
    assert!(access["aud"] == AUDIENCE || access["aud"] == json!([AUDIENCE]));
    let refresh = stage.introspect(&stage.app, &first.refresh_token()).await.ok().json();
    let expected = ["active", "client_id", "exp", "iat", "iss", "scope", "sub", "token_type"];
    assert_eq!(members(&refresh), BTreeSet::from(expected));
    assert_eq!((&refresh["active"], &refresh["token_type"]), (&json!(true), &json!("refresh_token")));
    let own = stage.introspect(&stage.app, &stage.client_token().await).await.ok().json();
    assert!(own["active"] == true && own.get("username").is_none() && own.get("auth_time").is_none(), "{own}");
}

#[tokio::test]
async fn an_access_token_is_told_to_every_client_and_a_refresh_token_to_its_own_alone() {
    let stage = Stage::shared();
    let api = stage.add_client("resource-server", "client_credentials", "");
    let (_, first) = stage.family("owner").await;
    assert!(stage.is_active(&api, &first.access_token()).await);
    let foreign = stage.introspect(&api, &first.refresh_token()).await.ok();
    assert_eq!(foreign.json(), json!({ "active": false }));
    assert!(stage.is_active(&stage.app, &first.refresh_token()).await);
    let second = stage.refresh(&stage.app, &first.refresh_token()).await.ok();
    assert!(!stage.is_active(&stage.app, &first.refresh_token()).await, "a spent one is not active");
    assert!(stage.is_active(&stage.app, &second.refresh_token()).await);
    let hinted = [("token", &*second.refresh_token()), ("token_type_hint", "access_token")];
    let hinted = stage.post("/oauth2/introspect", &stage.app, &hinted).await.ok();
    assert_eq!(hinted.json()["active"], true, "a wrong hint only costs time (RFC 7662 §2.1)");
}

#[tokio::test]
async fn hazard_40_introspection_without_authentication_is_401() {
    let stage = Stage::shared();
    let token = stage.client_token().await;
    let refused = |answer: Answer| assert_eq!(answer.refusal(), (401, "invalid_client".to_owned()));
    refused(stage.post_plain("/oauth2/introspect", &[("token", &token)]).await);
    refused(stage.post_plain("/oauth2/introspect", &[("token", &token), ("client_id", &stage.app.id)]).await);
    let wrong = TestClient { secret: "wrong".to_owned(), ..stage.app.clone() };
    refused(stage.introspect(&wrong, &token).await);
    let missing = stage.post("/oauth2/introspect", &stage.app, &[]).await;
    assert_eq!(missing.refusal(), (400, "invalid_request".to_owned()));
    assert_eq!(stage.get("/oauth2/introspect").await.status, 405);
}

/// Nothing but `active` is told of what is not, whatever the reason.
#[tokio::test]
async fn hazard_40_foreign_garbled_and_unknown_tokens_are_inactive_and_no_more_is_said() {
    let stage = Stage::shared();
    let token = stage.client_token().await;
    let (signing_input, signature) = token.rsplit_once('.').unwrap();
    let other_issuer = Application::with_own_keys().serve();
    let stranger = other_issuer.add_client("app", ALL_GRANTS, "read");
    let foreign = other_issuer.token(&stranger, &[("grant_type", "client_credentials")]).await.ok().access_token();
    let swapped: String = signature.chars().rev().collect();
    for inactive in [
        foreign,
        format!("{signing_input}.{swapped}"),
        format!("{signing_input}."),
        format!("{token}x"),
        format!("{token}="),
        "garbage".to_owned(),
        "a.b.c".to_owned(),
        "eyJhbGciOiJub25lIn0.e30.".to_owned(),
        "\u{e4}\u{1f511}".to_owned(),
        "x".repeat(30_000),
    ] {
        let answer = stage.introspect(&stage.app, &inactive).await.ok();
        assert_eq!(answer.json(), json!({ "active": false }), "{inactive:.40}");
    }
}

#[tokio::test]
async fn what_the_command_line_changes_shows_at_once() {
    let stage = Stage::shared();
    let (user, first) = stage.family("disabled-later").await;
    let app = stage.add_client("disabled-later", "client_credentials", "read");
    let own = stage.token(&app, &[("grant_type", "client_credentials")]).await.ok().access_token();
    assert!(stage.is_active(&stage.app, &first.access_token()).await && stage.is_active(&stage.app, &own).await);
    stage.json(&["user", "disable", &user.name]);
    stage.json(&["client", "disable", &app.name]);
    assert!(!stage.is_active(&stage.app, &first.access_token()).await);
    assert!(!stage.is_active(&stage.app, &first.refresh_token()).await);
    assert!(!stage.is_active(&stage.app, &own).await);
}

/// Who was shut out asks in vain from the next request on, whatever the server had judged before.
#[tokio::test]
async fn a_disabled_client_or_a_replaced_secret_is_401_at_once() {
    let stage = Stage::shared();
    let token = stage.client_token().await;
    for (name, path, command) in [
        ("spy-1", "/oauth2/introspect", "disable"),
        ("spy-2", "/oauth2/introspect", "renew-secret"),
        ("spy-3", "/oauth2/revoke", "disable"),
        ("spy-4", "/oauth2/revoke", "renew-secret"),
    ] {
        let spy = stage.add_client(name, "client_credentials", "read");
        stage.post(path, &spy, &[("token", &token)]).await.ok();
        stage.json(&["client", command, name]);
        let refused = stage.post(path, &spy, &[("token", &token)]).await;
        assert_eq!(refused.refusal(), (401, "invalid_client".to_owned()), "{path} after {command}");
    }
}

#[tokio::test]
async fn the_librarys_client_is_told_what_a_token_is_worth() {
    let stage = Stage::shared();
    let (user, first) = stage.family("asked").await;
    let endpoint = format!("{}/oauth2/introspect", stage.issuer());
    let client = IntrospectionClient::new(&endpoint, &stage.app.id, &stage.app.secret).unwrap();
    let Introspection::Active(token) = client.introspect(&first.access_token()).await.unwrap() else {
        panic!("it was just issued");
    };
    assert_eq!((&token.username, &token.subject), (&Some(user.name), &Some(user.id)));
    assert_eq!((&token.issuer, &token.client_id), (&Some(stage.issuer()), &Some(stage.app.id.clone())));
    assert!(token.is_for(AUDIENCE) && !token.scopes.is_empty() && token.others.contains_key("acr"), "{token:?}");
    stage.revoke(&stage.app, &first.refresh_token()).await.ok();
    for worthless in [first.access_token().as_str(), "", "a b+c&active=true", &"a".repeat(100_000)] {
        let answer = client.introspect(worthless).await;
        // RFC 7662 §2.1 asks for a token: nothing at all is a malformed question.
        let is_refused = matches!(answer, Err(IntrospectionError::Status(status)) if status == 400);
        assert!(matches!(answer, Ok(Introspection::Inactive)) || (worthless.is_empty() && is_refused), "{answer:?}");
    }
    let wrong = IntrospectionClient::new(&endpoint, &stage.app.id, "wrong").unwrap();
    let refused = wrong.introspect(&first.access_token()).await;
    assert!(matches!(refused, Err(IntrospectionError::Credentials)), "{refused:?}");
}
