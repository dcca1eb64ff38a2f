//! Who the users are.

use serde_json::{Value, json};
use signet_core::audit::RequestContext;
use signet_core::oauth::ClientId;
use signet_service::ChangeError;
use signet_service::clients::registry::ClientEdit;
use signet_service::sign_in::Surface;
use signet_store::{FactorEdit, UserEdit};

use crate::support::people::{PASSWORD, secret, shown, words};
use crate::support::{InProcess, context};

#[tokio::test]
async fn users_are_added_found_and_removed_each_on_the_record() {
    let app = InProcess::new().await;
    let accounts = &app.issuer.accounts;
    let password = secret("correct horse");
    let ann = accounts.add_user("ann", words(["reader"]), &password, &context()).await.unwrap();
    assert_eq!(accounts.find_user("ann").await.unwrap(), ann);
    let again = accounts.add_user("ann", words([]), &password, &context()).await;
    assert_eq!(again, Err(ChangeError::Taken { noun: "user", name: "ann".to_owned() }));
    app.user("bob").await;
    let names = async |after: Option<&str>, most| {
        let users = accounts.users_after(after, most).await.unwrap();
        users.into_iter().map(|user| user.name).collect::<Vec<_>>()
    };
    assert_eq!(names(None, 10).await, ["ann", "bob"]);
    assert_eq!(names(None, 1).await, ["ann"]);
    assert_eq!(names(Some("ann"), 10).await, ["bob"]);
    accounts.set_roles("ann", words(["admin"]), &context()).await.unwrap();
    assert_eq!(accounts.find_user("ann").await.unwrap().roles, words(["admin"]));
    accounts.enable_user("ann", false, &context()).await.unwrap();
    accounts.enable_user("ann", true, &context()).await.unwrap();
    accounts.set_password("ann", &secret("another horse"), &context()).await.unwrap();
    assert!(!accounts.unlock_user("ann", &context()).await.unwrap(), "no try was counted");
    accounts.remove_user("ann", &context()).await.unwrap();
    let told = app.details("user.changed").await;
    let expected = ["added: ann", "roles replaced: ann", "disabled: ann", "enabled: ann", "password replaced: ann"];
    assert_eq!(told[..5], expected);
    assert_eq!(told.last().unwrap(), "removed: ann");
}

/// What was and what is, of the last records of an event.
async fn from_to(app: &InProcess, event: &str) -> Vec<[Value; 2]> {
    let records = app.audit().await;
    let of_event = records.iter().filter(|record| record["event"] == event);
    of_event.map(|record| [record["before"].clone(), record["after"].clone()]).collect()
}

#[tokio::test]
async fn several_things_change_at_once_or_not_at_all_and_one_record_says_what_was_and_what_is() {
    let app = InProcess::new().await;
    let (accounts, lifecycle, clients) = (&app.issuer.accounts, &app.issuer.factors.lifecycle, &app.issuer.clients);
    let ann = app.person("ann").await;
    app.client("app").await;
    let both = |role, enabled| UserEdit { roles: Some(words([role])), enabled: Some(enabled), waiting: None };
    assert!(accounts.change_user("ann", both("two words", false), &context()).await.is_err());
    assert!(accounts.find_user("ann").await.unwrap().enabled, "nothing of it was done");
    accounts.change_user("ann", both("writer", false), &context()).await.unwrap();
    accounts.change_user("ann", UserEdit::default(), &context()).await.unwrap();
    let told = from_to(&app, "user.changed").await;
    let was = json!({"enabled": true, "roles": ["reader"]});
    let is = json!({"enabled": false, "roles": ["writer"]});
    assert_eq!(told, [[was, is.clone()]]);
    let edit = |enabled| FactorEdit { label: Some("phone".to_owned()), enabled: Some(enabled), requested_by: None };
    assert!(lifecycle.change_factor(&ann.app, edit(true), &context()).await.is_err(), "it is enabled already");
    lifecycle.change_factor(&ann.app, edit(false), &context()).await.unwrap();
    let told = from_to(&app, "factor.changed").await;
    let was = told[0][1].clone();
    assert_eq!(told[1..], [[was, json!({"label": "phone", "state": "disabled"})]]);
    let less = ClientEdit { scopes: Some(words(["less"])), enabled: Some(false), ..ClientEdit::default() };
    clients.change_client("app", less, &context()).await.unwrap();
    let told = from_to(&app, "client.changed").await.pop().unwrap();
    assert_eq!(told[1], json!({"scope": "less", "enabled": false}));
    assert_eq!((&told[0]["enabled"], told[0].get("grants")), (&json!(true), None));
    let text = json!(app.audit().await).to_string();
    assert!(!text.contains("secret_hash") && !text.contains(PASSWORD));
    accounts.remove_user("ann", &context()).await.unwrap();
    assert_eq!(from_to(&app, "user.changed").await.pop().unwrap(), [is, Value::Null]);
}

#[tokio::test]
async fn who_is_not_there_can_not_be_changed() {
    let app = InProcess::new().await;
    let (accounts, context) = (&app.issuer.accounts, context());
    let missing = ChangeError::Missing { noun: "user", name: "nobody".to_owned() };
    assert_eq!(accounts.find_user("nobody").await, Err(missing.clone()));
    assert_eq!(accounts.enable_user("nobody", false, &context).await, Err(missing.clone()));
    assert_eq!(accounts.set_roles("nobody", words([]), &context).await, Err(missing.clone()));
    assert_eq!(accounts.set_password("nobody", &secret("long enough"), &context).await, Err(missing.clone()));
    assert_eq!(accounts.unlock_user("nobody", &context).await, Err(missing.clone()));
    assert_eq!(accounts.remove_user("nobody", &context).await, Err(missing));
    assert!(app.details("user.changed").await.is_empty());
}

#[tokio::test]
async fn what_no_user_may_have_is_refused_before_anything_is_hashed() {
    let app = InProcess::new().await;
    let accounts = &app.issuer.accounts;
    for (name, role, password) in
        [("", "reader", "long enough"), ("ann", "two words", "long enough"), ("ann", "reader", "short")]
    {
        app.hsms.take_asked();
        let refused = accounts.add_user(name, words([role]), &secret(password), &context()).await;
        assert!(matches!(refused, Err(ChangeError::Input(_))), "{name} {role} {password}");
        assert!(app.hsms.take_asked().is_empty());
    }
}

#[tokio::test]
async fn hazard_115_names_and_passwords_that_look_equal_are_equal() {
    let app = InProcess::new().await;
    let accounts = &app.issuer.accounts;
    let (composed, apart) = ("José", "jose\u{301}");
    accounts.add_user(composed, words([]), &secret("Pässwörd größe"), &context()).await.unwrap();
    for name in [apart, "JOSÉ", "ｊｏｓｅ\u{301}"] {
        let again = accounts.add_user(name, words([]), &secret("long enough"), &context()).await;
        assert!(matches!(again, Err(ChangeError::Taken { noun: "user", .. })), "{name}");
        assert_eq!(accounts.find_user(name).await.unwrap().name, composed);
    }
    let (_, codes) = app.add_totp(apart).await;
    let (client, nobody) = (ClientId::new("app"), RequestContext::default());
    for (password, is_right) in [("Pa\u{308}sswo\u{308}rd\u{a0}gro\u{308}ße", true), ("passwort große", false)] {
        let request = shown(apart, password, &app.code(&codes));
        let shown = app.issuer.sign_in.authenticate(&request, Surface::Client(client.clone()), &nobody).await;
        assert_eq!(shown.is_ok(), is_right, "{password}");
    }
}

#[tokio::test]
async fn hazard_116_a_name_or_a_password_that_no_sign_in_could_take_is_refused_at_set_up() {
    let app = InProcess::new().await;
    let accounts = &app.issuer.accounts;
    let long = "x".repeat(1025);
    for password in ["first-line\nsecond-line", "tabu\tlator", "nul\0character", "Password1", "", long.as_str()] {
        let refused = accounts.add_user("ann", words([]), &secret(password), &context()).await;
        assert!(matches!(refused, Err(ChangeError::Input(_))), "{password:?}: {refused:?}");
    }
    for name in ["ann example", "ann\u{200b}", "\u{feff}ann", "\u{202e}nna", "ann\u{1f600}"] {
        for declared in [false, true] {
            let refused = match declared {
                true => accounts.declare_user(name, words([]), &context()).await,
                false => accounts.add_user(name, words([]), &secret("long enough"), &context()).await,
            };
            assert!(matches!(refused, Err(ChangeError::Input(_))), "{name:?}: {refused:?}");
        }
    }
    accounts.add_user("ann", words([]), &secret("long enough"), &context()).await.unwrap();
    for password in ["first-line\nsecond-line", "football"] {
        let refused = accounts.set_password("ann", &secret(password), &context()).await;
        assert!(matches!(refused, Err(ChangeError::Input(_))), "{password:?}: {refused:?}");
    }
}

/// The password of an account is hashed as OWASP asks, sealed for its row, and judged by it.
#[tokio::test]
async fn a_password_that_was_set_signs_in_and_the_one_before_does_not() {
    let app = InProcess::new().await;
    let (accounts, password) = (&app.issuer.accounts, secret("the first horse"));
    accounts.add_user("ann", words([]), &password, &context()).await.unwrap();
    let (_, codes) = app.add_totp("ann").await;
    accounts.set_password("ann", &secret("the second horse"), &context()).await.unwrap();
    let (client, nobody) = (ClientId::new("app"), RequestContext::default());
    for (password, is_right) in [("the first horse", false), ("the second horse", true)] {
        let request = shown("ann", password, &app.code(&codes));
        assert_eq!(
            app.issuer.sign_in.authenticate(&request, Surface::Client(client.clone()), &nobody).await.is_ok(),
            is_right
        );
    }
}
