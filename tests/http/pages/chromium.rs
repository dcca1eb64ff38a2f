//! The whole way in a real browser: its own implementation of WebAuthn, its own key, the page's own script.

use crate::support::application::{Application, PASSWORD};
use crate::support::webdriver::Chromium;

/// A person signs in with a code, enrols a key, and from then on signs in with it: beside the password, and alone.
#[tokio::test]
async fn a_key_of_chromium_is_enrolled_and_signs_in_beside_the_password_and_alone() {
    let server = Application::on_localhost("").serve();
    let ann = server.add_user("ann", "reader");
    let totp = server.add_totp(&ann, &[]);
    let site = server.issuer();
    let at = |path: &str| format!("{site}{path}");
    let browser = Chromium::start().await;
    browser.plug_in_key().await;

    browser.open(&at("/login")).await;
    browser.type_into("#username", "ann").await;
    browser.type_into("#password", PASSWORD).await;
    browser.type_into("#otp", &totp.code()).await;
    browser.click("form[action='/login'] button:not([type])").await;
    browser.arrive(&at("/account")).await;

    browser.click("a[href='/account/key']").await;
    browser.type_into("#label", "Ann's key").await;
    browser.click("button[data-key='make']").await;
    browser.arrive(&at("/account?done=added")).await;
    assert!(browser.source().await.contains("Signs you in without your password, too."), "it verified the person");

    browser.click("form[action='/logout'] button").await;
    browser.arrive(&at("/login?done=signed-out")).await;
    browser.type_into("#username", "ann").await;
    browser.type_into("#password", PASSWORD).await;
    browser.click("button[data-key='beside']").await;
    browser.arrive(&at("/account")).await;

    browser.click("form[action='/logout'] button").await;
    browser.arrive(&at("/login?done=signed-out")).await;
    browser.click("button[data-key='alone']").await;
    browser.arrive(&at("/account")).await;

    let records = server.audit().await;
    let done = records.iter().filter(|record| record["event"] == "sign_in" && record["outcome"] == "done");
    let factors: Vec<String> = done
        .map(|record| {
            let factors = record["factors"].as_array().unwrap().iter();
            factors.map(|factor| factor.as_str().unwrap().split(':').next().unwrap()).collect::<Vec<_>>().join("+")
        })
        .collect();
    assert_eq!(factors, ["password+totp", "password+webauthn", "webauthn"]);
}
