use std::time::Duration;

use signet_core::audit::NodeId;
use signet_store::{RequestClaim, RequestOutcome, Store};

use crate::support::store::{after, now, tenant};

const DAY: u64 = 24 * 60 * 60;

fn request(key: u8, body: u8, node: &str, at: u64) -> RequestClaim {
    RequestClaim {
        tenant: tenant(),
        key_hash: [key; 32],
        operator: "ann (uid 1000)".to_owned(),
        operation: "POST /api/v1/users".to_owned(),
        body_hash: [body; 32],
        node: NodeId::new(node),
        claimed_at: after(at),
        kept_until: after(at + DAY),
        outcome: None,
    }
}

pub(super) async fn a_key_stands_for_one_request_until_its_time_is_over(store: &dyn Store) {
    let (first, other) = (request(1, 1, "a", 0), request(1, 2, "b", 60));
    let made = RequestOutcome { status: 201, location: "/api/v1/users/ann".to_owned() };
    assert_eq!(store.claim_request(&first).await.unwrap(), None);
    assert_eq!(store.claim_request(&other).await.unwrap().as_ref(), Some(&first));
    // Nobody settles what is in another one's hand.
    store.finish_request(&other, &made).await.unwrap();
    store.release_request(&other).await.unwrap();
    assert_eq!(store.claim_request(&other).await.unwrap().as_ref(), Some(&first));
    store.finish_request(&first, &made).await.unwrap();
    let done = RequestClaim { outcome: Some(made), ..first.clone() };
    assert_eq!(store.claim_request(&other).await.unwrap().as_ref(), Some(&done));
    // What is done stays so.
    store.release_request(&first).await.unwrap();
    assert_eq!(store.claim_request(&other).await.unwrap().as_ref(), Some(&done));
    // Other keys are free, and one that was released is again.
    let second = request(2, 1, "a", 0);
    assert_eq!(store.claim_request(&second).await.unwrap(), None);
    store.release_request(&second).await.unwrap();
    assert_eq!(store.claim_request(&request(2, 2, "b", 1)).await.unwrap(), None);
    let later = request(1, 2, "b", DAY);
    assert_eq!(store.claim_request(&later).await.unwrap(), None);
    assert_eq!(store.claim_request(&first).await.unwrap(), Some(later));
    // Two days after its time it is forgotten.
    let old = RequestClaim { kept_until: now().minus(Duration::from_secs(2 * DAY + 1)), ..request(3, 1, "a", 0) };
    assert_eq!(store.claim_request(&old).await.unwrap(), None);
    assert_eq!(store.prune(now()).await.unwrap(), 1);
    assert_eq!(store.claim_request(&request(3, 2, "a", 0)).await.unwrap(), None);
}
