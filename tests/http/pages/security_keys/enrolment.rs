//! Enrolling a key, and what a key protects.

use super::super::age_proofs;
use super::{Browser, ORIGIN, SITE, Stage, person_with_key, shared};
use crate::support::application::PASSWORD;
use crate::support::requests::Answer;
use crate::support::security_key::SecurityKey;

#[tokio::test]
async fn a_registration_is_for_here_and_now_and_of_a_key_that_stays_in_its_device() {
    let stage = shared();
    let (_, _, mut first, mut browser) = person_with_key(&stage, "keys-registers").await;
    let weak = browser.get("/account/key").await;
    assert_eq!(weak.header("location"), Some("/account/step-up?next=%2Faccount%2Fkey&factor=strongest"));
    let account = browser.get("/account").await.ok();
    let weak = browser.post("/account/key/options", &[("form_token", form_token(&account))], &[]).await;
    assert_eq!(weak.status, 403, "a code was enough for the first key");
    browser.prove_by(&mut first).await;
    let mut synced = SecurityKey::new(ORIGIN);
    synced.is_synced = true;
    let refused = browser.enrol(&mut synced, None, "Synced").await;
    assert!(refused.status == 400 && refused.body.contains("may be copied"), "{}", refused.body);
    let mut elsewhere = SecurityKey::new("https://evil.example");
    assert_eq!(browser.enrol(&mut elsewhere, None, "Elsewhere").await.status, 400);
    let mut other = SecurityKey::new(ORIGIN);
    other.other_party = Some("evil.example");
    assert_eq!(browser.enrol(&mut other, None, "Other party").await.status, 400);
    // One form enrols one key.
    let mut key = SecurityKey::new(ORIGIN);
    let page = browser.get("/account/key").await.ok();
    let asked = browser.asked(&page, "/account/key", "/account/key/options", &[]).await;
    let answer = key.make(&asked.options, None);
    let fields = [("label", "Once"), ("key", &*answer), ("ceremony", &*asked.carried)];
    assert_eq!(browser.submit(&page, "/account/key", &fields).await.status, 303);
    assert_eq!(browser.submit(&page, "/account/key", &fields).await.status, 400);
    let mut twin = SecurityKey::new(ORIGIN);
    let answer = twin.make(&asked.options, None);
    let fields = [("label", "Twice"), ("key", &*answer), ("ceremony", &*asked.carried)];
    assert_eq!(browser.submit(&page, "/account/key", &fields).await.status, 400, "its challenge was answered");
    // What was made for one session is no other's.
    let (thief_user, thiefs) = stage.person("keys-thief");
    let mut thief = Browser::new(&stage);
    thief.sign_in(&thief_user, &thiefs.code()).await;
    let asked = browser.asked(&page, "/account/key", "/account/key/options", &[]).await;
    let answer = twin.make(&asked.options, None);
    let own = thief.get("/account/key").await.ok();
    let fields = [("label", "Thief's"), ("key", &*answer), ("ceremony", &*asked.carried)];
    assert_eq!(thief.submit(&own, "/account/key", &fields).await.status, 400);
    // A key that is enrolled is nobody else's, and is told to the browser so that it offers another one.
    let listed = asked.options["publicKey"]["excludeCredentials"].as_array().unwrap();
    let listed: Vec<_> = listed.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(listed, [first.id_text(), key.id_text()]);
    assert_eq!(thief.enrol(&mut key, None, "Taken").await.status, 400);
}

#[tokio::test]
async fn hazard_52_a_key_is_enrolled_after_a_fresh_step_up_alone() {
    let stage = Stage::new(SITE);
    let (user, totp) = stage.person("keys-stale");
    let mut browser = Browser::new(&stage);
    browser.sign_in(&user, &totp.code()).await;
    let page = browser.get("/account/key").await.ok();
    let asked = browser.asked(&page, "/account/key", "/account/key/options", &[]).await;
    age_proofs(&stage, 301).await;
    let moved = browser.get("/account/key").await;
    assert_eq!((moved.status, moved.header("location")), (303, Some("/account/step-up?next=%2Faccount%2Fkey")));
    assert_eq!(browser.ask(&page, "/account/key", "/account/key/options", &[]).await.status, 403);
    let mut key = SecurityKey::new(ORIGIN);
    let answer = key.make(&asked.options, None);
    let fields = [("label", "Late"), ("key", &*answer), ("ceremony", &*asked.carried)];
    assert_eq!(browser.submit(&page, "/account/key", &fields).await.status, 403);
    assert_eq!(stage.rows("factors").await, 1);
}

/// What a browser's forms carry.
fn form_token(page: &Answer) -> &str {
    page.body.split("name=\"form_token\" value=\"").nth(1).unwrap().split('"').next().unwrap()
}

/// Who has got hold of password and code can't put a key of their own beside the person's, nor take that one away.
#[tokio::test]
async fn hazard_51_factors_are_changed_by_the_strongest_of_them() {
    let stage = shared();
    let (user, totp, mut key, mut owner) = person_with_key(&stage, "keys-strongest").await;
    let mut thief = Browser::new(&stage);
    let account = thief.sign_in(&user, &totp.at(1)).await;
    let ids: Vec<&str> = account.body.split("href=\"/account/factors/").skip(1).collect();
    let removal = format!("/account/factors/{}/remove", ids[1].split('"').next().unwrap());
    // A page leads to the proof that its form would need, and the form asks for it once more.
    for asked in ["/account/totp", "/account/key", "/account/password", &*removal] {
        let moved = thief.get(asked).await;
        let location = moved.header("location").unwrap().to_owned();
        assert!(location.starts_with("/account/step-up?") && location.ends_with("&factor=strongest"), "{location}");
        let page = thief.get(&location).await.ok();
        assert!(page.body.contains("strongest"), "{}", page.body);
    }
    let own = ("form_token", form_token(&account));
    assert_eq!(thief.post("/account/key/options", &[own], &[]).await.status, 403);
    assert_eq!(thief.post(&removal, &[own], &[]).await.status, 403);
    let fields = [own, ("password", "a password of mine"), ("again", "a password of mine")];
    assert_eq!(thief.post("/account/password", &fields, &[]).await.status, 403);
    // The owner proves it by the key, here alone, and goes on.
    owner.prove_by(&mut key).await;
    owner.get("/account/totp").await.ok();
    // And beside the password.
    let page = owner.get("/account/step-up").await.ok();
    let asked = owner.asked(&page, "/account/step-up", "/login/key", &[("username", &user.name)]).await;
    let answer = key.show(&asked.options);
    let fields = [("password", PASSWORD), ("otp", ""), ("key", &*answer), ("ceremony", &*asked.carried)];
    assert_eq!(owner.submit(&page, "/account/step-up", &fields).await.status, 303);
}

#[tokio::test]
async fn a_step_up_takes_nobody_elses_key() {
    let stage = shared();
    let (_, _, _, mut browser) = person_with_key(&stage, "keys-mine").await;
    let (_, _, mut others, _) = person_with_key(&stage, "keys-others").await;
    let page = browser.get("/account/step-up").await.ok();
    let asked = browser.asked(&page, "/account/step-up", "/login/key", &[]).await;
    let answer = others.show(&asked.options);
    let fields = [("password", ""), ("otp", ""), ("key", &*answer), ("ceremony", &*asked.carried)];
    assert_eq!(browser.submit(&page, "/account/step-up", &fields).await.status, 400);
}
