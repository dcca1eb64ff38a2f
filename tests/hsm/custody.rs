//! Promise 1: a key that was not made in the HSM, or could leave it, is refused (HAZARDS 60, 68, 70).

use std::process::Command;

use signet_core::keys::{Custody, CustodyFault, HsmFailure, HsmKey, KeyAdmin as _, KeyPurpose, Signer as _};
use signet_jose::{Algorithm, Jwk, PublicKey};

use crate::support::fault::FaultModule;
use crate::support::hsm::{SoftToken, announced, hsm, pair, probe, started, stored, tenant, vault_keys};

#[tokio::test]
async fn every_generated_key_is_in_custody() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Ps256] {
        group.generate_announced(&announced(KeyPurpose::AuditSigning, algorithm), 3072).await.unwrap();
    }
    let secrets = vault_keys(&group, &[KeyPurpose::Wrapping, KeyPurpose::Sealing, KeyPurpose::Binding]).await;
    let reports = group.list(&hsm()).await.unwrap();
    assert_eq!(reports.len(), 7);
    for report in &reports {
        assert_eq!((&report.custody, report.copies), (&Custody::Held, 1), "{report:?}");
        assert!(report.label.starts_with("signet/default/"), "{}", report.label);
    }
    let kinds: Vec<&str> = reports.iter().map(|report| report.kind.as_str()).collect();
    for kind in ["EC P-256", "EC P-384", "Ed25519", "RSA 3072", "AES 256", "HMAC 256"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    for secret in secrets {
        assert!(reports.iter().any(|report| report.label.ends_with(secret.key_id.as_str())));
    }
}

#[tokio::test]
async fn a_purpose_gets_the_kind_of_key_that_is_its() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    let refused = [
        group.generate_secret(&hsm(), KeyPurpose::TokenSigning, &tenant()).await,
        group.generate_announced(&announced(KeyPurpose::Sealing, Algorithm::Es256), 0).await,
        group.generate_announced(&announced(KeyPurpose::TokenSigning, Algorithm::Rs256), 1024).await,
    ];
    for result in refused {
        assert!(matches!(result.unwrap_err().failure, HsmFailure::Configuration(_)));
    }
    assert!(group.list(&hsm()).await.unwrap().is_empty());
}

/// A key pair that was made outside and imported, as the store would name it.
fn imported(token: &SoftToken) -> HsmKey {
    let file = |name: &str| token.path().join(name).to_str().unwrap().to_owned();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (pem, der) = (file("key.pem"), file("public.der"));
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &pem]);
    openssl(&["pkey", "-in", &pem, "-pubout", "-outform", "DER", "-out", &der]);
    let output = token
        .command("softhsm2-util")
        .args(["--import", &pem, "--token", "signet", "--label", "imported", "--id", "abcd", "--pin", &token.pin()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    outside_key(PublicKey::from_spki_der(&std::fs::read(der).unwrap()).unwrap(), vec![0xab, 0xcd])
}

fn outside_key(public: PublicKey, cka_id: Vec<u8>) -> HsmKey {
    let made = signet_core::keys::GeneratedKey { key_id: public.thumbprint(), cka_id, public: Some(public) };
    stored(&made, KeyPurpose::TokenSigning, Some(Algorithm::Es256))
}

#[tokio::test]
async fn an_imported_key_is_refused() {
    let token = SoftToken::new();
    let key = imported(&token);
    let (group, _events) = started(token.config()).await;
    let failure = group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap_err().failure;
    let HsmFailure::CustodyRefused { reasons, .. } = failure else { panic!("{failure}") };
    assert!(reasons.contains("CKA_LOCAL is false"), "{reasons}");
    let reports = group.list(&hsm()).await.unwrap();
    let Custody::Refused(faults) = &reports[0].custody else { panic!("{reports:?}") };
    assert!(faults.contains(&CustodyFault::NotLocal));
}

#[tokio::test]
async fn a_key_that_can_be_taken_out_is_refused() {
    let token = SoftToken::new();
    token.pkcs11_tool(&["--keypairgen", "--key-type", "EC:prime256v1", "--id", "ee", "--extractable"]);
    let der = token.path().join("public.der");
    token.pkcs11_tool(&["--read-object", "--type", "pubkey", "--id", "ee", "--output-file", der.to_str().unwrap()]);
    let key = outside_key(PublicKey::from_spki_der(&std::fs::read(der).unwrap()).unwrap(), vec![0xee]);
    let (group, _events) = started(token.config()).await;
    let failure = group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap_err().failure;
    let HsmFailure::CustodyRefused { reasons, .. } = failure else { panic!("{failure}") };
    assert!(reasons.contains("CKA_EXTRACTABLE is true"), "{reasons}");
}

#[tokio::test]
async fn a_second_key_of_the_same_id_makes_both_unusable() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    let key = pair(&group, Algorithm::Es256).await;
    group.shutdown().await;
    let id: String = key.cka_id.iter().map(|byte| format!("{byte:02x}")).collect();
    token.pkcs11_tool(&["--keypairgen", "--key-type", "EC:prime256v1", "--id", &id]);
    let (group, _events) = started(token.config()).await;
    let failure = group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap_err().failure;
    assert!(
        matches!(&failure, HsmFailure::CustodyRefused { reasons, .. } if reasons.contains("2 objects")),
        "{failure}"
    );
    assert!(group.list(&hsm()).await.unwrap().iter().all(|report| report.copies == 2));
    let failure = group.destroy(&key).await.unwrap_err().failure;
    assert!(matches!(failure, HsmFailure::Configuration(_)), "{failure}");
}

#[tokio::test]
async fn another_key_under_the_same_id_is_not_the_key() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    let key = pair(&group, Algorithm::Es256).await;
    let other = pair(&group, Algorithm::Es256).await;
    let swapped = HsmKey { cka_id: other.cka_id.clone(), ..key.clone() };
    let failure = group.sign(&swapped, Algorithm::Es256, probe(&swapped)).await.unwrap_err().failure;
    assert!(matches!(failure, HsmFailure::KeyMissing(_)), "{failure}");
    // And also where the right key's handle is known already.
    drop(group.sign(&other, Algorithm::Es256, probe(&other)).await.unwrap());
    let failure = group.sign(&swapped, Algorithm::Es256, probe(&swapped)).await.unwrap_err().failure;
    assert!(matches!(failure, HsmFailure::KeyMissing(_)), "{failure}");
}

#[tokio::test]
async fn a_destroyed_key_signs_nowhere_any_more() {
    let token = SoftToken::new();
    let mut config = token.config();
    config.workers = 2;
    let (group, _events) = started(config).await;
    let key = pair(&group, Algorithm::Es256).await;
    let attempts = (0..16).map(|_| group.sign(&key, Algorithm::Es256, probe(&key)));
    for attempt in attempts {
        drop(attempt.await.unwrap());
    }
    group.destroy(&key).await.unwrap();
    for _ in 0..16 {
        let failure = group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap_err().failure;
        assert!(matches!(failure, HsmFailure::KeyMissing(_)), "{failure}");
    }
    assert!(group.list(&hsm()).await.unwrap().is_empty());
    let jwk: Jwk = key.public.clone().unwrap();
    assert_eq!(jwk.key_id, key.key_id);
}

const SECRETS: &[KeyPurpose] = &[KeyPurpose::Wrapping, KeyPurpose::Sealing, KeyPurpose::Binding];

async fn keys_of_every_purpose(group: &signet_hsm::HsmGroup) -> Vec<HsmKey> {
    let mut keys = vault_keys(group, SECRETS).await;
    keys.push(pair(group, Algorithm::Es256).await);
    let audit = group.generate_announced(&announced(KeyPurpose::AuditSigning, Algorithm::EdDsa), 0).await.unwrap();
    keys.push(stored(&audit, KeyPurpose::AuditSigning, Some(Algorithm::EdDsa)));
    keys
}

async fn failure_of(group: &signet_hsm::HsmGroup, key: HsmKey) -> HsmFailure {
    let faults = group.check(&hsm(), std::slice::from_ref(&key)).await.unwrap();
    let [(key_id, error)] = faults.as_slice() else { panic!("{faults:?}") };
    assert_eq!(*key_id, key.key_id);
    error.failure.clone()
}

#[tokio::test]
async fn hazard_68_and_70_the_check_judges_keys_of_every_purpose() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    let keys = keys_of_every_purpose(&group).await;
    assert_eq!(group.check(&hsm(), &keys).await.unwrap(), []);
    for key in &keys {
        let elsewhere = HsmKey { cka_id: vec![0xdd; 16], ..key.clone() };
        assert!(matches!(failure_of(&group, elsewhere).await, HsmFailure::KeyMissing(_)));
    }
    // A key in the place of one of another purpose: of another use, or of another type.
    for (is, purpose, reason) in [
        (0, KeyPurpose::Sealing, "do not allow what it is for"),
        (1, KeyPurpose::Wrapping, "allow more than it is for"),
        (2, KeyPurpose::Sealing, "CKA_KEY_TYPE"),
    ] {
        let failure = failure_of(&group, HsmKey { purpose, ..keys[is].clone() }).await;
        assert!(
            matches!(&failure, HsmFailure::CustodyRefused { reasons, .. } if reasons.contains(reason)),
            "{purpose:?}: {failure}"
        );
    }
    group.shutdown().await;
    // A second object of the sealing key's id.
    let id: String = keys[1].cka_id.iter().map(|byte| format!("{byte:02x}")).collect();
    token.pkcs11_tool(&["--keygen", "--key-type", "AES:32", "--id", &id, "--label", "another"]);
    let (group, _events) = started(token.config()).await;
    let faults = group.check(&hsm(), &keys).await.unwrap();
    let [(key_id, error)] = faults.as_slice() else { panic!("{faults:?}") };
    assert_eq!(*key_id, keys[1].key_id);
    assert!(error.to_string().contains("2 objects"), "{error}");
    group.shutdown().await;
}

#[tokio::test]
async fn hazard_72_the_check_names_the_mechanism_that_is_missing() {
    let module = FaultModule::new();
    let (group, _events) = started(module.config()).await;
    let keys = keys_of_every_purpose(&group).await;
    group.shutdown().await;
    for (hidden, expected) in [
        ("hide 0x210a", vec![(KeyPurpose::Wrapping, "CKM_AES_KEY_WRAP_PAD")]),
        ("hide 0x1087", vec![(KeyPurpose::Sealing, "CKM_AES_GCM")]),
        ("hide 0x251", vec![(KeyPurpose::Wrapping, "CKM_SHA256_HMAC"), (KeyPurpose::Binding, "CKM_SHA256_HMAC")]),
        ("hide 0x1041\nhide 0x1044", vec![(KeyPurpose::TokenSigning, "CKM_ECDSA")]),
        ("hide 0x1057", vec![(KeyPurpose::AuditSigning, "CKM_EDDSA")]),
    ] {
        module.stand(hidden);
        let (group, _events) = started(module.config()).await;
        let faults = group.check(&hsm(), &keys).await.unwrap();
        let found: Vec<_> = faults
            .iter()
            .map(|(key_id, error)| {
                let purpose = keys.iter().find(|key| key.key_id == *key_id).unwrap().purpose;
                let HsmFailure::MechanismMissing(mechanism) = &error.failure else { panic!("{error}") };
                (purpose, mechanism.as_str())
            })
            .collect();
        assert_eq!(found, expected);
        group.shutdown().await;
    }
}
