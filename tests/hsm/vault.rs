//! Secrets at rest, in both modes: bound to their row, and used inside the token where it can (HAZARDS 48; promise 2).

use signet_core::keys::{
    HsmFailure, KeyAdmin as _, KeyPurpose, OtpHash, OtpSecretKind, RowBinding, SealMode, SealedCopies, TenantId,
    Vault as _,
};
use signet_core::secret::SecretBytes;

use crate::support::hsm::{SoftToken, hsm, started, tenant, vault_keys};

const WRAPPED: &[KeyPurpose] = &[KeyPurpose::Wrapping, KeyPurpose::Sealing, KeyPurpose::Binding];
/// Without a wrapping key an OTP's secret is sealed, as it is where the HSM offers no key wrapping.
const SEALED: &[KeyPurpose] = &[KeyPurpose::Sealing, KeyPurpose::Binding];

fn row(id: &str) -> RowBinding {
    RowBinding::new(&tenant(), "factors", id, "secret")
}

fn secret(bytes: &[u8]) -> SecretBytes {
    SecretBytes::new(bytes.to_vec())
}

fn changed(seals: &SealedCopies, index: usize) -> SealedCopies {
    let mut changed = seals.clone();
    changed.0.values_mut().for_each(|blob| blob[index] ^= 1);
    changed
}

/// RFC 4226 §5.3.
fn code(mac: &[u8], digits: u32) -> u32 {
    let offset = usize::from(mac[mac.len() - 1] & 0xf);
    let word = u32::from_be_bytes(mac[offset..offset + 4].try_into().unwrap());
    (word & 0x7fff_ffff) % 10_u32.pow(digits)
}

/// RFC 6238 appendix B: time, and the codes by SHA-1, SHA-256 and SHA-512.
const RFC_6238: [(u64, [u32; 3]); 6] = [
    (59, [94_287_082, 46_119_246, 90_693_936]),
    (1_111_111_109, [7_081_804, 68_084_774, 25_091_201]),
    (1_111_111_111, [14_050_471, 67_062_674, 99_943_326]),
    (1_234_567_890, [89_005_924, 91_819_424, 93_441_116]),
    (2_000_000_000, [69_279_037, 90_698_825, 38_618_901]),
    (20_000_000_000, [65_353_130, 77_737_706, 47_863_826]),
];

#[tokio::test]
async fn totp_vectors_hold_in_both_modes() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    for (purposes, mode) in [(WRAPPED, 2), (SEALED, 1)] {
        vault_keys(&group, purposes).await;
        for (index, (hash, length)) in
            [(OtpHash::Sha1, 20), (OtpHash::Sha256, 32), (OtpHash::Sha512, 64)].into_iter().enumerate()
        {
            let seed: Vec<u8> = b"1234567890".iter().copied().cycle().take(length).collect();
            let seals = group.wrap(&row("totp"), OtpSecretKind::Hmac(hash), &secret(&seed)).await.unwrap();
            assert_eq!(seals.0[&hsm()][0], mode);
            let steps = RFC_6238.iter().map(|(time, _)| (time / 30).to_be_bytes()).collect();
            let macs = group.otp_hmac(&row("totp"), &seals, hash, steps).await.unwrap();
            for (mac, (time, codes)) in macs.iter().zip(RFC_6238) {
                assert_eq!(code(mac, 8), codes[index], "{hash:?} at {time}");
            }
        }
    }
    group.shutdown().await;
}

#[tokio::test]
async fn a_short_seed_gives_the_hmac_that_everybody_else_computes() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    vault_keys(&group, WRAPPED).await;
    for (hash, software) in [
        (OtpHash::Sha1, aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        (OtpHash::Sha256, aws_lc_rs::hmac::HMAC_SHA256),
        (OtpHash::Sha512, aws_lc_rs::hmac::HMAC_SHA512),
    ] {
        for length in [10, 16, 20, 33, 64, 128] {
            let seed = vec![0x5a; length];
            let seals = group.wrap(&row("t"), OtpSecretKind::Hmac(hash), &secret(&seed)).await.unwrap();
            let macs = group.otp_hmac(&row("t"), &seals, hash, vec![[7; 8]]).await.unwrap();
            let expected = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(software, &seed), &[7; 8]);
            assert_eq!(macs[0], expected.as_ref(), "{hash:?} with {length} bytes");
        }
    }
    group.shutdown().await;
}

fn hex<const N: usize>(text: &str) -> [u8; N] {
    let bytes: Vec<u8> = (0..N).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// Yubico's modified hexadecimal.
fn modhex<const N: usize>(text: &str) -> [u8; N] {
    let nibble = |letter| u8::try_from("cbdefghijklnrtuv".find(letter).unwrap()).unwrap();
    let letters: Vec<u8> = text.chars().map(nibble).collect();
    let bytes: Vec<u8> = letters.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().unwrap()
}

#[tokio::test]
async fn the_yubico_otp_vector_decrypts_in_both_modes() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    let key = hex::<16>("ecde18dbe76fbd0c33330f1c354871db");
    let otp = modhex::<20>("dteffujehknhfjbrjnlnldnhcujvddbikngjrtgh");
    for (purposes, mode) in [(WRAPPED, 2), (SEALED, 1)] {
        vault_keys(&group, purposes).await;
        let seals = group.wrap(&row("y"), OtpSecretKind::Aes128, &secret(&key)).await.unwrap();
        assert_eq!(seals.0[&hsm()][0], mode);
        let plain = group.decrypt_block(&row("y"), &seals, otp[4..].try_into().unwrap()).await.unwrap();
        assert_eq!(plain, hex::<16>("8792ebfe26cc130030c20011c89f23c8"));
    }
    group.shutdown().await;
}

#[tokio::test]
async fn a_sealed_secret_opens_for_its_row_only() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    vault_keys(&group, WRAPPED).await;
    let seals = group.seal(&row("a"), &secret(b"$argon2id$...")).await.unwrap();
    assert_eq!(group.open(&row("a"), &seals).await.unwrap(), secret(b"$argon2id$..."));
    assert!(!seals.0[&hsm()].windows(8).any(|window| window == b"argon2id"));
    let other_tenant = RowBinding::new(&TenantId::new("other"), "factors", "a", "secret");
    for elsewhere in [row("b"), other_tenant, RowBinding::new(&tenant(), "users", "a", "secret")] {
        assert_eq!(group.open(&elsewhere, &seals).await.unwrap_err().failure, HsmFailure::DoesNotOpen);
    }
    for index in 0..seals.0[&hsm()].len() {
        let failure = group.open(&row("a"), &changed(&seals, index)).await.unwrap_err().failure;
        assert_eq!(failure, HsmFailure::DoesNotOpen, "byte {index}");
    }
    // Tampering costs the worker nothing.
    group.open(&row("a"), &seals).await.unwrap();
    group.shutdown().await;
}

#[tokio::test]
async fn an_otp_secret_works_for_its_row_and_kind_only() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    for purposes in [WRAPPED, SEALED] {
        vault_keys(&group, purposes).await;
        let kind = OtpSecretKind::Hmac(OtpHash::Sha256);
        let seals = group.wrap(&row("a"), kind, &secret(&[9; 32])).await.unwrap();
        let hmac = |row: RowBinding, seals: SealedCopies, hash| {
            let group = &group;
            async move { group.otp_hmac(&row, &seals, hash, vec![[0; 8]]).await.map_err(|error| error.failure) }
        };
        hmac(row("a"), seals.clone(), OtpHash::Sha256).await.unwrap();
        assert_eq!(hmac(row("b"), seals.clone(), OtpHash::Sha256).await, Err(HsmFailure::DoesNotOpen));
        assert_eq!(hmac(row("a"), seals.clone(), OtpHash::Sha512).await, Err(HsmFailure::DoesNotOpen));
        let block = group.decrypt_block(&row("a"), &seals, [0; 16]).await.unwrap_err().failure;
        assert_eq!(block, HsmFailure::DoesNotOpen);
        // Nobody gets an OTP's secret back by asking for a password.
        assert_eq!(group.open(&row("a"), &seals).await.unwrap_err().failure, HsmFailure::DoesNotOpen);
        for index in 0..seals.0[&hsm()].len() {
            let outcome = hmac(row("a"), changed(&seals, index), OtpHash::Sha256).await;
            assert_eq!(outcome, Err(HsmFailure::DoesNotOpen), "byte {index}");
        }
        assert_eq!(hmac(row("a"), SealedCopies::default(), OtpHash::Sha256).await, Err(HsmFailure::DoesNotOpen));
    }
    group.shutdown().await;
}

/// A token of the stock becomes a factor: its secret works for the new row alone, in both modes, and nobody else's
/// secret can be had so.
#[tokio::test]
async fn promise_2_an_otp_secret_is_bound_to_another_row_by_who_has_its_row_only() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    for (purposes, mode) in [(WRAPPED, 2), (SEALED, 1)] {
        vault_keys(&group, purposes).await;
        let kind = OtpSecretKind::Hmac(OtpHash::Sha256);
        let seals = group.wrap(&row("stock"), kind, &secret(&[7; 32])).await.unwrap();
        let before = group.otp_hmac(&row("stock"), &seals, OtpHash::Sha256, vec![[1; 8]]).await.unwrap();
        let bound = group.rebind(&row("stock"), &row("factor"), kind, &seals).await.unwrap();
        assert_eq!(bound.0[&hsm()][0], mode);
        let after = group.otp_hmac(&row("factor"), &bound, OtpHash::Sha256, vec![[1; 8]]).await.unwrap();
        assert_eq!(before, after);
        let refused = [
            group.otp_hmac(&row("stock"), &bound, OtpHash::Sha256, vec![[1; 8]]).await.unwrap_err(),
            group.rebind(&row("other"), &row("factor"), kind, &seals).await.unwrap_err(),
            group.rebind(&row("stock"), &row("factor"), OtpSecretKind::Aes128, &seals).await.unwrap_err(),
            group.rebind(&row("stock"), &row("factor"), kind, &changed(&seals, 30)).await.unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.failure, HsmFailure::DoesNotOpen);
        }
    }
    group.shutdown().await;
}

#[tokio::test]
async fn older_keys_open_what_they_sealed_after_newer_ones_took_over() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    let mut keys = vault_keys(&group, WRAPPED).await;
    let seals = group.seal(&row("a"), &secret(b"old")).await.unwrap();
    let now = signet_jose::clock::Timestamp::from_unix_seconds(1);
    for key in &mut keys {
        key.state = signet_core::keys::KeyState::Retiring { since: now, until: now };
    }
    keys.extend(vault_keys(&group, WRAPPED).await);
    signet_core::keys::KeyAdmin::use_keys(&*group, keys);
    assert_eq!(group.open(&row("a"), &seals).await.unwrap(), secret(b"old"));
    let newer = group.seal(&row("a"), &secret(b"new")).await.unwrap();
    assert_ne!(newer.0[&hsm()][1..9], seals.0[&hsm()][1..9]);
    group.shutdown().await;
}

#[tokio::test]
async fn a_secret_opens_by_the_second_token_where_the_firsts_key_is_unknown() {
    let (first, second) = (SoftToken::new(), SoftToken::new());
    let mut other = second.config();
    other.name = signet_core::keys::HsmName::new("secondary");
    let (group, _events) = crate::support::hsm::start(vec![first.config(), other.clone()]);
    group.ready(std::time::Duration::from_secs(20)).await.unwrap();
    let mut keys = vault_keys(&group, SEALED).await;
    for key in keys.clone() {
        let made = group.generate_secret(&other.name, key.purpose, &tenant()).await.unwrap();
        keys.push(signet_core::keys::HsmKey {
            hsm: other.name.clone(),
            key_id: made.key_id,
            cka_id: made.cka_id,
            ..key
        });
    }
    group.use_keys(keys.clone());
    let seals = group.seal(&row("a"), &secret(b"s")).await.unwrap();
    assert_eq!(seals.0.len(), 2);
    for unknown in [hsm(), other.name] {
        group.use_keys(keys.iter().filter(|key| key.hsm != unknown).cloned().collect());
        assert_eq!(group.open(&row("a"), &seals).await.unwrap(), secret(b"s"), "without the keys of {unknown}");
    }
    group.use_keys(Vec::new());
    assert_eq!(group.open(&row("a"), &seals).await.unwrap_err().failure, HsmFailure::DoesNotOpen);
    group.shutdown().await;
}

#[tokio::test]
async fn derivations_are_stable_and_differ_by_label() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    vault_keys(&group, WRAPPED).await;
    let (name, first) = group.derive(None, "refresh", b"m").await.unwrap();
    assert_eq!((name.clone(), first), group.derive(Some(&name), "refresh", b"m").await.unwrap());
    assert_ne!(first, group.derive(None, "refres", b"hm").await.unwrap().1);
    assert_ne!(first, group.derive(None, "code", b"m").await.unwrap().1);
    assert!(group.derive(None, "", b"m").await.is_err() && group.derive(None, "a\0b", b"m").await.is_err());
    group.shutdown().await;
}

#[test]
fn the_mode_names_are_stable() {
    assert_eq!(serde_json::to_string(&SealMode::Wrapped).unwrap(), "\"wrapped\"");
}
