//! The deployment's secret is renewed while servers run.

use std::time::Duration;

use signet_service::hsm_membership::online_renewal::Following;
use signet_store::{ClientId, Clients as _, NodeHolder, NodeLease, Nodes as _};
use signet_store_sql::SqlStore;

use crate::support::people::words;
use crate::support::{InProcess, context};

const LASTS: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_hours(24);

async fn lease(store: &SqlStore, app: &InProcess) {
    let holder = NodeHolder { process: "p".to_owned(), ended: None, name: "host".to_owned() };
    assert_eq!(store.lease_node(&holder, app.now(), LASTS).await.unwrap(), NodeLease::Held);
}

#[tokio::test]
async fn two_nodes_go_on_while_the_secret_is_renewed_and_the_old_one_grants_nothing_after() {
    let app = InProcess::new().await;
    let (ann, client) = (app.person("ann").await, app.client("app").await);
    let first = app.family(&client, &ann).await.refresh_token.unwrap();
    let browser = app.issuer.sessions.new_session_secret();
    let form = app.issuer.sessions.form_token(&browser).await.unwrap();
    let (two, store) = app.another_node("two").await;
    for store in [&app.store, &store] {
        lease(store, &app).await;
    }
    let one = &app.signet.online_renewal;
    assert_eq!(one.show().await.unwrap().generation, 1);
    one.renew(3, "too far", &context()).await.unwrap_err();
    assert_eq!(two.online_renewal.follow().await.unwrap(), Following::Nothing);
    let spent = app.refresh(&client, &first).await.unwrap().refresh_token.unwrap();

    // Nothing is written by it before every node that serves has opened it.
    let standing = one.renew(2, "a drill", &context()).await.unwrap();
    assert_eq!((standing.generation, standing.is_under_way), (2, true));
    assert_eq!(standing.waits_for, ["two"]);
    two.issuer().accounts.set_roles("ann", words(["reader", "writer"]), &context()).await.unwrap();
    let Following::UnderWay(renewal) = two.online_renewal.follow().await.unwrap() else { panic!("it is under way") };
    assert_eq!((renewal.generation, renewal.writes_since), (2, None));
    let client_id = ClientId::new(client.client.id.as_str());
    let before = app.store.client(&app.issuer.settings.tenant, &client_id).await.unwrap().unwrap();

    // Whoever goes on, one renewal is done: here the node that did not begin it.
    let standing = two.online_renewal.renew(2, "a drill", &context()).await.unwrap();
    assert!(standing.is_under_way && standing.rows.complete && standing.rows.rewritten > 2, "{standing:?}");
    // A retry gets what the first exchange got, and a form of before is taken, on either node.
    assert_eq!(app.refresh(&client, &first).await.unwrap().refresh_token.unwrap().expose(), spent.expose());
    let third = app.refresh(&client, &spent).await.unwrap().refresh_token.unwrap();
    two.issuer().accounts.set_roles("ann", words(["reader"]), &context()).await.unwrap();
    app.pass(Duration::from_secs(4)).await;
    let standing = one.go_on(&context()).await.unwrap();
    assert!(!standing.is_under_way && standing.generation == 2 && standing.rows.refused == 0, "{standing:?}");
    assert_eq!(one.renew(2, "asked again", &context()).await.unwrap().generation, 2, "no second one is begun");
    two.open_secret().await;
    let again = app.refresh(&client, &spent).await.unwrap().refresh_token.unwrap();
    assert_eq!(again.expose(), third.expose());
    for node in [&app.signet, &two] {
        let sessions = &node.issuer().sessions;
        assert!(sessions.is_form_token(&browser, &form).await.unwrap());
        let fresh = sessions.form_token(&browser).await.unwrap();
        assert!(fresh != form && sessions.is_form_token(&browser, &fresh).await.unwrap());
    }
    app.pass(DAY).await;
    assert!(!app.issuer.sessions.is_form_token(&browser, &form).await.unwrap(), "a day is enough for what travels");
    assert_eq!(app.store.client(&app.issuer.settings.tenant, &client_id).await.unwrap().unwrap(), before);
    assert_eq!(app.details("secret.renewal_begun").await, ["generation 2 of the deployment's secret; a drill"]);
    assert_eq!(app.details("secret.renewed").await.len(), 1);
    store.close().await;
}

/// A row that is planted before the pass under a secret that has leaked verifies like any other; what does not is left, and told.
#[tokio::test]
async fn a_row_of_the_old_generation_is_void_once_it_is_over() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    app.forge("CREATE TABLE kept AS SELECT * FROM clients").await;
    app.forge("CREATE TABLE kept_seals AS SELECT * FROM seals WHERE kind = 'deployment.secret'").await;
    app.user("ann").await;
    app.forge("UPDATE users SET roles = '[\"admin\"]' WHERE name = 'ann'").await;
    let standing = app.signet.online_renewal.renew(2, "it may have leaked", &context()).await.unwrap();
    assert_eq!(standing.rows.refused, 1);
    assert!(app.token(&client).await.is_ok());
    app.pass(Duration::from_secs(4)).await;
    assert!(!app.signet.online_renewal.go_on(&context()).await.unwrap().is_under_way);
    assert!(app.token(&client).await.is_ok());
    // Not even where the old one is put back beside it.
    app.forge("DELETE FROM clients; INSERT INTO clients SELECT * FROM kept").await;
    app.forge("INSERT INTO seals SELECT * FROM kept_seals; UPDATE generations SET value = value + 1").await;
    for _ in 0..2 {
        app.signet.open_secret().await;
        assert!(app.token(&client).await.is_err());
    }
}
