//! Which keys are taken, and what they suffice for.

use super::{Browser, ORIGIN, SITE, Stage, shared};
use crate::support::application::PASSWORD;
use crate::support::security_key::{Maker, SecurityKey};

#[tokio::test]
async fn a_key_must_prove_its_make_where_that_is_asked_for() {
    let (maker, stranger, second) = (Maker::new([7; 16]), Maker::new([7; 16]), Maker::new([8; 16]));
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), format!("{}{}", maker.root, second.root)).unwrap();
    let models = "aaguids = [\"07070707-0707-0707-0707-070707070707\"]";
    let section = format!("attestation = \"required\"\ntrusted_roots = \"{}\"\n{models}", roots.path().display());
    let policy = "[policy]\nauthenticator_claim = true\n[policy.clients]\n\"signet:pages\" = [\"urn:signet:aal2\"]";
    let stage = Stage::new(&format!("{SITE}\n{section}\n{policy}"));
    let (user, totp) = stage.person("attested");
    let mut browser = Browser::new(&stage);
    browser.sign_in(&user, &totp.code()).await;
    for (maker, text) in
        [(None, "does not prove its make"), (Some(&stranger), "does not prove its make"), (Some(&second), "this model")]
    {
        let refused = browser.enrol(&mut SecurityKey::new(ORIGIN), maker, "Another").await;
        assert!(refused.status == 400 && refused.body.contains(text), "{text}: {}", refused.body);
    }
    let mut key = SecurityKey::new(ORIGIN);
    let added = browser.enrol(&mut key, Some(&maker), "Company key").await;
    assert_eq!(added.status, 303, "{}", added.body);
    let records = stage.audit().await;
    let refused = records.iter().filter(|record| record["event"] == "factor.changed" && record["outcome"] == "refused");
    let reasons: Vec<_> = refused.map(|record| record["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["not_attested", "model_not_allowed"], "told once each");
    let mut other = Browser::new(&stage);
    assert_eq!(other.sign_in_alone(&mut key).await.status, 303);
    let proved = stage.sql("SELECT acr || ' ' || amr FROM sessions ORDER BY created_at DESC LIMIT 1");
    assert!(proved.starts_with("urn:signet:aal3 ") && proved.contains("hwk") && proved.contains("pin"), "{proved}");
    let listed = stage.json(&["factor", "list", "--user", &user.name]);
    let listed = listed.as_array().unwrap().iter().find(|factor| factor["kind"] == "webauthn").unwrap();
    assert_eq!(listed["model"], "07070707-0707-0707-0707-070707070707");
}

#[tokio::test]
async fn a_key_without_a_pin_stands_beside_the_password_and_not_alone() {
    let stage = shared();
    let (user, totp) = stage.person("keys-no-pin");
    let mut browser = Browser::new(&stage);
    browser.sign_in(&user, &totp.code()).await;
    let mut key = SecurityKey::new(ORIGIN);
    key.verifies = false;
    assert_eq!(browser.enrol(&mut key, None, "No PIN").await.status, 303);
    assert_eq!(Browser::new(&stage).sign_in_alone(&mut key).await.status, 400);
    assert_eq!(Browser::new(&stage).sign_in_beside(&user, PASSWORD, &mut key).await.status, 303);
}

#[tokio::test]
async fn the_pages_sign_in_nobody_by_less_than_the_policy_asks_for() {
    let stage = Stage::new(&format!(
        "{SITE}\n[policy]\nrequire = [\"urn:signet:aal2\"]\n[policy.clients]\n\"signet:pages\" = [\"totp\", \"webauthn\"]"
    ));
    let (user, totp) = stage.person("policed");
    let yubikey = stage.add_yubico(&user, "cccccccccbbb");
    let mut browser = Browser::new(&stage);
    let refused = browser.try_sign_in(&user.name, PASSWORD, &yubikey.press()).await;
    assert!(refused.status == 403 && refused.body.contains("not strong enough"), "{}", refused.body);
    let records = stage.audit().await;
    assert!(
        records.iter().any(|record| record["event"] == "session.started" && record["reason"] == "sign_in_too_weak")
    );
    browser.sign_in(&user, &totp.code()).await;
    let page = browser.get("/account/step-up").await.ok();
    let weak = browser.submit(&page, "/account/step-up", &[("password", PASSWORD), ("otp", &yubikey.press())]).await;
    assert_eq!(weak.status, 403);
}

#[tokio::test]
async fn without_a_site_of_a_name_there_are_no_keys() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("keys-address");
    let mut browser = Browser::new(&stage);
    let page = browser.get("/login").await.ok();
    assert!(!page.body.contains("<script") && !page.body.contains("data-key"));
    assert_eq!(browser.ask(&page, "/login", "/login/key", &[]).await.status, 404);
    let account = browser.sign_in(&user, &totp.code()).await;
    assert!(!account.body.contains("/account/key"));
    assert_eq!(browser.get("/account/key").await.status, 404);
    assert_eq!(stage.get("/assets/webauthn.js").await.header("content-type"), Some("text/javascript; charset=utf-8"));
}
