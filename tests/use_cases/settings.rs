//! Settings of the tenant: what can be stated, by whom, and when it holds.

use std::collections::BTreeMap;
use std::time::Duration;

use signet_core::admin::{AdminScopes, Authority, OperatorKind, person_in_words};
use signet_core::audit::RequestContext;
use signet_core::oauth::Reach;
use signet_core::settings::{MfaWords, PolicyWords, RoleWords, SettingsDocument, TokenWords};
use signet_service::ChangeError;
use signet_service::clients::registry::NewClient;
use signet_store::{DeclaredNoun, SettingStatements as _};

use crate::support::people::words;
use crate::support::{InProcess, context};

fn lifetime(text: &str) -> SettingsDocument {
    let tokens = TokenWords { access_lifetime: Some(text.to_owned()), ..TokenWords::default() };
    SettingsDocument { tokens: Some(tokens), ..SettingsDocument::default() }
}

fn roles(roles: &[(&str, &[&str])]) -> SettingsDocument {
    let list = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let roles: BTreeMap<_, _> = roles.iter().map(|(role, scopes)| ((*role).to_owned(), list(scopes))).collect();
    SettingsDocument { roles: Some(RoleWords::Granting(roles)), ..SettingsDocument::default() }
}

/// A request of an operator of this kind with these scopes.
fn by(kind: OperatorKind, scopes: &str) -> RequestContext {
    let operator = match &kind {
        OperatorKind::Person(id) => person_in_words((id, id), ("laptop", "c")),
        OperatorKind::Account | OperatorKind::Software => "olga (uid 1000)".to_owned(),
    };
    let scopes: Vec<String> = scopes.split_whitespace().map(str::to_owned).collect();
    let authority = Authority::Operator { kind, scopes: AdminScopes::among(&scopes) };
    RequestContext { operator: Some(operator), authority, ..RequestContext::NONE }
}

fn person(id: &str) -> RequestContext {
    by(OperatorKind::Person(id.to_owned()), &AdminScopes::all().to_string())
}

#[tokio::test]
async fn what_is_stated_holds_in_every_process_and_is_on_the_record() {
    let app = InProcess::new().await;
    let other = app.another_process();
    other.open_secret().await;
    let settings = &app.issuer.settings_registry;
    let preview = settings.preview_settings(lifetime("10m"), &context()).await.unwrap();
    assert_eq!(preview.changes[0].to_string(), "tokens.access_lifetime: 5m \u{2192} 10m");
    assert_eq!(app.issuer.settings.current().access_lifetime, Duration::from_mins(5), "looking changes nothing");
    let stated = settings.state_settings(lifetime("10m"), &context()).await.unwrap();
    assert!(stated.changes == preview.changes && !stated.waits);
    assert!(settings.state_settings(lifetime("600s"), &context()).await.unwrap().changes.is_empty());
    other.issuer().directory.fresh().await.unwrap();
    assert_eq!(other.issuer().settings.current().access_lifetime, Duration::from_mins(10));
    let shown = settings.show_settings().await.unwrap();
    assert_eq!(shown.tokens.unwrap().access_lifetime.as_deref(), Some("10m"));
    let told = app.details("settings.stated").await;
    assert!(told.last().unwrap().contains("tokens.access_lifetime: 5m \u{2192} 10m"), "{told:?}");
}

/// Nothing is issued by settings that are not those of the commit.
#[tokio::test]
async fn a_token_is_issued_by_the_settings_of_its_commit() {
    let app = InProcess::new().await;
    let other = app.another_process();
    other.open_secret().await;
    let (client, ann) = (app.client("app").await, app.person("ann").await);
    app.family(&client, &ann).await;
    let request = app.right(&ann).await;
    let policy = PolicyWords { require: vec!["webauthn".to_owned()], ..PolicyWords::default() };
    let document = SettingsDocument { policy: Some(policy), ..SettingsDocument::default() };
    // Another process states it: this one has not looked since.
    other.issuer().settings_registry.state_settings(document, &context()).await.unwrap();
    assert!(app.token_for(&client, request).await.is_err());
}

#[tokio::test]
async fn settings_that_can_not_be_are_refused_by_name() {
    let app = InProcess::new().await;
    let settings = &app.issuer.settings_registry;
    let algorithm = |name: &str| SettingsDocument {
        tokens: Some(TokenWords { algorithm: Some(name.to_owned()), ..TokenWords::default() }),
        ..SettingsDocument::default()
    };
    for (document, expected) in [
        (lifetime("9s"), "`tokens.access_lifetime`: a duration"),
        (algorithm("RS256"), "no RS256 key signs yet; `signet key generate --algorithm RS256`"),
    ] {
        let refused = settings.state_settings(document, &context()).await.unwrap_err();
        let told = matches!(&refused, ChangeError::Input(_) | ChangeError::Conflict(_));
        assert!(told && refused.to_string().contains(expected), "{refused}");
    }
}

#[tokio::test]
async fn nobody_sets_more_than_they_may_do() {
    let app = InProcess::with(|setup| setup.roles(&[("clerk", &["read"]), ("chief", &["admin:keys"])])).await;
    let settings = &app.issuer.settings_registry;
    let clerk = by(OperatorKind::Account, "admin:settings");
    for (document, is_allowed) in [
        (lifetime("10m"), true),
        (roles(&[("clerk", &["read", "write"]), ("chief", &["admin:keys"])]), true),
        (roles(&[("clerk", &["read", "admin:users"]), ("chief", &["admin:keys"])]), false),
        (roles(&[("clerk", &["read", "admin:settings"]), ("chief", &["admin:keys"])]), true),
        // To take from somebody what one has not is to touch them.
        (roles(&[("clerk", &["read"])]), false),
        (
            SettingsDocument {
                mfa: Some(MfaWords { tries: Some(3), ..MfaWords::default() }),
                ..SettingsDocument::default()
            },
            false,
        ),
    ] {
        let stated = settings.state_settings(document.clone(), &clerk).await;
        assert_eq!(stated.is_ok(), is_allowed, "{document:?}: {stated:?}");
        if let Err(refused) = stated {
            assert!(matches!(refused, ChangeError::Forbidden(_)), "{refused}");
        }
    }
    assert_eq!(app.reasons("settings.stated").await.iter().filter(|reason| *reason == "more_than_operator").count(), 3);
}

#[tokio::test]
async fn where_four_eyes_hold_settings_wait_for_another_person() {
    let app = InProcess::with(|setup| {
        setup.four_eyes = true;
        setup.roles(&[("approver", &["admin:factors", "admin:settings"])]);
    })
    .await;
    let settings = &app.issuer.settings_registry;
    for name in ["ann", "bob"] {
        app.person(name).await;
        app.issuer.accounts.set_roles(name, words(["approver"]), &context()).await.unwrap();
    }
    let (ann, bob) = (person("ann"), person("bob"));
    let root = by(OperatorKind::Account, &AdminScopes::all().to_string());
    let stated = settings.state_settings(lifetime("10m"), &ann).await.unwrap();
    assert!(stated.waits);
    assert_eq!(app.issuer.settings.current().access_lifetime, Duration::from_mins(5));
    let proposal = settings.proposed_settings().await.unwrap().unwrap();
    assert_eq!((proposal.changes.len(), proposal.changes[0].setting.as_str()), (1, "tokens.access_lifetime"));
    let software = by(OperatorKind::Software, &AdminScopes::all().to_string());
    assert!(settings.state_settings(lifetime("20m"), &software).await.is_err());
    let seen = proposal.stated_at.to_string();
    for nobody in [&ann, &root, &software, &by(OperatorKind::Person("ann".to_owned()), "admin:settings")] {
        let refused = settings.approve_settings(&seen, nobody).await.unwrap_err();
        assert!(matches!(refused, ChangeError::Forbidden(_)), "{refused}");
    }
    let others = settings.approve_settings("2026-01-01T00:00:00Z", &bob).await.unwrap_err();
    assert!(matches!(others, ChangeError::Conflict(_)), "what was not seen is not approved: {others}");
    assert!(!settings.approve_settings(&seen, &bob).await.unwrap().waits);
    assert_eq!(app.issuer.settings.current().access_lifetime, Duration::from_mins(10));
    assert!(settings.proposed_settings().await.unwrap().is_none());
    assert!(settings.approve_settings(&seen, &bob).await.is_err(), "nothing waits");
    // The account may be ann's: it takes another person beside her.
    settings.state_settings(lifetime("20m"), &root).await.unwrap();
    let seen = settings.proposed_settings().await.unwrap().unwrap().stated_at.to_string();
    assert!(settings.approve_settings(&seen, &ann).await.unwrap().waits);
    assert!(settings.approve_settings(&seen, &ann).await.is_err());
    assert_eq!(app.issuer.settings.current().access_lifetime, Duration::from_mins(10));
    settings.approve_settings(&seen, &bob).await.unwrap();
    assert_eq!(app.issuer.settings.current().access_lifetime, Duration::from_mins(20));
    settings.state_settings(lifetime("30m"), &root).await.unwrap();
    settings.discard_settings(&root).await.unwrap();
    assert!(settings.discard_settings(&root).await.is_err());
    assert_eq!(app.issuer.settings.current().access_lifetime, Duration::from_mins(20));
}

/// Whoever deletes the settings does not get those by default.
#[tokio::test]
async fn settings_that_are_gone_stop_whoever_would_issue_by_them() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    app.token(&client).await.unwrap();
    app.forge("DELETE FROM settings; UPDATE generations SET value = value + 1 WHERE noun = 'settings'").await;
    assert!(app.token(&client).await.is_err());
    let other = app.another_process();
    assert!(other.issuer().directory.fresh().await.is_err());
}

#[tokio::test]
async fn what_a_file_states_has_no_secret_and_is_known_by_its_id() {
    let app = InProcess::new().await;
    let (accounts, clients, settings) = (&app.issuer.accounts, &app.issuer.clients, &app.issuer.settings_registry);
    let ann = accounts.declare_user("ann", words(["reader"]), &context()).await.unwrap();
    assert!(ann.password.is_none() && accounts.declare_user("ANN", words([]), &context()).await.is_err());
    let new = NewClient {
        name: "app".to_owned(),
        grants: [signet_core::oauth::GrantType::ClientCredentials].into(),
        scopes: words(["read"]),
        audiences: words([]),
        reach: Reach::default(),
    };
    let client = clients.declare_client(new, &context()).await.unwrap();
    assert_eq!(settings.declared(DeclaredNoun::Users, None, 10).await.unwrap(), [ann.id.as_str()]);
    assert_eq!(settings.declared(DeclaredNoun::Clients, None, 10).await.unwrap(), [client.id.as_str()]);
    accounts.remove_user("ann", &context()).await.unwrap();
    assert!(settings.declared(DeclaredNoun::Users, None, 10).await.unwrap().is_empty());
    assert!(app.store.settings(&app.issuer.settings.tenant).await.unwrap().is_some());
}
