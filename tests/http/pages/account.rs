//! `/account`: a person's own factors.

use super::{Browser, Stage, age_proofs};
use crate::support::application::PASSWORD;
use crate::support::codes::Totp;
use crate::support::requests::Answer;

/// The secret that a page shows, as an app reads it.
fn scanned(page: &Answer) -> Totp {
    let uri = page.body.split("<a href=\"otpauth://").nth(1).unwrap().split('"').next().unwrap();
    Totp::new(&format!("otpauth://{}", uri.replace("&amp;", "&").replace("&#38;", "&")))
}

fn factor_ids(account: &Answer) -> Vec<String> {
    let links = account.body.split("href=\"/account/factors/").skip(1);
    links.map(|link| link.split('"').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_authenticator_app_is_set_up_by_a_code_which_is_spent() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("pages-enrols");
    let mut browser = Browser::new(&stage);
    browser.sign_in(&user, &totp.code()).await;
    let page = browser.get("/account/totp").await.ok();
    assert!(page.body.contains("<svg") && page.body.contains("<path"), "a QR code");
    let app = scanned(&page);
    let wrong = browser.submit(&page, "/account/totp", &[("label", "Phone"), ("code", &app.wrong())]).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("does not fit") && wrong.body.contains("value=\"Phone\""), "{}", wrong.body);
    assert_eq!(scanned(&wrong).code(), app.code(), "the same secret is shown again");
    let code = app.code();
    let done = browser.submit(&wrong, "/account/totp", &[("label", "Phone"), ("code", &code)]).await;
    assert_eq!((done.status, done.header("location")), (303, Some("/account?done=added")), "{}", done.body);
    let again = browser.submit(&wrong, "/account/totp", &[("label", "Twice"), ("code", &app.at(1))]).await;
    assert_eq!(again.status, 400, "one form sets up one factor");
    let account = browser.get("/account?done=added").await.ok();
    assert!(account.body.contains("Phone") && !account.body.contains("Twice"), "{}", account.body);
    // The code was spent: it signs nobody in. The next one does.
    assert_eq!(stage.sign_in(&stage.app, &user, &code).await.status, 400);
    stage.sign_in(&stage.app, &user, &app.at(1)).await.ok();
}

#[tokio::test]
async fn a_pending_secret_is_good_in_its_own_session_alone() {
    let stage = Stage::shared();
    let (one, totp) = stage.person("pages-pending");
    let (two, others) = stage.person("pages-thief");
    let (mut browser, mut thief) = (Browser::new(&stage), Browser::new(&stage));
    browser.sign_in(&one, &totp.code()).await;
    thief.sign_in(&two, &others.code()).await;
    let page = browser.get("/account/totp").await.ok();
    let own = thief.get("/account/totp").await.ok();
    let field = |page: &Answer, name: &str| {
        page.body.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let (token, pending) = (field(&own, "form_token"), field(&page, "pending"));
    let code = scanned(&page).code();
    let mut tampered = field(&own, "pending");
    let first = if tampered.starts_with('e') { "f" } else { "e" };
    tampered.replace_range(..1, first);
    for carried in [&*pending, &*tampered, "", "a.b", "."] {
        let fields = [("form_token", &*token), ("pending", carried), ("label", "Stolen"), ("code", &*code)];
        assert_eq!(thief.post("/account/totp", &fields, &[]).await.status, 400, "{carried}");
    }
    assert!(!thief.get("/account").await.ok().body.contains("Stolen"));
    assert_eq!(stage.get("/readyz").await.status, 200, "the HSM was not asked to open any of it");
}

#[tokio::test]
async fn a_factor_is_named_and_what_was_typed_is_escaped() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("pages-names");
    let mut browser = Browser::new(&stage);
    let account = browser.sign_in(&user, &totp.code()).await;
    let [id] = &factor_ids(&account)[..] else { panic!("one factor") };
    let action = format!("/account/factors/{id}/name");
    let page = browser.get(&format!("/account/factors/{id}")).await.ok();
    let named = browser.submit(&page, &action, &[("label", "<b>My \"phone\"</b>")]).await;
    assert_eq!((named.status, named.header("location")), (303, Some("/account?done=renamed")));
    let account = browser.get("/account").await.ok();
    assert!(!account.body.contains("<b>") && account.body.contains("My"), "{}", account.body);
    assert_eq!(browser.submit(&page, &action, &[("label", &"x".repeat(500))]).await.status, 400);
    assert_eq!(browser.submit(&page, &action, &[("label", "")]).await.status, 400);
}

#[tokio::test]
async fn hazard_52_adding_or_removing_a_factor_without_a_fresh_step_up_is_403() {
    let stage = Stage::new("");
    let (user, totp) = stage.person("stale");
    stage.add_totp(&user, &["--label", "Spare"]);
    let mut browser = Browser::new(&stage);
    let account = browser.sign_in(&user, &totp.code()).await;
    let id = factor_ids(&account).pop().unwrap();
    let removal = format!("/account/factors/{id}/remove");
    let (enrolment, asked) = (browser.get("/account/totp").await.ok(), browser.get(&removal).await.ok());
    let app = scanned(&enrolment);
    age_proofs(&stage, 301).await;
    // The pages ask for the proof; forms that come without it are refused.
    let moved = browser.get("/account/totp").await;
    assert_eq!((moved.status, moved.header("location")), (303, Some("/account/step-up?next=%2Faccount%2Ftotp")));
    assert_eq!(browser.get(&removal).await.status, 303);
    let added = browser.submit(&enrolment, "/account/totp", &[("label", "Late"), ("code", &app.code())]).await;
    assert_eq!((added.status, browser.submit(&asked, &removal, &[]).await.status), (403, 403));
    assert_eq!(stage.rows("factors").await, 2);
    let refused = stage.audit().await;
    assert!(refused.iter().any(|record| record["reason"] == "step_up_needed" && record["user"] == user.id.as_str()));
    // A proof from the future, after the clock went back, is no fresh one either.
    age_proofs(&stage, -3600).await;
    assert_eq!(browser.submit(&asked, &removal, &[]).await.status, 403);
    // After the step-up it goes on where it was asked for.
    let page = browser.get(&format!("/account/step-up?next={}", removal.replace('/', "%2F"))).await.ok();
    let proved = browser.submit(&page, "/account/step-up", &[("password", PASSWORD), ("otp", &totp.at(1))]).await;
    assert_eq!((proved.status, proved.header("location")), (303, Some(&*removal)), "{}", proved.body);
    let page = browser.get(&removal).await.ok();
    let removed = browser.submit(&page, &removal, &[]).await;
    assert_eq!((removed.status, removed.header("location")), (303, Some("/login?done=removed")));
    assert_eq!(browser.get("/account").await.status, 303, "every session ends with a factor");
    assert_eq!(stage.rows("factors").await, 1);
}

#[tokio::test]
async fn the_only_factor_and_other_peoples_stay() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("pages-only");
    let (other, others) = stage.person("pages-neighbour");
    let (mut browser, mut neighbour) = (Browser::new(&stage), Browser::new(&stage));
    let account = browser.sign_in(&user, &totp.code()).await;
    let id = factor_ids(&account).pop().unwrap();
    let removal = format!("/account/factors/{id}/remove");
    let page = browser.get(&removal).await.ok();
    let refused = browser.submit(&page, &removal, &[]).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("only factor"), "{}", refused.body);
    let own = neighbour.sign_in(&other, &others.code()).await;
    let token = own.body.split("form_token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    for path in ["", "/remove"] {
        assert_eq!(neighbour.get(&format!("/account/factors/{id}{path}")).await.status, 404);
    }
    for path in ["name", "remove"] {
        let fields = [("form_token", &*token), ("label", "Mine")];
        assert_eq!(neighbour.post(&format!("/account/factors/{id}/{path}"), &fields, &[]).await.status, 404);
    }
    browser.get("/account").await.ok();
}

#[tokio::test]
async fn hazard_52_of_two_removals_at_once_one_leaves_a_factor() {
    let stage = Stage::shared();
    for round in 0..4 {
        let (user, totp) = stage.person(&format!("pages-race-{round}"));
        stage.add_totp(&user, &["--label", "Spare"]);
        let mut one = Browser::new(&stage);
        let account = one.sign_in(&user, &totp.code()).await;
        let paths: Vec<_> = factor_ids(&account).iter().map(|id| format!("/account/factors/{id}/remove")).collect();
        let mut two = one.copy();
        let (first, second) = (one.get(&paths[0]).await.ok(), two.get(&paths[1]).await.ok());
        let answers = tokio::join!(one.submit(&first, &paths[0], &[]), two.submit(&second, &paths[1], &[]));
        let locations = [answers.0.header("location"), answers.1.header("location")];
        let removed = locations.iter().filter(|location| **location == Some("/login?done=removed")).count();
        assert_eq!(removed, 1, "{locations:?}");
        let left = stage.json(&["factor", "list", "--user", &user.name]);
        assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
    }
}

/// A factor that proves nothing, and recovery codes, which stand in for one, do not keep a person signed up.
#[tokio::test]
async fn the_only_usable_factor_stays() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("pages-usable");
    let listed = |stage: &Stage| stage.json(&["factor", "list", "--user", "pages-usable"]);
    let first = listed(&stage)[0]["id"].as_str().unwrap().to_owned();
    stage.add_totp(&user, &["--label", "Lost"]);
    stage.json(&["factor", "add", "recovery", "--user", &user.name]);
    let lost =
        listed(&stage).as_array().unwrap().iter().find(|factor| factor["label"] == "Lost").unwrap()["id"].clone();
    let lost = lost.as_str().unwrap().to_owned();
    stage.json(&["factor", "disable", &lost]);
    let mut browser = Browser::new(&stage);
    browser.sign_in(&user, &totp.code()).await;
    let removal = |id: &str| format!("/account/factors/{id}/remove");
    let page = browser.get(&removal(&first)).await.ok();
    let refused = browser.submit(&page, &removal(&first), &[]).await;
    assert!(refused.status == 400 && refused.body.contains("only factor"), "{} {}", refused.status, refused.body);
    let page = browser.get(&removal(&lost)).await.ok();
    assert_eq!(browser.submit(&page, &removal(&lost), &[]).await.status, 303);
}
