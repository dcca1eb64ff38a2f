use std::time::Duration;

use signet_core::audit::Event;
use signet_core::audit::Reason;
use signet_core::keys::{HsmName, TenantId};
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;
use signet_store::{AuditOnOutcome, Client, EndReason, Grant, GrantId, GrantState, RotateOutcome, Store};

use crate::support::store::OwnChain as _;
use crate::support::store::{after, client, draft, family_of, grant, granted, now, tenant, user};

async fn rotate(store: &dyn Store, spent: &str, successor: &str, at: Timestamp) -> RotateOutcome {
    let told = AuditOnOutcome { applied: vec![draft(Event::TokenRefreshed)], rejected: vec![] };
    let hsm = HsmName::new("primary");
    let (spent, successor) = (SecretHash::of(spent), SecretHash::of(successor));
    let family = family_of(store, &spent).await;
    store.rotate(&family, &spent, &successor, Some(&hsm), at, told).await.unwrap()
}

pub(super) async fn a_grant_comes_back_with_its_first_token(store: &dyn Store) {
    let (_, _, family) = granted(store).await;
    assert_eq!(store.grant(&tenant(), &family.id).await.unwrap().as_ref(), Some(&family));
    let lookup = store.refresh_token(&tenant(), &SecretHash::of("r0")).await.unwrap().unwrap();
    assert_eq!(lookup.grant, family);
    assert_eq!((lookup.generation, lookup.live_generation, lookup.spent_at), (0, 0, None));
    assert_eq!(lookup.successor_hsm, None);
    assert_eq!(store.refresh_token(&tenant(), &SecretHash::of("r1")).await.unwrap(), None);
    assert_eq!(store.refresh_token(&TenantId::new("other"), &SecretHash::of("r0")).await.unwrap(), None);
}

pub(super) async fn no_grant_for_the_disabled_or_the_gone(store: &dyn Store) {
    let (alice, app) = (user("alice"), client("app"));
    let family = grant("g", &alice, &app);
    let told = || vec![draft(Event::TokenIssued)];
    assert!(!store.add_grant(&family, &SecretHash::of("r0"), 0, told()).await.unwrap());
    store.add_user(&alice, vec![]).await.unwrap();
    assert!(!store.add_grant(&family, &SecretHash::of("r0"), 0, told()).await.unwrap());
    store.add_client(&Client { enabled: false, ..app.clone() }, vec![]).await.unwrap();
    assert!(!store.add_grant(&family, &SecretHash::of("r0"), 0, told()).await.unwrap());
    store.set_client_enabled(&tenant(), &app.id, true, now(), vec![]).await.unwrap();
    store.set_user_enabled(&tenant(), &alice.id, false, now(), vec![]).await.unwrap();
    assert!(!store.add_grant(&family, &SecretHash::of("r0"), 1, told()).await.unwrap());
    assert_eq!(store.head().await.unwrap().sequence, 0);
    store.set_user_enabled(&tenant(), &alice.id, true, now(), vec![]).await.unwrap();
    assert!(store.add_grant(&family, &SecretHash::of("r0"), 2, told()).await.unwrap());
    assert_eq!(store.head().await.unwrap().sequence, 1);
}

pub(super) async fn a_rotation_spends_one_token_and_makes_another(store: &dyn Store) {
    granted(store).await;
    assert_eq!(rotate(store, "r0", "r1", after(10)).await, RotateOutcome::Rotated);
    assert_eq!(rotate(store, "r1", "r2", after(20)).await, RotateOutcome::Rotated);
    let spent = store.refresh_token(&tenant(), &SecretHash::of("r0")).await.unwrap().unwrap();
    assert_eq!((spent.generation, spent.live_generation, spent.spent_at), (0, 2, Some(after(10))));
    assert_eq!(spent.successor_hsm, Some(HsmName::new("primary")));
    let live = store.refresh_token(&tenant(), &SecretHash::of("r2")).await.unwrap().unwrap();
    assert_eq!((live.generation, live.live_generation, live.spent_at), (2, 2, None));
    assert_eq!(store.head().await.unwrap().sequence, 2);
}

pub(super) async fn a_rotation_is_lost_once_spent_ended_expired_or_disabled(store: &dyn Store) {
    let (alice, app, family) = granted(store).await;
    let lost = RotateOutcome::Lost;
    assert_eq!(rotate(store, "unknown", "r1", now()).await, lost);
    assert_eq!(rotate(store, "r0", "r1", family.expires_at).await, lost, "it has expired at its expiry");
    assert_eq!(rotate(store, "r0", "r1", now()).await, RotateOutcome::Rotated);
    assert_eq!(rotate(store, "r0", "r9", now()).await, lost);
    store.end_grant(&tenant(), &family.id, EndReason::Revoked, now(), AuditOnOutcome::default()).await.unwrap();
    assert_eq!(rotate(store, "r1", "r2", now()).await, lost);
    assert_eq!(store.refresh_token(&tenant(), &SecretHash::of("r2")).await.unwrap(), None);
    store.add_grant(&grant("h", &alice, &app), &SecretHash::of("h0"), 0, vec![]).await.unwrap();
    store.set_user_enabled(&tenant(), &alice.id, false, now(), vec![]).await.unwrap();
    assert_eq!(rotate(store, "h0", "h1", now()).await, lost);
    store.set_user_enabled(&tenant(), &alice.id, true, now(), vec![]).await.unwrap();
    assert_eq!(rotate(store, "h0", "h1", now()).await, lost, "a family that ended stays ended");
    assert_eq!(store.head().await.unwrap().sequence, 1, "only the one that took place is told");
}

pub(super) async fn a_retry_is_confirmed_while_the_family_holds(store: &dyn Store) {
    let (alice, app, family) = granted(store).await;
    let told = || vec![draft(Event::TokenRefreshRetried)];
    assert!(store.confirm_grant(&family, now(), told()).await.unwrap());
    assert!(!store.confirm_grant(&family, family.expires_at, told()).await.unwrap());
    assert!(!store.confirm_grant(&Grant { id: GrantId::new("none"), ..family.clone() }, now(), told()).await.unwrap());
    store.end_grant(&tenant(), &family.id, EndReason::Revoked, now(), AuditOnOutcome::default()).await.unwrap();
    assert!(!store.confirm_grant(&family, now(), told()).await.unwrap());
    let other = grant("h", &alice, &app);
    store.add_grant(&other, &SecretHash::of("h0"), 0, vec![]).await.unwrap();
    store.set_client_enabled(&tenant(), &app.id, false, now(), vec![]).await.unwrap();
    assert!(!store.confirm_grant(&other, now(), told()).await.unwrap());
    assert_eq!(store.head().await.unwrap().sequence, 1);
}

pub(super) async fn a_family_ends_once_and_tells_either_way(store: &dyn Store) {
    let (_, _, family) = granted(store).await;
    let told = || AuditOnOutcome {
        applied: vec![draft(Event::TokenReplayed)],
        rejected: vec![draft(Event::TokenRefused).because(Reason::EndedFamily)],
    };
    assert!(store.end_grant(&tenant(), &family.id, EndReason::Replayed, after(5), told()).await.unwrap());
    assert!(!store.end_grant(&tenant(), &family.id, EndReason::Revoked, after(6), told()).await.unwrap());
    assert!(!store.end_grant(&tenant(), &GrantId::new("none"), EndReason::Revoked, now(), told()).await.unwrap());
    let ended = store.grant(&tenant(), &family.id).await.unwrap().unwrap();
    assert_eq!(ended.state, GrantState::Ended { at: after(5), reason: EndReason::Replayed }, "the first reason stays");
    let records = store.own_records(1, 10).await.unwrap();
    let lost: Vec<bool> = records.iter().map(|record| record.text.contains("ended")).collect();
    assert_eq!(lost, [false, true, true]);
}

pub(super) async fn disabling_ends_every_family(store: &dyn Store) {
    let (alice, app, family) = granted(store).await;
    let (bob, other) = (user("bob"), client("other"));
    store.add_user(&bob, vec![]).await.unwrap();
    store.add_client(&other, vec![]).await.unwrap();
    let (bobs, others) = (grant("bobs", &bob, &app), grant("others", &bob, &other));
    store.add_grant(&bobs, &SecretHash::of("b0"), 0, vec![]).await.unwrap();
    store.add_grant(&others, &SecretHash::of("o0"), 0, vec![]).await.unwrap();
    let ended = async |id: &GrantId| store.grant(&tenant(), id).await.unwrap().unwrap().state != GrantState::Active;
    store.set_user_enabled(&tenant(), &alice.id, false, after(1), vec![]).await.unwrap();
    assert_eq!((ended(&family.id).await, ended(&bobs.id).await, ended(&others.id).await), (true, false, false));
    store.set_client_enabled(&tenant(), &app.id, false, after(2), vec![]).await.unwrap();
    assert_eq!((ended(&family.id).await, ended(&bobs.id).await, ended(&others.id).await), (true, true, false));
    let first = store.grant(&tenant(), &family.id).await.unwrap().unwrap();
    assert_eq!(first.state, GrantState::Ended { at: after(1), reason: EndReason::Revoked });
}

/// More than a page of them. None lives again where the client may ask once more, and one that may ask keeps its own.
pub(super) async fn a_disabled_clients_many_families_end_and_an_enabled_ones_stay(store: &dyn Store) {
    let (alice, app, _) = granted(store).await;
    for number in 0..1100 {
        let family = grant(&format!("many-{number}"), &alice, &app);
        assert!(store.add_grant(&family, &SecretHash::of(&format!("m{number}")), 0, vec![]).await.unwrap());
    }
    let live = async || {
        let mut live = 0;
        for number in 0..1100 {
            let id = GrantId::new(format!("many-{number}"));
            live += usize::from(store.grant(&tenant(), &id).await.unwrap().unwrap().state == GrantState::Active);
        }
        live
    };
    store.set_client_enabled(&tenant(), &app.id, true, after(1), vec![]).await.unwrap();
    assert_eq!(live().await, 1100);
    store.set_client_enabled(&tenant(), &app.id, false, after(2), vec![]).await.unwrap();
    assert_eq!(live().await, 0);
    store.set_client_enabled(&tenant(), &app.id, true, after(3), vec![]).await.unwrap();
    let late = grant("many-1099", &alice, &app);
    assert!(!store.confirm_grant(&late, after(3), vec![]).await.unwrap(), "nothing lives again");
}

/// For how long what has expired is kept.
const KEPT: Duration = Duration::from_hours(48);

pub(super) async fn a_users_grants_are_listed_page_by_page_while_they_hold(store: &dyn Store) {
    let (alice, app, family) = granted(store).await;
    let bob = user("bob");
    store.add_user(&bob, vec![]).await.unwrap();
    for (id, whose, expires_at) in
        [("a", &alice, after(60)), ("b", &alice, after(60)), ("c", &alice, after(5)), ("d", &bob, after(60))]
    {
        let grant = Grant { expires_at, ..grant(id, whose, &app) };
        store.add_grant_without_refresh(&grant, 0, vec![]).await.unwrap();
    }
    let told = AuditOnOutcome::default;
    store.end_grant(&tenant(), &GrantId::new("b"), EndReason::Revoked, now(), told()).await.unwrap();
    rotate(store, "r0", "r1", after(10)).await;
    let listed = async |id: Option<&str>, most| {
        let id = id.map(GrantId::new);
        store.grants_of_user(&tenant(), &alice.id, id.as_ref(), after(20), most).await.unwrap()
    };
    let all = listed(None, 10).await;
    let ids: Vec<_> = all.iter().map(|listed| listed.grant.id.as_str()).collect();
    assert_eq!(ids, ["a", family.id.as_str()]);
    assert_eq!(
        (all[1].client_name.as_deref(), all[1].last_used_at, all[0].last_used_at),
        (Some("app"), Some(after(10)), None)
    );
    assert_eq!((listed(None, 1).await, listed(Some("a"), 10).await), (all[..1].to_vec(), all[1..].to_vec()));
}

pub(super) async fn pruning_forgets_what_expired_and_nothing_else(store: &dyn Store) {
    let (alice, app, family) = granted(store).await;
    let (second, edge) = (Duration::from_secs(1), now().minus(KEPT));
    for index in 0..1200 {
        let old = Grant { expires_at: edge.minus(second), ..grant(&format!("old-{index}"), &alice, &app) };
        store.add_grant(&old, &SecretHash::of(&format!("old-{index}")), 0, vec![]).await.unwrap();
    }
    let kept = Grant { expires_at: edge, ..grant("kept", &alice, &app) };
    store.add_grant(&kept, &SecretHash::of("kept"), 0, vec![]).await.unwrap();
    let ended = GrantId::new("old-7");
    store.end_grant(&tenant(), &ended, EndReason::Replayed, now(), AuditOnOutcome::default()).await.unwrap();
    assert_eq!(store.prune(now().minus(second)).await.unwrap(), 0, "an ended family stays until it expired long ago");
    assert!(store.grant(&tenant(), &ended).await.unwrap().is_some());
    assert_eq!(store.prune(now()).await.unwrap(), 1200);
    assert_eq!(store.grant(&tenant(), &ended).await.unwrap(), None);
    assert_eq!(store.refresh_token(&tenant(), &SecretHash::of("old-7")).await.unwrap(), None);
    assert_eq!(store.grant(&tenant(), &family.id).await.unwrap(), Some(family));
    assert_eq!(store.grant(&tenant(), &kept.id).await.unwrap(), Some(kept));
}

pub(super) async fn a_revoked_token_stays_revoked_until_pruned(store: &dyn Store) {
    let (second, edge) = (Duration::from_secs(1), now().minus(KEPT));
    for (jti, expires_at) in [("jti-1", edge.minus(second)), ("jti-1", edge.minus(second)), ("jti-3", edge)] {
        let told = vec![draft(Event::TokenRevoked)];
        store.revoke_token(&tenant(), jti, expires_at, now(), told).await.unwrap();
    }
    assert!(store.is_revoked(&tenant(), "jti-1").await.unwrap());
    assert!(!store.is_revoked(&tenant(), "jti-2").await.unwrap());
    assert!(!store.is_revoked(&TenantId::new("other"), "jti-1").await.unwrap());
    assert_eq!(store.head().await.unwrap().sequence, 3);
    assert_eq!(store.prune(now()).await.unwrap(), 1);
    assert!(!store.is_revoked(&tenant(), "jti-1").await.unwrap());
    assert!(store.is_revoked(&tenant(), "jti-3").await.unwrap());
}
