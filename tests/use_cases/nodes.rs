//! Which nodes there are, and how one ends.

use std::time::Duration;

use signet_core::audit::{Draft, Event, Outcome};
use signet_service::nodes::NodeState;
use signet_store::{AuditLog as _, NodeHolder, NodeLease, Nodes as _, StoreFailure};

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
    let told = || vec![Draft::new(Event::SignIn, Outcome::Refused, "default", &context())];
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
    let told = vec![Draft::new(Event::SignIn, Outcome::Refused, "default", &context())];
    let refused = first.append(told.clone()).await.unwrap_err();
    assert!(matches!(refused.failure, StoreFailure::Fenced(_)), "{refused}");
    second.append(told).await.unwrap();
    assert_eq!(lease(&second, "c", Some("b")).await, NodeLease::Held, "its own predecessor's is taken over at once");
    second.give_back_node("c").await.unwrap();
    first.close().await;
    second.close().await;
}
