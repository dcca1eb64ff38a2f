//! What locks a factor: failures of whoever holds one half of a person's proof, and nobody else's.

use crate::http::{Stage, statuses};
use crate::support::application::PASSWORD;

/// Ten wrong codes beside the right password lock the digits, whatever connection they come by, and neither a restart nor a kill
/// forgets them; a key goes on. A right code meanwhile is answered like a wrong one.
#[tokio::test]
async fn hazard_45_46_47_ten_tries_then_a_pause_that_survives_kill_9_and_locks_one_factor_alone() {
    let mut stage = Stage::new("");
    let (user, totp) = stage.person("ann");
    let key = stage.add_yubico(&user, "cccccccccccb");
    let wrong = totp.wrong();
    let mut refusal = None;
    for tried in 0..10 {
        let answer = stage.sign_in(&stage.app, &user, &wrong).await;
        assert_eq!(answer.refusal(), (400, "invalid_grant".to_owned()), "try {tried}");
        refusal = Some(answer);
        if tried == 5 {
            stage.server.kill_and_restart();
        }
    }
    for restarted in [false, true] {
        if restarted {
            stage.server.kill_and_restart();
        }
        let locked = stage.sign_in(&stage.app, &user, &totp.at(i64::from(restarted))).await;
        assert_eq!(locked.distinguishing(), refusal.as_ref().unwrap().distinguishing());
    }
    stage.sign_in(&stage.app, &user, &key.press()).await.ok();
    let still = stage.sign_in(&stage.app, &user, &totp.code()).await;
    assert_eq!(still.status, 400, "a success by the key forgets no guess");
    let other = stage.person("bob");
    stage.sign_in(&stage.app, &other.0, &other.1.code()).await.ok();
    let locked = stage.json(&["user", "locked"]);
    assert_eq!(
        (&locked[0]["user"], &locked[0]["wrong"], &locked[0]["failures"]),
        (&"ann".into(), &"codes".into(), &10.into())
    );
    assert_eq!(
        stage.json(&["user", "unlock", "ann"])["done"],
        "the failed sign-ins of ann are forgotten, and lock nothing any more"
    );
    assert_eq!(stage.json(&["user", "failures"]).as_array().unwrap().len(), 0);
}

/// Strangers, who hold neither half, lock nobody out: by made-up names and by known ones, at page and token endpoint, by codes and
/// by keys.
#[tokio::test]
async fn hazard_94_promise_10_strangers_lock_nobody_out() {
    let mut stage = Stage::new("[mfa]\ntries = 2\npause = \"12m\"");
    let (user, totp) = stage.person("ann");
    let key = stage.add_yubico(&user, "cccccccccccb");
    let forged = format!("cccccccccccb{}", "c".repeat(32));
    let mut answers = Vec::new();
    for name in ["ann", "nobody"] {
        for otp in [&*totp.wrong(), "", &forged, "0000-0000-0000-0000"] {
            let fields = [("grant_type", "password"), ("username", name), ("password", "made up"), ("otp", otp)];
            answers.extend(stage.tokens_at_once(6, &fields).await);
        }
    }
    let counts = statuses(&answers);
    assert_eq!(counts.keys().collect::<Vec<_>>(), [&400], "{counts:?}");
    stage.server.kill_and_restart();
    stage.sign_in(&stage.app, &user, &totp.code()).await.ok();
    stage.sign_in(&stage.app, &user, &key.press()).await.ok();
    assert_eq!(stage.json(&["user", "failures"]).as_array().unwrap().len(), 0);
}

/// Of a hundred guesses at once, the right one among them, it is as with ten in a row: each is settled by a commit that counts.
#[tokio::test]
async fn hazard_45_parallel_guesses_are_settled_one_by_one() {
    let stage = Stage::new("[mfa]\ntries = 3\npause = \"18m\"");
    let (user, totp) = stage.person("ann");
    let wrong = totp.wrong();
    let fields = [("grant_type", "password"), ("username", &*user.name), ("password", PASSWORD), ("otp", &wrong)];
    let answers = stage.tokens_at_once(30, &fields).await;
    assert_eq!(statuses(&answers).keys().collect::<Vec<_>>(), [&400]);
    assert_eq!(stage.json(&["user", "locked"])[0]["failures"], 3);
    assert_eq!(stage.sign_in(&stage.app, &user, &totp.code()).await.status, 400);
}

/// A lucky guess beside a wrong password moves no counter, and a thief of the token has ten passwords an hour.
#[tokio::test]
async fn hazard_94_a_right_code_beside_wrong_passwords_is_not_spent_and_locks_its_factor_alone() {
    let stage = Stage::new("[mfa]\ntries = 3\npause = \"18m\"");
    let (user, totp) = stage.person("ann");
    let key = stage.add_yubico(&user, "cccccccccccb");
    let otp = key.press();
    for tried in 0..3 {
        let guess = format!("guess {tried}");
        let fields = [("grant_type", "password"), ("username", "ann"), ("password", &*guess), ("otp", &*otp)];
        assert_eq!(stage.token(&stage.app, &fields).await.status, 400);
    }
    assert_eq!(stage.sign_in(&stage.app, &user, &otp).await.status, 400, "it is locked, and the right OTP spent");
    stage.sign_in(&stage.app, &user, &totp.code()).await.ok();
    let locked = stage.json(&["user", "locked"]);
    assert_eq!(locked.as_array().unwrap().len(), 1, "{locked}");
    assert_eq!((&locked[0]["wrong"], locked[0]["factor"].is_string()), (&"passwords".into(), true));
    stage.json(&["user", "unlock", "ann"]);
    assert_eq!(stage.sign_in(&stage.app, &user, &otp).await.status, 400, "spent");
    stage.sign_in(&stage.app, &user, &key.press()).await.ok();
    stage.refused_as(&user, &["wrong_password", "too_many_tries", "replayed_code"]).await;
}

/// A made-up name costs what a known one does, since the work must be the same: a commit at one of so many rows, and one record of
/// all of them.
#[tokio::test]
async fn hazard_88_96_made_up_names_leave_one_record_and_a_bounded_number_of_rows() {
    let stage = Stage::new("");
    let tables = ["audit_records", "users", "factors", "seals", "grants"];
    let mut before = Vec::new();
    for table in tables {
        before.push(stage.rows(table).await);
    }
    for number in 0..10 {
        let name = format!("nobody-{number}");
        let fields = [("grant_type", "password"), ("username", &*name), ("password", PASSWORD), ("otp", "123456")];
        assert_eq!(stage.token(&stage.app, &fields).await.status, 400);
    }
    let told = async || stage.audit().await.into_iter().filter(|record| record["reason"] == "unknown_user").count();
    while told().await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for (table, before) in tables.into_iter().zip(before) {
        let allowed = i64::from(table == "audit_records");
        assert_eq!(stage.rows(table).await, before + allowed, "{table}");
    }
    let records = stage.audit().await;
    assert!(
        records.iter().all(|record| !record.to_string().contains("nobody")),
        "people type passwords into name fields"
    );
}

/// Whoever knows the password alone shuts no key and no recovery code, whatever they show, and gives no verdict away by it.
#[tokio::test]
async fn hazard_47_guesses_of_every_kind_shut_the_digits_alone() {
    let stage = Stage::new("");
    let (user, totp) = stage.person("ann");
    let known = stage.add_yubico(&user, "cccccccccccb");
    let made = stage.json(&["factor", "add", "recovery", "--user", "ann"]);
    let recovery = made["codes"][0].as_str().unwrap().to_owned();
    let wrong = totp.wrong();
    let guesses = [&*wrong, "000000000000", "0000-0000-0000-0000", "", "12345678"];
    for round in 0..36 {
        let forged = format!("ccccccccccc{}{}", ["b", "f", "g", "h"][round % 4], "c".repeat(32));
        let guess = guesses.get(round % 6).map_or(forged, |guess| (*guess).to_owned());
        assert_eq!(stage.sign_in(&stage.app, &user, &guess).await.status, 400, "{guess}");
    }
    assert_eq!(stage.sign_in(&stage.app, &user, &totp.code()).await.status, 400);
    stage.sign_in(&stage.app, &user, &known.press()).await.ok();
    stage.sign_in(&stage.app, &user, &recovery).await.ok();
}

/// The record of a refusal is written after the answer: a record of a reason that is a new one takes time, and tells nobody.
#[tokio::test]
async fn hazard_53_promise_5_refusals_are_recorded_after_they_are_answered() {
    let stage = Stage::new("");
    let (user, totp) = stage.person("ann");
    let wrong = totp.wrong();
    let mut told = Vec::new();
    for (otp, password, reason) in [
        (&*wrong, PASSWORD, "wrong_code"),
        (&*totp.code(), "wrong", "wrong_password"),
        (&wrong, "wrong", "wrong_halves"),
    ] {
        let fields = [("grant_type", "password"), ("username", "ann"), ("password", password), ("otp", otp)];
        assert_eq!(stage.token(&stage.app, &fields).await.status, 400);
        told.push(reason);
        stage.refused_as(&user, &told).await;
    }
}

/// A person who is signed in, or a help desk, has ten claims to a token of the stock an hour.
#[tokio::test]
async fn hazard_45_claims_to_tokens_of_the_stock_are_limited() {
    let stage = Stage::new("[mfa]\ntries = 2\npause = \"12m\"");
    let (user, totp) = stage.person("ann");
    let assign = ["factor", "assign", "--serial", "S1", "--user", "ann", "--code-stdin"];
    for _ in 0..2 {
        let refused = stage.run_with(&assign, "123456");
        assert!(refused.stderr.contains("belong together"), "{}", refused.stderr);
    }
    let refused = stage.run_with(&assign, "123456");
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("too many tries") && refused.stderr.contains("signet user unlock ann"));
    stage.sign_in(&stage.app, &user, &totp.code()).await.ok();
}
