//! Secrets at rest, and the HSM tokens that open them.

use std::collections::BTreeMap;

use signet_core::audit::Event;
use signet_core::keys::{HsmKey, HsmName, KeyPurpose, KeyState, OtpHash, OtpSecretKind, SealedCopies};
use signet_store::{Beside, SealCount, SecretOwner, Store};

use super::deployment::{key, token};
use crate::support::store::OwnChain as _;
use crate::support::store::{after, client, draft, now, tenant, totp_factor, user, yubico_factor};

fn hsm(name: &str) -> HsmName {
    HsmName::new(name)
}

fn sealed(by: &[(&str, u8)]) -> SealedCopies {
    SealedCopies(by.iter().map(|(name, byte)| (hsm(name), vec![*byte; 4])).collect::<BTreeMap<_, _>>())
}

/// A user with a password and two factors, all sealed by `a` alone, and the deployment's secret.
async fn secrets(store: &dyn Store) {
    assert!(store.keep_deployment_secret(1, &sealed(&[("a", 3)])).await.unwrap());
    let mut alice = user("alice");
    alice.password = Some(sealed(&[("a", 1)]));
    assert!(store.add_user(&alice, vec![]).await.unwrap());
    for mut factor in [totp_factor("f1", &alice), yubico_factor("f2", "cccc", &alice)] {
        factor.secret = sealed(&[("a", 2)]);
        assert!(store.add_factor(&factor, vec![]).await.unwrap());
    }
}

pub(super) async fn the_deployment_secret_is_kept_once(store: &dyn Store) {
    assert!(store.deployment_secrets().await.unwrap().is_empty());
    assert!(!store.keep_deployment_secret(2, &sealed(&[("c", 3)])).await.unwrap(), "there is no first one");
    assert!(store.keep_deployment_secret(1, &sealed(&[("a", 1), ("b", 2)])).await.unwrap());
    for generation in [1, 3] {
        assert!(!store.keep_deployment_secret(generation, &sealed(&[("c", 3)])).await.unwrap(), "{generation}");
    }
    let first = sealed(&[("a", 1), ("b", 2)]);
    assert_eq!(store.deployment_secrets().await.unwrap(), BTreeMap::from([(1, first.clone())]));
    // From the next one on this process, which has not opened it, writes nothing.
    assert!(store.keep_deployment_secret(2, &sealed(&[("a", 4)])).await.unwrap());
    let refused = store.add_client(&client("app"), vec![]).await.unwrap_err();
    assert!(refused.to_string().contains("another generation"), "{refused}");
    let both = BTreeMap::from([(1, first), (2, sealed(&[("a", 4)]))]);
    assert_eq!(store.deployment_secrets().await.unwrap(), both);
}

/// Rows that are there already would verify no more.
pub(super) async fn a_removed_deployment_secret_gets_no_successor(store: &dyn Store) {
    assert!(store.add_client(&client("app"), vec![]).await.unwrap());
    let refused = store.keep_deployment_secret(1, &sealed(&[("a", 1)])).await.unwrap_err();
    assert!(refused.to_string().contains("somebody removed it"), "{refused}");
    assert!(store.deployment_secrets().await.unwrap().is_empty());
}

pub(super) async fn what_a_token_lacks_is_listed_page_by_page(store: &dyn Store) {
    secrets(store).await;
    let (all, _) = store.lacking(&hsm("b"), None, 10).await.unwrap();
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let (page, last) = store.lacking(&hsm("b"), after.as_ref(), 1).await.unwrap();
        let Some(last) = last else { break };
        assert_eq!(page.len(), 1);
        found.extend(page);
        after = Some(last);
    }
    assert_eq!(found, all);
    let owners: Vec<_> = all.iter().map(|secret| (secret.owner.clone(), secret.wrapped)).collect();
    let (alice, mut expected) = (user("alice").id, Vec::new());
    expected.push((SecretOwner::Deployment(1), None));
    for (id, kind) in [("f1", OtpSecretKind::Hmac(OtpHash::Sha256)), ("f2", OtpSecretKind::Aes128)] {
        expected.push((SecretOwner::Factor(signet_store::FactorId::new(id), alice.clone()), Some(kind)));
    }
    expected.push((SecretOwner::Password(alice), None));
    assert_eq!(owners, expected);
    assert_eq!(all[0].seals, sealed(&[("a", 3)]));
    assert!(all.iter().all(|secret| secret.tenant == tenant()));
    assert_eq!(store.lacking(&hsm("a"), None, 10).await.unwrap(), (Vec::new(), None));
}

pub(super) async fn seals_are_added_to_the_secret_that_was_read_and_to_no_other(store: &dyn Store) {
    secrets(store).await;
    let (all, _) = store.lacking(&hsm("b"), None, 10).await.unwrap();
    for secret in &all {
        assert!(store.extend_seals(secret, &sealed(&[("b", 9)])).await.unwrap());
        assert!(!store.extend_seals(secret, &sealed(&[("b", 8)])).await.unwrap(), "it has one");
    }
    let alice = store.user_by_name(&tenant(), "alice").await.unwrap().unwrap();
    assert_eq!(alice.password, Some(sealed(&[("a", 1), ("b", 9)])));
    // A password that was replaced since it was read keeps its own seals.
    let (before, _) = store.lacking(&hsm("c"), None, 10).await.unwrap();
    let password = before.iter().find(|secret| matches!(secret.owner, SecretOwner::Password(_))).unwrap();
    store.set_user_password(&tenant(), &alice.id, &sealed(&[("a", 7)]), None, now(), vec![]).await.unwrap();
    assert!(!store.extend_seals(password, &sealed(&[("c", 9)])).await.unwrap());
    let alice = store.user_by_name(&tenant(), "alice").await.unwrap().unwrap();
    assert_eq!(alice.password, Some(sealed(&[("a", 7)])));
}

pub(super) async fn seals_of_a_token_are_removed_where_another_has_one(store: &dyn Store) {
    secrets(store).await;
    assert_eq!(store.count_seals(&hsm("a")).await.unwrap(), SealCount { secrets: 4, sealed: 4, alone: 4, waiting: 0 });
    assert_eq!(store.remove_seals(&hsm("a"), 100).await.unwrap(), 0, "nothing is lost");
    let (all, _) = store.lacking(&hsm("b"), None, 3).await.unwrap();
    for secret in &all {
        assert!(store.extend_seals(secret, &sealed(&[("b", 9)])).await.unwrap());
    }
    assert_eq!(store.count_seals(&hsm("a")).await.unwrap(), SealCount { secrets: 4, sealed: 4, alone: 1, waiting: 0 });
    assert_eq!(store.count_seals(&hsm("b")).await.unwrap(), SealCount { secrets: 4, sealed: 3, alone: 0, waiting: 0 });
    assert_eq!(store.remove_seals(&hsm("a"), 2).await.unwrap(), 2);
    assert_eq!(store.remove_seals(&hsm("a"), 2).await.unwrap(), 1);
    assert_eq!(store.count_seals(&hsm("a")).await.unwrap(), SealCount { secrets: 4, sealed: 1, alone: 1, waiting: 0 });
}

pub(super) async fn a_token_is_retired_with_its_keys_unless_nothing_else_signs(store: &dyn Store) {
    let signing = |id: &str, name: &str| HsmKey { purpose: KeyPurpose::TokenSigning, ..key(id, name) };
    for (name, serial) in [("a", "1"), ("b", "2")] {
        store.bind_hsm_token(&hsm(name), &token(serial), now(), vec![]).await.unwrap();
    }
    let next = HsmKey { state: KeyState::Next { published_at: now() }, ..signing("next", "a") };
    for key in [signing("one", "a"), next, key("binding", "a")] {
        assert_eq!(store.add_key(&key, Beside::Any, vec![]).await.unwrap(), signet_store::KeyAddition::Added);
    }
    let retire = async |name: &str| {
        store.retire_hsm_token(&hsm(name), after(5), after(9), vec![draft(Event::HsmRetired)]).await.unwrap()
    };
    assert!(!retire("a").await, "nothing else signs");
    assert_eq!(
        store.add_key(&signing("two", "b"), Beside::Any, vec![]).await.unwrap(),
        signet_store::KeyAddition::Added
    );
    let before = store.generation().await.unwrap();
    assert!(retire("a").await && !retire("a").await && !retire("b").await && !retire("c").await);
    assert!(store.generation().await.unwrap() > before);
    let retiring = KeyState::Retiring { since: after(5), until: after(9) };
    for key in store.keys().await.unwrap() {
        assert_eq!(key.state == retiring, key.hsm == hsm("a"), "{key:?}");
    }
    let members = store.hsm_members().await.unwrap();
    let retired: Vec<_> = members.iter().map(|member| (member.name.as_str(), member.retired_at)).collect();
    assert_eq!(retired, [("a", Some(after(5))), ("b", None)]);
    assert_eq!(store.head().await.unwrap().sequence, 1, "told once");
    // It can come back.
    store.bind_hsm_token(&hsm("a"), &token("1"), after(20), vec![draft(Event::HsmAdded)]).await.unwrap();
    assert!(store.hsm_members().await.unwrap().iter().all(|member| member.retired_at.is_none()));
}
