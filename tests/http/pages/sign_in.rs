//! `/login` and `/logout`.

use super::{Browser, Stage};
use crate::support::application::{Application, PASSWORD};

#[tokio::test]
async fn a_person_signs_in_and_out() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("pages-in-and-out");
    let mut browser = Browser::new(&stage);
    assert_eq!(browser.get("/account").await.header("location"), Some("/login"), "nobody is signed in");
    let account = browser.sign_in(&user, &totp.code()).await;
    assert!(account.body.contains("Authenticator app") && account.body.contains("this browser"), "{}", account.body);
    assert_eq!(browser.get("/login").await.header("location"), Some("/account"));
    let mut kept = browser.copy();
    let out = browser.submit(&account, "/logout", &[]).await;
    assert_eq!((out.status, out.header("location")), (303, Some("/login?done=signed-out")));
    assert_eq!(browser.cookie, None);
    assert_eq!(kept.get("/account").await.status, 303, "the secret is worth nothing any more");
    let records = stage.audit().await;
    let of_user: Vec<_> = records.iter().filter(|record| record["user"] == user.id.as_str()).collect();
    let told: Vec<_> = of_user.iter().map(|record| record["event"].as_str().unwrap()).collect();
    assert_eq!(told[told.len() - 3..], ["sign_in", "session.started", "session.ended"]);
}

#[tokio::test]
async fn pages_are_protected_by_their_headers() {
    let stage = Stage::shared();
    let page = Browser::new(&stage).get("/login").await.ok();
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && policy.contains("script-src 'self';"), "{policy}");
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
        ("referrer-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    let cookie = page.header("set-cookie").unwrap();
    assert!(cookie.starts_with("signet=") && cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Lax"));
    assert!(cookie.contains("; Path=/") && !cookie.contains("Domain") && !cookie.contains("Secure"), "{cookie}");
    for inline in ["<script", " onclick", " style=", "javascript:"] {
        assert!(!page.body.contains(inline), "{inline}");
    }
    assert_eq!(stage.get("/assets/signet.css").await.ok().header("content-type"), Some("text/css; charset=utf-8"));
}

#[tokio::test]
async fn behind_tls_the_cookie_is_bound_to_the_host() {
    let server = Application::with_tls("").serve();
    let certificate = reqwest::Certificate::from_pem(server.certificate().as_bytes()).unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap();
    let page = http.get(format!("{}/login", server.issuer())).send().await.unwrap();
    let cookie = page.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-signet=") && cookie.contains("; Secure") && cookie.contains("; Path=/"));
    assert_eq!(page.headers()["strict-transport-security"], "max-age=31536000", "no later visit is without TLS");
}

/// Also where no page of ours is made: a path that is no text, another method, a form that is none.
#[tokio::test]
async fn refusals_are_protected_like_pages() {
    let stage = Stage::shared();
    let site = stage.issuer();
    let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    for (request, status) in [
        (http.get(format!("{site}/account/factors/%FF")), 400),
        (http.delete(format!("{site}/login")), 405),
        (http.post(format!("{site}/login")).body("{}"), 400),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status);
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let policy = header("content-security-policy").unwrap_or_default();
        assert!(policy.contains("frame-ancestors 'none'"), "{status}: {policy}");
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{status}");
        assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{status}");
        assert_eq!(header("strict-transport-security"), None, "without TLS it means nothing");
    }
    for path in ["/account/nothing", "/oauth2/jwks"] {
        assert_eq!(stage.get(path).await.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
}

#[tokio::test]
async fn hazard_51_a_sign_in_that_is_too_weak_for_the_pages_begins_no_session() {
    let stage = Stage::new("[policy]\nrequire = [\"yubico_otp\"]\n");
    let (user, totp) = stage.person("weak");
    let key = stage.add_yubico(&user, "ccccccbteuff");
    let mut browser = Browser::new(&stage);
    let weak = browser.try_sign_in(&user.name, PASSWORD, &totp.code()).await;
    assert!(weak.status == 403 && weak.body.contains("not strong enough"), "{}", weak.body);
    assert_eq!((browser.get("/account").await.status, stage.rows("sessions").await), (303, 0));
    // Who knows less than everything learns nothing of it.
    assert_eq!(browser.try_sign_in(&user.name, "wrong", &totp.at(1)).await.status, 400);
    browser.sign_in(&user, &key.press()).await;
    let page = browser.get("/account/step-up").await.ok();
    let weaker = browser.submit(&page, "/account/step-up", &[("password", PASSWORD), ("otp", &totp.at(1))]).await;
    assert_eq!(weaker.status, 403, "a step down is no step up");
    browser.get("/account").await.ok();
}

/// Every failure is one page; only the throttle's is another, and it comes for unknown names too.
#[tokio::test]
async fn hazard_53_no_failed_sign_in_page_can_be_told_from_another() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("pages-known");
    let bare = stage.add_user("pages-bare", "reader");
    let mut browser = Browser::new(&stage);
    let unknown = browser.try_sign_in("pages-nobody", PASSWORD, "123456").await;
    assert_eq!(unknown.status, 400);
    for (name, password, code) in [
        (&*user.name, "wrong", &*totp.code()),
        (&*user.name, PASSWORD, &*totp.wrong()),
        (&*user.name, PASSWORD, ""),
        (&*bare.name, PASSWORD, "123456"),
    ] {
        let answer = browser.try_sign_in(name, password, code).await;
        assert_eq!(answer.distinguishing(), unknown.distinguishing(), "{name}");
    }
    assert!(!unknown.body.contains("pages-nobody"), "what was typed is not shown again");
    assert_eq!(browser.get("/account").await.header("location"), Some("/login"));
}

#[tokio::test]
async fn hazard_45_guessing_on_the_page_is_limited() {
    let stage = Stage::new("[mfa]\ntries = 2\npause = \"12m\"");
    let (user, totp) = stage.person("guessed");
    let mut browser = Browser::new(&stage);
    for _ in 0..2 {
        assert_eq!(browser.try_sign_in(&user.name, PASSWORD, &totp.wrong()).await.status, 400);
    }
    let limited = browser.try_sign_in(&user.name, PASSWORD, &totp.code()).await;
    assert_eq!((limited.status, limited.retry_after()), (400, None), "as if it were wrong");
    assert!(limited.body.contains("too many wrong tries"), "the text of every refusal says that it may be that");
    let elsewhere = stage.sign_in(&stage.app, &user, &totp.at(1)).await;
    assert_eq!(elsewhere.status, 400, "tries on the page count at the token endpoint");
}

/// A sign-in form from another site would sign a person in as somebody else.
#[tokio::test]
async fn hazard_36_a_form_of_another_site_is_403() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("pages-forged");
    let mut browser = Browser::new(&stage);
    let page = browser.get("/login").await.ok();
    let code = totp.code();
    let typed = [("username", &*user.name), ("password", PASSWORD), ("otp", &*code)];
    assert_eq!(browser.post("/login", &typed, &[]).await.status, 403, "no token");
    let mut other = Browser::new(&stage);
    let others = other.get("/login").await.ok();
    assert_eq!(browser.submit(&others, "/login", &typed).await.status, 403, "another browser's token");
    let token = page.body.split("name=\"form_token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let with_token = [&typed[..], &[("form_token", &*token)]].concat();
    for header in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(browser.post("/login", &with_token, &[header]).await.status, 403, "{header:?}");
    }
    let mut without_cookie = Browser::new(&stage);
    assert_eq!(without_cookie.post("/login", &with_token, &[]).await.status, 403);
    assert_eq!(browser.post("/login", &with_token, &[]).await.status, 303, "nothing else was wrong, and no code spent");
}
