//! What one operator adds waits for another person, whatever one of them tries.

use signet_core::admin::{AdminScopes, Authority, OperatorKind, person_in_words};
use signet_core::audit::RequestContext;
use signet_core::mfa::enrolment::TotpParameters;
use signet_service::ChangeError;
use signet_service::four_eyes::FourEyesState;
use signet_store::{FactorId, FactorState, Users as _};

use crate::support::people::{PASSWORD, Person, secret, shown, words};
use crate::support::{InProcess, context, operator};

/// A deployment whose configuration asks for the rule.
async fn deployment() -> InProcess {
    InProcess::with(|setup| {
        setup.four_eyes = true;
        setup.roles(&[("approver", &["admin:factors", "admin:settings"])]);
    })
    .await
}

/// Somebody who could approve.
async fn approver(app: &InProcess, name: &str) -> Person {
    let user = app.user(name).await;
    let tenant = &app.issuer.settings.tenant;
    assert!(app.store.set_user_roles(tenant, &user.id, &words(["approver"]), vec![]).await.unwrap());
    let (factor, codes) = app.add_totp(name).await;
    Person { user, app: factor, codes }
}

/// A request of this kind.
fn request(operator: String, kind: OperatorKind) -> RequestContext {
    let authority = Authority::Operator { kind, scopes: AdminScopes::all() };
    RequestContext { operator: Some(operator), authority, ..RequestContext::NONE }
}

/// A request of a person, by a token that a client got.
fn by(person: &Person, client: &str) -> RequestContext {
    let id = person.user.id.as_str();
    request(person_in_words((&person.user.name, id), (client, client)), OperatorKind::Person(id.to_owned()))
}

fn account(name: &str) -> RequestContext {
    request(name.to_owned(), OperatorKind::Account)
}

async fn state(app: &InProcess, factor: &FactorId) -> FactorState {
    app.issuer.factors.lifecycle.find_factor(factor).await.unwrap().state
}

fn pending(context: &RequestContext) -> FactorState {
    FactorState::Pending { requested_by: context.operator.clone().unwrap() }
}

#[tokio::test]
async fn the_rule_begins_when_two_persons_could_approve_and_not_before() {
    let app = deployment().await;
    for name in ["olga", "petra"] {
        assert!(!app.issuer.four_eyes.four_eyes_hold().await.unwrap());
        let person = approver(&app, name).await;
        assert_eq!(state(&app, &person.app).await, FactorState::Enabled, "nobody could approve it");
    }
    assert!(app.issuer.four_eyes.four_eyes_hold().await.unwrap());
    let ann = app.person("ann").await;
    assert_eq!(state(&app, &ann.app).await, pending(&context()));
    // It holds however many are left, for every node.
    app.issuer.accounts.enable_user("petra", false, &context()).await.unwrap();
    let elsewhere = app.another_process_with(|settings| settings.four_eyes = false);
    assert!(elsewhere.issuer().four_eyes.four_eyes_hold().await.unwrap());
    assert_eq!(app.details("rule.decided").await, ["four_eyes: holds from now on: the configuration asks for it"]);
}

#[tokio::test]
async fn under_four_eyes_a_factor_waits_for_another_person() {
    let app = deployment().await;
    let (olga, petra) = (approver(&app, "olga").await, approver(&app, "petra").await);
    let (lifecycle, enrolment) = (&app.issuer.factors.lifecycle, &app.issuer.factors.enrolment);
    let approve = async |factor: &FactorId, who: &RequestContext| lifecycle.approve_factor(factor, who).await;
    let ann = app.person("ann").await;
    let sign_in = async || {
        let request = shown("ann", PASSWORD, &app.next_code(&ann).await);
        app.issuer.sessions.begin_session(&request, None, &context()).await.is_ok()
    };
    // An account asked. No account approves, by whatever name.
    let asked = pending(&context());
    for nobody in
        [context(), account("petra (uid 1001)"), account("root (uid 0)"), operator(&by(&petra, "c").operator.unwrap())]
    {
        assert!(matches!(approve(&ann.app, &nobody).await, Err(ChangeError::Forbidden(_))));
    }
    assert!(matches!(lifecycle.enable_factor(&ann.app, true, &context()).await, Err(ChangeError::Conflict(_))));
    assert_eq!(state(&app, &ann.app).await, asked);
    // The account may be the first person's: it takes a second one.
    approve(&ann.app, &by(&olga, "desk")).await.unwrap();
    assert_eq!(state(&app, &ann.app).await, pending(&by(&olga, "desk")));
    for same in ["desk", "another machine"] {
        assert!(matches!(approve(&ann.app, &by(&olga, same)).await, Err(ChangeError::Forbidden(_))));
    }
    assert!(!sign_in().await);
    approve(&ann.app, &by(&petra, "desk")).await.unwrap();
    assert!(sign_in().await);
    assert!(matches!(approve(&ann.app, &by(&petra, "desk")).await, Err(ChangeError::Conflict(_))), "nothing waits");
    // What is enabled again waits as well.
    lifecycle.enable_factor(&ann.app, false, &by(&petra, "desk")).await.unwrap();
    lifecycle.enable_factor(&ann.app, true, &by(&petra, "desk")).await.unwrap();
    assert_eq!(state(&app, &ann.app).await, pending(&by(&petra, "desk")));
    assert!(!sign_in().await);
    assert!(matches!(approve(&ann.app, &by(&petra, "desk")).await, Err(ChangeError::Forbidden(_))));
    approve(&ann.app, &by(&olga, "desk")).await.unwrap();
    assert_eq!(state(&app, &ann.app).await, FactorState::Enabled);
    // A person asked: another one suffices.
    let made = app.issuer.factors.recovery.make_recovery_codes("ann", &by(&petra, "desk")).await.unwrap();
    assert!(matches!(approve(&made.factor.id, &by(&petra, "other")).await, Err(ChangeError::Forbidden(_))));
    approve(&made.factor.id, &by(&olga, "desk")).await.unwrap();
    assert_eq!(state(&app, &made.factor.id).await, FactorState::Enabled);
    // Software does nothing that the rule guards.
    let robot = request("robot (client c)".to_owned(), OperatorKind::Software);
    let added = enrolment.enrol_totp("ann", "phone", TotpParameters::DEFAULT, &robot).await.map(drop);
    assert!(matches!(added, Err(ChangeError::Forbidden(_))), "{added:?}");
    let refused = app.reasons("factor.changed").await;
    assert_eq!(refused.iter().filter(|reason| *reason == "same_operator").count(), 8, "{refused:?}");
}

#[tokio::test]
async fn two_persons_lower_the_rule_and_nobody_else() {
    let app = deployment().await;
    let (olga, petra) = (approver(&app, "olga").await, approver(&app, "petra").await);
    let asks = &app.issuer.four_eyes;
    assert!(asks.four_eyes().await.unwrap().holds);
    let refused = asks.lower_four_eyes(&by(&olga, "desk")).await;
    assert!(matches!(refused, Err(ChangeError::Conflict(_))), "the configuration asks for it: {refused:?}");
    let later = app.another_process_with(|settings| settings.four_eyes = false);
    let rule = &later.issuer().four_eyes;
    for nobody in [context(), account("root (uid 0)"), request("robot (client c)".to_owned(), OperatorKind::Software)] {
        assert!(matches!(rule.lower_four_eyes(&nobody).await, Err(ChangeError::Forbidden(_))));
    }
    let waits = FourEyesState { holds: true, is_configured: false, lowering_asked_by: by(&olga, "desk").operator };
    assert_eq!(rule.lower_four_eyes(&by(&olga, "desk")).await.unwrap(), waits);
    assert!(matches!(rule.lower_four_eyes(&by(&olga, "other")).await, Err(ChangeError::Forbidden(_))));
    assert_eq!(rule.four_eyes().await.unwrap(), waits);
    assert!(!rule.lower_four_eyes(&by(&petra, "desk")).await.unwrap().holds);
    assert!(
        matches!(rule.lower_four_eyes(&by(&petra, "desk")).await, Err(ChangeError::Conflict(_))),
        "it does not hold"
    );
    let told = app.details("rule.decided").await;
    let expected = [
        "four_eyes: holds from now on: the configuration asks for it",
        "four_eyes: is to hold no more, if another person agrees",
        "four_eyes: holds no more: two persons agreed",
    ];
    assert_eq!(told, expected);
    // A node that still asks for it has it again.
    assert!(asks.four_eyes_hold().await.unwrap());
}

#[tokio::test]
async fn whoever_may_change_roles_makes_no_approver_alone() {
    let app = deployment().await;
    let (olga, petra) = (approver(&app, "olga").await, approver(&app, "petra").await);
    let (accounts, approval) = (&app.issuer.accounts, &app.issuer.role_approval);
    assert!(app.issuer.four_eyes.four_eyes_hold().await.unwrap());
    let roles = async |name: &str| accounts.find_user(name).await.unwrap().roles;
    let waits = async |name: &str| {
        let user = accounts.find_user(name).await.unwrap();
        approval.role_request(&user).await.unwrap().map(|request| request.roles)
    };
    // Mallory has the factors of several persons, and may change roles.
    let mallory = app.user("mallory").await;
    let mallory = Person { user: mallory, ..approver(&app, "robin").await };
    let (asks, root) = (by(&mallory, "desk"), account("root (uid 0)"));
    app.user("ann").await;
    for context in [&asks, &root] {
        accounts.set_roles("ann", words(["reader", "clerk", "approver"]), context).await.unwrap();
        assert_eq!((roles("ann").await, waits("ann").await), (words(["reader", "clerk"]), Some(words(["approver"]))));
    }
    // An account approves nothing, and what it asked for takes two persons.
    for account in [&root, &account("ann (uid 1000)")] {
        assert!(matches!(approval.approve_roles("ann", account).await, Err(ChangeError::Forbidden(_))));
    }
    approval.approve_roles("ann", &by(&mallory, "desk")).await.unwrap();
    for same in ["desk", "another machine"] {
        assert!(matches!(approval.approve_roles("ann", &by(&mallory, same)).await, Err(ChangeError::Forbidden(_))));
    }
    assert!(!roles("ann").await.contains("approver"));
    approval.approve_roles("ann", &by(&olga, "desk")).await.unwrap();
    assert_eq!((roles("ann").await, waits("ann").await), (words(["reader", "clerk", "approver"]), None));
    assert!(matches!(approval.approve_roles("ann", &by(&petra, "desk")).await, Err(ChangeError::Conflict(_))));
    // What a person asked for takes one other, and is taken back by whoever states roles without it.
    accounts.set_roles("mallory", words(["approver"]), &asks).await.unwrap();
    assert!(matches!(approval.approve_roles("mallory", &asks).await, Err(ChangeError::Forbidden(_))));
    assert_eq!(approval.role_requests().await.unwrap().len(), 1);
    accounts.set_roles("mallory", words(["reader"]), &asks).await.unwrap();
    assert_eq!((waits("mallory").await, approval.role_requests().await.unwrap()), (None, vec![]));
    // A new user's wait too, and those of a person who was disabled; what is taken away does not.
    let password = secret("correct horse");
    let eve = accounts.add_user("eve", words(["reader", "approver"]), &password, &asks).await.unwrap();
    assert_eq!((eve.roles, waits("eve").await), (words(["reader"]), Some(words(["approver"]))));
    accounts.enable_user("petra", false, &asks).await.unwrap();
    assert_eq!(roles("petra").await, words(["approver"]));
    accounts.enable_user("petra", true, &asks).await.unwrap();
    assert_eq!((roles("petra").await, waits("petra").await), (words([]), Some(words(["approver"]))));
    accounts.set_roles("ann", words(["reader"]), &asks).await.unwrap();
    assert_eq!((roles("ann").await, waits("ann").await), (words(["reader"]), None));
    let software = request("ci (client 9)".to_owned(), OperatorKind::Software);
    let given = accounts.set_roles("ann", words(["approver"]), &software).await;
    assert!(matches!(given, Err(ChangeError::Forbidden(_))), "{given:?}");
}
