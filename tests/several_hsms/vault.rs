//! Passwords, codes, refresh tokens and counts of tries, whichever of two tokens is there.

use crate::support::application::ALL_GRANTS;
use std::time::{Duration, Instant};

use super::group::{Group, state, until_state};
use crate::support::caller::Caller;
use crate::support::process::PATIENCE;
use crate::support::requests::Answer;

use crate::support::application::PASSWORD;
async fn sign_in(caller: &Caller, otp: &str) -> Answer {
    caller.sign_in("ann", PASSWORD, otp).await.unwrap()
}

/// How many secrets a token can open, of how many there are.
fn sealed(group: &Group, hsm: &str) -> (String, String) {
    let of = |condition: &str| {
        let sql = format!("SELECT COUNT(*) FROM (SELECT DISTINCT tenant, kind, row_id FROM seals {condition})");
        group.deployment.sql(&sql)
    };
    (of(&format!("WHERE hsm = '{hsm}'")), of(""))
}

async fn until_sealed(group: &Group, hsm: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let (some, all) = sealed(group, hsm);
        if some == all {
            return;
        }
        assert!(Instant::now() < until, "{hsm} has {some} of {all}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_and_refresh_when_either_token_is_gone() {
    let group = Group::new(&["second"], "");
    let credentials = group.deployment.add_client("app", ALL_GRANTS, "read write");
    let ann = group.deployment.add_user("ann", "reader");
    let server = group.serve();
    let caller = Caller::new(&server, &credentials);
    for away in ["primary", "second"] {
        let other = if away == "primary" { "second" } else { "primary" };
        until_state(&caller, "primary", "ok").await;
        until_state(&caller, "second", "ok").await;
        let totp = group.deployment.add_totp(&ann, &[]);
        let [code, later] = totp.two_codes();
        let signed_in = sign_in(&caller, &code).await;
        assert_eq!(signed_in.status, 200, "{signed_in:?}");
        let refresh = signed_in.text("refresh_token");
        let before = caller.refresh(&refresh).await.unwrap();
        assert_eq!(before.status, 200, "{before:?}");
        until_sealed(&group, "primary").await;
        until_sealed(&group, "second").await;
        group.take_away(away);
        until_state(&caller, away, "not available").await;
        assert_eq!(state(&caller, other).await, "ok");
        assert_eq!(caller.get("/readyz").await.unwrap().status, 200, "the other one signs");
        let retried = caller.refresh(&refresh).await.unwrap();
        assert_eq!(retried.status, 200, "{retried:?}");
        assert_eq!(retried.text("refresh_token"), before.text("refresh_token"), "the same successor");
        let again = sign_in(&caller, &later).await;
        assert_eq!(again.status, 200, "{again:?}");
        // One answer for who is there and who is not.
        let unknown = caller.sign_in("nobody", PASSWORD, "123456").await.unwrap();
        let wrong = caller.sign_in("ann", "another password", "123456").await.unwrap();
        assert_eq!((unknown.status, &unknown.body), (wrong.status, &wrong.body));
        assert_eq!(unknown.status, 400, "{unknown:?}");
        group.bring_back(away);
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sealed_while_a_token_was_away_is_sealed_for_it_later() {
    let group = Group::new(&["second"], "");
    let credentials = group.deployment.add_client("app", ALL_GRANTS, "read write");
    let server = group.serve();
    let caller = Caller::new(&server, &credentials);
    group.take_away("second");
    until_state(&caller, "second", "not available").await;
    // The command finds the token away, too, and keeps the secrets without it.
    let ann = group.deployment.add_user("ann", "reader");
    let totp = group.deployment.add_totp(&ann, &[]);
    assert_ne!(sealed(&group, "second").0, sealed(&group, "second").1);
    group.bring_back("second");
    until_sealed(&group, "second").await;
    until_state(&caller, "second", "ok").await;
    group.take_away("primary");
    until_state(&caller, "primary", "not available").await;
    let signed_in = sign_in(&caller, &totp.code()).await;
    assert_eq!(signed_in.status, 200, "{signed_in:?}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_45_tries_are_counted_alike_whichever_token_answers() {
    // A machine that is busy with other things is no reason to try again, which would count.
    let group = Group::new(&["second"], "deadline = \"20s\"");
    group.deployment.state("[mfa]\ntries = 6");
    let credentials = group.deployment.add_client("app", ALL_GRANTS, "read write");
    group.deployment.add_user("ann", "reader");
    let server = group.serve();
    let caller = Caller::new(&server, &credentials);
    until_state(&caller, "primary", "ok").await;
    until_state(&caller, "second", "ok").await;
    // What stands in for a factor that she lacks is made at the first sign-in, for the tokens that are there then.
    assert_eq!(caller.sign_in("nobody", "a password", "123456").await.unwrap().status, 400);
    for away in ["primary", "second"] {
        until_state(&caller, "primary", "ok").await;
        until_state(&caller, "second", "ok").await;
        // A busy machine may have let the command that added her go on without one of the two.
        until_sealed(&group, "primary").await;
        until_sealed(&group, "second").await;
        group.take_away(away);
        until_state(&caller, away, "not available").await;
        for _ in 0..3 {
            let refused = caller.sign_in("ann", PASSWORD, "123456").await.unwrap();
            assert_eq!(refused.status, 400, "{refused:?}");
        }
        group.bring_back(away);
    }
    let locked = group.deployment.json(&["user", "locked"]);
    assert_eq!((&locked[0]["user"], &locked[0]["failures"]), (&"ann".into(), &6.into()), "{locked}");
    server.stop();
}

/// Who is there and who is not get one answer also where a token that once opened everything opens no new secrets.
#[tokio::test(flavor = "multi_thread")]
async fn a_retired_token_answers_for_nobody_who_is_not_there() {
    let group = Group::new(&["second"], "deadline = \"20s\"");
    let credentials = group.deployment.add_client("app", ALL_GRANTS, "read write");
    group.deployment.add_user("ann", "reader");
    let server = group.serve();
    let caller = Caller::new(&server, &credentials);
    until_state(&caller, "primary", "ok").await;
    until_state(&caller, "second", "ok").await;
    until_sealed(&group, "second").await;
    let unknown = async |name: &str| caller.sign_in(name, "a password", "123456").await.unwrap().status;
    assert_eq!(unknown("nobody").await, 400);
    group.deployment.json(&["hsm", "retire", "second", "--yes"]);
    group.deployment.add_user("ben", "reader");
    group.take_away("primary");
    until_state(&caller, "primary", "not available").await;
    assert_eq!(caller.sign_in("ben", "a password", "123456").await.unwrap().status, 503);
    let until = Instant::now() + PATIENCE;
    for number in 0.. {
        let status = unknown(&format!("nobody-{number}")).await;
        if status == 503 {
            break;
        }
        assert!(Instant::now() < until, "who is not there is still answered with {status}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    server.stop();
}

/// An OTP of a key that nobody has is refused, not a fault, whichever of the two tokens is there.
#[tokio::test(flavor = "multi_thread")]
async fn an_otp_of_an_unknown_key_is_refused_when_either_token_is_gone() {
    let group = Group::new(&["second"], "deadline = \"20s\"");
    let credentials = group.deployment.add_client("app", ALL_GRANTS, "read write");
    group.deployment.json(&["otp-client", "add", "vpn"]);
    let server = group.serve();
    let caller = Caller::new(&server, &credentials);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let query = format!("id=1&nonce=0123456789abcdef&otp={}", "c".repeat(44));
    let url = server.url(&format!("/wsapi/2.0/verify?{query}"));
    let ask = async || http.get(&url).send().await.unwrap().text().await.unwrap();
    let without = async |away: &str| {
        until_state(&caller, "primary", "ok").await;
        until_state(&caller, "second", "ok").await;
        until_sealed(&group, "second").await;
        group.take_away(away);
        until_state(&caller, away, "not available").await;
        let body = ask().await;
        group.bring_back(away);
        body
    };
    let body = without("second").await;
    assert!(body.contains("status=BAD_OTP"), "{body}");
    // A token that came back is given what stands in for unknown keys within a second or two; it may go before.
    let until = Instant::now() + PATIENCE;
    loop {
        let body = without("primary").await;
        if body.contains("status=BAD_OTP") {
            break;
        }
        assert!(Instant::now() < until, "{body}");
    }
    server.stop();
}
