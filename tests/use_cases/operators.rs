//! Who an operator is by a token, and whom and what an operator may touch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_core::admin::{AUDIENCE, AdminScopes, Authority, OperatorKind};
use signet_core::audit::RequestContext;
use signet_core::keys::{KeyPurpose, OtpHash, Signer as _};
use signet_core::mfa::UsedFactor;
use signet_core::mfa::enrolment::TotpParameters;
use signet_core::oauth::{GrantType, Reach};
use signet_core::secret::{SecretBytes, SecretText};
use signet_core::settings::{PolicyWords, SettingsDocument};
use signet_core::token::{AccessToken, PersonFacts};
use signet_jose::VerifyingKey;
use signet_service::ChangeError;
use signet_service::clients::registry::{ClientEdit, NewClient};
use signet_service::factors::enrolment::YubicoKey;
use signet_service::operators::tokens::JudgedToken;
use signet_store::{Grant, GrantId, Grants as _, Keys as _};

use crate::support::people::{Person, TestClient, secret, words};
use crate::support::{InProcess, context};

const HELPDESK: &str = "admin:users admin:factors admin:clients";

fn scopes(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A deployment whose roles make readers, a help desk and chiefs.
async fn deployment() -> InProcess {
    let all = AdminScopes::all().to_string();
    let roles = [("reader", "read"), ("helpdesk", HELPDESK), ("chief", all.as_str())];
    let roles = roles.map(|(role, granted)| (role, granted.split_whitespace().collect::<Vec<_>>()));
    let roles: Vec<(&str, &[&str])> = roles.iter().map(|(role, granted)| (*role, granted.as_slice())).collect();
    InProcess::with(|setup| setup.roles(&roles)).await
}

/// A request of the help desk.
fn helpdesk() -> RequestContext {
    let authority = Authority::Operator {
        kind: OperatorKind::Person("7".to_owned()),
        scopes: AdminScopes::among(&scopes(HELPDESK)),
    };
    RequestContext { operator: Some("hal by desk (user 7, client 8)".to_owned()), authority, ..RequestContext::NONE }
}

/// A client of the admin API.
async fn admin_client(app: &InProcess, name: &str, grant: GrantType, granted: &str) -> TestClient {
    let new = NewClient {
        name: name.to_owned(),
        grants: BTreeSet::from([grant]),
        scopes: scopes(granted),
        audiences: words([AUDIENCE]),
        reach: Reach::default(),
    };
    let (client, secret) = app.issuer.clients.add_client(new, &context()).await.unwrap();
    TestClient { client, secret }
}

async fn person(app: &InProcess, name: &str, role: &str) -> Person {
    let person = app.person(name).await;
    app.issuer.accounts.set_roles(name, words([role]), &context()).await.unwrap();
    person
}

async fn judged(app: &InProcess, token: &SecretText) -> JudgedToken {
    app.issuer.operator_tokens.judge_token(token.expose(), None).await.unwrap()
}

/// The scopes of a token that is an operator's.
async fn scopes_of(app: &InProcess, token: &SecretText) -> Option<String> {
    match judged(app, token).await {
        JudgedToken::Operator(RequestContext { authority: Authority::Operator { scopes, .. }, .. }) => {
            Some(scopes.to_string())
        }
        _ => None,
    }
}

/// Everything that a help desk can try at somebody: what is refused, by name.
async fn tried_at(app: &InProcess, whom: &Person) -> Vec<(&'static str, Option<ChangeError>)> {
    let (issuer, who, name) = (&app.issuer, helpdesk(), whom.user.name.as_str());
    let (accounts, factors, sessions) = (&issuer.accounts, &issuer.factors, &issuer.sessions);
    let key = YubicoKey { public_id: "cccccccc".to_owned(), private_id: [0; 6], secret: SecretBytes::new(vec![0; 16]) };
    let totp =
        factors.enrolment.enrol_totp(name, "mine", TotpParameters::new(OtpHash::Sha1, 6, 30).unwrap(), &who).await;
    let yubico = factors.enrolment.enrol_yubico_otp(name, "mine", &key, &who).await;
    let hour = Duration::from_secs(3600);
    vec![
        ("enrol_totp", totp.err()),
        ("enrol_yubico_otp", yubico.err()),
        ("make_recovery_codes", factors.recovery.make_recovery_codes(name, &who).await.err()),
        ("replace_token", factors.recovery.replace_token(name, hour, 3, &who).await.err()),
        ("rename_factor", factors.lifecycle.rename_factor(&whom.app, "mine", &who).await.err()),
        ("resync", factors.resync.resync_factor(&whom.app, [&secret("1"), &secret("2")], &who).await.err()),
        ("enable_factor", factors.lifecycle.enable_factor(&whom.app, false, &who).await.err()),
        ("remove_factor", factors.lifecycle.remove_factor(&whom.app, &who).await.err()),
        ("sign_out", sessions.sign_out(&whom.user.id, &who).await.err()),
        ("end_session_of", sessions.end_session_of(&whom.user.id, "x", &who).await.err()),
        ("unlock_user", accounts.unlock_user(name, &who).await.err()),
        ("set_password", accounts.set_password(name, &secret("a horse of mine"), &who).await.err()),
        ("set_roles", accounts.set_roles(name, words(["reader"]), &who).await.err()),
        ("enable_user", accounts.enable_user(name, false, &who).await.err()),
        ("remove_user", accounts.remove_user(name, &who).await.err()),
    ]
}

#[tokio::test]
async fn nobody_touches_a_person_who_has_more() {
    let app = deployment().await;
    for (name, role, is_refused) in [("ann", "reader", false), ("hugo", "helpdesk", false), ("carl", "chief", true)] {
        let whom = person(&app, name, role).await;
        for (what, refused) in tried_at(&app, &whom).await {
            let is_forbidden = matches!(refused, Some(ChangeError::Forbidden(_)));
            assert_eq!(is_forbidden, is_refused, "{what} of {name}: {refused:?}");
        }
    }
    let refused = app.reasons("user.changed").await;
    let refused = refused.iter().filter(|reason| *reason == "more_than_operator").count();
    assert_eq!(refused, 15, "each refusal is on the record");
}

#[tokio::test]
async fn nobody_gives_more_than_they_have() {
    let app = deployment().await;
    person(&app, "ann", "reader").await;
    let (who, accounts, clients) = (helpdesk(), &app.issuer.accounts, &app.issuer.clients);
    for (roles, is_refused) in [("reader helpdesk", false), ("chief", true), ("reader chief", true), ("", false)] {
        let given = accounts.set_roles("ann", scopes(roles), &who).await;
        assert_eq!(matches!(given, Err(ChangeError::Forbidden(_))), is_refused, "{roles}: {given:?}");
    }
    let added = accounts.add_user("eve", words(["chief"]), &secret("a horse of mine"), &who).await;
    assert!(matches!(added, Err(ChangeError::Forbidden(_))), "{added:?}");
    // Clients: one that has more is not touched, and none is given more.
    let new = |name: &str, granted: &str| NewClient {
        name: name.to_owned(),
        grants: BTreeSet::from([GrantType::Password]),
        scopes: scopes(granted),
        audiences: words([AUDIENCE]),
        reach: Reach::default(),
    };
    assert!(clients.add_client(new("desk", HELPDESK), &who).await.is_ok());
    let more = clients.add_client(new("vault", "admin:keys"), &who).await.map(drop);
    assert!(matches!(more, Err(ChangeError::Forbidden(_))), "{more:?}");
    let to = |granted: &str| ClientEdit { scopes: Some(scopes(granted)), ..ClientEdit::default() };
    let more = clients.change_client("desk", to("admin:keys:read"), &who).await.map(drop);
    assert!(matches!(more, Err(ChangeError::Forbidden(_))), "{more:?}");
    admin_client(&app, "chiefs", GrantType::Password, "admin:users admin:hsm").await;
    for touched in [
        clients.change_client("chiefs", to("admin:users"), &who).await.map(drop),
        clients.enable_client("chiefs", false, &who).await,
        clients.renew_client_secret("chiefs", &who).await.map(drop),
        clients.remove_client("chiefs", &who).await,
    ] {
        assert!(matches!(touched, Err(ChangeError::Forbidden(_))), "{touched:?}");
    }
}

#[tokio::test]
async fn a_token_holds_with_the_person_the_roles_the_client_and_the_grant() {
    let app = deployment().await;
    let laptop = admin_client(&app, "laptop", GrantType::Password, "admin:users admin:keys:read admin:stock").await;
    let hal = person(&app, "hal", "helpdesk").await;
    let token = app.family(&laptop, &hal).await.access_token;
    let JudgedToken::Operator(asks) = judged(&app, &token).await else { panic!("it is no operator's") };
    let told = format!("hal by laptop (user {}, client {})", hal.user.id, laptop.client.id);
    assert_eq!(asks.operator, Some(told));
    let (accounts, clients) = (&app.issuer.accounts, &app.issuer.clients);
    // What the role grants now, and the client may ask for.
    let roles = async |role: &str| accounts.set_roles("hal", words([role]), &context()).await.unwrap();
    for (role, expected) in
        [("helpdesk", "admin:users"), ("reader", ""), ("chief", "admin:users"), ("helpdesk", "admin:users")]
    {
        roles(role).await;
        assert_eq!(scopes_of(&app, &token).await.as_deref(), Some(expected), "{role}");
    }
    let to = |granted: &str| ClientEdit { scopes: Some(scopes(granted)), ..ClientEdit::default() };
    clients.change_client("laptop", to("admin:stock"), &context()).await.unwrap();
    assert_eq!(scopes_of(&app, &token).await.as_deref(), Some(""));
    for enabled in [false, true] {
        clients.enable_client("laptop", enabled, &context()).await.unwrap();
        assert_eq!(scopes_of(&app, &token).await, None, "disabling ended what had been signed in by it");
    }
    clients.change_client("laptop", to("admin:users"), &context()).await.unwrap();
    let ends: [(&str, AsyncEnd); 4] = [
        ("signed out", |app, hal, _| {
            Box::pin(async { app.issuer.sessions.sign_out(&hal.user.id, &context()).await.unwrap() })
        }),
        ("without the factor", |app, hal, _| {
            Box::pin(async { app.issuer.factors.lifecycle.enable_factor(&hal.app, false, &context()).await.unwrap() })
        }),
        ("disabled", |app, _, _| {
            Box::pin(async { app.issuer.accounts.enable_user("hal", false, &context()).await.unwrap() })
        }),
        ("expired", |app, _, _| Box::pin(app.pass(Duration::from_secs(301)))),
    ];
    for (why, end) in ends {
        let token = app.family(&laptop, &hal).await.access_token;
        assert!(scopes_of(&app, &token).await.is_some(), "{why}: it does not hold at all");
        end(&app, &hal, &token).await;
        assert!(matches!(judged(&app, &token).await, JudgedToken::Invalid), "{why}");
        let _enabled = accounts.enable_user("hal", true, &context()).await;
        let _enabled = app.issuer.factors.lifecycle.enable_factor(&hal.app, true, &context()).await;
    }
}

type AsyncEnd =
    for<'a> fn(&'a InProcess, &'a Person, &'a SecretText) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

#[tokio::test]
async fn what_is_no_operators_token_is_worth_nothing() {
    let app = deployment().await;
    let hal = person(&app, "hal", "chief").await;
    let elsewhere = app.client("app").await;
    let token = app.family(&elsewhere, &hal).await.access_token;
    assert!(matches!(judged(&app, &token).await, JudgedToken::Invalid), "it is for another audience");
    let software = app.token(&elsewhere).await.unwrap().access_token;
    assert!(matches!(judged(&app, &software).await, JudgedToken::Invalid), "it is for another audience");
    for text in ["", "a.b.c", "not a token"] {
        assert!(matches!(judged(&app, &secret(text)).await, JudgedToken::Invalid), "{text}");
    }
    // Software has the nouns that were named for it, and none that were not.
    let robot = admin_client(&app, "robot", GrantType::ClientCredentials, "admin:stock").await;
    let token = app.token(&robot).await.unwrap().access_token;
    let JudgedToken::Operator(asks) = judged(&app, &token).await else { panic!("it is no operator's") };
    let scopes = AdminScopes::among(&scopes("admin:stock"));
    assert_eq!(asks.authority, Authority::Operator { kind: OperatorKind::Software, scopes });
    // One that became a person's client has no token of its own any more.
    let rights = ClientEdit { grants: Some(BTreeSet::from([GrantType::Password])), ..ClientEdit::default() };
    app.issuer.clients.change_client("robot", rights, &context()).await.unwrap();
    assert!(matches!(judged(&app, &token).await, JudgedToken::Invalid));
}

#[tokio::test]
async fn a_sign_in_that_proves_too_little_is_no_operators() {
    let app = deployment().await;
    let laptop = admin_client(&app, "laptop", GrantType::Password, "admin:users").await;
    let hal = person(&app, "hal", "helpdesk").await;
    let token = app.family(&laptop, &hal).await.access_token;
    let clients = BTreeMap::from([("laptop".to_owned(), vec!["urn:signet:aal3".to_owned()])]);
    app.state(SettingsDocument {
        policy: Some(PolicyWords { clients, ..PolicyWords::default() }),
        ..SettingsDocument::default()
    })
    .await;
    let stricter = app.issuer.operator_tokens.judge_token(token.expose(), None).await.unwrap();
    assert!(matches!(stricter, JudgedToken::TooWeak), "{stricter:?}");
    let policy = Some(PolicyWords::default());
    app.state(SettingsDocument { policy, ..SettingsDocument::default() }).await;
    // Nothing that is issued is by a password alone; one whose row said so would not be taken either.
    let now = app.now();
    let grant = Grant {
        tenant: app.issuer.settings.tenant.clone(),
        id: GrantId::new("by-password"),
        client: laptop.client.id.clone(),
        user: hal.user.id.clone(),
        scopes: words(["admin:users"]),
        audiences: words([AUDIENCE]),
        auth_time: now,
        acr: "urn:signet:aal1".to_owned(),
        amr: vec!["pwd".to_owned()],
        factors: vec![UsedFactor::Password],
        state: signet_store::GrantState::Active,
        created_at: now,
        expires_at: now.plus(Duration::from_secs(300)),
    };
    let version = app.issuer.accounts.find_user("hal").await.unwrap().credentials_version;
    assert!(app.store.add_grant_without_refresh(&grant, version, Vec::new()).await.unwrap());
    let token = forged(&app, &grant).await;
    assert!(matches!(judged(&app, &token).await, JudgedToken::TooWeak));
}

/// A token of a grant, signed by the deployment's key past everything that judges.
async fn forged(app: &InProcess, grant: &Grant) -> SecretText {
    let person =
        PersonFacts { auth_time: grant.auth_time, acr: grant.acr.clone(), amr: grant.amr.clone(), authenticator: None };
    let token = AccessToken {
        issuer: app.issuer.settings.issuer.clone(),
        subject: grant.user.to_string(),
        audiences: grant.audiences.clone(),
        issued_at: grant.created_at,
        expires_at: grant.expires_at,
        token_id: format!("{}.x", grant.id),
        client_id: grant.client.to_string(),
        scopes: grant.scopes.clone(),
        roles: words(["helpdesk"]),
        authenticated: Some(person),
    };
    let keys = app.store.keys().await.unwrap();
    let key = keys.iter().find(|key| key.purpose == KeyPurpose::TokenSigning && key.state.is_active()).unwrap();
    let public = key.public.clone().unwrap();
    let input = token.signing_input(&key.key_id, public.algorithm);
    let signature = app.hsms.sign(key, public.algorithm, input.clone().into_bytes()).await.unwrap();
    let signature = signature.check(&VerifyingKey::new(public), input.as_bytes()).unwrap();
    SecretText::new(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.as_bytes())))
}
