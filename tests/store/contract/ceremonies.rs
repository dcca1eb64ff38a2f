use signet_core::audit::Event;
use signet_core::audit::Reason;
use signet_core::mfa::{Spending, WebAuthnState};
use signet_core::secret::SecretHash;
use signet_store::{AuditOnOutcome, Factor, FactorDetail, ProofSpending, Store};

use crate::support::store::OwnChain as _;
use crate::support::store::{after, draft, now, spends, tenant, totp_factor, user};

fn key(id: &str, counter: i64) -> Factor {
    let state = WebAuthnState {
        credential_id: format!("credential-{id}"),
        credential: "{}".to_owned(),
        aaguid: Some("07070707-0707-0707-0707-070707070707".to_owned()),
        attested: true,
        verifies: true,
        counter,
    };
    Factor { detail: FactorDetail::WebAuthn(state), ..totp_factor(id, &user("alice")) }
}

fn spending(factor: &Factor, challenge: &str, counter: i64) -> ProofSpending {
    spends(&factor.id, Spending::Assertion { challenge: SecretHash::of(challenge), until: after(300), counter })
}

fn told() -> AuditOnOutcome {
    AuditOnOutcome {
        applied: vec![draft(Event::SignIn)],
        rejected: vec![draft(Event::SignIn).because(Reason::ReplayedCode)],
    }
}

pub(super) async fn an_assertion_is_spent_once_and_its_counter_never_lowered(store: &dyn Store) {
    store.add_user(&user("alice"), vec![]).await.unwrap();
    let (key, none) = (key("a", 5), key("b", 0));
    for factor in [&key, &none] {
        assert!(store.add_factor(factor, vec![]).await.unwrap());
        assert_eq!(store.factor(&tenant(), &factor.id).await.unwrap().as_ref(), Some(factor));
    }
    let spent = async |factor, challenge, counter| {
        store.spend_proof(&spending(factor, challenge, counter), told()).await.unwrap()
    };
    assert!(spent(&key, "one", 6).await);
    assert!(!spent(&key, "one", 7).await, "the challenge was answered");
    assert!(!spent(&key, "two", 6).await, "the counter is not above the last one");
    assert!(!spent(&key, "three", 0).await, "nor is none");
    assert!(!spent(&key, "two", 8).await, "a challenge stays spent by who lost");
    assert!(spent(&key, "four", 7).await);
    assert!(spent(&none, "five", 0).await && spent(&none, "six", 0).await, "a key without a counter");
    assert!(!spent(&none, "six", 0).await);
    assert!(spent(&none, "seven", 1).await && !spent(&none, "eight", 0).await);
    let used = store.factor(&tenant(), &key.id).await.unwrap().unwrap();
    let FactorDetail::WebAuthn(state) = used.detail else { panic!("another kind") };
    assert_eq!((state.counter, used.last_used_at), (7, Some(after(1))));
    assert_eq!(store.head().await.unwrap().sequence, 11, "each is told, won or lost");
}

pub(super) async fn a_challenge_is_spent_once_and_forgotten_after_its_time(store: &dyn Store) {
    let challenge = SecretHash::of("challenge");
    assert!(store.spend_challenge(&tenant(), &challenge, after(300)).await.unwrap());
    assert!(!store.spend_challenge(&tenant(), &challenge, after(300)).await.unwrap());
    assert!(store.spend_challenge(&tenant(), &SecretHash::of("other"), now()).await.unwrap());
    assert_eq!(store.prune(after(3600)).await.unwrap(), 0, "kept for longer than clocks differ");
    assert!(!store.spend_challenge(&tenant(), &challenge, after(300)).await.unwrap());
}
