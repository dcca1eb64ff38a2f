//! `/account/recovery` and `/account/token`: what a person adds without an operator.

use super::{Browser, Stage, age_proofs};
use crate::support::application::PASSWORD;
use crate::support::codes::YubiKey;
use crate::support::requests::Answer;

fn codes(page: &Answer) -> Vec<String> {
    let list = page.body.split("<ol class=\"codes\">").nth(1).unwrap().split("</ol>").next().unwrap();
    list.split("<code>").skip(1).map(|item| item.split('<').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn recovery_codes_are_shown_once_and_each_signs_in_once() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("pages-recovers");
    let mut browser = Browser::new(&stage);
    browser.sign_in(&user, &totp.code()).await;
    let page = browser.get("/account/recovery").await.ok();
    let made = browser.submit(&page, "/account/recovery", &[]).await.ok();
    let codes = codes(&made);
    assert_eq!(codes.len(), 10);
    for path in ["/account/recovery", "/account"] {
        assert!(!browser.get(path).await.ok().body.contains(&codes[0]), "{path}");
    }
    let again = browser.submit(&page, "/account/recovery", &[]).await;
    assert!(again.status == 400 && again.body.contains("already"), "{}", again.body);
    let mut lost = Browser::new(&stage);
    let account = lost.sign_in(&user, &codes[3]).await;
    assert!(account.body.contains("You signed in with a recovery code") && account.body.contains("9 codes left"));
    assert!(!browser.get("/account").await.ok().body.contains("You signed in with a recovery code"));
    assert_eq!(Browser::new(&stage).try_sign_in(&user.name, PASSWORD, &codes[3]).await.status, 400);
    // It stands in for what is lost: another app is set up by it.
    lost.get("/account/totp").await.ok();
    let records = stage.audit().await;
    let of_user = |record: &&serde_json::Value| record["user"] == user.id.as_str();
    assert_eq!(records.iter().filter(of_user).filter(|record| record["event"] == "recovery_code.used").count(), 1);
}

#[tokio::test]
async fn a_yubikey_of_the_stock_is_taken_over_by_touching_it() {
    let stage = Stage::new("");
    let (user, totp) = stage.person("takes");
    let (key, other) = (YubiKey::new("cccccccccdff"), YubiKey::new("cccccccccdgg"));
    let line = |serial: &str, id: &str, key: &YubiKey| {
        format!("{serial},{id},{},{},,2026-01-01T00:00:00,\n", key.private_id_hex(), key.secret_hex())
    };
    let file = stage.folder().join("keys.csv");
    let lines = [line("4711", "cccccccccdff", &key), line("4712", "cccccccccdgg", &other)];
    std::fs::write(&file, lines.concat()).unwrap();
    stage.json(&["factor", "import", file.to_str().unwrap(), "--format", "yubico-csv"]);
    let mut browser = Browser::new(&stage);
    browser.sign_in(&user, &totp.code()).await;
    let page = browser.get("/account/token").await.ok();
    let typed = async |browser: &mut Browser, serial: &str, code: &str| {
        let fields = [("serial", serial), ("label", "My YubiKey"), ("code", code)];
        browser.submit(&page, "/account/token", &fields).await
    };
    let stranger = YubiKey::new("cccccccccdhh");
    for (serial, code) in
        [("", stranger.press()), ("4712", key.press()), ("4711", "123456".to_owned()), ("", String::new())]
    {
        let refused = typed(&mut browser, serial, &code).await;
        assert!(refused.status == 400 && refused.body.contains("belong together"), "{serial}: {}", refused.body);
        assert!(refused.body.contains("My YubiKey"), "what was typed is there again");
    }
    let otp = key.press();
    let taken = typed(&mut browser, "", &otp).await;
    assert_eq!((taken.status, taken.header("location")), (303, Some("/account?done=added")), "{}", taken.body);
    assert!(browser.get("/account").await.ok().body.contains("My YubiKey"));
    assert_eq!(typed(&mut browser, "", &key.press()).await.status, 400, "it is somebody's already");
    assert_eq!(stage.sign_in(&stage.app, &user, &otp).await.status, 400, "the OTP was spent by it");
    stage.sign_in(&stage.app, &user, &key.press()).await.ok();
    age_proofs(&stage, 301).await;
    assert_eq!(typed(&mut browser, "", &other.press()).await.status, 403);
    assert_eq!(browser.submit(&page, "/account/token", &[]).await.status, 403);
    assert_eq!(browser.get("/account/token").await.status, 303);
    assert_eq!(browser.get("/account/recovery").await.status, 303);
}
