//! Who a piece of software is.

use std::collections::BTreeSet;

use signet_core::audit::RequestContext;
use signet_core::oauth::{Client, ClientId, GrantType, OAuthError, Reach};
use signet_core::settings::PolicyWords;
use signet_service::ChangeError;
use signet_service::clients::registry::{ClientEdit, NewClient};

use crate::support::people::{TestClient, words};
use crate::support::{ISSUER, InProcess, context};

fn new(name: &str) -> NewClient {
    let (grants, scopes) = (BTreeSet::from([GrantType::ClientCredentials]), words(["read"]));
    NewClient { name: name.to_owned(), grants, scopes, audiences: BTreeSet::new(), reach: Reach::default() }
}

#[tokio::test]
async fn clients_are_added_changed_and_removed_each_on_the_record() {
    let app = InProcess::new().await;
    let clients = &app.issuer.clients;
    let (client, _) = clients.add_client(new("app"), &context()).await.unwrap();
    assert_eq!(client.audiences, words([ISSUER]));
    assert_eq!(clients.find_client("app").await.unwrap(), client);
    assert_eq!(clients.find_client(client.id.as_str()).await.unwrap(), client);
    assert_eq!(clients.list_clients().await.unwrap(), std::slice::from_ref(&client));
    assert_eq!(clients.clients_after(None, 1).await.unwrap(), [client]);
    assert_eq!(clients.clients_after(Some("app"), 1).await.unwrap(), []);
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
async fn what_a_client_may_do_is_changed_and_what_is_not_named_stays() {
    let app = InProcess::new().await;
    let clients = &app.issuer.clients;
    let (before, _) = clients.add_client(new("app"), &context()).await.unwrap();
    let scopes = ClientEdit { scopes: Some(words(["write"])), ..ClientEdit::default() };
    let changed = clients.change_client("app", scopes, &context()).await.unwrap();
    assert_eq!(changed, Client { scopes: words(["write"]), ..before.clone() });
    assert_eq!(clients.find_client("app").await.unwrap(), changed);
    let audiences = |audiences| ClientEdit { audiences: Some(audiences), ..ClientEdit::default() };
    let elsewhere = audiences(words(["https://elsewhere.example"]));
    clients.change_client("app", elsewhere, &context()).await.unwrap();
    let issuers = clients.change_client("app", audiences(words([])), &context()).await.unwrap();
    assert_eq!(issuers.audiences, words([ISSUER]), "none named is the issuer's");
    for faulty in [
        audiences(words(["nowhere"])),
        ClientEdit { scopes: Some(words(["two words"])), ..ClientEdit::default() },
        ClientEdit { grants: Some(BTreeSet::new()), ..ClientEdit::default() },
    ] {
        let refused = clients.change_client("app", faulty, &context()).await;
        assert!(matches!(refused, Err(ChangeError::Input(_))));
    }
    let missing = ChangeError::Missing { noun: "client", name: "none".to_owned() };
    assert_eq!(clients.change_client("none", ClientEdit::default(), &context()).await, Err(missing));
    let told = app.details("client.changed").await;
    assert_eq!(told.len(), 4, "{told:?}");
    let issuer = format!("[client_credentials; read; {ISSUER}] -> [client_credentials; write; {ISSUER}]");
    assert_eq!(told[1], format!("app: {issuer}"));
}

#[tokio::test]
async fn hazard_116_an_audience_that_no_request_could_name_is_refused_at_set_up() {
    let app = InProcess::new().await;
    let clients = &app.issuer.clients;
    let long = format!("https://api.example/{}", "x".repeat(2048));
    for audience in
        ["https://api.example\n", " https://api.example", "https://api.ex\tample", "https://a.example#b", "", &long]
    {
        let added = clients.add_client(NewClient { audiences: words([audience]), ..new("app") }, &context()).await;
        assert!(matches!(added, Err(ChangeError::Input(_))), "{audience:?}");
    }
    clients
        .add_client(NewClient { audiences: words(["https://api.example/"]), ..new("app") }, &context())
        .await
        .unwrap();
    let edit = ClientEdit { audiences: Some(words(["https://api.example\u{a0}"])), ..ClientEdit::default() };
    assert!(matches!(clients.change_client("app", edit, &context()).await, Err(ChangeError::Input(_))));
}

#[tokio::test]
async fn what_no_client_may_be_is_refused() {
    let app = InProcess::new().await;
    let faulty = [
        NewClient { name: String::new(), ..new("") },
        NewClient { grants: BTreeSet::new(), ..new("app") },
        NewClient { scopes: words(["two words"]), ..new("app") },
        NewClient { audiences: words(["nowhere"]), ..new("app") },
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

#[tokio::test]
async fn a_client_asks_from_its_own_networks_alone() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    let authenticator = &app.issuer.client_authenticator;
    let ask = async |address: Option<&str>| {
        let address = address.map(|address| address.parse().unwrap());
        let from = RequestContext { address, ..context() };
        authenticator.authenticate_client(&client.presented(), &from).await.map(drop)
    };
    assert_eq!(ask(None).await, Ok(()));
    let allow = |networks: &[&str]| {
        let allow_from = Some(networks.iter().map(|network| network.parse().unwrap()).collect());
        ClientEdit { allow_from, ..ClientEdit::default() }
    };
    let clients = &app.issuer.clients;
    clients.change_client("app", allow(&["10.0.0.0/8", "2001:db8::/32"]), &context()).await.unwrap();
    for (address, answer) in [
        (Some("10.1.2.3"), Ok(())),
        (Some("2001:db8::7"), Ok(())),
        (Some("203.0.113.9"), Err(OAuthError::UnauthorizedClient)),
        (Some("203.0.113.10"), Err(OAuthError::UnauthorizedClient)),
        (None, Err(OAuthError::UnauthorizedClient)),
    ] {
        assert_eq!(ask(address).await, answer, "{address:?}");
    }
    assert_eq!(app.reasons("client.authentication").await, ["address_not_allowed"], "repetitions are counted");
    let changed = app.audit().await.into_iter().rfind(|record| record["event"] == "client.changed").unwrap();
    assert_eq!(changed["after"]["allow_from"], serde_json::json!(["10.0.0.0/8", "2001:db8::/32"]));
    clients.change_client("app", allow(&[]), &context()).await.unwrap();
    assert_eq!(ask(Some("203.0.113.9")).await, Ok(()));
}

#[tokio::test]
async fn what_a_client_is_answered_is_read_by_its_own_web_sites_alone() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    let (clients, authenticator) = (&app.issuer.clients, &app.issuer.client_authenticator);
    let sites = |sites: &[&str]| ClientEdit {
        origins: Some(sites.iter().map(|site| (*site).to_owned()).collect()),
        ..ClientEdit::default()
    };
    for wrong in ["*", "https://app.example/path", "app.example"] {
        assert!(matches!(clients.change_client("app", sites(&[wrong]), &context()).await, Err(ChangeError::Input(_))));
    }
    clients.change_client("app", sites(&["https://App.example:443"]), &context()).await.unwrap();
    for (site, reads) in [("https://app.example", true), ("https://evil.example", false), ("null", false)] {
        assert_eq!(authenticator.may_be_read_by(&client.client.id, site).await, reads, "{site}");
    }
    assert!(!authenticator.may_be_read_by(&ClientId::new("nobody"), "https://app.example").await);
}

#[tokio::test]
async fn the_tenant_is_asked_from_its_networks_alone() {
    let near = PolicyWords { allow_from: vec!["10.0.0.0/8".to_owned()], ..PolicyWords::default() };
    let app = InProcess::with(|setup| setup.document.policy = Some(near)).await;
    let lists = &app.issuer.allow_lists;
    let from = |address: Option<&str>| {
        let address = address.map(|address| address.parse().unwrap());
        RequestContext { address, ..context() }
    };
    assert!(lists.admits(&from(Some("10.1.2.3"))).await.unwrap());
    assert!(!lists.admits(&from(Some("203.0.113.9"))).await.unwrap() && !lists.admits(&from(None)).await.unwrap());
    lists.tell_refused("admin API", &from(Some("203.0.113.9"))).await.unwrap();
    assert_eq!(app.reasons("request.refused").await, ["address_not_allowed"; 2]);
}
