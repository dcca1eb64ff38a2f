//! An end that races against issue and refresh: what began after it was acknowledged gets nothing, and what had begun before is
//! ended with the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signet_core::secret::SecretHash;
use signet_store::{
    AuditOnOutcome, Client, Clients as _, EndReason, Grant, GrantState, Grants as _, RotateOutcome, StoreError, User,
    Users as _,
};
use signet_store_sql::SqlStore;

use super::{Nodes, RACERS, told};
use crate::support::store::{after, client, grant, now, seals, tenant, user};

/// Which racer brings the end, and how many families there are before.
const ENDER: usize = 50;
const FAMILIES: usize = 10;
/// How often a racer tries at most.
const TRIES: usize = 50;

/// The end that a round is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Family,
    UserDisabled,
    Password,
    ClientDisabled,
}

/// A round: one user, one client, ten families.
struct Round {
    end: End,
    ann: User,
    app: Client,
    families: Vec<Grant>,
    is_ended: AtomicBool,
}

fn first_of(family: &Grant) -> String {
    format!("{} first", family.id.as_str())
}

impl Round {
    async fn of(nodes: &Nodes, end: End, number: usize) -> Arc<Self> {
        let (ann, app) = (user(&format!("ann {number}")), client(&format!("app {number}")));
        nodes.one.add_user(&ann, vec![]).await.unwrap();
        nodes.one.add_client(&app, vec![]).await.unwrap();
        let families: Vec<Grant> =
            (0..FAMILIES).map(|family| grant(&format!("{number}-{family}"), &ann, &app)).collect();
        for family in &families {
            let first = SecretHash::of(&first_of(family));
            assert!(nodes.one.add_grant(family, &first, 0, vec![]).await.unwrap());
        }
        Arc::new(Self { end, ann, app, families, is_ended: AtomicBool::new(false) })
    }

    /// Brings the end; acknowledged from then on.
    async fn end(&self, store: &SqlStore) -> Result<(), StoreError> {
        let (tenant, at) = (tenant(), now());
        match self.end {
            End::Family => {
                for family in &self.families {
                    let ended = store.end_grant(&tenant, &family.id, EndReason::Revoked, at, AuditOnOutcome::default());
                    assert!(ended.await?);
                }
            }
            End::UserDisabled => assert!(store.set_user_enabled(&tenant, &self.ann.id, false, at, vec![]).await?),
            End::Password => {
                assert!(store.set_user_password(&tenant, &self.ann.id, &seals(3), None, at, vec![]).await?)
            }
            End::ClientDisabled => assert!(store.set_client_enabled(&tenant, &self.app.id, false, at, vec![]).await?),
        }
        self.is_ended.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Asks again and again until it gets nothing; what it got of grants.
    async fn ask(&self, store: &SqlStore, racer: usize) -> Result<Vec<Grant>, StoreError> {
        let (mut added, family) = (Vec::new(), &self.families[racer % FAMILIES]);
        let issues = self.end != End::Family && racer.is_multiple_of(3);
        let mut live = first_of(family);
        for step in 0..TRIES {
            let began_after = self.is_ended.load(Ordering::SeqCst);
            let name = format!("{racer} {step}");
            let is_granted = if issues {
                let grant = grant(&format!("{} {name}", family.id.as_str()), &self.ann, &self.app);
                let is_added = store.add_grant(&grant, &SecretHash::of(&first_of(&grant)), 0, vec![]).await?;
                added.extend(is_added.then_some(grant));
                is_added
            } else {
                let next = format!("{} {name}", family.id.as_str());
                let (spent, successor) = (SecretHash::of(&live), SecretHash::of(&next));
                let outcome = store.rotate(family, &spent, &successor, None, now(), told()).await?;
                live = next;
                outcome == RotateOutcome::Rotated
            };
            assert!(!(began_after && is_granted), "{:?}: granted to a request that began after the end", self.end);
            if !is_granted {
                break;
            }
        }
        Ok(added)
    }
}

async fn nothing_after(nodes: &Nodes, end: End) {
    for number in 0..nodes.rounds {
        let round = Round::of(nodes, end, number).await;
        let added = nodes.race(|store, racer| {
            let round = Arc::clone(&round);
            async move {
                match racer {
                    ENDER => round.end(&store).await.map(|()| Vec::new()),
                    _ => round.ask(&store, racer).await,
                }
            }
        });
        let added: Vec<Grant> = added.await.into_iter().flatten().collect();
        assert!(added.len() < RACERS * TRIES, "the end came last of all");
        for grant in added.iter().chain(&round.families) {
            let found = nodes.two.grant(&tenant(), &grant.id).await.unwrap().unwrap();
            assert_ne!(found.state, GrantState::Active, "{end:?}, round {number}: {}", grant.id.as_str());
            assert!(!nodes.one.confirm_grant(grant, after(1), vec![]).await.unwrap());
        }
    }
}

pub(super) async fn nothing_of_a_family_after_its_end(nodes: &Nodes) {
    nothing_after(nodes, End::Family).await;
}

pub(super) async fn nothing_of_a_user_after_they_were_disabled(nodes: &Nodes) {
    nothing_after(nodes, End::UserDisabled).await;
}

pub(super) async fn nothing_of_a_user_after_another_password(nodes: &Nodes) {
    nothing_after(nodes, End::Password).await;
}

pub(super) async fn nothing_of_a_client_after_it_was_disabled(nodes: &Nodes) {
    nothing_after(nodes, End::ClientDisabled).await;
}
