//! Who a piece of software is.

use std::collections::BTreeSet;

use signet_core::audit::RequestContext;
use signet_core::oauth::{GrantType, OAuthError};
use signet_service::ChangeError;
use signet_service::clients::registry::NewClient;

use crate::support::people::{TestClient, words};
use crate::support::{ISSUER, InProcess, context};

fn new(name: &str) -> NewClient {
    let (grants, scopes) = (BTreeSet::from([GrantType::ClientCredentials]), words(["read"]));
    NewClient { name: name.to_owned(), grants, scopes, audiences: BTreeSet::new() }
}

#[tokio::test]
async fn clients_are_added_changed_and_removed_each_on_the_record() {
    let app = InProcess::new().await;
    let clients = &app.issuer.clients;
    let (client, _) = clients.add_client(new("app"), &context()).await.unwrap();
    assert_eq!(client.audiences, words([ISSUER]));
    assert_eq!(clients.find_client("app").await.unwrap(), client);
    assert_eq!(clients.find_client(client.id.as_str()).await.unwrap(), client);
    assert_eq!(clients.list_clients().await.unwrap(), [client]);
    let taken = clients.add_client(new("app"), &context()).await.unwrap_err();
    assert_eq!(taken, ChangeError::Taken { noun: "client", name: "app".to_owned() });
    clients.enable_client("app", false, &context()).await.unwrap();
    clients.enable_client("app", true, &context()).await.unwrap();
    clients.renew_client_secret("app", &context()).await.unwrap();
    clients.remove_client("app", &context()).await.unwrap();
    let missing = ChangeError::Missing { noun: "client", name: "app".to_owned() };
    assert_eq!(clients.find_client("app").await, Err(missing.clone()));
    assert_eq!(clients.remove_client("app", &context()).await, Err(missing));
    let expected = ["added: app", "disabled: app", "enabled: app", "secret replaced: app", "removed: app"];
    assert_eq!(app.details("client.changed").await, expected);
}

#[tokio::test]
async fn what_no_client_may_be_is_refused() {
    let app = InProcess::new().await;
    let faulty = [
        NewClient { name: String::new(), ..new("") },
        NewClient { grants: BTreeSet::new(), ..new("app") },
        NewClient { scopes: words(["two words"]), ..new("app") },
    ];
    for new in faulty {
        let refused = app.issuer.clients.add_client(new, &context()).await;
        assert!(matches!(refused, Err(ChangeError::Input(_))));
    }
    assert!(app.details("client.changed").await.is_empty());
}

#[tokio::test]
async fn a_client_is_known_by_its_newest_secret_while_it_is_enabled() {
    let app = InProcess::new().await;
    let (clients, old) = (&app.issuer.clients, app.client("app").await);
    let is_known = async |client: &TestClient| {
        let authenticator = &app.issuer.client_authenticator;
        match authenticator.authenticate_client(&client.presented(), &RequestContext::default()).await {
            Ok(known) => *known.id() == client.client.id,
            Err(error) => error != OAuthError::InvalidClient,
        }
    };
    assert!(is_known(&old).await);
    let secret = clients.renew_client_secret("app", &context()).await.unwrap();
    let renewed = TestClient { client: old.client.clone(), secret };
    assert!(!is_known(&old).await && is_known(&renewed).await);
    clients.enable_client("app", false, &context()).await.unwrap();
    assert!(!is_known(&renewed).await);
    clients.enable_client("app", true, &context()).await.unwrap();
    assert!(is_known(&renewed).await);
}
