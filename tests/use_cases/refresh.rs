//! Refresh tokens: each use spends one, a spent one that is shown again ends its family.

use std::collections::BTreeSet;
use std::time::Duration;

use signet_core::audit::RequestContext;
use signet_core::oauth::OAuthError;
use signet_core::oauth::grant::{RefreshRequest, TokenRequest};
use signet_core::secret::SecretText;
use signet_service::ChangeError;

use crate::support::people::{Person, TestClient, secret, words};
use crate::support::{InProcess, context};

const WINDOW: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

struct Stage {
    app: InProcess,
    ann: Person,
    client: TestClient,
}

impl Stage {
    async fn new() -> Self {
        let app = InProcess::new().await;
        let (ann, client) = (app.person("ann").await, app.client("app").await);
        Self { app, ann, client }
    }

    async fn first(&self) -> SecretText {
        self.app.family(&self.client, &self.ann).await.refresh_token.unwrap()
    }

    /// Shows a refresh token; returns the next one.
    async fn show(&self, token: &SecretText) -> Result<SecretText, OAuthError> {
        self.app.refresh(&self.client, token).await.map(|answer| answer.refresh_token.unwrap())
    }

    /// Whether the family of a token is over.
    async fn is_over(&self, live: &SecretText) -> bool {
        !self.app.is_active(&self.client, live).await
            && self.show(live).await.is_err_and(|error| error == OAuthError::InvalidGrant)
    }
}

#[tokio::test]
async fn a_spent_refresh_token_ends_its_family_once_the_window_is_over() {
    let stage = Stage::new().await;
    let first = stage.first().await;
    let second = stage.app.refresh(&stage.client, &first).await.unwrap();
    stage.app.pass(WINDOW + SECOND).await;
    assert_eq!(stage.show(&first).await.unwrap_err(), OAuthError::InvalidGrant);
    assert!(!stage.app.is_active(&stage.client, &second.access_token).await);
    assert!(stage.is_over(&second.refresh_token.unwrap()).await, "the successor is ended too");
    assert_eq!(stage.app.reasons("token.replayed").await, ["replayed_refresh_token"]);
    assert_eq!(stage.app.reasons("token.refused").await, ["ended_family"]);
}

/// Who did not hear the answer asks again, and gets the same successor; the other process gives it too.
#[tokio::test]
async fn the_predecessor_gets_the_same_successor_until_the_window_is_over() {
    let stage = Stage::new().await;
    let first = stage.first().await;
    let second = stage.show(&first).await.unwrap();
    stage.app.pass(WINDOW).await;
    assert_eq!(stage.show(&first).await.unwrap().expose(), second.expose());
    let request = TokenRequest::Refresh(RefreshRequest { token: first, scopes: None, resources: BTreeSet::new() });
    let other = stage.app.another_process();
    let again = other.issuer().issuing.token(&stage.client.presented(), &request, &RequestContext::default()).await;
    assert_eq!(again.unwrap().refresh_token.unwrap().expose(), second.expose());
    assert_eq!(stage.app.reasons("token.refresh_retried").await.len(), 2);
    stage.show(&second).await.unwrap();
}

#[tokio::test]
async fn the_grandparent_ends_the_family_within_the_window_too() {
    let stage = Stage::new().await;
    let first = stage.first().await;
    let second = stage.show(&first).await.unwrap();
    let third = stage.show(&second).await.unwrap();
    assert_eq!(stage.show(&first).await.unwrap_err(), OAuthError::InvalidGrant);
    assert!(stage.is_over(&third).await);
}

/// A clock that is set back opens no window that was over, and gives no token back.
#[tokio::test]
async fn a_clock_that_is_set_back_opens_no_window() {
    let stage = Stage::new().await;
    let first = stage.first().await;
    let second = stage.show(&first).await.unwrap();
    let spent_at = stage.app.now();
    stage.app.set_clock(spent_at.minus(Duration::from_secs(3)));
    assert_eq!(stage.show(&first).await.unwrap_err(), OAuthError::InvalidGrant);
    stage.app.set_clock(spent_at);
    assert!(stage.is_over(&second).await);
}

#[tokio::test]
async fn a_family_ends_after_its_lifetime_however_often_it_is_refreshed() {
    let stage = Stage::new().await;
    let mut token = stage.first().await;
    let week = Duration::from_hours(7 * 24);
    for _ in 0..4 {
        stage.app.pass(week).await;
        token = stage.show(&token).await.unwrap();
    }
    stage.app.pass(week).await;
    assert_eq!(stage.show(&token).await.unwrap_err(), OAuthError::InvalidGrant);
    assert_eq!(stage.app.reasons("token.refused").await, ["expired_family"]);
}

#[tokio::test]
async fn who_ends_a_family_and_who_can_not() {
    for (what, reason) in [
        ("another client", Some("token_of_another_client")),
        ("made up", None),
        ("user disabled", Some("ended_family")),
        ("client disabled", None),
        ("password", Some("ended_family")),
        ("factor", Some("ended_family")),
    ] {
        let stage = Stage::new().await;
        let (app, mut token) = (&stage.app, stage.first().await);
        let other = app.client("other").await;
        let mut by = &stage.client;
        match what {
            "another client" => by = &other,
            "made up" => token = secret("made up"),
            "user disabled" => app.issuer.accounts.enable_user("ann", false, &context()).await.unwrap(),
            "client disabled" => app.issuer.clients.enable_client("app", false, &context()).await.unwrap(),
            "password" => app.issuer.accounts.set_password("ann", &secret("another one"), &context()).await.unwrap(),
            _ => app.issuer.factors.lifecycle.remove_factor(&stage.ann.app, &context()).await.unwrap(),
        }
        app.refresh(by, &token).await.unwrap_err();
        assert_eq!(app.reasons("token.refused").await.first().map(String::as_str), reason, "{what}");
        if what == "another client" {
            stage.show(&token).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_refresh_has_the_roles_of_today_and_never_more_scopes_than_were_granted() {
    let app = InProcess::with(|setup| setup.roles(&[("reader", &["read"]), ("admin", &["write"])])).await;
    let (ann, client) = (app.person("ann").await, app.client("app").await);
    let accounts = &app.issuer.accounts;
    accounts.set_roles("ann", words(["reader", "admin"]), &context()).await.unwrap();
    let first = app.family(&client, &ann).await;
    assert_eq!(first.scopes, words(["read", "write"]));
    accounts.set_roles("ann", words(["reader"]), &context()).await.unwrap();
    let second = app.refresh(&client, &first.refresh_token.unwrap()).await.unwrap();
    assert_eq!(second.scopes, words(["read"]));
    let token = second.refresh_token.unwrap();
    let ask = async |scopes, resources: &[&str]| {
        let resources = resources.iter().map(|resource| (*resource).to_owned()).collect();
        let asked = TokenRequest::Refresh(RefreshRequest { token: token.clone(), scopes, resources });
        app.issuer.issuing.token(&client.presented(), &asked, &context()).await.map(drop)
    };
    assert_eq!(ask(Some(words(["admin"])), &[]).await, Err(OAuthError::InvalidScope));
    let audience = client.client.audiences.first().unwrap().as_str();
    assert_eq!(ask(None, &[audience, "https://elsewhere.example"]).await, Err(OAuthError::InvalidTarget));
    // Neither spent it.
    assert_eq!(ask(None, &[audience]).await, Ok(()));
}

/// Promise 7: the signed token is discarded.
#[tokio::test]
async fn a_family_that_is_revoked_while_a_refresh_is_signed_gives_no_token() {
    let stage = Stage::new().await;
    let first = stage.first().await;
    let held_back = stage.app.hsms.hold_back();
    let revoke = async {
        held_back.is_asked().await;
        let known = stage.app.known(&stage.client).await;
        let revocation = &stage.app.issuer.issuing.revocation;
        revocation.revoke(&known, first.expose(), &RequestContext::default()).await.unwrap();
        stage.app.hsms.hold_nothing_back();
        held_back.let_go();
    };
    let (answer, ()) = tokio::join!(stage.show(&first), revoke);
    assert_eq!(answer.unwrap_err(), OAuthError::InvalidGrant);
    assert!(stage.app.reasons("token.refreshed").await.is_empty());
}

#[tokio::test]
async fn an_operator_sees_and_ends_what_one_app_has_of_a_person() {
    let app = InProcess::new().await;
    let (ann, _bob) = (app.person("ann").await, app.person("bob").await);
    let (mail, notes) = (app.client("mail").await, app.client("notes").await);
    let first = app.family(&mail, &ann).await;
    app.pass(Duration::from_secs(60)).await;
    let kept = app.family(&notes, &ann).await;
    let again = app.refresh(&mail, first.refresh_token.as_ref().unwrap()).await.unwrap();
    let grants = &app.issuer.person_grants;
    let listed = grants.grants_after("ann", None, 10).await.unwrap();
    let names: Vec<_> = listed.iter().map(|listed| listed.client_name.as_deref()).collect();
    assert_eq!(names, [Some("mail"), Some("notes")]);
    assert_eq!((listed[0].last_used_at, listed[1].last_used_at), (Some(app.now()), None));
    assert!(grants.grants_after("bob", None, 10).await.unwrap().is_empty());
    let id = &listed[0].grant.id;
    assert!(matches!(grants.end_grant("bob", id, &context()).await, Err(ChangeError::Absent(_))), "it is ann's");
    grants.end_grant("ann", id, &context()).await.unwrap();
    assert!(app.refresh(&mail, again.refresh_token.as_ref().unwrap()).await.is_err());
    assert!(!app.is_active(&mail, &again.access_token).await);
    assert!(app.is_active(&notes, &kept.access_token).await);
    assert!(matches!(grants.end_grant("ann", id, &context()).await, Err(ChangeError::Absent(_))), "it has ended");
    assert_eq!(app.details("token.revoked").await, ["refresh family, by an operator"]);
    assert_eq!(grants.grants_after("ann", None, 10).await.unwrap().len(), 1);
}
