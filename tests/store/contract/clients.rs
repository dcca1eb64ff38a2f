use signet_core::audit::Event;
use signet_core::oauth::{ClientAuthentication, GrantType};
use signet_core::secret::SecretHash;
use signet_store::{Client, ClientId, Store};

use crate::support::store::OwnChain as _;
use crate::support::store::{client, draft, grant, now, tenant, user};

pub(super) async fn a_client_comes_back_as_added(store: &dyn Store) {
    let (app, other) = (client("b-app"), client("a-other"));
    for client in [&app, &other] {
        assert!(store.add_client(client, vec![draft(Event::ClientChanged)]).await.unwrap());
        assert_eq!(store.client(&tenant(), &client.id).await.unwrap().as_ref(), Some(client));
    }
    assert_eq!(store.clients(&tenant(), None, 10).await.unwrap(), [other, app]);
    assert_eq!(store.client(&tenant(), &ClientId::new("none")).await.unwrap(), None);
}

pub(super) async fn clients_are_listed_page_by_page(store: &dyn Store) {
    for name in ["dora", "alice", "carol", "bob", "Zoe", "émile"] {
        store.add_client(&client(name), vec![]).await.unwrap();
    }
    let names = async |after: Option<&str>, limit| {
        let page = store.clients(&tenant(), after, limit).await.unwrap();
        page.into_iter().map(|client| client.name).collect::<Vec<_>>()
    };
    assert_eq!(names(None, 4).await, ["Zoe", "alice", "bob", "carol"]);
    assert_eq!(names(Some("carol"), 4).await, ["dora", "émile"]);
    assert_eq!(names(Some("émile"), 4).await, [""; 0]);
}

pub(super) async fn a_taken_client_name_or_id_is_refused(store: &dyn Store) {
    let app = client("app");
    store.add_client(&app, vec![]).await.unwrap();
    let same_name = Client { id: ClientId::new("other"), ..app.clone() };
    let same_id = Client { name: "other".to_owned(), ..app.clone() };
    for taken in [same_name, same_id] {
        assert!(!store.add_client(&taken, vec![draft(Event::ClientChanged)]).await.unwrap());
    }
    assert_eq!(store.clients(&tenant(), None, 10).await.unwrap(), [app]);
    assert_eq!(store.head().await.unwrap().sequence, 0);
}

pub(super) async fn each_change_of_a_client_touches_its_own_column(store: &dyn Store) {
    let mut app = client("app");
    store.add_client(&app, vec![]).await.unwrap();
    let told = || vec![draft(Event::ClientChanged)];
    assert!(store.set_client_enabled(&tenant(), &app.id, false, now(), told()).await.unwrap());
    app.enabled = false;
    assert_eq!(store.clients(&tenant(), None, 10).await.unwrap(), std::slice::from_ref(&app));
    let secret = SecretHash::of("another");
    app.authentication = ClientAuthentication::Secret(secret);
    assert!(store.set_client_secret(&tenant(), &app.id, &secret, told()).await.unwrap());
    assert_eq!(
        store.clients(&tenant(), None, 10).await.unwrap(),
        std::slice::from_ref(&app),
        "and it is still disabled"
    );
    app.enabled = true;
    assert!(store.set_client_enabled(&tenant(), &app.id, true, now(), told()).await.unwrap());
    (app.grants, app.scopes) = ([GrantType::ClientCredentials].into(), ["less".to_owned()].into());
    app.audiences = ["https://another.example".to_owned()].into();
    // What else the caller holds is not written.
    let seen = store.client(&tenant(), &app.id).await.unwrap().unwrap();
    let stale = Client { authentication: ClientAuthentication::Secret(SecretHash::of("x")), ..app.clone() };
    assert!(store.change_client(&seen, &stale, now(), told()).await.unwrap());
    assert_eq!(store.clients(&tenant(), None, 10).await.unwrap(), std::slice::from_ref(&app));
    // Whoever saw something else changes nothing.
    assert!(!store.change_client(&seen, &Client { enabled: false, ..seen.clone() }, now(), told()).await.unwrap());
    assert!(!store.change_client(&client("gone"), &client("gone"), now(), told()).await.unwrap());
    assert_eq!(store.clients(&tenant(), None, 10).await.unwrap(), std::slice::from_ref(&app));
    let gone = ClientId::new("gone");
    assert!(!store.set_client_enabled(&tenant(), &gone, true, now(), told()).await.unwrap());
    assert!(!store.set_client_secret(&tenant(), &gone, &SecretHash::of("x"), told()).await.unwrap());
    assert_eq!(store.head().await.unwrap().sequence, 4);
}

pub(super) async fn a_removed_client_takes_its_grants_along(store: &dyn Store) {
    let (alice, app) = (user("alice"), client("app"));
    store.add_user(&alice, vec![]).await.unwrap();
    store.add_client(&app, vec![]).await.unwrap();
    let other = client("other");
    store.add_client(&other, vec![]).await.unwrap();
    store.add_grant(&grant("other", &alice, &other), &SecretHash::of("other"), 0, vec![]).await.unwrap();
    // More than go in one commit.
    let families: Vec<_> = (0..520).map(|number| grant(&format!("g{number}"), &alice, &app)).collect();
    let added = families.iter().map(async |family| {
        let first = SecretHash::of(family.id.as_str());
        store.add_grant(family, &first, 0, vec![]).await.unwrap()
    });
    assert!(futures_util::future::join_all(added).await.into_iter().all(|added| added));
    let told = || vec![draft(Event::ClientChanged)];
    assert!(store.remove_client(&tenant(), &app.id, told()).await.unwrap());
    assert!(!store.remove_client(&tenant(), &app.id, told()).await.unwrap());
    assert_eq!(store.head().await.unwrap().sequence, 1, "told once");
    for family in families.iter().step_by(40) {
        assert_eq!(store.grant(&tenant(), &family.id).await.unwrap(), None);
        assert_eq!(store.refresh_token(&tenant(), &SecretHash::of(family.id.as_str())).await.unwrap(), None);
    }
    assert!(store.refresh_token(&tenant(), &SecretHash::of("other")).await.unwrap().is_some());
}
