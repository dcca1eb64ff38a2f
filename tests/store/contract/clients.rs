use std::collections::BTreeSet;

use signet::audit::Event;
use signet::secret::SecretHash;
use signet::store::{Client, ClientId, GrantType, Store};

use crate::support::store::{after, client, draft, grant, tenant, texts, user};

pub(super) async fn a_client_comes_back_as_added(store: &dyn Store) {
    let (app, other) = (client("b-app"), client("a-other"));
    for client in [&app, &other] {
        assert!(store.add_client(client, vec![draft(Event::ClientChanged)]).await.unwrap());
        assert_eq!(store.client(&tenant(), &client.id).await.unwrap().as_ref(), Some(client));
    }
    assert_eq!(store.clients(&tenant()).await.unwrap(), [other, app]);
    assert_eq!(store.client(&tenant(), &ClientId::new("none")).await.unwrap(), None);
}

pub(super) async fn a_taken_client_name_or_id_is_refused(store: &dyn Store) {
    let app = client("app");
    store.add_client(&app, vec![]).await.unwrap();
    let same_name = Client { id: ClientId::new("other"), ..app.clone() };
    let same_id = Client { name: "other".to_owned(), ..app.clone() };
    for taken in [same_name, same_id] {
        assert!(!store.add_client(&taken, vec![draft(Event::ClientChanged)]).await.unwrap());
    }
    assert_eq!(store.clients(&tenant()).await.unwrap(), [app]);
    assert_eq!(store.head().await.unwrap().sequence, 0);
}

pub(super) async fn an_update_replaces_all_but_id_name_and_creation(store: &dyn Store) {
    let app = client("app");
    store.add_client(&app, vec![]).await.unwrap();
    let changed = Client {
        secret: SecretHash::of("another"),
        grants: BTreeSet::from([GrantType::ClientCredentials]),
        scopes: texts(&[]),
        audiences: texts(&["https://other.example"]),
        enabled: false,
        ..app
    };
    let asked = Client { name: "renamed".to_owned(), created_at: after(1), ..changed.clone() };
    assert!(store.update_client(&asked, None, vec![]).await.unwrap());
    assert_eq!(store.clients(&tenant()).await.unwrap(), [changed]);
    assert!(!store.update_client(&client("gone"), None, vec![draft(Event::ClientChanged)]).await.unwrap());
    assert_eq!(store.head().await.unwrap().sequence, 0);
}

pub(super) async fn a_removed_client_takes_its_grants_along(store: &dyn Store) {
    let (alice, app) = (user("alice"), client("app"));
    store.add_user(&alice, vec![]).await.unwrap();
    store.add_client(&app, vec![]).await.unwrap();
    store.add_grant(&grant("g", &alice, &app), &SecretHash::of("r0"), vec![]).await.unwrap();
    assert!(store.remove_client(&tenant(), &app.id, vec![]).await.unwrap());
    assert!(!store.remove_client(&tenant(), &app.id, vec![]).await.unwrap());
    assert_eq!(store.grant(&tenant(), &grant("g", &alice, &app).id).await.unwrap(), None);
    assert_eq!(store.refresh_token(&tenant(), &SecretHash::of("r0")).await.unwrap(), None);
}
