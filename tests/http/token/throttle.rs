//! How many tries an account has: a name's, known or not, by each kind of code.

use crate::http::{Stage, statuses};
use crate::support::application::PASSWORD;

/// More tries than an account has are limited whatever connection they come by, and neither a restart nor a kill
/// forgets them.
#[tokio::test]
async fn hazard_45_46_47_ten_tries_then_a_pause_that_survives_kill_9_and_locks_one_factor_alone() {
    let mut stage = Stage::new("");
    let (user, totp) = stage.person("ann");
    let key = stage.add_yubico(&user, "cccccccccccb");
    let wrong = totp.wrong();
    for tried in 0..10 {
        let answer = stage.sign_in(&stage.app, &user, &wrong).await;
        assert_eq!(answer.refusal(), (400, "invalid_grant".to_owned()), "try {tried}");
        if tried == 5 {
            stage.server.kill_and_restart();
        }
    }
    for restarted in [false, true] {
        if restarted {
            stage.server.kill_and_restart();
        }
        let locked = stage.sign_in(&stage.app, &user, &totp.code()).await;
        assert_eq!(locked.refusal(), (429, "too_many_tries".to_owned()), "the right code is not judged either");
        let pause = locked.retry_after().unwrap();
        assert!((3000..=3600).contains(&pause), "{pause}");
    }
    stage.sign_in(&stage.app, &user, &key.press()).await.ok();
    assert_eq!(
        stage.sign_in(&stage.app, &user, &totp.code()).await.status,
        429,
        "a success by the key forgets no guess"
    );
    let other = stage.person("bob");
    stage.sign_in(&stage.app, &other.0, &other.1.code()).await.ok();
}

/// A pause tells nothing about whom the name belongs to.
#[tokio::test]
async fn hazard_45_an_unknown_name_is_limited_like_a_known_one() {
    let stage = Stage::new("[mfa]\ntries = 2\npause = \"12m\"");
    let (user, totp) = stage.person("ann");
    let wrong = totp.wrong();
    let ask = async |name: &str| {
        let fields = [("grant_type", "password"), ("username", name), ("password", PASSWORD), ("otp", &wrong)];
        stage.token(&stage.app, &fields).await
    };
    for _ in 0..2 {
        assert_eq!((ask(&user.name).await.status, ask("nobody").await.status), (400, 400));
    }
    let (known, unknown) = (ask(&user.name).await, ask("nobody").await);
    assert_eq!((known.status, unknown.status), (429, 429));
    assert_eq!(known.body, unknown.body);
    // Locked accounts are told once a minute: who guesses on can't fill the log.
    let before = stage.rows("audit_records").await;
    for _ in 0..10 {
        assert_eq!(ask(&user.name).await.status, 429);
        assert_eq!(ask("nobody").await.status, 429);
    }
    assert_eq!(stage.rows("audit_records").await, before);
}

#[tokio::test]
async fn a_success_forgets_the_tries() {
    let stage = Stage::new("[mfa]\ntries = 3\npause = \"18m\"");
    let user = stage.add_user("ann", "reader");
    let totp = stage.add_totp(&user, &["--period", "60"]);
    let wrong = totp.wrong();
    for step in [-1, 0, 1] {
        for _ in 0..2 {
            assert_eq!(stage.sign_in(&stage.app, &user, &wrong).await.status, 400);
        }
        stage.sign_in(&stage.app, &user, &totp.at(step)).await.ok();
    }
}

/// Of tries at once no more are judged than an account has: each is counted before it is judged.
#[tokio::test]
async fn hazard_45_parallel_guesses_are_counted_before_they_are_judged() {
    let stage = Stage::new("[mfa]\ntries = 3\npause = \"18m\"");
    let (user, totp) = stage.person("ann");
    let wrong = totp.wrong();
    let fields = [("grant_type", "password"), ("username", &*user.name), ("password", PASSWORD), ("otp", &wrong)];
    let answers = stage.tokens_at_once(30, &fields).await;
    let counts = statuses(&answers);
    assert_eq!((counts.get(&400), counts.get(&429)), (Some(&3), Some(&27)), "{counts:?}");
}

/// A made-up name costs what a known one does, since the work must be the same: one record, and two rows that count
/// its tries and go when the pause is over.
#[tokio::test]
async fn hazard_88_made_up_names_leave_a_record_and_a_throttle_and_nothing_else() {
    let stage = Stage::new("");
    let tables = ["audit_records", "throttles", "users", "factors", "seals", "grants"];
    let mut before = Vec::new();
    for table in tables {
        before.push(stage.rows(table).await);
    }
    for number in 0..10 {
        let name = format!("nobody-{number}");
        let fields = [("grant_type", "password"), ("username", &*name), ("password", PASSWORD), ("otp", "123456")];
        assert_eq!(stage.token(&stage.app, &fields).await.status, 400);
    }
    for (table, before) in tables.into_iter().zip(before) {
        let expected = match table {
            "audit_records" => before + 10,
            // What was guessed at, and the account as a whole.
            "throttles" => before + 20,
            _ => before,
        };
        assert_eq!(stage.rows(table).await, expected, "{table}");
    }
    let records = stage.audit().await;
    assert!(
        records.iter().all(|record| !record.to_string().contains("nobody")),
        "people type passwords into name fields"
    );
}

/// However guesses are spread over codes, keys and connections, an account has ten verdicts an hour, and none of the
/// user's factors is shut by guessing at the others.
#[tokio::test]
async fn hazard_45_47_guesses_of_every_kind_have_ten_verdicts_together_and_shut_no_other_factor() {
    let mut stage = Stage::new("");
    let (user, totp) = stage.person("ann");
    let (known, other) = (stage.add_yubico(&user, "cccccccccccb"), stage.add_yubico(&user, "cccccccccccd"));
    let made = stage.json(&["factor", "add", "recovery", "--user", "ann"]);
    let recovery = made["codes"][0].as_str().unwrap().to_owned();
    let wrong = totp.wrong();
    let guesses = [&*wrong, "000000000000", "0000-0000-0000-0000", "", "12345678"];
    let mut verdicts = 0;
    for round in 0..40 {
        // Of one key of the user's, of somebody else's, and of keys that are nobody's.
        let forged = format!("ccccccccccc{}{}", ["b", "f", "g", "h"][round % 4], "c".repeat(32));
        let guess = guesses.get(round % 6).map_or(forged, |guess| (*guess).to_owned());
        let answer = stage.sign_in(&stage.app, &user, &guess).await;
        match answer.status {
            400 => verdicts += 1,
            other => assert_eq!(other, 429, "{guess}"),
        }
    }
    assert_eq!(verdicts, 10);
    stage.server.kill_and_restart();
    for _ in 0..10 {
        stage.sign_in(&stage.app, &user, &format!("cccccccccccb{}", "c".repeat(32))).await;
        stage.sign_in(&stage.app, &user, &wrong).await;
    }
    assert_eq!(stage.sign_in(&stage.app, &user, &known.press()).await.status, 429, "its own tries are exhausted");
    assert_eq!(stage.sign_in(&stage.app, &user, &totp.code()).await.status, 429, "and so are those of digits");
    stage.sign_in(&stage.app, &user, &other.press()).await.ok();
    stage.sign_in(&stage.app, &user, &recovery).await.ok();
    let locked = stage.json(&["user", "locked"]);
    let words: Vec<_> = locked.as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert!(words.contains(&"digits") && words.contains(&"key"), "{words:?}");
    assert_eq!(stage.json(&["user", "unlock", "ann"])["done"], "ann has all tries again");
    stage.sign_in(&stage.app, &user, &known.press()).await.ok();
    stage.sign_in(&stage.app, &user, &totp.code()).await.ok();
}

/// Where an account's refusals are no more told apart, nor are they by what is written down about them: a record of a
/// reason that is a new one takes time.
#[tokio::test]
async fn hazard_53_promise_5_a_guesser_without_verdicts_learns_nothing_by_time_either() {
    let stage = Stage::new("[mfa]\ntries = 1\npause = \"6m\"");
    let (user, totp) = stage.person("ann");
    assert_eq!(stage.sign_in(&stage.app, &user, &totp.wrong()).await.status, 400);
    let reasons = async |known: &[&str]| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let told = stage.refusals(&user).await;
            if told == known {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{told:?}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    reasons(&["wrong_code"]).await;
    let mut told = vec!["wrong_code"];
    for (key, password, reason) in [("b", "wrong", "wrong_password"), ("d", PASSWORD, "unknown_key")] {
        let otp = format!("ccccccccccc{key}{}", "c".repeat(32));
        let fields = [("grant_type", "password"), ("username", "ann"), ("password", password), ("otp", &*otp)];
        let before = stage.rows("audit_records").await;
        assert_eq!(stage.token(&stage.app, &fields).await.status, 429);
        assert_eq!(stage.rows("audit_records").await, before, "{reason} is told later");
        told.push(reason);
        reasons(&told).await;
    }
}

/// Other ways to show a code have no further verdicts to give.
#[tokio::test]
async fn hazard_45_an_account_without_verdicts_gets_none_by_assignment_or_resynchronising() {
    let stage = Stage::new("[mfa]\ntries = 2\npause = \"12m\"");
    let (user, _) = stage.person("ann");
    let factors = stage.json(&["factor", "list", "--user", "ann"]);
    let id = factors[0]["id"].as_str().unwrap();
    for _ in 0..2 {
        assert_eq!(stage.sign_in(&stage.app, &user, "").await.status, 400);
    }
    let assign = ["factor", "assign", "--serial", "S1", "--user", "ann", "--code-stdin"];
    let resync = ["factor", "resync", id, "--codes-stdin"];
    for (arguments, codes) in [(&assign[..], "123456"), (&resync, "123456\n654321")] {
        let refused = stage.run_with(arguments, codes);
        assert_eq!(refused.code, Some(1));
        let told = refused.stderr;
        assert!(told.contains("too many tries"), "{arguments:?}: {told}");
    }
}
