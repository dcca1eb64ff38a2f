//! `grant_type=client_credentials`, and what is true of every grant: client authentication, scopes, audiences.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::verified;
use crate::http::{ALL_GRANTS, Stage};
use crate::support::application::{AUDIENCE, TestClient};

const SELF: (&str, &str) = ("grant_type", "client_credentials");

#[tokio::test]
async fn software_gets_a_token_of_its_own() {
    let stage = Stage::shared();
    let answer = stage.token(&stage.app, &[SELF]).await.ok();
    assert!(answer.json().get("refresh_token").is_none(), "no refresh token (RFC 6749 §4.4.3)");
    let claims = verified(&stage, &answer.access_token(), AUDIENCE).await.claims;
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(stage.app.id), &json!(stage.app.id)));
    for personal in ["auth_time", "acr", "amr"] {
        assert!(claims.get(personal).is_none(), "{personal} is of people alone");
    }
    let other = stage.token(&stage.app, &[SELF]).await.ok();
    let other = verified(&stage, &other.access_token(), AUDIENCE).await.claims;
    assert_ne!(claims["jti"], other["jti"]);
}

#[tokio::test]
async fn both_ways_of_client_authentication_work() {
    let stage = Stage::shared();
    let credentials = [SELF, ("client_id", &stage.app.id), ("client_secret", &stage.app.secret)];
    stage.post_plain("/oauth2/token", &credentials).await.ok();
    stage.token(&stage.app, &[SELF]).await.ok();
    // The id may stand in the body beside the header, where it says the same.
    stage.token(&stage.app, &[SELF, ("client_id", &stage.app.id)]).await.ok();
}

#[tokio::test]
async fn hazard_31_wrong_doubled_or_missing_client_authentication_is_refused() {
    let stage = Stage::shared();
    let app = &stage.app;
    let both = stage.token(app, &[SELF, ("client_id", &app.id), ("client_secret", &app.secret)]).await;
    assert_eq!(both.refusal(), (400, "invalid_request".to_owned()));
    let other_id = stage.token(app, &[SELF, ("client_id", "other")]).await;
    assert_eq!(other_id.refusal(), (400, "invalid_request".to_owned()));
    let wrong = TestClient { secret: "wrong".to_owned(), ..app.clone() };
    let refused = stage.token(&wrong, &[SELF]).await;
    assert_eq!(refused.refusal(), (401, "invalid_client".to_owned()));
    assert!(refused.header("www-authenticate").unwrap().starts_with("Basic "));
    let unknown = TestClient { id: "nobody".to_owned(), ..app.clone() };
    assert_eq!(stage.token(&unknown, &[SELF]).await.distinguishing(), refused.distinguishing());
    let in_body = [SELF, ("client_id", &app.id), ("client_secret", "wrong")];
    assert_eq!(stage.post_plain("/oauth2/token", &in_body).await.refusal(), (401, "invalid_client".to_owned()));
    for fields in [&[SELF][..], &[SELF, ("client_id", &app.id)]] {
        assert_eq!(stage.post_plain("/oauth2/token", fields).await.refusal(), (401, "invalid_client".to_owned()));
    }
    let disabled = stage.add_client("soon-disabled", "client_credentials", "read");
    stage.token(&disabled, &[SELF]).await.ok();
    stage.json(&["client", "disable", &disabled.name]);
    assert_eq!(stage.token(&disabled, &[SELF]).await.distinguishing(), refused.distinguishing(), "disabled at once");
}

#[tokio::test]
async fn changes_on_the_command_line_hold_at_once() {
    let stage = Stage::shared();
    let late = stage.add_client("late", "client_credentials", "read");
    stage.token(&late, &[SELF]).await.ok();
    let renewed = stage.json(&["client", "renew-secret", &late.name]);
    assert_eq!(stage.token(&late, &[SELF]).await.status, 401, "the old secret is void");
    let late = TestClient { secret: renewed["client_secret"].as_str().unwrap().to_owned(), ..late };
    stage.token(&late, &[SELF]).await.ok();
    stage.json(&["client", "remove", &late.name, "--yes"]);
    assert_eq!(stage.token(&late, &[SELF]).await.status, 401);
}

#[tokio::test]
async fn hazard_34_a_grant_that_is_unknown_or_not_the_clients_is_refused() {
    let stage = Stage::shared();
    let reports = stage.add_client("reports", "client_credentials", "read");
    for grant in [
        &[("grant_type", "password"), ("username", "a"), ("password", "b"), ("otp", "c")][..],
        &[("grant_type", "refresh_token"), ("refresh_token", "x")],
    ] {
        assert_eq!(stage.token(&reports, grant).await.refusal(), (400, "unauthorized_client".to_owned()));
    }
    for unknown in
        ["authorization_code", "implicit", "CLIENT_CREDENTIALS", "urn:ietf:params:oauth:grant-type:jwt-bearer"]
    {
        let answer = stage.token(&stage.app, &[("grant_type", unknown)]).await;
        assert_eq!(answer.refusal(), (400, "unsupported_grant_type".to_owned()), "{unknown}");
    }
    assert_eq!(stage.token(&stage.app, &[]).await.refusal(), (400, "invalid_request".to_owned()));
    assert_eq!(stage.token(&stage.app, &[("grant_type", "")]).await.refusal(), (400, "invalid_request".to_owned()));
    for incomplete in ["password", "refresh_token"] {
        let answer = stage.token(&stage.app, &[("grant_type", incomplete)]).await;
        assert_eq!(answer.refusal(), (400, "invalid_request".to_owned()), "{incomplete}");
    }
}

#[tokio::test]
async fn scopes_are_what_client_and_request_have_in_common() {
    let stage = Stage::shared();
    let scope = async |requested: &str| stage.token(&stage.app, &[SELF, ("scope", requested)]).await;
    assert_eq!(scope("read").await.ok().text("scope"), "read");
    assert_eq!(scope("write read").await.ok().text("scope"), "read write");
    let partly = scope("admin read").await.ok();
    assert_eq!(partly.text("scope"), "read", "the answer says what was granted (RFC 6749 §5.1)");
    assert_eq!(verified(&stage, &partly.access_token(), AUDIENCE).await.claims["scope"], "read");
    for refused in ["admin", "READ", "read\u{e4}", "read  write", " read", "re\"ad"] {
        assert_eq!(scope(refused).await.refusal(), (400, "invalid_scope".to_owned()), "{refused:?}");
    }
    let bare = stage.add_client("no-scopes", "client_credentials", "");
    let token = stage.token(&bare, &[SELF]).await.ok().access_token();
    let claims = verified(&stage, &token, AUDIENCE).await.claims;
    assert!(claims.get("scope").is_none_or(|scope| scope == ""), "{claims}");
}

#[tokio::test]
async fn roles_limit_a_persons_scopes() {
    let stage = Stage::new("[roles]\nreader = [\"read\"]\neditor = [\"read\", \"write\"]\nidle = []");
    for (name, roles, requested, expected) in [
        ("one", "reader", None, Ok("read")),
        ("two", "editor", None, Ok("read write")),
        ("three", "editor", Some("write"), Ok("write")),
        ("four", "reader", Some("read write"), Ok("read")),
        ("five", "reader", Some("write"), Err("invalid_scope")),
        ("six", "unknown-role,reader", None, Ok("read")),
    ] {
        let user = stage.add_user(name, roles);
        let code = stage.add_totp(&user, &[]).code();
        let mut fields = vec![("grant_type", "password"), ("username", name), ("otp", &code)];
        fields.push(("password", crate::support::application::PASSWORD));
        fields.extend(requested.map(|scope| ("scope", scope)));
        let answer = stage.token(&stage.app, &fields).await;
        match expected {
            Ok(scopes) => assert_eq!(answer.ok().text("scope"), scopes, "{name}"),
            Err(error) => assert_eq!(answer.refusal(), (400, error.to_owned()), "{name}"),
        }
    }
    // Software has no roles: its own scopes are not limited by any.
    assert_eq!(stage.token(&stage.app, &[SELF]).await.ok().text("scope"), "read write");
}

#[tokio::test]
async fn a_resource_picks_one_of_the_clients_audiences() {
    let stage = Stage::shared();
    let (one, two) = ("https://one.example", "https://two.example/api");
    let app = stage.add_client_for("two-audiences", ALL_GRANTS, "read", &[one, two]);
    let audiences = |claims: &Value| match &claims["aud"] {
        Value::Array(list) => list.iter().map(|each| each.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(),
        one => BTreeSet::from([one.as_str().unwrap().to_owned()]),
    };
    let both = stage.token(&app, &[SELF]).await.ok().access_token();
    assert_eq!(audiences(&verified(&stage, &both, one).await.claims), BTreeSet::from([one, two].map(str::to_owned)));
    let picked = stage.token(&app, &[SELF, ("resource", two)]).await.ok().access_token();
    assert_eq!(audiences(&verified(&stage, &picked, two).await.claims), BTreeSet::from([two.to_owned()]));
    for other in ["https://three.example", "https://one.example/", "https://two.example", "one"] {
        let answer = stage.token(&app, &[SELF, ("resource", other)]).await;
        assert_eq!(answer.refusal(), (400, "invalid_target".to_owned()), "{other}");
    }
    // A client that names no audience gets tokens for the issuer itself.
    let own = stage.add_client_for("own-audience", "client_credentials", "read", &[]);
    let token = stage.token(&own, &[SELF]).await.ok().access_token();
    let issuer = stage.issuer();
    assert_eq!(audiences(&verified(&stage, &token, &issuer).await.claims), BTreeSet::from([issuer]));
}
