use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;
use signet_jose::algorithm::KeyType;
use signet_jose::{Jwk, PublicKey};

const SETTINGS: KeySettings = KeySettings {
    rotate_every: Some(Duration::from_secs(1000)),
    publish_ahead: Duration::from_secs(100),
    jwks_max_age: Duration::from_secs(50),
    clock_skew: Duration::from_secs(10),
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn key(hsm: &str, state: KeyState) -> HsmKey {
    let pair = Ed25519KeyPair::generate().unwrap();
    let public = PublicKey::from_ec_point(KeyType::Ed25519, pair.public_key().as_ref()).unwrap();
    let public = Jwk::new(public, Algorithm::EdDsa).unwrap();
    HsmKey {
        tenant: TenantId::default_tenant(),
        hsm: HsmName::new(hsm),
        purpose: KeyPurpose::TokenSigning,
        key_id: public.key_id.clone(),
        cka_id: vec![1],
        public: Some(public),
        state,
        created_at: state.since(),
    }
}

fn next(hsm: &str, since: i64) -> HsmKey {
    key(hsm, KeyState::Next { published_at: at(since) })
}

fn active(hsm: &str, since: i64) -> HsmKey {
    key(hsm, KeyState::Active { since: at(since) })
}

fn seen_for(keys: &[HsmKey], now: i64, seen: Duration) -> Vec<Step> {
    let hsms = [HsmName::new("a"), HsmName::new("b")];
    plan(&View {
        keys,
        announced: &[],
        hsms: &hsms,
        members: &hsms,
        elsewhere: &[],
        tenant: &TenantId::default_tenant(),
        algorithm: Algorithm::EdDsa,
        settings: SETTINGS,
        now: at(now),
        seen: &|_| seen,
    })
}

fn steps(keys: &[HsmKey], now: i64) -> Vec<Step> {
    seen_for(keys, now, Duration::from_secs(1_000_000))
}

fn hand_over(successor: &HsmKey, predecessor: Option<&HsmKey>) -> Step {
    let predecessor = predecessor.map(|key| Box::new(key.clone()));
    Step::HandOver { successor: Box::new(successor.clone()), predecessor }
}

fn generate_beside(hsm: &str, beside: Beside) -> Step {
    Step::Generate { hsm: HsmName::new(hsm), algorithm: Algorithm::EdDsa, rsa_bits: DEFAULT_RSA_BITS, beside }
}

fn generate(hsm: &str) -> Step {
    generate_beside(hsm, Beside::Active)
}

#[test]
fn the_next_key_is_made_ahead_of_time_and_no_other_beside_it() {
    let old = active("a", 0);
    assert_eq!(steps(std::slice::from_ref(&old), 899), []);
    assert_eq!(steps(std::slice::from_ref(&old), 900), [generate("a")]);
    assert_eq!(steps(&[old, next("a", 900)], 950), []);
}

#[test]
fn a_key_signs_once_it_was_published_for_long_enough_by_two_clocks() {
    let (old, new) = (active("a", 0), next("a", 500));
    let keys = [old.clone(), new.clone()];
    assert_eq!(steps(&keys, 599), []);
    assert_eq!(steps(&keys, 600), [hand_over(&new, Some(&old))]);
    // The wall clock was set forward: this process has not seen the key for the least time.
    assert_eq!(seen_for(&keys, 600, Duration::from_secs(59)), []);
    assert_eq!(seen_for(&keys, 600, Duration::from_secs(60)), [hand_over(&new, Some(&old))]);
}

#[test]
fn keys_that_were_made_at_once_follow_each_other_at_a_distance() {
    let (old, new) = (active("a", 550), next("a", 0));
    assert_eq!(steps(&[old.clone(), new.clone()], 649), []);
    assert_eq!(steps(&[old.clone(), new.clone()], 650), [hand_over(&new, Some(&old))]);
}

#[test]
fn a_new_hsm_token_joins_when_its_key_is_known_and_at_once_where_nobody_signs() {
    let (here, there) = (active("a", 0), next("b", 10));
    assert_eq!(steps(&[here.clone(), there.clone()], 109), []);
    assert_eq!(steps(&[here, there.clone()], 110), [hand_over(&there, None)]);
    assert_eq!(steps(std::slice::from_ref(&there), 11), [hand_over(&there, None)]);
    // One is enough for that.
    let both = [next("a", 10), next("b", 10)];
    assert_eq!(steps(&both, 11), [hand_over(&both[0], None)]);
}

#[test]
fn a_retiring_key_goes_after_its_time_by_two_clocks() {
    let retiring = key("a", KeyState::Retiring { since: at(0), until: at(100) });
    let keys = [retiring.clone(), active("a", 0)];
    assert_eq!(steps(&keys, 99), []);
    assert_eq!(seen_for(&keys, 100, Duration::from_secs(99)), []);
    assert_eq!(steps(&keys, 100), [Step::Withdraw(retiring)]);
}

#[test]
fn what_was_revoked_is_destroyed_and_replaced_and_what_expired_is_not() {
    let gone = |end| key("a", KeyState::Withdrawn { since: at(0), end });
    let revoked = gone(KeyEnd::Revoked);
    assert_eq!(
        steps(std::slice::from_ref(&revoked), 1),
        [generate_beside("a", Beside::Nobody), Step::Destroy(revoked)]
    );
    let expired = gone(KeyEnd::Expired);
    assert_eq!(steps(std::slice::from_ref(&expired), 1), [Step::Destroy(expired)]);
    let destroyed = key("a", KeyState::Destroyed { at: at(0), end: KeyEnd::Expired });
    assert_eq!(steps(&[destroyed], 1), []);
}

#[test]
fn an_announced_key_is_waited_for_and_then_swept() {
    let announced = |given_up| AnnouncedKey {
        tenant: TenantId::default_tenant(),
        hsm: HsmName::new("a"),
        purpose: KeyPurpose::TokenSigning,
        algorithm: Algorithm::EdDsa,
        cka_id: vec![2],
        at: at(1000),
        given_up,
    };
    let (keys, hsms) = ([active("a", 0)], [HsmName::new("a")]);
    let steps = |announced: &[AnnouncedKey], now| {
        plan(&View {
            keys: &keys,
            announced,
            hsms: &hsms,
            members: &hsms,
            elsewhere: &[],
            tenant: &TenantId::default_tenant(),
            algorithm: Algorithm::EdDsa,
            settings: SETTINGS,
            now: at(now),
            seen: &|_| Duration::ZERO,
        })
    };
    assert_eq!(steps(&[announced(false)], 1001), []);
    assert_eq!(steps(&[announced(true)], 1001), [generate("a")]);
    assert_eq!(steps(&[announced(false)], 1600), [generate("a"), Step::Sweep(announced(false))]);
}
