//! TOTP and HOTP tokens whose codes come from oathtool: every combination, windows, one use, and finding a token again.

use crate::http::{Stage, statuses};
use crate::support::application::{PASSWORD, TestUser};
use crate::support::oathtool::{ClockToken, counter_code};

/// A user with a HOTP token; gives its secret and the factor's id.
fn hotp(stage: &Stage, name: &str, options: &[&str]) -> (TestUser, String, String) {
    let user = stage.add_user(name, "reader");
    let arguments = [&["factor", "add", "hotp", "--user", name], options].concat();
    let added = stage.json(&arguments);
    let text = |member: &str| added[member].as_str().unwrap().to_owned();
    (user, text("secret_base32"), text("id"))
}

fn clock(
    stage: &Stage,
    user: &TestUser,
    hash: &'static str,
    digits: u8,
    step: u32,
    more: &[&str],
) -> (ClockToken, String) {
    let (shown_digits, shown_step) = (digits.to_string(), step.to_string());
    let arguments = [
        &["factor", "add", "totp", "--user", &user.name, "--hash", hash, "--digits", &shown_digits][..],
        &["--period", &shown_step],
        more,
    ];
    let added = stage.json(&arguments.concat());
    let secret_base32 = added["secret_base32"].as_str().unwrap().to_owned();
    (ClockToken { secret_base32, hash, digits, step }, added["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn every_combination_of_hash_digits_and_step_agrees_with_oathtool() {
    let stage = Stage::shared();
    for hash in ["SHA1", "SHA256", "SHA512"] {
        for digits in [6, 8] {
            for step in [30, 60] {
                let name = format!("combination-{hash}-{digits}-{step}");
                let user = stage.add_user(&name, "reader");
                let (token, _) = clock(&stage, &user, hash, digits, step, &[]);
                stage.sign_in(&stage.app, &user, &token.at(0)).await.ok();
            }
        }
    }
    for digits in [6, 8] {
        let shown = digits.to_string();
        let (user, secret, _) = hotp(&stage, &format!("hotp-{digits}"), &["--digits", &shown]);
        stage.sign_in(&stage.app, &user, &counter_code(&secret, digits, 0)).await.ok();
    }
}

#[tokio::test]
async fn a_hardware_clock_may_be_two_steps_off_and_an_apps_one() {
    let stage = Stage::shared();
    let user = stage.add_user("quartz", "reader");
    let (token, _) = clock(&stage, &user, "SHA1", 6, 60, &["--profile", "hardware", "--serial", "Q-1"]);
    assert_eq!(stage.sign_in(&stage.app, &user, &token.at(-4)).await.status, 400);
    stage.sign_in(&stage.app, &user, &token.at(-2)).await.ok();
    let other = stage.add_user("phone", "reader");
    let (app, _) = clock(&stage, &other, "SHA1", 6, 60, &[]);
    assert_eq!(stage.sign_in(&stage.app, &other, &app.at(3)).await.status, 400);
    stage.sign_in(&stage.app, &other, &app.at(0)).await.ok();
}

/// The drift that a code shows is kept: a clock that is one step ahead is accepted another step ahead.
#[tokio::test]
async fn the_drift_of_a_token_is_kept_and_capped() {
    let stage = Stage::shared();
    let user = stage.add_user("drifts", "reader");
    let (token, _) = clock(&stage, &user, "SHA1", 8, 60, &[]);
    let (mut ahead, mut late) = (1, 0);
    while ahead <= 11 {
        if stage.sign_in(&stage.app, &user, &token.at(ahead)).await.status == 200 {
            ahead += 1;
            continue;
        }
        // A minute went by between a code and its judgement, so that it showed a step less.
        (ahead, late) = (ahead - 1, late + 1);
        assert!(late <= 3 && ahead > 0, "{ahead} steps ahead");
    }
    assert_eq!(stage.sign_in(&stage.app, &user, &token.at(13)).await.status, 400, "the drift stays at the cap");
}

#[tokio::test]
async fn hazard_43_44_a_hotp_counts_once_from_zero_and_looks_ahead() {
    let stage = Stage::shared();
    let (user, secret, _) = hotp(&stage, "button", &[]);
    let ask = async |counter| stage.sign_in(&stage.app, &user, &counter_code(&secret, 6, counter)).await.status;
    assert_eq!(ask(0).await, 200, "counter 0 is valid");
    assert_eq!(ask(0).await, 400, "and counts once");
    assert_eq!(ask(10).await, 200, "nine presses that nobody typed");
    assert_eq!(ask(5).await, 400, "what was passed over never counts");
    assert_eq!(ask(21).await, 400, "beyond the look-ahead");
    assert_eq!(ask(20).await, 200);
    let code = counter_code(&secret, 6, 21);
    let fields = [("grant_type", "password"), ("username", &*user.name), ("password", PASSWORD), ("otp", &code)];
    let counts = statuses(&stage.tokens_at_once(40, &fields).await);
    assert_eq!(counts.get(&200), Some(&1), "{counts:?}");
}

#[tokio::test]
async fn two_codes_in_a_row_find_a_token_again_and_are_spent() {
    let stage = Stage::new("");
    let (user, secret, id) = hotp(&stage, "far", &["--serial", "H-1"]);
    let ask = async |counter| stage.sign_in(&stage.app, &user, &counter_code(&secret, 6, counter)).await.status;
    assert_eq!(ask(500).await, 400);
    let resync = |first: &str, second: &str, id: &str| {
        stage.run_with(&["factor", "resync", id, "--codes-stdin"], &format!("{first}\n{second}\n")).code
    };
    let code = |counter| counter_code(&secret, 6, counter);
    assert_eq!(resync(&code(500), &code(502), &id), Some(1), "not one directly after the other");
    assert_eq!(resync(&code(1000), &code(1001), &id), Some(1), "beyond the window");
    assert_eq!(resync(&code(500), &code(501), &id), Some(0));
    assert_eq!(resync(&code(500), &code(501), &id), Some(1), "both are spent");
    assert_eq!((ask(501).await, ask(502).await), (400, 200));
    let quartz = stage.add_user("slow", "reader");
    let (token, id) = clock(&stage, &quartz, "SHA256", 8, 30, &["--profile", "hardware"]);
    assert_eq!(stage.sign_in(&stage.app, &quartz, &token.at(-300)).await.status, 400);
    assert_eq!(resync(&token.at(-300), &token.at(-299), &id), Some(0));
    stage.sign_in(&stage.app, &quartz, &token.at(-298)).await.ok();
    assert_eq!(stage.sign_in(&stage.app, &quartz, &token.at(0)).await.status, 400);
    let refused = stage.audit().await.into_iter().filter(|record| {
        record["event"] == "factor.changed" && record["outcome"] == "refused" && record["detail"] == "resynchronised"
    });
    assert_eq!(refused.count(), 3);
}

/// Nobody guesses two codes in a row, and a help desk that mistypes locks nobody out.
#[tokio::test]
async fn hazard_45_resynchronising_locks_nothing() {
    let stage = Stage::new(
        "[mfa]
tries = 3
pause = \"18m\"",
    );
    let (user, secret, id) = hotp(&stage, "ann", &[]);
    for _ in 0..4 {
        let refused = stage.run_with(
            &["factor", "resync", &id, "--codes-stdin"],
            "000000
000001
",
        );
        assert_eq!(refused.code, Some(1));
    }
    stage.sign_in(&stage.app, &user, &counter_code(&secret, 6, 0)).await.ok();
}

#[tokio::test]
async fn a_disabled_factor_proves_nothing_until_it_is_enabled_and_is_listed_with_its_state() {
    let stage = Stage::new("");
    let (user, secret, id) = hotp(&stage, "ann", &["--serial", "=1+1"]);
    let ask = async |counter| stage.sign_in(&stage.app, &user, &counter_code(&secret, 6, counter)).await;
    let family = ask(0).await.ok();
    stage.json(&["factor", "disable", &id]);
    assert_eq!(stage.refresh(&stage.app, &family.refresh_token()).await.status, 400, "what it began has ended");
    assert_eq!(ask(1).await.status, 400);
    stage.refused_as(&user, &["no_factor"]).await;
    let listed = stage.json(&["factor", "list", "--all"]);
    assert_eq!((&listed[0]["user"], &listed[0]["state"]), (&"ann".into(), &"disabled".into()));
    assert!(listed[0]["last_used_at"].is_string());
    stage.json(&["factor", "enable", &id]);
    stage.json(&["factor", "rename", &id, "my token"]);
    ask(1).await.ok();
    let exported = stage.run(&["factor", "export"]);
    let text = exported.stdout;
    assert!(text.contains("ann,hotp,my token,'=1+1,,,enabled"), "{text}");
    assert!(!text.contains(&secret));
}
