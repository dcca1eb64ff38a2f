//! Sessions: what ends them, and that their secret changes at each step.

use super::{Browser, Stage, age_proofs};
use crate::support::application::PASSWORD;
use crate::support::rows::set_signed;

#[tokio::test]
async fn hazard_54_the_session_id_is_new_after_each_step() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("pages-steps");
    let mut browser = Browser::new(&stage);
    browser.get("/login").await.ok();
    let mut anonymous = browser.copy();
    browser.sign_in(&user, &totp.code()).await;
    let mut signed_in = browser.copy();
    assert_ne!(anonymous.cookie, signed_in.cookie);
    assert_eq!(anonymous.get("/account").await.status, 303, "who planted the first cookie is not signed in by it");
    let page = browser.get("/account/step-up").await.ok();
    let proved = browser.submit(&page, "/account/step-up", &[("password", PASSWORD), ("otp", &totp.at(1))]).await;
    assert_eq!((proved.status, proved.header("location")), (303, Some("/account")));
    assert_ne!(browser.cookie, signed_in.cookie);
    assert_eq!(signed_in.get("/account").await.status, 303, "the secret from before the step is worth nothing");
    browser.get("/account").await.ok();
}

#[tokio::test]
async fn a_failed_step_up_changes_nothing() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("pages-failed-step");
    let (_, others) = stage.person("pages-other-step");
    let mut browser = Browser::new(&stage);
    browser.sign_in(&user, &totp.code()).await;
    let before = browser.cookie.clone();
    let page = browser.get("/account/step-up").await.ok();
    for (password, code) in [("wrong", totp.at(1)), (PASSWORD, others.code()), (PASSWORD, totp.code())] {
        let answer = browser.submit(&page, "/account/step-up", &[("password", password), ("otp", &code)]).await;
        assert_eq!(answer.status, 400);
    }
    assert_eq!(browser.cookie, before);
    browser.get("/account").await.ok();
}

#[tokio::test]
async fn a_session_ends_with_its_users_password_factor_or_account() {
    let stage = Stage::shared();
    for (name, arguments) in [
        ("pages-disabled", &["user", "disable", "pages-disabled"][..]),
        ("pages-password", &["user", "set-password", "pages-password", "--password-stdin"]),
        ("pages-removed", &["user", "remove", "pages-removed", "--yes"]),
    ] {
        let (user, totp) = stage.person(name);
        let mut browser = Browser::new(&stage);
        browser.sign_in(&user, &totp.code()).await;
        stage.json_with(arguments, "another battery staple horse");
        assert_eq!(browser.get("/account").await.header("location"), Some("/login"), "{name}");
    }
    for (change, agreed) in [("disable", &[][..]), ("remove", &["--yes"])] {
        let (user, totp) = stage.person(&format!("pages-factor-{change}"));
        let mut browser = Browser::new(&stage);
        browser.sign_in(&user, &totp.code()).await;
        let factors = stage.json(&["factor", "list", "--user", &user.name]);
        stage.json(&[&["factor", change, factors[0]["id"].as_str().unwrap()], agreed].concat());
        assert_eq!(browser.get("/account").await.header("location"), Some("/login"), "{change}");
    }
}

#[tokio::test]
async fn a_session_ends_without_use_and_after_its_longest_time() {
    let stage = Stage::shared();
    for (name, column, expression) in [
        ("pages-idle", "last_seen_at", "last_seen_at - 16 * 60000"),
        ("pages-long", "expires_at", "expires_at - 12 * 3600000"),
    ] {
        let (user, totp) = stage.person(name);
        let mut browser = Browser::new(&stage);
        browser.sign_in(&user, &totp.code()).await;
        let of_user = format!("user_id = '{}'", user.id);
        set_signed(stage.application(), "sessions", &of_user, column, expression).await;
        assert_eq!(browser.get("/account").await.status, 303, "{name}");
    }
}

#[tokio::test]
async fn use_keeps_a_session_alive() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("pages-used");
    let mut browser = Browser::new(&stage);
    browser.sign_in(&user, &totp.code()).await;
    let of_user = format!("WHERE user_id = '{}'", user.id);
    let seen = || stage.sql(&format!("SELECT last_seen_at FROM sessions {of_user}")).parse::<i64>().unwrap();
    let begun = seen();
    stage.sql(&format!("UPDATE sessions SET last_seen_at = last_seen_at - 14 * 60000 {of_user}"));
    browser.get("/account").await.ok();
    let now = seen();
    assert!(now >= begun, "{now} {begun}");
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one_or_all() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("pages-sessions");
    let (stranger, strangers) = stage.person("pages-stranger");
    let granted = stage.sign_in(&stage.app, &user, &totp.at(-1)).await.ok();
    let (mut one, mut two, mut other) = (Browser::new(&stage), Browser::new(&stage), Browser::new(&stage));
    one.sign_in(&user, &totp.code()).await;
    let account = two.sign_in(&user, &totp.at(1)).await;
    let strange = other.sign_in(&stranger, &strangers.code()).await;
    assert_eq!(account.body.matches("name=\"session\"").count(), 1, "the other one can be ended");
    let id = account.body.split("name=\"session\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let token = |page: &str| page.split("form_token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let fields = [("form_token", &*token(&strange.body)), ("session", &*id)];
    assert_eq!(other.post("/account/sessions/end", &fields, &[]).await.status, 404, "a stranger ends nobody's");
    one.get("/account").await.ok();
    let ended = two.submit(&account, "/account/sessions/end", &[]).await;
    assert_eq!((ended.status, ended.header("location")), (303, Some("/account?done=ended")));
    assert_eq!(one.get("/account").await.status, 303);
    let account = two.get("/account").await.ok();
    assert_eq!(two.submit(&account, "/account/sessions/end-all", &[]).await.status, 303);
    assert_eq!(two.get("/account").await.status, 303);
    assert_eq!(stage.refresh(&stage.app, &granted.refresh_token()).await.status, 400, "grants end too");
    other.get("/account").await.ok();
}

#[tokio::test]
async fn the_store_holds_no_session_secret() {
    let stage = Stage::new("");
    let (user, totp) = stage.person("stolen");
    let mut browser = Browser::new(&stage);
    browser.sign_in(&user, &totp.code()).await;
    age_proofs(&stage, 0).await;
    let secret = browser.cookie.unwrap();
    let secret = secret.split_once('=').unwrap().1.as_bytes();
    for file in ["signet.db", "signet.db-wal", "server.log"] {
        let Ok(bytes) = std::fs::read(stage.folder().join(file)) else { continue };
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{file}");
    }
    assert_eq!(stage.rows("sessions").await, 1);
    // Made-up cookies, and the sign-in pages of those who never sign in, leave nothing behind.
    for _ in 0..20 {
        Browser::new(&stage).get("/login").await.ok();
        let mut made_up = Browser::new(&stage);
        made_up.cookie = Some(format!("signet={}", "A".repeat(43)));
        assert_eq!(made_up.get("/account").await.status, 303);
    }
    assert_eq!(stage.rows("sessions").await, 1);
}

#[tokio::test]
async fn a_session_that_was_altered_signs_nobody_in() {
    let stage = Stage::new("");
    stage.forges_rows();
    let ((ann, totp), (bob, _)) = (stage.person("ann"), stage.person("bob"));
    let mut browser = Browser::new(&stage);
    browser.sign_in(&ann, &totp.code()).await;
    browser.get("/account").await.ok();
    stage.sql(&format!("UPDATE sessions SET user_id = '{}'", bob.id));
    let page = browser.get("/account").await;
    assert_eq!(page.status, 503, "{}", page.body);
    assert!(!page.body.contains("bob"));
}
