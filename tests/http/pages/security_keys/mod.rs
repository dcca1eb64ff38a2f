//! Security keys on the pages, by a key in software: `/account/key`, `/login/key`, and the sign-in with a key beside the
//! password or alone.

mod enrolment;
mod policy;
mod sign_in;

use serde_json::Value;

use super::{Browser, Stage};
use crate::support::application::TestUser;
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

    /// A step-up by a key alone.
    async fn prove_by(&mut self, key: &mut SecurityKey) {
        let page = self.get("/account/step-up").await.ok();
        let asked = self.asked(&page, "/account/step-up", "/login/key", &[]).await;
        let answer = key.show(&asked.options);
        let fields = [("password", ""), ("otp", ""), ("key", &*answer), ("ceremony", &*asked.carried)];
        let proved = self.submit(&page, "/account/step-up", &fields).await;
        assert_eq!(proved.status, 303, "{}", proved.body);
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
