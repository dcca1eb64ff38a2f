//! `grant_type=password` with a Yubico OTP, made by a key of the test's own.

use super::verified;
use crate::http::{Stage, statuses};
use crate::support::application::{AUDIENCE, PASSWORD};
use crate::support::codes::YubiKey;

#[tokio::test]
async fn a_person_with_a_yubikey_gets_a_token() {
    let stage = Stage::shared();
    let user = stage.add_user("yubi", "reader");
    let key = stage.add_yubico(&user, "ccccccbteudd");
    let answer = stage.sign_in(&stage.app, &user, &key.press()).await.ok();
    let claims = verified(&stage, &answer.access_token(), AUDIENCE).await.claims;
    assert_eq!(claims["sub"], user.id.as_str());
    assert!(claims["amr"].as_array().unwrap().contains(&"mfa".into()), "{claims}");
    stage.sign_in(&stage.app, &user, &key.press().to_uppercase()).await.ok();
}

#[tokio::test]
async fn hazard_48_a_foreign_spent_or_forged_yubico_otp_is_refused_and_the_record_says_which() {
    let stage = Stage::new("");
    let (ann, bob) = (stage.add_user("ann", "reader"), stage.add_user("bob", "reader"));
    let (hers, his) = (stage.add_yubico(&ann, "cccccccccccb"), stage.add_yubico(&bob, "cccccccccccd"));
    let ask = async |otp: &str| stage.sign_in(&stage.app, &ann, otp).await;
    ask(&hers.otp(5, 5)).await.ok();
    let mut other_id = hers.private_id;
    other_id[0] ^= 1;
    let wrong_private_id = hers.typed(YubiKey::block_of(other_id, 6, 1));
    let wrong_crc = {
        let mut block = hers.block(6, 1);
        block[15] ^= 1;
        hers.typed(block)
    };
    let unknown_id = format!("cccccccccccf{}", &hers.otp(6, 1)[12..]);
    let expected = [
        ("of another user's key", his.otp(1, 1), "unknown_key"),
        ("the same counters", hers.otp(5, 5), "replayed_code"),
        ("a lower session use", hers.otp(5, 4), "replayed_code"),
        ("a lower use counter", hers.otp(4, 200), "replayed_code"),
        ("a wrong private id", wrong_private_id, "wrong_private_id"),
        ("a wrong CRC", wrong_crc, "wrong_block"),
        ("an unknown id", unknown_id, "unknown_key"),
    ];
    let first = ask(&expected[0].1).await;
    assert_eq!(first.refusal(), (400, "invalid_grant".to_owned()));
    for (what, otp, _) in &expected[1..] {
        assert_eq!(ask(otp).await.distinguishing(), first.distinguishing(), "{what}");
    }
    stage.refused_as(&ann, &expected.map(|(_, _, reason)| reason)).await;
    ask(&hers.otp(5, 6)).await.ok();
    stage.sign_in(&stage.app, &bob, &his.otp(1, 1)).await.ok();
}

#[tokio::test]
async fn hazard_44_one_yubico_otp_a_hundred_times_at_once_gives_one_token() {
    let stage = Stage::new("");
    let user = stage.add_user("yubi", "reader");
    let otp = stage.add_yubico(&user, "cccccccccccb").press();
    let fields = [("grant_type", "password"), ("username", &*user.name), ("password", PASSWORD), ("otp", &otp)];
    let answers = stage.tokens_at_once(100, &fields).await;
    let counts = statuses(&answers);
    assert_eq!(counts.get(&200), Some(&1), "{counts:?}");
    assert!(counts.keys().all(|status| [200, 400, 503].contains(status)), "{counts:?}");
    assert_eq!(stage.rows("grants").await, 1);
}

/// Whatever was told as a success is spent for good, also where the server died right after.
#[tokio::test]
async fn hazard_49_the_counter_is_durable_before_success_is_told() {
    let mut stage = Stage::new("");
    let user = stage.add_user("yubi", "reader");
    let key = stage.add_yubico(&user, "cccccccccccb");
    for _ in 0..3 {
        let otp = key.press();
        stage.sign_in(&stage.app, &user, &otp).await.ok();
        stage.server.kill_and_restart();
        assert_eq!(stage.sign_in(&stage.app, &user, &otp).await.refusal(), (400, "invalid_grant".to_owned()));
    }
    assert_eq!(stage.sign_in(&stage.app, &user, &key.press()).await.status, 200);
}
