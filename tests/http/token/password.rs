//! `grant_type=password` with a TOTP code: what a person gets, and the one answer to everybody else.

use std::collections::BTreeSet;

use serde_json::json;

use super::verified;
use crate::http::{Stage, statuses};
use crate::support::application::{AUDIENCE, PASSWORD};

#[tokio::test]
async fn a_person_gets_an_rfc_9068_token() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("claims");
    let answer = stage.sign_in(&stage.app, &user, &totp.code()).await.ok();
    let body = answer.json();
    assert_eq!(
        (&body["token_type"], &body["expires_in"], &body["scope"]),
        (&json!("Bearer"), &json!(300), &json!("read write"))
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let token = verified(&stage, &answer.access_token(), AUDIENCE).await;
    assert_eq!((token.header.typ.as_deref(), token.header.alg), (Some("at+jwt"), jsonwebtoken::Algorithm::ES256));
    let claims = token.claims.as_object().unwrap();
    let names: BTreeSet<&str> = claims.keys().map(String::as_str).collect();
    let expected =
        ["acr", "amr", "aud", "auth_time", "client_id", "exp", "iat", "iss", "jti", "nbf", "roles", "scope", "sub"];
    assert_eq!(names, BTreeSet::from(expected));
    assert_eq!(claims["sub"], user.id.as_str());
    assert_eq!(claims["client_id"], stage.app.id.as_str());
    assert_eq!(claims["roles"], json!(["reader"]));
    assert_eq!(claims["scope"], "read write");
    assert_eq!(claims["acr"], "urn:signet:aal2");
    let amr: BTreeSet<&str> = claims["amr"].as_array().unwrap().iter().map(|method| method.as_str().unwrap()).collect();
    assert_eq!(amr, BTreeSet::from(["mfa", "otp", "pwd"]));
    let seconds = |name: &str| claims[name].as_i64().unwrap();
    assert_eq!(seconds("exp") - seconds("iat"), 300);
    assert!(seconds("nbf") <= seconds("iat") && seconds("auth_time") <= seconds("iat"));
    assert!(seconds("iat") - seconds("auth_time") < 30, "proved just now");
}

#[tokio::test]
async fn every_kind_of_totp_signs_in() {
    let stage = Stage::shared();
    for (name, options, digits) in [
        ("sha1-8", &["--digits", "8"][..], 8),
        ("sha256-60", &["--hash", "SHA256", "--period", "60"], 6),
        ("sha512-8-60", &["--hash", "SHA512", "--digits", "8", "--period", "60"], 8),
    ] {
        let user = stage.add_user(name, "reader");
        let totp = stage.add_totp(&user, options);
        assert_eq!(totp.code().len(), digits);
        stage.sign_in(&stage.app, &user, &totp.code()).await.ok();
    }
}

/// One step either way, and each step once: an earlier step never counts after a later one.
#[tokio::test]
async fn a_step_either_way_is_accepted_and_never_an_earlier_one_again() {
    let stage = Stage::shared();
    let user = stage.add_user("window", "reader");
    let totp = stage.add_totp(&user, &["--period", "60"]);
    stage.sign_in(&stage.app, &user, &totp.at(-1)).await.ok();
    stage.sign_in(&stage.app, &user, &totp.at(0)).await.ok();
    assert_eq!(stage.sign_in(&stage.app, &user, &totp.at(-1)).await.refusal(), (400, "invalid_grant".to_owned()));
    stage.sign_in(&stage.app, &user, &totp.at(1)).await.ok();
    assert_eq!(stage.sign_in(&stage.app, &user, &totp.at(0)).await.status, 400);
}

#[tokio::test]
async fn hazard_43_a_replayed_spaced_or_foreign_digit_code_is_refused() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("replay");
    let code = totp.code();
    stage.sign_in(&stage.app, &user, &code).await.ok();
    let replayed = stage.sign_in(&stage.app, &user, &code).await;
    assert_eq!(replayed.refusal(), (400, "invalid_grant".to_owned()));
    let next = totp.at(1);
    let arabic: String = next.bytes().map(|digit| char::from_u32(0x660 + u32::from(digit - b'0')).unwrap()).collect();
    let full_width: String =
        next.bytes().map(|digit| char::from_u32(0xff10 + u32::from(digit - b'0')).unwrap()).collect();
    let spaced = format!("{} {}", &next[..3], &next[3..]);
    for malformed in [format!(" {next}"), format!("{next} "), spaced, arabic, full_width, format!("+{}", &next[1..])] {
        let answer = stage.sign_in(&stage.app, &user, &malformed).await;
        assert_eq!(answer.distinguishing(), replayed.distinguishing(), "{malformed:?}");
    }
    stage.refused_as(&user, &["replayed_code", "wrong_code"]).await;
    stage.sign_in(&stage.app, &user, &next).await.ok();
}

#[tokio::test]
async fn hazard_44_one_totp_code_a_hundred_times_at_once_gives_one_token() {
    let stage = Stage::new("");
    let (user, totp) = stage.person("race");
    let code = totp.code();
    let fields = [("grant_type", "password"), ("username", &*user.name), ("password", PASSWORD), ("otp", &code)];
    let answers = stage.tokens_at_once(100, &fields).await;
    let counts = statuses(&answers);
    assert_eq!(counts.get(&200), Some(&1), "{counts:?}");
    assert!(counts.keys().all(|status| [200, 400, 503].contains(status)), "{counts:?}");
    for refused in answers.iter().filter(|answer| answer.status == 400) {
        assert_eq!(refused.text("error"), "invalid_grant");
    }
    let records = stage.audit().await;
    let of_user = |event: &str| {
        records
            .iter()
            .filter(|record| {
                record["event"] == event && record["outcome"] == "done" && record["user"] == user.id.as_str()
            })
            .count()
    };
    assert_eq!((of_user("sign_in"), of_user("token.issued")), (1, 1));
    assert_eq!(stage.rows("grants").await, 1);
}

/// Everything that can be wrong with a person's proof has one answer.
#[tokio::test]
async fn hazard_53_promise_5_no_failure_can_be_told_from_another() {
    let stage = Stage::new("");
    let (user, totp) = stage.person("known");
    let bare = stage.add_user("no-factor", "reader");
    let (disabled, its_totp) = stage.person("disabled");
    stage.json(&["user", "disable", "disabled"]);
    let ask = async |username: &str, password: &str, otp: Option<&str>| {
        let mut fields = vec![("grant_type", "password"), ("username", username), ("password", password)];
        fields.extend(otp.map(|otp| ("otp", otp)));
        stage.token(&stage.app, &fields).await
    };
    let unknown = ask("nobody", PASSWORD, Some("123456")).await;
    assert_eq!(unknown.refusal(), (400, "invalid_grant".to_owned()));
    let (code, wrong) = (totp.code(), totp.wrong());
    let others = [
        ("wrong password, right code", ask(&user.name, "wrong", Some(&code)).await),
        ("right password, wrong code", ask(&user.name, PASSWORD, Some(&wrong)).await),
        ("both wrong", ask(&user.name, "wrong", Some(&wrong)).await),
        ("no code", ask(&user.name, PASSWORD, None).await),
        ("an empty code", ask(&user.name, PASSWORD, Some("")).await),
        ("no such code", ask(&user.name, PASSWORD, Some("what?")).await),
        ("eight digits", ask(&user.name, PASSWORD, Some("12345678")).await),
        ("a key that nobody has", ask(&user.name, PASSWORD, Some(&"c".repeat(44))).await),
        ("another spelling, wrong password", ask("KNOWN", "wrong", Some(&code)).await),
        ("no factor", ask(&bare.name, PASSWORD, Some("123456")).await),
        ("no factor and no code", ask(&bare.name, PASSWORD, None).await),
        ("disabled", ask(&disabled.name, PASSWORD, Some(&its_totp.code())).await),
        ("unknown without a code", ask("nobody", PASSWORD, None).await),
        ("a very long name", ask(&"n".repeat(4000), PASSWORD, Some("123456")).await),
    ];
    for (what, answer) in &others {
        assert_eq!(answer.distinguishing(), unknown.distinguishing(), "{what}");
    }
    // A wrong password did not spend the code that came with it: else who knows no password could lock people out.
    stage.sign_in(&stage.app, &user, &code).await.ok();
    // The audit record says which.
    stage.refused_as(&user, &["wrong_password", "wrong_code", "wrong_halves", "unknown_key"]).await;
    stage.refused_as(&disabled, &["disabled"]).await;
    stage.refused_as(&bare, &["no_factor"]).await;
}
