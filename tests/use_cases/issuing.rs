//! Which token leaves, and what one that left is worth.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use signet_core::audit::RequestContext;
use signet_core::keys::HsmFailure;
use signet_core::oauth::grant::{ClientCredentialsRequest, TokenRequest};
use signet_core::oauth::{GrantType, OAuthError, Reach};
use signet_core::secret::SecretText;
use signet_core::settings::PolicyWords;
use signet_service::clients::registry::NewClient;
use signet_store::{GrantId, Grants as _};

use crate::support::people::{PASSWORD, TestClient, asking, presented, secret, shown, words};
use crate::support::{InProcess, context};

const HERE: RequestContext = RequestContext::NONE;
const UNAVAILABLE: Result<(), OAuthError> =
    Err(OAuthError::TemporarilyUnavailable { retry_after: Duration::from_secs(1) });

#[tokio::test]
async fn a_client_gets_a_token_with_its_record() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    let answer = app.token(&client).await.unwrap();
    assert_eq!((answer.expires_in, answer.scopes), (Duration::from_secs(300), words(["read", "write"])));
    assert!(answer.refresh_token.is_none());
    assert!(app.is_active(&client, &answer.access_token).await);
    let issued: Vec<_> = app.audit().await.into_iter().filter(|record| record["event"] == "token.issued").collect();
    assert_eq!(issued.len(), 1);
    assert_eq!((&issued[0]["client"], &issued[0]["scope"]), (&client.client.id.as_str().into(), &"read write".into()));
}

#[tokio::test]
async fn what_a_client_may_not_ask_for_is_refused() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    let ask = async |scope: &str, resource: Option<&str>| {
        let request = ClientCredentialsRequest {
            scopes: Some(words([scope])),
            resources: resource.map(str::to_owned).into_iter().collect(),
        };
        let request = TokenRequest::ClientCredentials(request);
        app.issuer.issuing.token(&client.presented(), &request, &HERE).await.map(drop)
    };
    assert_eq!(ask("read", None).await, Ok(()));
    assert_eq!(ask("admin", None).await, Err(OAuthError::InvalidScope));
    assert_eq!(ask("read", Some("https://elsewhere.example")).await, Err(OAuthError::InvalidTarget));
}

#[tokio::test]
async fn a_client_that_is_not_who_it_says_is_refused_and_told_once() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    let request =
        TokenRequest::ClientCredentials(ClientCredentialsRequest { scopes: None, resources: BTreeSet::new() });
    for (id, secret) in [(client.client.id.as_str(), "wrong"), ("unknown", "wrong")] {
        let refused = app.issuer.issuing.token(&presented(id, secret), &request, &HERE).await;
        assert_eq!(refused.unwrap_err(), OAuthError::InvalidClient);
    }
    assert_eq!(app.reasons("client.authentication").await, ["wrong_secret"], "repetitions are counted, strangers not");
    app.issuer.clients.enable_client("app", false, &context()).await.unwrap();
    assert_eq!(app.token(&client).await.unwrap_err(), OAuthError::InvalidClient);
}

/// Promise 3: what can't be written down does not leave, however well it was signed.
#[tokio::test]
async fn no_token_leaves_where_the_store_fails_while_it_is_signed() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    app.token(&client).await.unwrap();
    let held_back = app.hsms.hold_back();
    let store_fails = async {
        held_back.is_asked().await;
        app.store.close().await;
        held_back.let_go();
    };
    let (answer, ()) = tokio::join!(app.token(&client), store_fails);
    assert_eq!(answer.map(drop), UNAVAILABLE);
}

/// Promise 7: what is changed while a token is signed counts.
#[tokio::test]
async fn a_change_that_overtakes_a_signature_wins() {
    for what in ["disabled", "secret", "removed"] {
        let app = InProcess::new().await;
        let client = app.client("app").await;
        app.token(&client).await.unwrap();
        let held_back = app.hsms.hold_back();
        let change = async {
            held_back.is_asked().await;
            let clients = &app.issuer.clients;
            match what {
                "disabled" => clients.enable_client("app", false, &context()).await.unwrap(),
                "secret" => drop(clients.renew_client_secret("app", &context()).await.unwrap()),
                _ => clients.remove_client("app", &context()).await.unwrap(),
            }
            app.hsms.hold_nothing_back();
            held_back.let_go();
        };
        let (answer, ()) = tokio::join!(app.token(&client), change);
        assert_eq!(answer.map(drop), Err(OAuthError::InvalidClient), "{what}");
    }
}

#[tokio::test]
async fn a_person_who_is_disabled_while_a_token_is_signed_gets_none() {
    let app = InProcess::new().await;
    let (client, ann) = (app.client("app").await, app.person("ann").await);
    let request = app.right(&ann).await;
    let held_back = app.hsms.hold_back();
    let change = async {
        held_back.is_asked().await;
        app.issuer.accounts.enable_user("ann", false, &context()).await.unwrap();
        held_back.let_go();
    };
    let (answer, ()) = tokio::join!(app.token_for(&client, request), change);
    assert_eq!(answer.map(drop), Err(OAuthError::InvalidGrant));
    assert!(app.reasons("token.issued").await.is_empty());
}

#[tokio::test]
async fn a_failing_hsm_token_is_followed_by_another_and_a_wrong_signature_never_leaves() {
    let app = InProcess::with_tokens(&["a", "b"]).await;
    let client = app.client("app").await;
    app.hsms.fail_at("a", "sign", HsmFailure::Overloaded);
    app.token(&client).await.unwrap();
    app.hsms.recover("a");
    app.hsms.sign_wrongly("a");
    let answer = app.token(&client).await.unwrap();
    assert!(app.is_active(&client, &answer.access_token).await);
    assert_eq!(app.details("hsm.wrong_signature").await, ["a"]);
    app.hsms.go_away("b");
    assert_eq!(app.token(&client).await.map(drop), UNAVAILABLE);
}

#[tokio::test]
async fn a_person_gets_what_role_client_and_policy_allow() {
    let app = InProcess::with(|setup| setup.roles(&[("reader", &["read"]), ("admin", &["write"])])).await;
    let (client, ann) = (app.client("app").await, app.person("ann").await);
    let first = app.family(&client, &ann).await;
    assert_eq!(first.scopes, words(["read"]));
    assert!(first.refresh_token.is_some() && first.recovery_codes_left.is_none());
    let mut request = asking(app.right(&ann).await);
    request.scopes = Some(words(["write"]));
    assert_eq!(app.token_asking(&client, request).await.map(drop), Err(OAuthError::InvalidScope));
    assert_eq!(app.reasons("token.refused").await, ["no_role_grants_it"]);
}

#[tokio::test]
async fn a_sign_in_that_is_too_weak_for_a_client_is_refused() {
    let clients = BTreeMap::from([("app".to_owned(), vec!["webauthn".to_owned()])]);
    let policy = PolicyWords { clients, ..PolicyWords::default() };
    let app = InProcess::with(|setup| setup.document.policy = Some(policy)).await;
    let (client, other, ann) = (app.client("app").await, app.client("other").await, app.person("ann").await);
    let request = app.right(&ann).await;
    let refused = app.token_for(&client, request).await;
    assert_eq!(refused.map(drop), Err(OAuthError::UnmetAuthenticationRequirements));
    assert_eq!(app.reasons("token.refused").await, ["sign_in_too_weak"]);
    app.family(&other, &ann).await;
    let mut request = asking(app.right(&ann).await);
    request.acr_values = vec!["urn:signet:aal3".to_owned()];
    let refused = app.token_asking(&other, request).await;
    assert_eq!(refused.map(drop), Err(OAuthError::UnmetAuthenticationRequirements));
}

#[tokio::test]
async fn a_code_is_not_spent_on_a_request_that_nothing_could_mend() {
    let app = InProcess::new().await;
    let (client, ann) = (app.client("app").await, app.person("ann").await);
    let code = app.next_code(&ann).await;
    let mut request = asking(shown("ann", PASSWORD, &code));
    request.scopes = Some(words(["admin"]));
    assert_eq!(app.token_asking(&client, request).await.map(drop), Err(OAuthError::InvalidScope));
    app.token_for(&client, shown("ann", PASSWORD, &code)).await.unwrap();
}

#[tokio::test]
async fn an_access_token_is_active_until_it_expires_or_what_it_stands_on_ends() {
    for what in ["expired", "revoked", "user", "client", "removed"] {
        let app = InProcess::new().await;
        let (client, other, ann) = (app.client("app").await, app.client("other").await, app.person("ann").await);
        let token = app.family(&client, &ann).await.access_token;
        assert!(app.is_active(&other, &token).await);
        match what {
            "expired" => {
                app.pass(Duration::from_millis(299_999)).await;
                assert!(app.is_active(&other, &token).await, "the moment before");
                app.pass(Duration::from_millis(1)).await;
            }
            "revoked" => {
                let known = app.known(&client).await;
                app.issuer.issuing.revocation.revoke(&known, token.expose(), &HERE).await.unwrap();
            }
            "user" => app.issuer.accounts.enable_user("ann", false, &context()).await.unwrap(),
            "client" => app.issuer.clients.enable_client("app", false, &context()).await.unwrap(),
            _ => app.issuer.accounts.remove_user("ann", &context()).await.unwrap(),
        }
        assert!(!app.is_active(&other, &token).await, "{what}");
    }
}

/// What was taken away of roles and scopes is gone from every token at once.
#[tokio::test]
async fn hazard_106_introspection_says_the_roles_and_scopes_of_this_moment() {
    let app = InProcess::with(|setup| setup.roles(&[("reader", &["read"]), ("writer", &["read", "write"])])).await;
    let (client, ann) = (app.client("app").await, app.person("ann").await);
    let set_roles = async |names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        app.issuer.accounts.set_roles("ann", names, &context()).await.unwrap();
    };
    set_roles(&["reader", "writer"]).await;
    let token = app.family(&client, &ann).await.access_token;
    let told = async || {
        let known = app.known(&client).await;
        let told = app.issuer.issuing.introspection.introspect(&known, token.expose()).await.unwrap();
        (told["active"] == true, told["scope"].as_str().unwrap_or_default().to_owned(), told["roles"].clone())
    };
    assert_eq!(told().await, (true, "read write".to_owned(), serde_json::json!(["reader", "writer"])));
    set_roles(&["reader"]).await;
    assert_eq!(told().await, (true, "read".to_owned(), serde_json::json!(["reader"])));
    set_roles(&["reader", "writer", "other"]).await;
    assert_eq!(told().await.2, serde_json::json!(["reader", "writer"]), "and never more than it says");
    set_roles(&[]).await;
    assert!(!told().await.0, "nothing is left of it");
}

#[tokio::test]
async fn a_refresh_token_is_its_clients_own_affair() {
    let app = InProcess::new().await;
    let (client, other, ann) = (app.client("app").await, app.client("other").await, app.person("ann").await);
    let answer = app.family(&client, &ann).await;
    let refresh = answer.refresh_token.unwrap();
    assert!(app.is_active(&client, &refresh).await && !app.is_active(&other, &refresh).await);
    let revoke = async |by, token: &SecretText| {
        let known = app.known(by).await;
        app.issuer.issuing.revocation.revoke(&known, token.expose(), &HERE).await.unwrap();
    };
    revoke(&other, &refresh).await;
    revoke(&other, &answer.access_token).await;
    revoke(&client, &secret("made up")).await;
    assert!(app.is_active(&client, &refresh).await && app.is_active(&client, &answer.access_token).await);
    assert!(app.reasons("token.revoked").await.is_empty());
    revoke(&client, &refresh).await;
    assert!(!app.is_active(&client, &refresh).await && !app.is_active(&client, &answer.access_token).await);
    assert_eq!(app.details("token.revoked").await, ["refresh family"]);
}

/// Decision 5: a person's token ends with its grant, also where its client may not refresh.
#[tokio::test]
async fn a_persons_token_ends_with_the_grant_that_it_has_in_any_case() {
    for what in ["disabled and enabled", "password", "factor"] {
        let app = InProcess::new().await;
        let ann = app.person("ann").await;
        let new = NewClient {
            name: "app".to_owned(),
            grants: [GrantType::Password].into(),
            scopes: words(["read"]),
            audiences: BTreeSet::new(),
            reach: Reach::default(),
        };
        let (client, its_secret) = app.issuer.clients.add_client(new, &context()).await.unwrap();
        let client = TestClient { client, secret: its_secret };
        let answer = app.family(&client, &ann).await;
        assert!(answer.refresh_token.is_none());
        assert!(app.is_active(&client, &answer.access_token).await);
        let records = app.audit().await;
        let issued = records.iter().find(|record| record["event"] == "token.issued").unwrap();
        let id = issued["grant"].as_str().unwrap();
        assert!(issued["jti"].as_str().unwrap().starts_with(&format!("{id}.")));
        let kept = app.store.grant(&ann.user.tenant, &GrantId::new(id)).await.unwrap().unwrap();
        assert_eq!(kept.expires_at, app.now().plus(Duration::from_secs(300)), "as long as the token");
        match what {
            "password" => app.issuer.accounts.set_password("ann", &secret("another horse"), &context()).await.unwrap(),
            "factor" => app.issuer.factors.lifecycle.remove_factor(&ann.app, &context()).await.unwrap(),
            _ => {
                for enabled in [false, true] {
                    app.issuer.accounts.enable_user("ann", enabled, &context()).await.unwrap();
                }
            }
        }
        assert!(!app.is_active(&client, &answer.access_token).await, "{what}");
    }
}
