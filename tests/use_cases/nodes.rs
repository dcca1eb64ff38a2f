//! Which nodes there are, and how one ends.

use std::time::Duration;

use signet_core::audit::{AuditEvent, Event, Outcome};
use signet_core::keys::HsmName;
use signet_service::nodes::NodeState;
use signet_store::{AuditLog as _, HsmRate, NodeHolder, NodeLease, Nodes as _, StoreFailure};

use crate::support::{InProcess, context};

const LASTS: Duration = Duration::from_secs(15);

fn holder(process: &str, ended: Option<&str>) -> NodeHolder {
    NodeHolder { process: process.to_owned(), ended: ended.map(str::to_owned), name: format!("host of {process}") }
}

#[tokio::test]
async fn a_node_is_listed_as_it_is_and_retired_once_by_another_one() {
    let app = InProcess::new().await;
    let (two, store) = app.another_node("two").await;
    two.nodes.list().await.unwrap();
    let nodes = &app.signet.nodes;
    let states = async || nodes.list().await.unwrap().iter().map(|node| node.state).collect::<Vec<_>>();
    assert_eq!(states().await, [NodeState::Stopped, NodeState::Stopped]);
    assert_eq!(store.lease_node(&holder("a", None), app.now(), LASTS).await.unwrap(), NodeLease::Held);
    assert_eq!(states().await, [NodeState::Stopped, NodeState::Serving]);
    let told = || vec![AuditEvent::new(Event::SignIn, Outcome::Refused, "default", &context())];
    store.append(told()).await.unwrap();
    assert!(nodes.retire("one", &context()).await.is_err(), "not itself");
    assert!(nodes.retire("three", &context()).await.is_err(), "no such node");
    let retired = nodes.retire("host of a", &context()).await.unwrap();
    assert_eq!((retired.id.as_str(), retired.head.sequence), ("two", 1));
    assert!(nodes.retire("two", &context()).await.is_err(), "it was already");
    assert_eq!(states().await, [NodeState::Stopped, NodeState::Retired]);
    let refused = store.append(told()).await.unwrap_err();
    assert!(matches!(refused.failure, StoreFailure::Fenced(_)), "{refused}");
    assert_eq!(store.lease_node(&holder("a", None), app.now(), LASTS).await.unwrap(), NodeLease::Retired);
    // This node's next checkpoint says where the chain ended.
    let checkpoint = app.signet.checkpoints.checkpoint().await.unwrap().unwrap();
    assert!(checkpoint.jws.len() > 100);
    store.close().await;
}

/// Whoever had the lease before commits nothing under it, also where it was taken over without being asked for.
#[tokio::test]
async fn a_process_is_the_node_until_its_lease_is_over_or_it_is_known_to_have_ended() {
    let app = InProcess::new().await;
    let (_, first) = app.another_node("two").await;
    let (_, second) = app.another_node("two").await;
    let lease = async |store: &signet_store_sql::SqlStore, process: &str, ended: Option<&str>| {
        store.lease_node(&holder(process, ended), app.now(), LASTS).await.unwrap()
    };
    assert_eq!(lease(&first, "a", None).await, NodeLease::Held);
    assert_eq!(lease(&second, "b", None).await, NodeLease::Taken);
    assert_eq!(lease(&second, "b", Some("another")).await, NodeLease::Taken);
    app.pass(LASTS).await;
    assert_eq!(lease(&second, "b", None).await, NodeLease::Held, "it ran out");
    assert_eq!(lease(&first, "a", None).await, NodeLease::Taken);
    let told = vec![AuditEvent::new(Event::SignIn, Outcome::Refused, "default", &context())];
    let refused = first.append(told.clone()).await.unwrap_err();
    assert!(matches!(refused.failure, StoreFailure::Fenced(_)), "{refused}");
    second.append(told).await.unwrap();
    assert_eq!(lease(&second, "c", Some("b")).await, NodeLease::Held, "its own predecessor's is taken over at once");
    second.give_back_node("c").await.unwrap();
    first.close().await;
    second.close().await;
}

/// Nodes that don't serve ask for nothing; one without a bound asks for more than any capacity.
#[tokio::test]
async fn what_the_nodes_that_serve_may_ask_of_an_hsm_token_is_added_up() {
    let app = InProcess::new().await;
    let (_, two) = app.another_node("two").await;
    let rate = |most_per_second, capacity| HsmRate { hsm: HsmName::new("a"), most_per_second, capacity };
    let demand = async |own: Option<&[HsmRate]>| app.signet.nodes.demand(own).await.unwrap();
    two.keep_rates(&[rate(Some(300), Some(500))]).await.unwrap();
    assert_eq!(demand(None).await, [], "its server does not run");
    assert_eq!(two.lease_node(&holder("b", None), app.now(), LASTS).await.unwrap(), NodeLease::Held);
    let alone = demand(None).await;
    assert_eq!((alone[0].nodes, alone[0].most_per_second, alone[0].capacity), (1, Some(300), Some(500)));
    assert!(!alone[0].is_too_much());
    let both = demand(Some(&[rate(Some(201), None)])).await;
    assert_eq!((both[0].nodes, both[0].most_per_second, both[0].capacity), (2, Some(501), Some(500)));
    assert!(both[0].is_too_much());
    assert!(demand(Some(&[rate(None, None)])).await[0].is_too_much(), "no bound is more than any capacity");
    two.keep_rates(&[rate(None, None)]).await.unwrap();
    let unknown = demand(None).await;
    assert_eq!((unknown[0].most_per_second, unknown[0].capacity), (None, None));
    assert!(!unknown[0].is_too_much(), "nobody said what it can do");
    two.close().await;
}
