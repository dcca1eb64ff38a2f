use signet_core::audit::Event;
use signet_core::keys::TenantId;
use signet_store::{RoleRequest, Store, User, UserEdit, UserId};

use crate::support::store::OwnChain as _;
use crate::support::store::{client, draft, grant, now, seals, tenant, texts, totp_factor, user};
use signet_core::secret::SecretHash;

pub(super) async fn a_user_comes_back_as_added(store: &dyn Store) {
    let alice = user("alice");
    let bare = User { password: None, enabled: false, roles: texts(&[]), ..user("bare") };
    for user in [&alice, &bare] {
        assert!(store.add_user(user, vec![draft(Event::UserChanged)]).await.unwrap());
        assert_eq!(store.user(&user.tenant, &user.id).await.unwrap().as_ref(), Some(user));
        assert_eq!(store.user_by_name(&user.tenant, &user.name).await.unwrap().as_ref(), Some(user));
    }
    assert_eq!(store.user_by_name(&tenant(), "alic").await.unwrap(), None);
    assert_eq!(store.head().await.unwrap().sequence, 2);
}

pub(super) async fn a_taken_name_is_refused_and_untold(store: &dyn Store) {
    let alice = user("alice");
    assert!(store.add_user(&alice, vec![]).await.unwrap());
    let other = User { id: UserId::new("other"), password: Some(seals(1)), ..alice.clone() };
    let same_id = User { name: "bob".to_owned(), ..alice.clone() };
    assert!(!store.add_user(&other, vec![draft(Event::UserChanged)]).await.unwrap());
    assert!(!store.add_user(&same_id, vec![draft(Event::UserChanged)]).await.unwrap());
    assert_eq!(store.user_by_name(&tenant(), "alice").await.unwrap(), Some(alice));
    assert_eq!(store.head().await.unwrap().sequence, 0);
}

pub(super) async fn a_name_is_one_users_however_it_is_spelt(store: &dyn Store) {
    let emile = user("Émile");
    assert!(store.add_user(&emile, vec![]).await.unwrap());
    for spelling in ["Émile", "émile", "ÉMILE", "E\u{301}mile"] {
        let other = User { id: UserId::new("other"), ..user(spelling) };
        assert!(!store.add_user(&other, vec![]).await.unwrap(), "{spelling}");
        // The name as it was given is what comes back.
        assert_eq!(store.user_by_name(&tenant(), spelling).await.unwrap().as_ref(), Some(&emile), "{spelling}");
        assert_eq!(store.sign_in_candidate(&tenant(), spelling).await.unwrap().as_ref(), Some(&emile), "{spelling}");
    }
    assert!(store.add_user(&user("emile"), vec![]).await.unwrap(), "an accent makes another name");
    assert_eq!(store.sign_in_candidate(&tenant(), "emil").await.unwrap(), None);
}

pub(super) async fn each_change_of_a_user_touches_its_own_column(store: &dyn Store) {
    let mut alice = user("alice");
    store.add_user(&alice, vec![]).await.unwrap();
    let (tenant, id) = (tenant(), alice.id.clone());
    let told = || vec![draft(Event::UserChanged)];
    assert!(store.set_user_enabled(&tenant, &id, false, now(), told()).await.unwrap());
    (alice.enabled, alice.credentials_version) = (false, 1);
    assert_eq!(store.user(&tenant, &id).await.unwrap().as_ref(), Some(&alice));
    assert!(store.set_user_roles(&tenant, &id, &texts(&["admin"]), told()).await.unwrap());
    alice.roles = texts(&["admin"]);
    assert_eq!(store.user(&tenant, &id).await.unwrap().as_ref(), Some(&alice));
    assert!(store.set_user_password(&tenant, &id, &seals(1), None, now(), told()).await.unwrap());
    (alice.password, alice.credentials_version) = (Some(seals(1)), 2);
    assert_eq!(store.user(&tenant, &id).await.unwrap().as_ref(), Some(&alice), "and it is still disabled");
    assert!(store.set_user_enabled(&tenant, &id, true, now(), told()).await.unwrap());
    (alice.enabled, alice.credentials_version) = (true, 3);
    assert_eq!(store.user(&tenant, &id).await.unwrap().as_ref(), Some(&alice));
    // Both at once, of what was seen; whoever saw something else changes nothing.
    let both = UserEdit { roles: Some(texts(&["reader"])), enabled: Some(false), waiting: None };
    assert!(store.change_user(&alice, &both, now(), told()).await.unwrap());
    let seen = std::mem::replace(&mut alice, user("alice"));
    (alice.roles, alice.enabled, alice.credentials_version) = (texts(&["reader"]), false, 4);
    alice.password = seen.password.clone();
    assert_eq!(store.user(&tenant, &id).await.unwrap().as_ref(), Some(&alice));
    for edit in [both, UserEdit { roles: Some(texts(&[])), ..UserEdit::default() }] {
        assert!(!store.change_user(&seen, &edit, now(), told()).await.unwrap());
    }
    assert_eq!(store.user(&tenant, &id).await.unwrap(), Some(alice));
    assert_eq!(store.head().await.unwrap().sequence, 5);
}

pub(super) async fn roles_wait_until_they_are_approved_as_they_were_seen(store: &dyn Store) {
    let (alice, bob) = (user("alice"), user("bob"));
    store.add_user(&alice, vec![]).await.unwrap();
    store.add_user(&bob, vec![]).await.unwrap();
    let request = |by: &str| RoleRequest { roles: texts(&["chief"]), requested_by: by.to_owned(), requested_at: now() };
    let asks = |waiting| UserEdit { waiting: Some(waiting), ..UserEdit::default() };
    let waits = async || store.role_request(&tenant(), &alice.id).await.unwrap();
    assert_eq!(waits().await, None);
    assert!(store.change_user(&alice, &asks(Some(request("uid 1"))), now(), vec![]).await.unwrap());
    assert_eq!(waits().await, Some(request("uid 1")));
    assert_eq!(store.user(&tenant(), &alice.id).await.unwrap().as_ref(), Some(&alice), "nothing is given yet");
    assert_eq!(store.role_requests(&tenant()).await.unwrap(), [("alice".to_owned(), request("uid 1"))]);
    for (seen, taken) in [("uid 7", false), ("uid 1", true), ("uid 1", false)] {
        let taken_over = store.take_over_role_request(&alice, &request(seen), "ann", vec![]).await.unwrap();
        assert_eq!(taken_over, taken, "{seen}");
    }
    assert!(!store.approve_roles(&alice, &request("uid 1"), vec![]).await.unwrap(), "it is as seen no more");
    assert!(!store.approve_roles(&bob, &request("ann"), vec![]).await.unwrap(), "nothing waits");
    let other = User { roles: texts(&["other"]), ..alice.clone() };
    assert!(!store.approve_roles(&other, &request("ann"), vec![]).await.unwrap(), "the user is as seen no more");
    assert!(store.approve_roles(&alice, &request("ann"), vec![]).await.unwrap());
    let given = store.user(&tenant(), &alice.id).await.unwrap().unwrap();
    assert_eq!((given.roles.clone(), waits().await), (&alice.roles | &texts(&["chief"]), None));
    assert!(store.change_user(&given, &asks(Some(request("ann"))), now(), vec![]).await.unwrap());
    assert!(store.change_user(&given, &asks(None), now(), vec![]).await.unwrap());
    assert_eq!(waits().await, None);
    assert!(store.change_user(&given, &asks(Some(request("ann"))), now(), vec![]).await.unwrap());
    assert!(store.remove_user(&tenant(), &alice.id, vec![]).await.unwrap());
    assert_eq!(waits().await, None);
}

pub(super) async fn a_user_gets_grants_while_the_credentials_stay(store: &dyn Store) {
    let (alice, app) = (user("alice"), client("app"));
    store.add_user(&alice, vec![]).await.unwrap();
    store.add_client(&app, vec![]).await.unwrap();
    let told = || vec![draft(Event::TokenIssued)];
    let confirm = async |version: i64| {
        let bare = grant(&format!("bare-{version}-{}", store.head().await.unwrap().sequence), &alice, &app);
        let added = store.add_grant_without_refresh(&bare, version, told()).await.unwrap();
        assert_eq!(store.grant(&tenant(), &bare.id).await.unwrap().is_some(), added);
        added
    };
    assert!(confirm(0).await);
    store.set_user_roles(&tenant(), &alice.id, &texts(&["admin"]), vec![]).await.unwrap();
    assert!(confirm(0).await, "roles are no credentials");
    store.set_user_password(&tenant(), &alice.id, &seals(1), None, now(), vec![]).await.unwrap();
    assert!(!confirm(0).await, "the password was replaced while the sign-in was under way");
    let family = grant("g", &alice, &app);
    assert!(!store.add_grant(&family, &SecretHash::of("r0"), 0, told()).await.unwrap());
    assert!(confirm(1).await);
    store.set_user_enabled(&tenant(), &alice.id, false, now(), vec![]).await.unwrap();
    assert!(!confirm(2).await, "disabled");
    store.set_user_enabled(&tenant(), &alice.id, true, now(), vec![]).await.unwrap();
    assert!(!confirm(1).await, "disabled and enabled meanwhile");
    assert!(!store.add_grant(&family, &SecretHash::of("r0"), 1, told()).await.unwrap());
    assert!(store.add_grant(&family, &SecretHash::of("r0"), 3, told()).await.unwrap());
    assert_eq!(store.head().await.unwrap().sequence, 4, "what was refused is not told");
}

pub(super) async fn a_user_without_a_password_is_given_one(store: &dyn Store) {
    let bare = User { password: None, ..user("bare") };
    store.add_user(&bare, vec![]).await.unwrap();
    assert!(store.set_user_password(&tenant(), &bare.id, &seals(3), None, now(), vec![]).await.unwrap());
    assert_eq!(store.user(&tenant(), &bare.id).await.unwrap().unwrap().password, Some(seals(3)));
}

pub(super) async fn users_are_listed_page_by_page(store: &dyn Store) {
    for name in ["dora", "alice", "carol", "bob", "Zoe", "émile"] {
        store.add_user(&user(name), vec![]).await.unwrap();
    }
    let mut names = Vec::new();
    loop {
        let after: Option<&String> = names.last();
        let page = store.users(&tenant(), after.map(String::as_str), 4).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.iter().all(|user| user.password == Some(seals(7))));
        names.extend(page.into_iter().map(|user| user.name));
    }
    assert_eq!(names, ["alice", "bob", "carol", "dora", "Zoe", "émile"]);
}

pub(super) async fn a_removed_user_takes_factors_and_grants_along(store: &dyn Store) {
    let (alice, bob, app) = (user("alice"), user("bob"), client("app"));
    store.add_client(&app, vec![]).await.unwrap();
    for user in [&alice, &bob] {
        store.add_user(user, vec![]).await.unwrap();
        store.add_factor(&totp_factor(&format!("totp-{}", user.name), user), vec![]).await.unwrap();
        let first = SecretHash::of(&user.name);
        store.add_grant(&grant(&format!("grant-{}", user.name), user, &app), &first, 0, vec![]).await.unwrap();
    }
    assert!(store.remove_user(&tenant(), &alice.id, vec![draft(Event::UserChanged)]).await.unwrap());
    assert_eq!(store.user(&tenant(), &alice.id).await.unwrap(), None);
    assert_eq!(store.factors(&tenant(), &alice.id).await.unwrap(), []);
    assert_eq!(store.grant(&tenant(), &grant("grant-alice", &alice, &app).id).await.unwrap(), None);
    assert_eq!(store.refresh_token(&tenant(), &SecretHash::of("alice")).await.unwrap(), None);
    assert_eq!(store.user(&tenant(), &bob.id).await.unwrap(), Some(bob.clone()));
    assert_eq!(store.factors(&tenant(), &bob.id).await.unwrap(), [totp_factor("totp-bob", &bob)]);
    assert!(store.refresh_token(&tenant(), &SecretHash::of("bob")).await.unwrap().is_some());
    assert!(!store.remove_user(&tenant(), &alice.id, vec![draft(Event::UserChanged)]).await.unwrap());
    assert_eq!(store.head().await.unwrap().sequence, 1);
    assert!(store.add_user(&alice, vec![]).await.unwrap(), "nothing of the user is left in the way");
    let factor = totp_factor("totp-alice", &alice);
    assert!(store.add_factor(&factor, vec![]).await.unwrap(), "nor a secret of the factor");
    assert_eq!(store.factors(&tenant(), &alice.id).await.unwrap(), [factor]);
}

pub(super) async fn what_is_gone_is_not_changed(store: &dyn Store) {
    let told = || vec![draft(Event::UserChanged)];
    let nobody = UserId::new("nobody");
    assert!(!store.set_user_enabled(&tenant(), &nobody, true, now(), told()).await.unwrap());
    assert!(!store.set_user_roles(&tenant(), &nobody, &texts(&["admin"]), told()).await.unwrap());
    assert!(!store.set_user_password(&tenant(), &nobody, &seals(1), None, now(), told()).await.unwrap());
    assert!(!store.remove_user(&tenant(), &nobody, told()).await.unwrap());
    assert_eq!(store.user_by_name(&tenant(), "nobody").await.unwrap(), None);
    assert_eq!(store.generation().await.unwrap(), 0);
    assert_eq!(store.head().await.unwrap().sequence, 0);
}

pub(super) async fn tenants_do_not_see_each_other(store: &dyn Store) {
    let ours = user("alice");
    let theirs = User { tenant: TenantId::new("other"), password: Some(seals(1)), ..ours.clone() };
    assert!(store.add_user(&ours, vec![]).await.unwrap());
    assert!(store.add_user(&theirs, vec![]).await.unwrap(), "name and id are free in another tenant");
    assert_eq!(store.user_by_name(&ours.tenant, "alice").await.unwrap(), Some(ours.clone()));
    assert_eq!(store.user_by_name(&theirs.tenant, "alice").await.unwrap(), Some(theirs.clone()));
    assert!(store.remove_user(&theirs.tenant, &theirs.id, vec![]).await.unwrap());
    assert_eq!(store.users(&ours.tenant, None, 10).await.unwrap(), [ours]);
}
