//! Security keys on the pages, by a key in software: `/account/key`, `/login/key`, and the sign-in with a key beside the
//! password or alone.

use serde_json::Value;

use super::{Browser, Stage, age_proofs};
use crate::support::application::{PASSWORD, TestUser};
use crate::support::codes::Totp;
use crate::support::requests::Answer;
use crate::support::security_key::{Maker, SecurityKey};
use crate::support::server::Shared;

const ORIGIN: &str = "https://id.example.org";
const SITE: &str = "[mfa.webauthn]\nrp_id = \"example.org\"\norigins = [\"https://id.example.org\"]";

fn shared() -> std::sync::Arc<Stage> {
    static SHARED: Shared<Stage> = Shared::new();
    SHARED.hold(|| Stage::new(SITE))
}

/// Options and what is carried, from an answer.
struct Asked {
    options: Value,
    carried: String,
}

impl Browser {
    /// Sends a form's hidden fields to where its script asks for a key's options.
    async fn ask(&mut self, page: &Answer, action: &str, from: &str, fields: &[(&str, &str)]) -> Answer {
        let token = page.body.split(&format!("action=\"{action}\"")).nth(1).unwrap();
        let token = token.split("name=\"form_token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        self.post(from, &[&[("form_token", &*token)], fields].concat(), &[]).await
    }

    async fn asked(&mut self, page: &Answer, action: &str, from: &str, fields: &[(&str, &str)]) -> Asked {
        let answer = self.ask(page, action, from, fields).await.ok();
        let told: Value = serde_json::from_str(&answer.body).unwrap();
        Asked { options: told["options"].clone(), carried: told["carried"].as_str().unwrap().to_owned() }
    }

    /// Enrols a key; the person is signed in, and was a moment ago.
    async fn enrol(&mut self, key: &mut SecurityKey, maker: Option<&Maker>, label: &str) -> Answer {
        let page = self.get("/account/key").await.ok();
        let asked = self.asked(&page, "/account/key", "/account/key/options", &[]).await;
        let answer = key.make(&asked.options, maker);
        let fields = [("label", label), ("key", &*answer), ("ceremony", &*asked.carried)];
        self.submit(&page, "/account/key", &fields).await
    }

    /// Asks for a key beside the password of this name.
    async fn asked_beside(&mut self, name: &str) -> (Answer, Asked) {
        let page = self.get("/login").await.ok();
        let asked = self.asked(&page, "/login", "/login/key", &[("username", name)]).await;
        (page, asked)
    }

    async fn sign_in_beside(&mut self, user: &TestUser, password: &str, key: &mut SecurityKey) -> Answer {
        let (page, asked) = self.asked_beside(&user.name).await;
        let answer = key.show(&asked.options);
        self.submit_key(&page, &user.name, password, &answer, &asked.carried).await
    }

    async fn submit_key(&mut self, page: &Answer, name: &str, password: &str, key: &str, carried: &str) -> Answer {
        let fields = [("username", name), ("password", password), ("otp", ""), ("key", key), ("ceremony", carried)];
        self.submit(page, "/login", &fields).await
    }

    async fn sign_in_alone(&mut self, key: &mut SecurityKey) -> Answer {
        let page = self.get("/login").await.ok();
        let asked = self.asked(&page, "/login", "/login/key", &[]).await;
        let answer = key.show(&asked.options);
        self.submit_key(&page, "", "", &answer, &asked.carried).await
    }
}

/// A person with a TOTP factor and an enrolled key, and the browser in which it was enrolled.
async fn person_with_key(stage: &Stage, name: &str) -> (TestUser, Totp, SecurityKey, Browser) {
    let (user, totp) = stage.person(name);
    let mut browser = Browser::new(stage);
    browser.sign_in(&user, &totp.code()).await;
    let mut key = SecurityKey::new(ORIGIN);
    let added = browser.enrol(&mut key, None, "My key").await;
    assert_eq!((added.status, added.header("location")), (303, Some("/account?done=added")), "{}", added.body);
    (user, totp, key, browser)
}

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
    let listed = stage.cli_json(&["factor", "list", "--user", &user.name], "");
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
    let mut other = Browser::new(&stage);
    let others = other.get("/login").await.ok();
    assert_eq!(other.submit_key(&others, &user.name, PASSWORD, &answer, &second.carried).await.status, 400);
    let reasons = stage.refusals(&user).await;
    let expected = [
        "wrong_origin",
        "wrong_rp_id",
        "user_not_verified",
        "user_not_verified",
        "not_hardware_bound",
        "unknown_key",
        "wrong_password",
        "wrong_challenge",
        "wrong_challenge",
    ];
    assert_eq!(reasons, expected);
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
    assert!(stage.refusals(&user).await.contains(&"replayed_code".to_owned()));
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
    assert_eq!(stage.refusals(&user).await, ["counter_went_back"; 4]);
    assert!(stage.log().contains("counter"), "the log warns");
    key.counter = 101;
    assert_eq!(Browser::new(&stage).sign_in_alone(&mut key).await.status, 303);
}

#[tokio::test]
async fn a_registration_is_for_here_and_now_and_of_a_key_that_stays_in_its_device() {
    let stage = shared();
    let (user, totp) = stage.person("keys-registers");
    let mut browser = Browser::new(&stage);
    browser.sign_in(&user, &totp.code()).await;
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
    assert_eq!(listed.iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>(), [key.id_text()]);
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

/// Who has got hold of password and code can't put a key of their own beside the person's, nor take that one away.
#[tokio::test]
async fn hazard_51_factors_are_changed_by_the_strongest_of_them() {
    let stage = shared();
    let (user, totp, mut key, mut owner) = person_with_key(&stage, "keys-strongest").await;
    let mut thief = Browser::new(&stage);
    let account = thief.sign_in(&user, &totp.at(1)).await;
    let refused = thief.get("/account/totp").await;
    assert!(refused.status == 403 && refused.body.contains("strongest"), "{}", refused.body);
    let page = thief.get("/account/key").await.ok();
    assert_eq!(thief.ask(&page, "/account/key", "/account/key/options", &[]).await.status, 403);
    let ids: Vec<&str> = account.body.split("href=\"/account/factors/").skip(1).collect();
    let removal = format!("/account/factors/{}/remove", ids[1].split('"').next().unwrap());
    let asked = thief.get(&removal).await.ok();
    assert_eq!(thief.submit(&asked, &removal, &[]).await.status, 403);
    // The owner proves it by the key, here alone, and goes on.
    let page = owner.get("/account/step-up").await.ok();
    let asked = owner.asked(&page, "/account/step-up", "/login/key", &[]).await;
    let answer = key.show(&asked.options);
    let fields = [("password", ""), ("otp", ""), ("key", &*answer), ("ceremony", &*asked.carried)];
    assert_eq!(owner.submit(&page, "/account/step-up", &fields).await.status, 303);
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
    let mut connection = crate::support::store::raw(&stage.database()).await;
    let acr = "SELECT acr || ' ' || amr FROM sessions ORDER BY created_at DESC LIMIT 1";
    let proved: String = sqlx::query_scalar(acr).fetch_one(&mut connection).await.unwrap();
    assert!(proved.starts_with("urn:signet:aal3 ") && proved.contains("hwk") && proved.contains("pin"), "{proved}");
    let listed = stage.cli_json(&["factor", "list", "--user", &user.name], "");
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
