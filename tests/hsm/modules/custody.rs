//! Custody on each make: a generated key is held, attribute by attribute; a wrong PIN is presented once.

use signet_core::keys::{Custody, HsmFailure, HsmKey, KeyAdmin as _, KeyPurpose, Signer as _};
use signet_hsm::PinSource;
use signet_jose::Algorithm;

use super::{for_each_make, for_nss};
use crate::support::hsm::{announced, hsm, pair, probe, tenant, vault_keys};
use crate::support::modules::{Make, serving};
use crate::support::write_secret;

for_each_make!(
    every_generated_key_is_in_custody,
    another_key_under_the_same_id_is_not_the_key,
    a_destroyed_key_signs_no_more,
    a_wrong_pin_is_presented_once,
);
for_nss!(a_key_that_does_not_show_its_custody_is_refused, a_wrong_pin_is_presented_once);

/// And nothing is left of it.
async fn a_key_that_does_not_show_its_custody_is_refused(make: Make) {
    assert!(!make.abilities().shows_custody);
    let token = make.token();
    let group = serving(&token).await;
    let purpose = KeyPurpose::TokenSigning;
    let pair = group.generate_announced(&announced(purpose, Algorithm::Es256), 0).await;
    let secret = group.generate_secret(&hsm(), KeyPurpose::Sealing, &tenant()).await;
    for failure in [pair.unwrap_err().failure, secret.unwrap_err().failure] {
        let HsmFailure::CustodyRefused { reasons, .. } = &failure else { panic!("{failure}") };
        assert!(reasons.contains("CKA_LOCAL is false"), "{reasons}");
    }
    assert_eq!(group.list(&hsm()).await.unwrap(), []);
    group.shutdown().await;
}

async fn every_generated_key_is_in_custody(make: Make) {
    let token = make.token();
    let group = serving(&token).await;
    let algorithms = make.abilities().algorithms;
    let offered = |key_type| algorithms.iter().any(|algorithm: &Algorithm| algorithm.key_type() == key_type);
    let one_of_each_type = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Ps256];
    let mut expected = 0;
    for algorithm in one_of_each_type.into_iter().filter(|algorithm| offered(algorithm.key_type())) {
        group.generate_announced(&announced(KeyPurpose::AuditSigning, algorithm), 3072).await.unwrap();
        expected += 1;
    }
    expected += vault_keys(&group, make.abilities().secret_keys()).await.len();
    let reports = group.list(&hsm()).await.unwrap();
    assert_eq!(reports.len(), expected, "{reports:?}");
    for report in &reports {
        assert_eq!((&report.custody, report.copies), (&Custody::Held, 1), "{report:?}");
        assert!(report.label.starts_with("signet/default/"), "{}", report.label);
        assert!(!report.kind.contains('?') && !report.kind.contains("unknown"), "{report:?}");
    }
    group.shutdown().await;
}

async fn another_key_under_the_same_id_is_not_the_key(make: Make) {
    let token = make.token();
    let group = serving(&token).await;
    let algorithm = make.abilities().algorithms[0];
    let (key, other) = (pair(&group, algorithm).await, pair(&group, algorithm).await);
    let swapped = HsmKey { cka_id: other.cka_id.clone(), ..key };
    let failure = group.sign(&swapped, algorithm, probe(&swapped)).await.unwrap_err().failure;
    assert!(matches!(failure, HsmFailure::KeyMissing(_)), "{failure}");
    group.shutdown().await;
}

async fn a_destroyed_key_signs_no_more(make: Make) {
    let token = make.token();
    let group = serving(&token).await;
    let algorithm = make.abilities().algorithms[0];
    let (key, other) = (pair(&group, algorithm).await, pair(&group, algorithm).await);
    drop(group.sign(&key, algorithm, probe(&key)).await.unwrap());
    group.destroy(&key).await.unwrap();
    let failure = group.sign(&key, algorithm, probe(&key)).await.unwrap_err().failure;
    assert!(matches!(failure, HsmFailure::KeyMissing(_)), "{failure}");
    drop(group.sign(&other, algorithm, probe(&other)).await.unwrap());
    assert_eq!(group.list(&hsm()).await.unwrap().len(), 1);
    group.shutdown().await;
}

async fn a_wrong_pin_is_presented_once(make: Make) {
    let token = make.token();
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong");
    write_secret(&wrong, "0000-not-the-pin");
    let mut config = token.config();
    config.pin = PinSource::File(wrong);
    let failure = token.failing(config.clone()).await;
    assert!(matches!(&failure, HsmFailure::PinRefused(detail) if !detail.contains("not sent again")), "{failure}");
    let failure = token.failing(config).await;
    assert!(matches!(&failure, HsmFailure::PinRefused(detail) if detail.contains("not sent again")), "{failure}");
    serving(&token).await.shutdown().await;
}
