//! What is known of keys and clients, and when it is looked at again.

use signet_core::oauth::ClientId;

use crate::support::{InProcess, context};

/// The view at hand may be old; a fresh one is not, whichever process made the change.
#[tokio::test]
async fn what_another_process_changes_is_seen_by_the_next_who_looks() {
    let app = InProcess::new().await;
    let (other, directory) = (app.another_process(), &app.issuer.directory);
    let client = app.client("app").await;
    let before = directory.fresh().await.unwrap();
    let known = directory.client(&before, &client.client.id).await.unwrap().unwrap();
    assert_eq!(*known, client.client);
    other.issuer().clients.enable_client("app", false, &context()).await.unwrap();
    let at_hand = directory.at_hand().await.unwrap();
    assert_eq!(at_hand.generations, before.generations);
    assert!(directory.client(&at_hand, &client.client.id).await.unwrap().unwrap().enabled, "as of that generation");
    let fresh = directory.fresh().await.unwrap();
    assert!(!before.is_of(fresh.generations));
    assert!(!directory.client(&fresh, &client.client.id).await.unwrap().unwrap().enabled);
    let older = directory.of_generations(before.generations).await.unwrap();
    assert_eq!(older.generations, fresh.generations, "a newer one serves who asks for an older one");
    assert!(directory.client(&fresh, &ClientId::new("unknown")).await.unwrap().is_none());
}
