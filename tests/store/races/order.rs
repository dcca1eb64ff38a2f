//! The same things by two nodes in opposite order: each once, and neither node waits for the other while it holds something.

use signet_core::mfa::Spending;
use std::sync::Arc;

use signet_core::secret::SecretHash;
use signet_store::{
    Ceremonies as _, Clients as _, Factor, FactorId, Factors as _, Grants as _, Nodes as _, RotateOutcome, StoreError,
    UserId, Users as _,
};
use signet_store_sql::SqlStore;

use super::spent::{enrolled, piv};
use super::{Nodes, bytes, number, told};
use crate::support::store::{after, client, grant, now, spends, tenant, totp_factor, user, yubico_factor};

/// How many things of each kind.
const EACH: usize = 10;

/// Runs the same jobs on both nodes at once, in opposite order; each is true for one of them.
async fn in_opposite_order<F>(nodes: &Nodes, jobs: usize, run: impl Fn(Arc<SqlStore>, usize) -> F)
where
    F: Future<Output = Result<bool, StoreError>> + Send + 'static,
{
    let forth = (0..jobs).map(|job| (job, tokio::spawn(run(Arc::clone(&nodes.one), job))));
    let back = (0..jobs).rev().map(|job| (job, tokio::spawn(run(Arc::clone(&nodes.two), job))));
    // In turns, so that both nodes have some of theirs from the start.
    let begun: Vec<_> = forth.zip(back).flat_map(|(one, two)| [one, two]).collect();
    let mut won = vec![0; jobs];
    for (job, task) in begun {
        won[job] += usize::from(task.await.unwrap().unwrap());
    }
    assert!(won.iter().all(|times| *times == 1), "{won:?}");
}

/// Proofs of five kinds by ten people, and ten families' tokens.
pub(super) async fn the_same_proofs_in_opposite_order(nodes: &Nodes) {
    let app = client("app");
    nodes.one.add_client(&app, vec![]).await.unwrap();
    for person in 0..EACH {
        let ann = user(&format!("ann {person}"));
        nodes.one.add_user(&ann, vec![]).await.unwrap();
        let yubico = yubico_factor(&format!("y{person}"), &format!("cccccccccc{}b", letter(person)), &ann);
        let piv = Factor { user: ann.id.clone(), ..piv(&format!("p{person}")) };
        for factor in [totp_factor(&format!("t{person}"), &ann), yubico, piv] {
            assert!(nodes.one.add_factor(&factor, vec![]).await.unwrap());
        }
        let family = grant(&format!("g{person}"), &ann, &app);
        assert!(nodes.one.add_grant(&family, &SecretHash::of(&format!("r{person}-0")), 0, vec![]).await.unwrap());
    }
    for round in 0..nodes.rounds {
        in_opposite_order(nodes, EACH * 5, |store, job| async move { proof(&store, round, job).await }).await;
    }
    let all = nodes.rounds * EACH * 4;
    assert_eq!(nodes.told().await, (all, all * 2), "a challenge alone is not told");
}

fn letter(person: usize) -> char {
    char::from(b"bcdefghijk"[person])
}

async fn proof(store: &SqlStore, round: usize, job: usize) -> Result<bool, StoreError> {
    let (person, tenant, value) = (job % EACH, tenant(), number(round) + 1);
    let id = |kind: &str| FactorId::new(format!("{kind}{person}"));
    match job / EACH {
        0 => store.spend_proof(&spends(&id("t"), Spending::TotpStep { step: value, drift: 0 }), told()).await,
        1 => store.spend_proof(&spends(&id("y"), Spending::YubicoCounter(value)), told()).await,
        2 => store.spend_proof(&spends(&id("p"), Spending::PivNonce(bytes(round * EACH + person))), told()).await,
        3 => store.spend_challenge(&tenant, &SecretHash::of(&format!("{round} {person}")), after(300)).await,
        _ => {
            let (spent, next) = (format!("r{person}-{round}"), format!("r{person}-{value}"));
            let family = grant(&format!("g{person}"), &user(&format!("ann {person}")), &client("app"));
            let (spent, next) = (SecretHash::of(&spent), SecretHash::of(&next));
            let outcome = store.rotate(&family, &spent, &next, None, now(), told()).await?;
            Ok(outcome == RotateOutcome::Rotated)
        }
    }
}

/// One nonce can be signed by two cards: it is still spent once, and the cards' own rows order nothing between them.
pub(super) async fn one_nonce_by_two_cards_in_opposite_order(nodes: &Nodes) {
    enrolled(nodes, &piv("p0")).await;
    for card in 1..2 * EACH {
        let added = Factor { user: UserId::new("user-alice"), ..piv(&format!("p{card}")) };
        assert!(nodes.one.add_factor(&added, vec![]).await.unwrap());
    }
    for round in 0..nodes.rounds {
        in_opposite_order(nodes, EACH, |store, nonce| async move {
            // Each node has cards of its own.
            let card = if store.node().as_str() == "one" { nonce } else { EACH + nonce };
            let (id, nonce) = (FactorId::new(format!("p{card}")), bytes(round * EACH + nonce));
            store.spend_proof(&spends(&id, Spending::PivNonce(nonce)), told()).await
        })
        .await;
    }
    assert_eq!(nodes.told().await, (nodes.rounds * EACH, nodes.rounds * EACH * 2));
}
