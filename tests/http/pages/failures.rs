//! What a person is told of sign-ins that failed where one half of their proof was right, and a new password.

use super::{Browser, Stage};
use crate::support::application::PASSWORD;
use crate::support::requests::Answer;

const PAGES: [&str; 4] = ["/account", "/account/totp", "/account/password", "/account/recovery"];

async fn told(browser: &mut Browser) -> Vec<bool> {
    let mut told = Vec::new();
    for path in PAGES {
        let page: Answer = browser.get(path).await.ok();
        told.push(page.body.contains("Somebody knows your password"));
    }
    told
}

#[tokio::test]
async fn promise_10_every_page_tells_a_person_that_somebody_knows_the_password_until_they_answer() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("pages-known");
    let made = stage.json(&["factor", "add", "recovery", "--user", &user.name]);
    let mut browser = Browser::new(&stage);
    browser.sign_in(&user, &totp.code()).await;
    assert_eq!(told(&mut browser).await, [false; 4]);
    for _ in 0..10 {
        assert_eq!(stage.sign_in(&stage.app, &user, &totp.wrong()).await.status, 400);
    }
    assert_eq!(told(&mut browser).await, [true; 4]);
    // By another factor while the digits are locked, too.
    let mut other = Browser::new(&stage);
    other.sign_in(&user, made["codes"][0].as_str().unwrap()).await;
    let account = other.get("/account").await.ok();
    assert!(account.body.contains("10 times it was typed with a wrong one-time code"), "{}", account.body);
    assert!(account.body.contains("sign nobody in until"), "{}", account.body);
    let late = browser.post("/account/failures", &[("form_token", "none"), ("shown", "10")], &[]).await;
    assert_eq!(late.status, 403);
    let answered = other.submit(&account, "/account/failures", &[("shown", "9")]).await;
    assert_eq!(answered.header("location"), Some("/account"), "that is not what the page showed");
    let answered = other.submit(&account, "/account/failures", &[]).await;
    assert_eq!((answered.status, answered.header("location")), (303, Some("/account?done=answered")));
    assert_eq!(told(&mut browser).await, [false; 4]);
    assert_eq!(stage.sign_in(&stage.app, &user, &totp.at(1)).await.status, 400, "a pause goes on");
}

#[tokio::test]
async fn a_person_changes_their_own_password_and_is_signed_out_everywhere() {
    const NEW: &str = "four words of my own";
    let stage = Stage::shared();
    let (user, totp) = stage.person("pages-password");
    let (mut browser, mut other) = (Browser::new(&stage), Browser::new(&stage));
    browser.sign_in(&user, &totp.code()).await;
    other.sign_in(&user, &totp.at(1)).await;
    let page = browser.get("/account/password").await.ok();
    for (password, again, text) in [
        (NEW, "another one than that", "not the same"),
        ("short", "short", "at least 8 characters"),
        (PASSWORD, PASSWORD, "the password that you have"),
    ] {
        let refused = browser.submit(&page, "/account/password", &[("password", password), ("again", again)]).await;
        assert!(refused.status == 400 && refused.body.contains(text), "{}", refused.body);
        assert!(!refused.body.contains(NEW));
    }
    let done = browser.submit(&page, "/account/password", &[("password", NEW), ("again", NEW)]).await;
    assert_eq!((done.status, done.header("location")), (303, Some("/login?done=password")));
    for browser in [&mut browser, &mut other] {
        assert_eq!(browser.get("/account").await.header("location"), Some("/login"));
    }
    assert!(browser.get("/login?done=password").await.ok().body.contains("Sign in with the new one"));
    let records = stage.audit().await;
    let replaced = records.iter().filter(|record| record["change"] == "password_replaced" && record["user"] == user.id);
    assert_eq!(replaced.count(), 1);
}
