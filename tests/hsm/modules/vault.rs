//! Secrets at rest in each mode that a make offers; a make that offers none says so when it is asked for a key.

use signet_core::keys::{
    HsmFailure, KeyAdmin as _, KeyPurpose, OtpHash, OtpSecretKind, RowBinding, SealMode, Vault as _,
};
use signet_core::secret::SecretBytes;
use signet_hsm::HsmGroup;

use super::for_each_make;
use crate::support::hsm::{hsm, stored, tenant, vault_keys};
use crate::support::modules::{Make, serving};

for_each_make!(
    a_sealed_secret_opens_for_its_row_only,
    otps_are_computed_in_every_offered_mode,
    derivations_outlive_the_worker,
    a_make_that_keeps_no_secrets_says_so,
);

const SEALED: &[KeyPurpose] = &[KeyPurpose::Sealing, KeyPurpose::Binding];

fn row(id: &str) -> RowBinding {
    RowBinding::new(&tenant(), "factors", id, "secret")
}

fn secret(bytes: &[u8]) -> SecretBytes {
    SecretBytes::new(bytes.to_vec())
}

async fn a_sealed_secret_opens_for_its_row_only(make: Make) {
    if !make.abilities().seal_modes.contains(&SealMode::Sealed) {
        return refuses(make, KeyPurpose::Sealing).await;
    }
    let token = make.token();
    let group = serving(&token).await;
    let keys = vault_keys(&group, make.abilities().secret_keys()).await;
    let seals = group.seal(&row("a"), &secret(b"$argon2id$...")).await.unwrap();
    assert!(!seals.0[&hsm()].windows(8).any(|window| window == b"argon2id"));
    assert_eq!(group.open(&row("b"), &seals).await.unwrap_err().failure, HsmFailure::DoesNotOpen);
    for index in 0..seals.0[&hsm()].len() {
        let mut changed = seals.clone();
        changed.0.values_mut().for_each(|blob| blob[index] ^= 1);
        let failure = group.open(&row("a"), &changed).await.unwrap_err().failure;
        assert_eq!(failure, HsmFailure::DoesNotOpen, "byte {index}");
    }
    assert_eq!(group.open(&row("a"), &seals).await.unwrap(), secret(b"$argon2id$..."));
    let again = group.seal(&row("a"), &secret(b"$argon2id$...")).await.unwrap();
    assert_ne!(again, seals, "the same IV twice");
    group.shutdown().await;
    let group = serving(&token).await;
    group.use_keys(keys);
    assert_eq!(group.open(&row("a"), &seals).await.unwrap(), secret(b"$argon2id$..."));
    group.shutdown().await;
}

async fn otps_are_computed_in_every_offered_mode(make: Make) {
    let modes = make.abilities().seal_modes;
    if modes.is_empty() {
        return refuses(make, KeyPurpose::Wrapping).await;
    }
    let token = make.token();
    let group = serving(&token).await;
    for mode in modes {
        let (purposes, tag) =
            if *mode == SealMode::Wrapped { (make.abilities().secret_keys(), 2) } else { (SEALED, 1) };
        vault_keys(&group, purposes).await;
        hmacs_are_right(&group, tag).await;
        // The first vector of Yubico's OTP documentation.
        let key = [0xec, 0xde, 0x18, 0xdb, 0xe7, 0x6f, 0xbd, 0x0c, 0x33, 0x33, 0x0f, 0x1c, 0x35, 0x48, 0x71, 0xdb];
        let block = [0x2d, 0x34, 0x4e, 0x83, 0xe9, 0xb6, 0x69, 0x14, 0x8b, 0x8a, 0xb6, 0x2f, 0x01, 0xf1, 0x8b, 0x85];
        let seals = group.wrap(&row("y"), OtpSecretKind::Aes128, &secret(&key)).await.unwrap();
        assert_eq!(seals.0[&hsm()][0], tag);
        let plain = group.decrypt_block(&row("y"), &seals, block).await.unwrap();
        let mut expected = block;
        let software = aws_lc_rs::cipher::UnboundCipherKey::new(&aws_lc_rs::cipher::AES_128, &key);
        let software = aws_lc_rs::cipher::DecryptingKey::ecb(software.unwrap()).unwrap();
        software.decrypt(&mut expected, aws_lc_rs::cipher::DecryptionContext::None).unwrap();
        assert_eq!(plain, expected);
    }
    group.shutdown().await;
}

async fn hmacs_are_right(group: &HsmGroup, tag: u8) {
    for (hash, software) in [
        (OtpHash::Sha1, aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        (OtpHash::Sha256, aws_lc_rs::hmac::HMAC_SHA256),
        (OtpHash::Sha512, aws_lc_rs::hmac::HMAC_SHA512),
    ] {
        for length in [10, 16, 20, 32, 64, 128] {
            let seed = vec![0x5a; length];
            let seals = group.wrap(&row("t"), OtpSecretKind::Hmac(hash), &secret(&seed)).await.unwrap();
            assert_eq!(seals.0[&hsm()][0], tag);
            let macs = group.otp_hmac(&row("t"), &seals, hash, vec![[7; 8], [8; 8]]).await.unwrap();
            let key = aws_lc_rs::hmac::Key::new(software, &seed);
            for (mac, message) in macs.iter().zip([[7; 8], [8; 8]]) {
                assert_eq!(mac, aws_lc_rs::hmac::sign(&key, &message).as_ref(), "{hash:?} with {length} bytes");
            }
            let elsewhere = group.otp_hmac(&row("u"), &seals, hash, vec![[7; 8]]).await.unwrap_err().failure;
            assert_eq!(elsewhere, HsmFailure::DoesNotOpen);
        }
    }
}

async fn derivations_outlive_the_worker(make: Make) {
    if make.abilities().seal_modes.is_empty() {
        // Derivations are for secrets that are kept: `signet init` makes no such key there.
        return;
    }
    let token = make.token();
    let group = serving(&token).await;
    let keys = vault_keys(&group, make.abilities().secret_keys()).await;
    let first = group.derive(None, "refresh", b"m").await.unwrap();
    assert_ne!(first, group.derive(None, "code", b"m").await.unwrap());
    group.shutdown().await;
    let group = serving(&token).await;
    group.use_keys(keys);
    assert_eq!(first, group.derive(None, "refresh", b"m").await.unwrap());
    group.shutdown().await;
}

async fn a_make_that_keeps_no_secrets_says_so(make: Make) {
    if make.abilities().seal_modes.is_empty() {
        for purpose in [KeyPurpose::Wrapping, KeyPurpose::Sealing] {
            refuses(make, purpose).await;
        }
    }
}

/// Either the key is not made, and the answer names what is missing; or the check of the key does.
async fn refuses(make: Make, purpose: KeyPurpose) {
    let token = make.token();
    let group = serving(&token).await;
    let failure = match group.generate_secret(&hsm(), purpose, &tenant()).await {
        Err(error) => {
            assert!(group.list(&hsm()).await.unwrap().is_empty());
            error.failure
        }
        Ok(made) => {
            let mut faults = group.check(&hsm(), &[stored(&made, purpose, None)]).await.unwrap();
            faults.pop().expect("the key can't be used there").1.failure
        }
    };
    assert!(matches!(&failure, HsmFailure::MechanismMissing(_)), "{purpose:?}: {failure}");
    group.shutdown().await;
}
