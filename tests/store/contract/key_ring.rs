use std::time::Duration;

use signet_core::audit::Event;
use signet_core::keys::{AnnouncedKey, HandOver, HsmKey, HsmName, KeyPurpose, KeyState};
use signet_jose::{Algorithm, Jwk, KeyId};
use signet_store::{Beside, KeyAddition, Store};

use super::deployment::token;
use crate::support::store::OwnChain as _;
use crate::support::store::{after, draft, now, tenant};

/// RFC 7515 appendix A.3's key.
const PUBLIC_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","alg":"ES256"}"#;

fn key(id: &str, state: KeyState) -> HsmKey {
    HsmKey {
        tenant: tenant(),
        hsm: HsmName::new("a"),
        purpose: KeyPurpose::TokenSigning,
        key_id: KeyId::new(id),
        cka_id: id.as_bytes().to_vec(),
        public: Some(Jwk::from_json(PUBLIC_KEY).unwrap()),
        state,
        created_at: now(),
    }
}

fn next(id: &str) -> HsmKey {
    key(id, KeyState::Next { published_at: now() })
}

fn active(id: &str) -> HsmKey {
    key(id, KeyState::Active { since: now() })
}

/// Keys that sign tokens are in HSM tokens that belong to the deployment.
async fn join(store: &dyn Store, names: &[&str]) {
    for name in names {
        store.bind_hsm_token(&HsmName::new(*name), &token(name), now(), vec![]).await.unwrap();
    }
}

pub(super) async fn a_signing_key_is_in_a_member_alone(store: &dyn Store) {
    let elsewhere = |id: &str| HsmKey { hsm: HsmName::new("b"), ..active(id) };
    let refused = async |key: &HsmKey| {
        let refused = store.add_key(key, Beside::Any, vec![draft(Event::KeyGenerated)]).await.unwrap();
        assert_eq!(refused, KeyAddition::NotAMember);
    };
    refused(&active("one")).await;
    join(store, &["a", "b"]).await;
    for key in [active("one"), elsewhere("two"), next("three")] {
        assert_eq!(store.add_key(&key, Beside::Any, vec![]).await.unwrap(), KeyAddition::Added);
    }
    assert!(store.retire_hsm_token(&HsmName::new("a"), after(1), after(2), vec![]).await.unwrap());
    refused(&active("four")).await;
    refused(&next("four")).await;
    // One that is next there all the same does not begin to sign.
    let left = KeyState::Retiring { since: after(1), until: after(2) };
    let three = HsmKey { state: left, ..next("three") };
    assert!(!store.hand_over(&change(&three, None), vec![]).await.unwrap());
    assert_eq!(
        store
            .add_key(&HsmKey { purpose: KeyPurpose::AuditSigning, ..active("five") }, Beside::Any, vec![])
            .await
            .unwrap(),
        KeyAddition::Added
    );
    assert_eq!((store.keys().await.unwrap().len(), store.head().await.unwrap().sequence), (4, 0));
}

async fn state_of(store: &dyn Store, id: &str) -> KeyState {
    store.keys().await.unwrap().iter().find(|key| key.key_id.as_str() == id).unwrap().state
}

fn change(successor: &HsmKey, predecessor: Option<&HsmKey>) -> HandOver {
    HandOver {
        successor: successor.clone(),
        predecessor: predecessor.cloned(),
        at: after(5),
        token_lifetime: Duration::from_secs(10),
        margin: Duration::from_secs(3),
    }
}

pub(super) async fn an_active_key_has_its_place_alone(store: &dyn Store) {
    join(store, &["a", "b"]).await;
    assert_eq!(store.add_key(&active("one"), Beside::Any, vec![]).await.unwrap(), KeyAddition::Added);
    let second = store.add_key(&active("two"), Beside::Any, vec![draft(Event::KeyGenerated)]).await.unwrap();
    assert_eq!(second, KeyAddition::PlaceTaken);
    assert_eq!((store.keys().await.unwrap().len(), store.head().await.unwrap().sequence), (1, 0));
    for key in [
        next("two"),
        HsmKey { hsm: HsmName::new("b"), ..active("three") },
        HsmKey { purpose: KeyPurpose::AuditSigning, ..active("four") },
    ] {
        assert_eq!(store.add_key(&key, Beside::Any, vec![]).await.unwrap(), KeyAddition::Added);
    }
}

pub(super) async fn keys_change_places_in_one_commit(store: &dyn Store) {
    join(store, &["a"]).await;
    let (old, new) = (active("old"), next("new"));
    for key in [&old, &new] {
        assert_eq!(store.add_key(key, Beside::Any, vec![]).await.unwrap(), KeyAddition::Added);
    }
    let before = store.generation().await.unwrap();
    let told = || vec![draft(Event::KeyActivated), draft(Event::KeyRetired)];
    assert!(!store.hand_over(&change(&new, None), told()).await.unwrap(), "its place is taken");
    assert!(!store.hand_over(&change(&next("nobody"), Some(&old)), told()).await.unwrap());
    assert!(!store.hand_over(&change(&new, Some(&active("nobody"))), told()).await.unwrap());
    assert_eq!((state_of(store, "old").await, store.head().await.unwrap().sequence), (old.state, 0));
    assert!(store.hand_over(&change(&new, Some(&old)), told()).await.unwrap());
    assert_eq!(state_of(store, "new").await, KeyState::Active { since: after(5) });
    assert_eq!(state_of(store, "old").await, KeyState::Retiring { since: after(5), until: after(18) });
    assert!(store.generation().await.unwrap() > before, "every process reads the ring anew");
    assert!(!store.hand_over(&change(&new, Some(&old)), told()).await.unwrap(), "once");
    assert_eq!(store.head().await.unwrap().sequence, 2);
}

/// A server with a longer lifetime issued by the key, whoever hands over.
pub(super) async fn a_key_retires_after_the_longest_token_that_was_noted(store: &dyn Store) {
    join(store, &["a"]).await;
    let (old, new) = (active("old"), next("new"));
    for key in [&old, &new] {
        assert_eq!(store.add_key(key, Beside::Any, vec![]).await.unwrap(), KeyAddition::Added);
    }
    for seconds in [60, 20] {
        store.raise_token_lifetime(&tenant(), Duration::from_secs(seconds)).await.unwrap();
    }
    assert_eq!(store.token_lifetime(&old.key_id).await.unwrap(), Duration::from_secs(60));
    assert_eq!(store.token_lifetime(&new.key_id).await.unwrap(), Duration::ZERO, "it signs nothing yet");
    assert!(store.hand_over(&change(&new, Some(&old)), vec![]).await.unwrap());
    assert_eq!(state_of(store, "old").await.until(), Some(after(5 + 60 + 3)));
    assert_eq!(store.token_lifetime(&new.key_id).await.unwrap(), Duration::from_secs(10));
}

pub(super) async fn a_place_gets_one_successor(store: &dyn Store) {
    join(store, &["a", "b"]).await;
    assert_eq!(store.add_key(&active("old"), Beside::Nobody, vec![]).await.unwrap(), KeyAddition::Added);
    let at = |id: &str, seconds| AnnouncedKey { at: after(seconds), ..announced(id) };
    let announce =
        async |key: AnnouncedKey, beside, since| store.announce_key(&key, beside, after(since)).await.unwrap();
    assert!(!announce(at("gap", 1), Beside::Nobody, 0).await, "one is active there");
    // Whoever comes at the same moment finds the other's.
    let (one, two) = tokio::join!(announce(at("one", 1), Beside::Active, 0), announce(at("two", 1), Beside::Active, 0));
    assert!(one != two, "one of two announces: {one} {two}");
    let elsewhere = AnnouncedKey { hsm: HsmName::new("b"), ..at("elsewhere", 1) };
    assert!(announce(elsewhere, Beside::Active, 0).await, "another place");
    // It did not come within the time that it is waited for.
    assert!(announce(at("late", 9), Beside::Active, 5).await);
    for (id, is_added) in [("late", true), ("one", false)] {
        let added = store.add_key(&next(id), Beside::Active, vec![draft(Event::KeyGenerated)]).await.unwrap();
        assert_eq!(added == KeyAddition::Added, is_added, "{id}: {added:?}");
    }
    assert!(!announce(at("further", 20), Beside::Active, 15).await, "one is next there");
    // Somebody asked for a further one.
    assert!(announce(at("further", 20), Beside::Any, 0).await);
    assert_eq!(store.add_key(&next("further"), Beside::Any, vec![]).await.unwrap(), KeyAddition::Added);
}

fn announced(id: &str) -> AnnouncedKey {
    AnnouncedKey {
        tenant: tenant(),
        hsm: HsmName::new("a"),
        purpose: KeyPurpose::TokenSigning,
        algorithm: Algorithm::Es256,
        cka_id: id.as_bytes().to_vec(),
        at: now(),
        given_up: false,
    }
}

pub(super) async fn an_announced_key_is_known_until_it_is_added_or_forgotten(store: &dyn Store) {
    join(store, &["a"]).await;
    for id in ["one", "two"] {
        assert!(store.announce_key(&announced(id), Beside::Any, after(0)).await.unwrap());
    }
    assert_eq!(store.announced_keys().await.unwrap(), [announced("one"), announced("two")]);
    assert_eq!(store.add_key(&next("one"), Beside::Any, vec![]).await.unwrap(), KeyAddition::Added);
    store.give_up_announced(b"two").await.unwrap();
    assert_eq!(store.announced_keys().await.unwrap(), [AnnouncedKey { given_up: true, ..announced("two") }]);
    store.forget_announced(b"two", vec![draft(Event::KeyDestroyed)]).await.unwrap();
    assert_eq!(store.announced_keys().await.unwrap(), []);
}

pub(super) async fn a_lease_has_one_holder_until_it_runs_out(store: &dyn Store) {
    let take = async |holder: &str, at, lasts| {
        store.take_lease("rotation", holder, after(at), Duration::from_secs(lasts)).await.unwrap()
    };
    assert!(take("one", 0, 10).await);
    assert!(!take("two", 9, 10).await, "it has not run out");
    assert!(take("one", 5, 10).await, "renewed");
    assert!(!take("two", 14, 10).await);
    assert!(take("one", 15, 0).await, "renewed for no time at all");
    assert!(take("two", 15, 5).await, "it ran out");
    assert!(!take("one", 16, 14).await);
    store.end_lease("rotation", "one").await.unwrap();
    assert!(!take("one", 16, 14).await, "another's lease is not ended");
    store.end_lease("rotation", "two").await.unwrap();
    assert!(take("one", 16, 14).await);
}
