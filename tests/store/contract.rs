//! The contract, as every adapter must keep it: each case takes a store that is empty, behind the traits alone.

use std::sync::Arc;

use signet::audit::Event;
use signet::store::Store;

use crate::support::store::{Place, draft, user};

macro_rules! on_every_store {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            use super::Place;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    let place = Place::new();
                    let store = place.open().await;
                    super::$case(store.clone()).await;
                    store.close().await;
                }
            )+
        }
    };
}

on_every_store!(a_user_comes_back_as_added);

async fn a_user_comes_back_as_added(store: Arc<dyn Store>) {
    let alice = user("alice");
    assert!(store.add_user(&alice, vec![draft(Event::UserChanged)]).await.unwrap());
    assert_eq!(store.user(&alice.tenant, &alice.id).await.unwrap(), Some(alice.clone()));
    assert_eq!(store.user_by_name(&alice.tenant, "alice").await.unwrap(), Some(alice));
    assert_eq!(store.generation().await.unwrap(), 1);
    assert_eq!(store.head().await.unwrap().sequence, 1);
}
