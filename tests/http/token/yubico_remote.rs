//! `grant_type=password` with a Yubico OTP whose key another validation server has: a second deployment of Signet, seen
//! through a go-between that can change what it says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signet_jose::clock::{Clock as _, SystemClock};

use crate::http::{ALL_GRANTS, Stage};
use crate::support::application::{AUDIENCE, Application, TestUser};
use crate::support::codes::YubiKey;
use crate::support::responder::Responder;
use crate::support::server::Server;
use crate::support::write_secret;

const PATH: &str = "/wsapi/2.0/verify";
const KEY: &str = "Eibja2kRFXXoW6hjZaiyBtWnCBA=";

/// A deployment that has the key of one YubiKey and knows the client 87.
fn elsewhere() -> (Server, YubiKey) {
    let server = Application::new("").serve();
    server.json_with(&["otp-client", "add", "signet", "--id", "87", "--key-stdin"], KEY);
    let key = YubiKey::new("ccccccbteudd");
    let private_id = key.private_id_hex();
    let arguments = ["otp-key", "add", "--public-id", "ccccccbteudd", "--private-id", &private_id];
    server.json_with(&[&arguments[..], &["--secret-key-stdin"]].concat(), &key.secret_hex());
    (server, key)
}

/// A deployment that asks these servers, and its user ann, whose key they have.
fn asking(urls: &[String]) -> (Stage, TestUser) {
    let application = Application::new("");
    write_secret(&application.folder().join("yubico.key"), KEY);
    let urls = urls.iter().map(|url| format!("{url:?}")).collect::<Vec<_>>().join(", ");
    let section = format!(
        "[yubico_validation]\nurls = [{urls}]\nclient_id = \"87\"\nkey_file = \"yubico.key\"\ntimeout = \"3s\"\n"
    );
    application.reconfigure(&section);
    let server = application.serve();
    let app = server.add_client("app", ALL_GRANTS, "read write");
    let ann = server.add_user("ann", "reader");
    server.json(&["factor", "add", "yubico-remote", "--user", "ann", "--public-id", "ccccccbteudd"]);
    (Stage { server, app }, ann)
}

fn refused() -> (u16, String) {
    (400, "invalid_grant".to_owned())
}

fn unavailable() -> (u16, String) {
    (503, "temporarily_unavailable".to_owned())
}

#[tokio::test]
async fn a_person_whose_key_another_server_has_signs_in_with_each_otp_once() {
    let (there, key) = elsewhere();
    let (stage, ann) = asking(&[format!("{}{PATH}", there.issuer())]);
    let otp = key.press();
    let answer = stage.sign_in(&stage.app, &ann, &otp).await.ok();
    let claims = super::verified(&stage, &answer.access_token(), AUDIENCE).await.claims;
    assert_eq!((&claims["sub"], &claims["acr"]), (&ann.id.as_str().into(), &"urn:signet:aal2".into()));
    assert!(claims["amr"].as_array().unwrap().contains(&"hwk".into()), "{claims}");
    assert_eq!(stage.sign_in(&stage.app, &ann, &otp).await.refusal(), refused());
    let foreign = format!("ccccccbteudd{}", &YubiKey::new("cccc").press()[4..]);
    assert_eq!(stage.sign_in(&stage.app, &ann, &foreign).await.refusal(), refused());
    stage.sign_in(&stage.app, &ann, &key.press().to_uppercase()).await.ok();
    stage.refused_as(&ann, &["replayed_code", "remote_bad_otp"]).await;
    let there = there.audit().await;
    let verified = there.iter().filter(|record| record["event"] == "otp.validated" && record["outcome"] == "done");
    assert_eq!(verified.count(), 2);
}

#[tokio::test]
async fn of_several_servers_the_first_trustworthy_ok_wins() {
    let (there, key) = elsewhere();
    let mute = Responder::new(|_| None);
    let garbled = Responder::new(|_| Some("<html>hello</html>".to_owned()));
    let nobody = "http://127.0.0.1:9/wsapi/2.0/verify".to_owned();
    let honest = format!("{}{PATH}", there.issuer());
    let (stage, ann) = asking(&[mute.url(PATH), nobody, garbled.url(PATH), honest]);
    let started = Instant::now();
    stage.sign_in(&stage.app, &ann, &key.press()).await.ok();
    assert!(started.elapsed() < Duration::from_secs(3), "nobody waits for the server that says nothing");
    assert_eq!((mute.asked(), garbled.asked()), (1, 1), "all of them were asked");
}

/// Somebody between a server and the one that it asks.
type Meddler = Arc<Mutex<Box<dyn FnMut(String) -> String + Send>>>;

#[tokio::test]
async fn an_answer_that_was_tampered_with_opens_nothing() {
    let (there, key) = elsewhere();
    let meddler: Meddler = Arc::new(Mutex::new(Box::new(|body| body)));
    let at_work = Arc::clone(&meddler);
    let between = Responder::between(there.address(), move |body| at_work.lock().unwrap()(body));
    let (stage, ann) = asking(&[between.url(PATH)]);
    let sign_in = async || {
        let before = between.asked();
        let answer = stage.sign_in(&stage.app, &ann, &key.press()).await;
        assert_eq!(between.asked(), before + 1);
        answer
    };
    let meddled = async |change: fn(String) -> String| {
        *meddler.lock().unwrap() = Box::new(change);
        sign_in().await
    };
    assert_eq!(meddled(|body| body).await.status, 200);
    let flipped = meddled(|body| body.replacen("sessionuse=1", "sessionuse=2", 1)).await;
    assert_eq!(flipped.refusal(), unavailable());
    let twice = meddled(|body| body.replacen("status=OK", "status=OK\r\nstatus=OK", 1)).await;
    assert_eq!(twice.refusal(), unavailable());
    let unsigned = meddled(|body| body.split_once("\r\n").unwrap().1.to_owned()).await;
    assert_eq!(unsigned.refusal(), unavailable());
    there.json(&["otp-key", "disable", "ccccccbteudd"]);
    let turned = meddled(|body| body.replacen("status=BAD_OTP", "status=OK", 1)).await;
    assert_eq!(turned.refusal(), unavailable());
    assert_eq!(meddled(|body| body).await.refusal(), refused());
    there.json(&["otp-key", "enable", "ccccccbteudd"]);
    let mut kept = None;
    *meddler.lock().unwrap() = Box::new(move |body| kept.get_or_insert(body).clone());
    assert_eq!(sign_in().await.status, 200);
    assert_eq!(sign_in().await.refusal(), unavailable(), "an old answer");
}

/// A server that says OK to everything, rightly signed, with these counters.
fn yes_to_all(counters: (u16, u8)) -> Responder {
    Responder::new(move |target| {
        let query = target.split_once('?').unwrap().1;
        let asked: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let at = SystemClock.now().to_string().replace('.', "Z0");
        let mut fields = BTreeMap::from([
            ("otp", asked["otp"].clone()),
            ("nonce", asked["nonce"].clone()),
            ("t", at.trim_end_matches('Z').to_owned()),
            ("status", "OK".to_owned()),
            ("sessioncounter", counters.0.to_string()),
            ("sessionuse", counters.1.to_string()),
        ]);
        let text: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &STANDARD.decode(KEY).unwrap());
        fields.insert("h", STANDARD.encode(hmac::sign(&key, text.join("&").as_bytes())));
        Some(fields.iter().map(|(name, value)| format!("{name}={value}\r\n")).collect())
    })
}

#[tokio::test]
async fn promise_4_a_server_that_accepts_an_otp_twice_does_not_make_it_good_twice() {
    let open = yes_to_all((5, 3));
    let (stage, ann) = asking(&[open.url(PATH)]);
    let otp = YubiKey::new("ccccccbteudd").press();
    let answers = stage
        .tokens_at_once(
            20,
            &[
                ("grant_type", "password"),
                ("username", "ann"),
                ("password", crate::support::application::PASSWORD),
                ("otp", &otp),
            ],
        )
        .await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    stage.refused_as(&ann, &["replayed_code"]).await;
}

/// Whether a server is asked depends on the OTP alone, so that time tells nothing of the person or the password.
#[tokio::test]
async fn hazard_53_promise_5_whoever_is_named_the_same_otps_are_asked_about() {
    let (there, key) = elsewhere();
    let between = Responder::between(there.address(), |body| body);
    let (stage, ann) = asking(&[between.url(PATH)]);
    let bob = stage.add_user("bob", "reader");
    let nobody = TestUser { name: "nobody".into(), id: String::new() };
    let answers = [
        stage.sign_in(&stage.app, &bob, &key.press()).await,
        stage.sign_in(&stage.app, &nobody, &key.press()).await,
        stage
            .post(
                "/oauth2/token",
                &stage.app,
                &[("grant_type", "password"), ("username", "ann"), ("password", "a wrong one"), ("otp", &key.press())],
            )
            .await,
        stage.sign_in(&stage.app, &ann, &format!("ccccccbteudd{}", &YubiKey::new("cccc").press()[4..])).await,
    ];
    assert_eq!(answers[0].refusal(), refused());
    assert!(answers.iter().all(|answer| answer.distinguishing() == answers[0].distinguishing()));
    assert_eq!(between.asked(), 4, "each was asked about");
    assert_eq!(stage.sign_in(&stage.app, &ann, &YubiKey::new("vvvvvvvvvvvv").press()).await.refusal(), refused());
    assert_eq!(between.asked(), 4, "strangers' OTPs are sent nowhere");
}

#[tokio::test]
async fn servers_that_are_all_gone_are_503_and_no_try() {
    let (stage, ann) = asking(&["http://127.0.0.1:9/wsapi/2.0/verify".to_owned()]);
    let otp = YubiKey::new("ccccccbteudd").press();
    for _ in 0..12 {
        let answer = stage.sign_in(&stage.app, &ann, &otp).await;
        assert_eq!(answer.refusal(), unavailable(), "an outage locks nobody out");
        assert!(answer.retry_after().is_some());
    }
}

#[tokio::test]
async fn a_key_has_one_counter_wherever_it_is_known() {
    let (stage, _) = asking(&["http://127.0.0.1:9/wsapi/2.0/verify".to_owned()]);
    let key = YubiKey::new("ccccccbteudd");
    let id = key.private_id_hex();
    let named = ["--public-id", "ccccccbteudd", "--private-id", &id, "--secret-key-stdin"];
    for command in [&["factor", "add", "yubico-otp", "--user", "ann"][..], &["otp-key", "add"]] {
        let output = stage.run_with(&[command, &named].concat(), &key.secret_hex());
        assert_eq!(output.code, Some(1), "{command:?}");
    }
    let section = "[yubico_validation]\nurls = [\"http://example.com/\"]\nclient_id = \"87\"\nkey_file = \"k\"\n";
    stage.reconfigure(section);
    let refused = stage.run(&["user", "list"]);
    assert!(refused.stderr.contains("`yubico_validation.urls"));
}
