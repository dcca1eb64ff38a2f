//! Signing in with a key: hazard 50 row by row, and what is listed for a name.

use serde_json::Value;

use super::{Browser, ORIGIN, Stage, person_with_key, shared};
use crate::support::application::{PASSWORD, TestUser};
use crate::support::requests::Answer;
use crate::support::security_key::SecurityKey;

#[tokio::test]
async fn a_key_is_enrolled_and_signs_in_beside_the_password_and_alone() {
    let stage = shared();
    let (user, _, mut key, mut browser) = person_with_key(&stage, "keys-all").await;
    let account = browser.get("/account").await.ok();
    assert!(account.body.contains("My key") && account.body.contains("Security key"), "{}", account.body);
    let mut other = Browser::new(&stage);
    let answer = other.sign_in_beside(&user, PASSWORD, &mut key).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/account")), "{}", answer.body);
    other.get("/account").await.ok();
    let mut alone = Browser::new(&stage);
    assert_eq!(alone.sign_in_alone(&mut key).await.status, 303);
    let account = alone.get("/account").await.ok();
    assert!(!account.body.contains("never used</p>\n<p><a href=\"/account/factors/"), "{}", account.body);
    let records = stage.audit().await;
    let done = records.iter().filter(|record| record["event"] == "sign_in" && record["outcome"] == "done");
    let of_user: Vec<_> = done.filter(|record| record["user"] == user.id.as_str()).collect();
    let factors = |record: &Value| record["factors"].as_array().unwrap().len();
    assert_eq!(of_user.iter().map(|record| factors(record)).collect::<Vec<_>>(), [2, 2, 1]);
    let listed = stage.json(&["factor", "list", "--user", &user.name]);
    assert!(listed.as_array().unwrap().iter().any(|factor| factor["kind"] == "webauthn"), "{listed}");
}

/// Hazard 50, row by row: what an honest key never sends.
#[tokio::test]
async fn hazard_50_an_assertion_that_is_not_for_here_and_now_proves_nothing() {
    let stage = shared();
    let (user, _, mut key, _) = person_with_key(&stage, "keys-refused").await;
    let (_, _, mut foreign, _) = person_with_key(&stage, "keys-foreign").await;
    let mut browser = Browser::new(&stage);
    key.origin = "https://evil.example".to_owned();
    assert_eq!(browser.sign_in_beside(&user, PASSWORD, &mut key).await.status, 400);
    key.origin = ORIGIN.to_owned();
    key.other_party = Some("evil.example");
    assert_eq!(browser.sign_in_beside(&user, PASSWORD, &mut key).await.status, 400);
    key.other_party = None;
    // It verified the person when it was enrolled: it must each time.
    key.verifies = false;
    assert_eq!(browser.sign_in_beside(&user, PASSWORD, &mut key).await.status, 400);
    assert_eq!(browser.sign_in_alone(&mut key).await.status, 400);
    key.verifies = true;
    key.is_synced = true;
    assert_eq!(browser.sign_in_beside(&user, PASSWORD, &mut key).await.status, 400);
    key.is_synced = false;
    assert_eq!(browser.sign_in_beside(&user, PASSWORD, &mut foreign).await.status, 400);
    assert_eq!(browser.sign_in_beside(&user, "wrong", &mut key).await.status, 400);
    // Made for another challenge.
    let (page, first) = browser.asked_beside(&user.name).await;
    let (_, second) = browser.asked_beside(&user.name).await;
    let answer = key.show(&first.options);
    assert_eq!(browser.submit_key(&page, &user.name, PASSWORD, &answer, &second.carried).await.status, 400);
    // For another name, another browser, another use.
    let answer = key.show(&second.options);
    assert_eq!(browser.submit_key(&page, "keys-foreign", PASSWORD, &answer, &second.carried).await.status, 400);
    assert_eq!(browser.submit_key(&page, "", "", &answer, &second.carried).await.status, 400);
    let (_, third) = browser.asked_beside(&user.name).await;
    let others_own = foreign.show(&third.options);
    assert_eq!(browser.submit_key(&page, "keys-foreign", PASSWORD, &others_own, &third.carried).await.status, 400);
    let mut other = Browser::new(&stage);
    let others = other.get("/login").await.ok();
    assert_eq!(other.submit_key(&others, &user.name, PASSWORD, &answer, &second.carried).await.status, 400);
    let expected = [
        "wrong_origin",
        "wrong_rp_id",
        "user_not_verified",
        "not_hardware_bound",
        "unknown_key",
        "wrong_password",
        "wrong_challenge",
    ];
    stage.refused_as(&user, &expected).await;
    // Nothing else was wrong with it.
    assert_eq!(browser.submit_key(&page, &user.name, PASSWORD, &answer, &second.carried).await.status, 303);
}

#[tokio::test]
async fn hazard_50_an_assertion_counts_once_also_of_many_at_once() {
    let stage = shared();
    let (user, _, mut key, _) = person_with_key(&stage, "keys-once").await;
    // A key without a counter: only the challenge tells a second time from the first.
    key.counter = 0;
    let (mut plain, totp) = (SecurityKey::new(ORIGIN), stage.add_totp(&user, &[]));
    plain.counter = 0;
    let mut browser = Browser::new(&stage);
    assert_eq!(browser.sign_in_beside(&user, PASSWORD, &mut key).await.status, 400, "a counter that is gone went back");
    key.counter = 9;
    assert_eq!(browser.sign_in_beside(&user, PASSWORD, &mut key).await.status, 303);
    drop(totp);
    assert_eq!(browser.enrol(&mut plain, None, "No counter").await.status, 303);
    let mut other = Browser::new(&stage);
    let page = other.get("/login").await.ok();
    let asked = other.asked(&page, "/login", "/login/key", &[]).await;
    let answer = plain.show(&asked.options);
    let mut copies: Vec<Browser> = (0..8).map(|_| other.copy()).collect();
    let mut tries = tokio::task::JoinSet::new();
    while let Some(mut copy) = copies.pop() {
        let (page, answer, carried) = (page.clone(), answer.clone(), asked.carried.clone());
        tries.spawn(async move { copy.submit_key(&page, "", "", &answer, &carried).await.status });
    }
    let mut statuses = tries.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 400, 400, 400, 400, 400, 400, 400]);
    assert!(stage.refusals(&user).await.contains("replayed_code"));
}

#[tokio::test]
async fn hazard_50_a_counter_that_goes_back_is_refused_and_told() {
    let stage = shared();
    let (user, _, mut key, _) = person_with_key(&stage, "keys-cloned").await;
    let mut browser = Browser::new(&stage);
    key.counter = 100;
    assert_eq!(browser.sign_in_beside(&user, PASSWORD, &mut key).await.status, 303);
    for counter in [100, 50] {
        key.counter = counter;
        let mut thief = Browser::new(&stage);
        assert_eq!(thief.sign_in_beside(&user, "not even the password", &mut key).await.status, 400);
        key.counter = counter;
        assert_eq!(thief.sign_in_alone(&mut key).await.status, 400);
    }
    stage.refused_as(&user, &["counter_went_back"]).await;
    assert!(stage.log().contains("counter"), "the log warns");
    key.counter = 101;
    assert_eq!(Browser::new(&stage).sign_in_alone(&mut key).await.status, 303);
}

/// The ids that are listed for a name.
async fn listed(stage: &Stage, name: &str) -> Vec<String> {
    let (_, asked) = Browser::new(stage).asked_beside(name).await;
    let listed = asked.options["publicKey"]["allowCredentials"].as_array().unwrap().clone();
    listed.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn hazard_53_as_many_keys_are_listed_for_every_name_and_the_same_each_time() {
    let stage = shared();
    let (user, _, key, _) = person_with_key(&stage, "keys-listed").await;
    let (bare, _) = stage.person("keys-none");
    let names = [&*user.name, &*bare.name, "keys-nobody", "keys-nobody-else"];
    let mut all = std::collections::BTreeSet::new();
    for name in names {
        let ids = listed(&stage, name).await;
        assert_eq!(ids.len(), 5, "{name}");
        assert_eq!(ids, listed(&stage, name).await, "{name}");
        assert_eq!(ids.contains(&key.id_text()), name == user.name, "{name}");
        all.extend(ids);
    }
    assert_eq!(all.len(), 20, "no two names share one");
    let shape = |answer: &Answer| {
        let mut told: Value = serde_json::from_str(&answer.body).unwrap();
        told["options"]["publicKey"]["challenge"] = Value::Null;
        told["options"]["publicKey"]["allowCredentials"] = Value::Null;
        (answer.status, told["options"].to_string())
    };
    let mut browser = Browser::new(&stage);
    let page = browser.get("/login").await.ok();
    let known = browser.ask(&page, "/login", "/login/key", &[("username", &user.name)]).await;
    let unknown = browser.ask(&page, "/login", "/login/key", &[("username", "keys-nobody")]).await;
    assert_eq!(shape(&known), shape(&unknown));
    // And an answer of a listed key proves nothing of a decoy, with the same page.
    let mut stray = SecurityKey::new(ORIGIN);
    let wrong = browser.sign_in_beside(&user, PASSWORD, &mut stray).await;
    let nobody = TestUser { name: "keys-nobody".to_owned(), id: String::new() };
    let unknown = browser.sign_in_beside(&nobody, PASSWORD, &mut stray).await;
    assert_eq!(wrong.distinguishing(), unknown.distinguishing());
}
