//! What creates is done once under each key, on whatever node.

use std::time::Duration;

use signet_service::idempotency::{Claim, KEPT, KeyedRequest, Known};
use signet_store::RequestOutcome;

use crate::support::InProcess;

const ASKED: KeyedRequest<'static> =
    KeyedRequest { operator: "ann (uid 1000)", key: "k1", operation: "POST /api/v1/users", body: b"{}" };

fn made() -> RequestOutcome {
    RequestOutcome { status: 201, location: "/api/v1/users/bob".to_owned() }
}

fn mine(known: Known) -> Claim {
    match known {
        Known::Not(claim) => claim,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_is_made_once_under_its_key_for_a_day() {
    let app = InProcess::new().await;
    let requests = &app.issuer.requests_once;
    let claim = mine(requests.claim_request(ASKED).await.unwrap());
    assert!(matches!(requests.claim_request(ASKED).await.unwrap(), Known::InHand));
    requests.finish_request(&claim, &made()).await.unwrap();
    drop(claim);
    for other in [KeyedRequest { body: b"{ }", ..ASKED }, KeyedRequest { operation: "POST /api/v1/clients", ..ASKED }] {
        assert!(matches!(requests.claim_request(other).await.unwrap(), Known::Another));
    }
    for free in [KeyedRequest { key: "k2", ..ASKED }, KeyedRequest { operator: "bob (uid 1001)", ..ASKED }] {
        mine(requests.claim_request(free).await.unwrap());
    }
    app.pass(KEPT - Duration::from_secs(1)).await;
    assert!(matches!(requests.claim_request(ASKED).await.unwrap(), Known::Done(outcome) if outcome == made()));
    app.pass(Duration::from_secs(1)).await;
    mine(requests.claim_request(ASKED).await.unwrap());
}

#[tokio::test]
async fn a_request_that_was_refused_is_made_again_under_its_key() {
    let app = InProcess::new().await;
    let requests = &app.issuer.requests_once;
    let claim = mine(requests.claim_request(ASKED).await.unwrap());
    requests.release_request(&claim).await.unwrap();
    drop(claim);
    mine(requests.claim_request(KeyedRequest { body: b"better", ..ASKED }).await.unwrap());
}

#[tokio::test]
async fn a_request_that_was_cut_off_is_never_made_again_and_another_nodes_counts_as_under_way_for_a_while() {
    let app = InProcess::new().await;
    let (elsewhere, _store) = app.another_node("elsewhere").await;
    let claim = mine(app.issuer.requests_once.claim_request(ASKED).await.unwrap());
    // Its process ends with it in hand.
    drop(claim);
    let known = app.another_process().issuer().requests_once.claim_request(ASKED).await.unwrap();
    assert!(matches!(known, Known::CutOff { begun_at } if begun_at == app.now()), "{known:?}");
    let elsewhere = &elsewhere.issuer().requests_once;
    assert!(matches!(elsewhere.claim_request(ASKED).await.unwrap(), Known::InHand));
    app.pass(Duration::from_mins(10)).await;
    assert!(matches!(elsewhere.claim_request(ASKED).await.unwrap(), Known::CutOff { .. }));
    // What one node did, each other one knows.
    let other = KeyedRequest { key: "k2", ..ASKED };
    let claim = mine(elsewhere.claim_request(other).await.unwrap());
    elsewhere.finish_request(&claim, &made()).await.unwrap();
    assert!(matches!(app.issuer.requests_once.claim_request(other).await.unwrap(), Known::Done(_)));
}
