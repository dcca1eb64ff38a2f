//! Rows that could get somebody a yes are written under the deployment's secret.

use signet_core::oauth::{GrantType, Reach};
use signet_service::ChangeError;
use signet_service::clients::registry::NewClient;
use signet_store::{StoreError, StoreFailure};

use crate::support::people::words;
use crate::support::{InProcess, context};

#[tokio::test]
async fn no_right_is_written_before_an_hsm_token_opened_the_secret() {
    let app = InProcess::new().await;
    app.hsms.go_away("a");
    let (signet, store) = app.another_node("two").await;
    let new = || NewClient {
        name: "app".to_owned(),
        grants: [GrantType::ClientCredentials].into(),
        scopes: words(["read"]),
        audiences: [].into(),
        reach: Reach::default(),
    };
    let clients = &signet.issuer().clients;
    let refused = clients.add_client(new(), &context()).await.err();
    assert!(
        matches!(refused, Some(ChangeError::Store(StoreError { failure: StoreFailure::NoRowKeys, .. }))),
        "{refused:?}"
    );
    assert_eq!(store.check_rows().await.err().map(|error| error.failure), Some(StoreFailure::NoRowKeys));
    app.hsms.recover("a");
    signet.open_secret().await;
    clients.add_client(new(), &context()).await.unwrap();
    let checked = store.check_rows().await.unwrap();
    assert_eq!(
        checked.iter().find(|table| table.table == "clients").map(|table| (table.rows, table.forged)),
        Some((1, 0))
    );
}
