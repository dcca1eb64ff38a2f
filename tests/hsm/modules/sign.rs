//! Each algorithm that a make offers signs, the others are refused by name, and keys are found again.

use signet_core::keys::{HsmFailure, KeyAdmin as _, KeyPurpose, Signer as _};
use signet_jose::algorithm::KeyType;
use signet_jose::{Algorithm, VerifyingKey};

use super::{for_each_make, for_nss};
use crate::hsm::sign::verifies;
use crate::support::hsm::{announced, hsm, pair, probe};
use crate::support::modules::{Make, serving};

for_each_make!(
    what_is_offered_is_what_the_guide_says,
    every_offered_algorithm_signs_and_verifies,
    what_is_not_offered_is_refused_by_name,
    keys_are_found_again_by_another_worker,
    a_label_or_a_slot_that_is_not_there_is_told,
);
for_nss!(what_is_offered_is_what_the_guide_says, a_label_or_a_slot_that_is_not_there_is_told);

async fn what_is_offered_is_what_the_guide_says(make: Make) {
    let token = make.token();
    let group = serving(&token).await;
    let report = group.describe(&hsm()).await.unwrap();
    assert_eq!(report.algorithms, make.abilities().algorithms);
    assert_eq!(report.seal_modes, make.abilities().seal_modes);
    assert_eq!(report.token.label, "signet");
    group.shutdown().await;
}

async fn every_offered_algorithm_signs_and_verifies(make: Make) {
    let token = make.token();
    let group = serving(&token).await;
    for algorithm in make.abilities().algorithms.iter().copied() {
        let key = pair(&group, algorithm).await;
        let jwk = key.public.clone().unwrap();
        for _ in 0..3 {
            let raw = group.sign(&key, algorithm, probe(&key)).await.unwrap();
            let signature = raw.check(&VerifyingKey::new(jwk.clone()), &probe(&key)).unwrap();
            assert!(verifies(&jwk.key, algorithm, &probe(&key), &signature), "{algorithm}");
        }
    }
    group.shutdown().await;
}

async fn what_is_not_offered_is_refused_by_name(make: Make) {
    let token = make.token();
    let group = serving(&token).await;
    let offered = make.abilities().algorithms;
    let lacking = Algorithm::ALL.into_iter().filter(|algorithm| !offered.contains(algorithm));
    for algorithm in lacking {
        if algorithm.key_type() == KeyType::Rsa {
            // The pair is made, for another algorithm; this one is not signed with.
            let key = pair(&group, algorithm).await;
            let failure = group.sign(&key, algorithm, probe(&key)).await.unwrap_err().failure;
            assert!(matches!(&failure, HsmFailure::MechanismMissing(_)), "{algorithm}: {failure}");
            let faults = group.check(&hsm(), std::slice::from_ref(&key)).await.unwrap();
            assert!(matches!(&faults[0].1.failure, HsmFailure::MechanismMissing(_)), "{faults:?}");
        } else {
            let announced = announced(KeyPurpose::TokenSigning, algorithm);
            let failure = group.generate_announced(&announced, 0).await.unwrap_err().failure;
            assert!(matches!(&failure, HsmFailure::MechanismMissing(_)), "{algorithm}: {failure}");
        }
    }
    group.shutdown().await;
}

async fn keys_are_found_again_by_another_worker(make: Make) {
    let token = make.token();
    let group = serving(&token).await;
    let mut keys = Vec::new();
    // Two of a kind, so that the right one has to be found.
    for algorithm in make.abilities().algorithms.iter().take(2).copied() {
        for _ in 0..2 {
            keys.push((algorithm, pair(&group, algorithm).await));
        }
    }
    group.shutdown().await;
    let group = serving(&token).await;
    let stored: Vec<_> = keys.iter().map(|(_, key)| key.clone()).collect();
    assert_eq!(group.check(&hsm(), &stored).await.unwrap(), []);
    for (algorithm, key) in keys {
        let raw = group.sign(&key, algorithm, probe(&key)).await.unwrap();
        raw.check(&VerifyingKey::new(key.public.clone().unwrap()), &probe(&key)).unwrap();
    }
    group.shutdown().await;
}

async fn a_label_or_a_slot_that_is_not_there_is_told(make: Make) {
    let token = make.token();
    let mut config = token.config();
    config.token_label = "sginet".into();
    let failure = token.failing(config).await;
    let HsmFailure::Configuration(detail) = &failure else { panic!("{failure}") };
    assert!(detail.contains("\"sginet\"") && detail.contains("\"signet\" in slot "), "{detail}");
    let slot: u64 =
        detail.split("\"signet\" in slot ").nth(1).unwrap().split([',', ')']).next().unwrap().parse().unwrap();

    let mut config = token.config();
    config.slot = Some(slot + 1000);
    let failure = token.failing(config.clone()).await;
    assert!(matches!(&failure, HsmFailure::Configuration(detail) if detail.contains("in slot")), "{failure}");
    config.slot = Some(slot);
    let group = token.start(config);
    group.ready(std::time::Duration::from_secs(20)).await.unwrap();
    group.shutdown().await;
}
