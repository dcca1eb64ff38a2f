use signet_core::audit::Event;
use signet_core::mfa::FactorKind;
use signet_store::{ClientNumber, FactorId, OtpClient, OtpKey, OtpSpending, ShownOtp, Store};

use crate::support::store::OwnChain as _;
use crate::support::store::{after, draft, now, seals, tenant, user, yubico_factor};

fn otp_client(number: u64, name: &str) -> OtpClient {
    OtpClient {
        tenant: tenant(),
        id: ClientNumber::new(number).unwrap(),
        name: name.to_owned(),
        key: seals(3),
        needs_signature: number.is_multiple_of(2),
        enabled: true,
        created_at: now(),
    }
}

fn otp_key(public_id: &str) -> OtpKey {
    OtpKey {
        tenant: tenant(),
        public_id: public_id.to_owned(),
        private_id: [1, 2, 3, 4, 5, 6],
        serial: Some("4711".to_owned()),
        last_counter: -1,
        secret: seals(4),
        enabled: true,
        created_at: now(),
        last_used_at: None,
    }
}

fn shown(public_id: &str, counter: i64, nonce: &str) -> ShownOtp {
    ShownOtp { tenant: tenant(), public_id: public_id.to_owned(), counter, nonce: nonce.to_owned(), at: after(1) }
}

pub(super) async fn otp_clients_are_listed_page_by_page(store: &dyn Store) {
    for number in [10, 9, 100, 1] {
        store.add_otp_client(&otp_client(number, &format!("of {number}")), vec![]).await.unwrap();
    }
    let numbers = async |after: Option<u64>, limit| {
        let page = store.otp_clients(&tenant(), after.and_then(ClientNumber::new), limit).await.unwrap();
        assert!(page.iter().all(|client| client.key == seals(3)));
        page.into_iter().map(|client| client.id.get()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(None, 3).await, [1, 9, 10]);
    assert_eq!(numbers(Some(10), 3).await, [100]);
    assert_eq!(numbers(Some(100), 3).await, [0; 0]);
}

pub(super) async fn otp_clients_come_back_as_added_by_number(store: &dyn Store) {
    let (two, ten) = (otp_client(2, "vpn"), otp_client(10, "pam"));
    for client in [&ten, &two] {
        assert!(store.add_otp_client(client, vec![draft(Event::OtpClientChanged)]).await.unwrap());
    }
    assert_eq!(store.otp_clients(&tenant(), None, 10).await.unwrap(), [two.clone(), ten.clone()]);
    assert!(!store.add_otp_client(&otp_client(2, "other"), vec![draft(Event::OtpClientChanged)]).await.unwrap());
    assert!(!store.add_otp_client(&otp_client(3, "vpn"), vec![draft(Event::OtpClientChanged)]).await.unwrap());
    assert!(store.set_otp_client_enabled(&tenant(), two.id, false, vec![]).await.unwrap());
    let disabled = OtpClient { enabled: false, ..two.clone() };
    assert_eq!(store.otp_client(&tenant(), two.id).await.unwrap(), Some(disabled));
    assert_eq!(store.head().await.unwrap().sequence, 2, "what was not done is not told");
    assert!(store.remove_otp_client(&tenant(), two.id, vec![]).await.unwrap());
    assert!(!store.remove_otp_client(&tenant(), two.id, vec![]).await.unwrap());
    assert!(!store.set_otp_client_enabled(&tenant(), two.id, true, vec![]).await.unwrap());
    assert!(store.add_otp_client(&two, vec![]).await.unwrap(), "no seal is left in the way");
}

pub(super) async fn otp_keys_come_back_as_added_page_by_page(store: &dyn Store) {
    for public_id in ["cccccccccccd", "cccccccccccb"] {
        assert!(store.add_otp_key(&otp_key(public_id), vec![]).await.unwrap());
    }
    assert_eq!(store.otp_key(&tenant(), "cccccccccccb").await.unwrap(), Some(otp_key("cccccccccccb")));
    let first = store.otp_keys(&tenant(), None, 1).await.unwrap();
    assert_eq!(first[0].public_id, "cccccccccccb");
    let second = store.otp_keys(&tenant(), Some("cccccccccccb"), 1).await.unwrap();
    assert_eq!(second[0].public_id, "cccccccccccd");
    assert!(store.remove_otp_key(&tenant(), "cccccccccccb", vec![]).await.unwrap());
    assert!(!store.set_otp_key_enabled(&tenant(), "cccccccccccb", false, vec![]).await.unwrap());
    assert!(store.add_otp_key(&otp_key("cccccccccccb"), vec![]).await.unwrap(), "no seal is left in the way");
}

pub(super) async fn a_public_id_is_a_factors_or_a_keys_and_never_both(store: &dyn Store) {
    let alice = user("alice");
    store.add_user(&alice, vec![]).await.unwrap();
    assert!(store.add_factor(&yubico_factor("a", "cccccccccccb", &alice), vec![]).await.unwrap());
    assert!(!store.add_otp_key(&otp_key("cccccccccccb"), vec![]).await.unwrap());
    assert!(store.add_otp_key(&otp_key("cccccccccccd"), vec![]).await.unwrap());
    assert!(!store.add_factor(&yubico_factor("b", "cccccccccccd", &alice), vec![]).await.unwrap());
    let found = store.factor_by_handle(&tenant(), FactorKind::YubicoOtp, "cccccccccccb").await.unwrap();
    assert_eq!(found.map(|factor| factor.id), Some(FactorId::new("a")));
    assert_eq!(store.factor_by_handle(&tenant(), FactorKind::YubicoRemote, "cccccccccccb").await.unwrap(), None);
}

pub(super) async fn a_validated_otp_is_spent_once_and_its_request_known_again(store: &dyn Store) {
    let alice = user("alice");
    store.add_user(&alice, vec![]).await.unwrap();
    store.add_factor(&yubico_factor("a", "cccccccccccb", &alice), vec![]).await.unwrap();
    store.add_otp_key(&otp_key("cccccccccccd"), vec![]).await.unwrap();
    for public_id in ["cccccccccccb", "cccccccccccd"] {
        let spend = async |counter, nonce| {
            store
                .spend_validated_otp(&shown(public_id, counter, nonce), vec![draft(Event::OtpValidated)])
                .await
                .unwrap()
        };
        assert_eq!(spend(7, "one").await, OtpSpending::Spent);
        assert_eq!(spend(7, "one").await, OtpSpending::SameRequest);
        assert_eq!(spend(7, "two").await, OtpSpending::Replayed);
        assert_eq!(spend(6, "one").await, OtpSpending::Replayed);
        assert_eq!(spend(8, "one").await, OtpSpending::Spent);
        assert_eq!(spend(7, "one").await, OtpSpending::Replayed, "a later one was spent since");
        assert!(!store.raise_yubico_counter(&tenant(), public_id, 8, vec![]).await.unwrap());
        assert!(store.raise_yubico_counter(&tenant(), public_id, 20, vec![]).await.unwrap());
        assert_eq!(spend(20, "one").await, OtpSpending::Replayed);
    }
    assert_eq!(store.head().await.unwrap().sequence, 4, "each success is told, and nothing else");
    assert_eq!(
        store.spend_validated_otp(&shown("vvvvvvvvvvvv", 1, "one"), vec![]).await.unwrap(),
        OtpSpending::Replayed
    );
    assert!(!store.raise_yubico_counter(&tenant(), "vvvvvvvvvvvv", 1, vec![]).await.unwrap());
}

pub(super) async fn nothing_is_spent_of_the_disabled(store: &dyn Store) {
    let alice = user("alice");
    store.add_user(&alice, vec![]).await.unwrap();
    store.add_factor(&yubico_factor("a", "cccccccccccb", &alice), vec![]).await.unwrap();
    store.add_otp_key(&otp_key("cccccccccccd"), vec![]).await.unwrap();
    store.set_user_enabled(&tenant(), &alice.id, false, now(), vec![]).await.unwrap();
    store.set_otp_key_enabled(&tenant(), "cccccccccccd", false, vec![]).await.unwrap();
    for public_id in ["cccccccccccb", "cccccccccccd"] {
        let spent = store.spend_validated_otp(&shown(public_id, 7, "one"), vec![]).await.unwrap();
        assert_eq!(spent, OtpSpending::Replayed);
    }
}
