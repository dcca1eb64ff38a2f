//! `/wsapi/2.0/verify`: the validation protocol's server, asked by a client that the test makes from the protocol's text.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::task::JoinSet;

use super::Stage;
use crate::support::application::Application;
use crate::support::codes::YubiKey;
use crate::support::requests::{self, Answer, form};
use crate::support::responder::Responder;

/// A client of the protocol.
#[derive(Clone)]
struct Asker {
    url: String,
    id: String,
    key: Vec<u8>,
}

/// An answer whose signature was checked.
#[derive(Debug)]
struct Verified(BTreeMap<String, String>);

impl Verified {
    fn status(&self) -> &str {
        &self.0["status"]
    }
}

fn signature(key: &[u8], fields: &BTreeMap<String, String>) -> String {
    let text: Vec<_> = fields.iter().filter(|(name, _)| *name != "h").map(|(k, v)| format!("{k}={v}")).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    STANDARD.encode(hmac::sign(&key, text.join("&").as_bytes()))
}

/// Reads an answer as the protocol has it: lines of CRLF, an empty one at the end, `h` over all the others.
fn read(answer: &Answer, key: &[u8]) -> Verified {
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
    let body = answer.body.strip_suffix("\r\n\r\n").unwrap_or_else(|| panic!("no end: {:?}", answer.body));
    let mut fields = BTreeMap::new();
    for line in body.split("\r\n") {
        let (name, value) = line.split_once('=').unwrap();
        assert!(fields.insert(name.to_owned(), value.to_owned()).is_none(), "twice: {name}");
    }
    assert_eq!(fields["h"], signature(key, &fields), "{body}");
    Verified(fields)
}

impl Asker {
    fn add(stage: &Application, name: &str, options: &[&str]) -> Self {
        let added = stage.json(&[&["otp-client", "add", name], options].concat());
        Self {
            url: format!("{}/wsapi/2.0/verify", stage.issuer()),
            id: added["id"].to_string(),
            key: STANDARD.decode(added["api_key"].as_str().unwrap()).unwrap(),
        }
    }

    /// The fields of a signed request, changed by `extra`.
    fn fields(&self, otp: &str, nonce: &str, extra: &[(&str, &str)]) -> BTreeMap<String, String> {
        let asked = [("id", self.id.as_str()), ("otp", otp), ("nonce", nonce)];
        let mut fields: BTreeMap<String, String> =
            asked.iter().chain(extra).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        fields.insert("h".into(), signature(&self.key, &fields));
        fields
    }

    async fn send(&self, fields: &BTreeMap<String, String>) -> Answer {
        let pairs: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        requests::get(&format!("{}?{}", self.url, form(&pairs))).await
    }

    async fn verify_with(&self, otp: &str, nonce: &str, extra: &[(&str, &str)]) -> Verified {
        let verified = read(&self.send(&self.fields(otp, nonce, extra)).await, &self.key);
        assert_eq!((verified.0["otp"].as_str(), verified.0["nonce"].as_str()), (otp, nonce));
        verified
    }

    async fn verify(&self, otp: &str, nonce: &str) -> String {
        self.verify_with(otp, nonce, &[]).await.status().to_owned()
    }
}

/// Adds a key that is no user's.
fn add_key(stage: &Application, public_id: &str) -> YubiKey {
    let key = YubiKey::new(public_id);
    let private_id = key.private_id_hex();
    let arguments = ["otp-key", "add", "--public-id", public_id, "--private-id", &private_id, "--secret-key-stdin"];
    stage.json_with(&arguments, &key.secret_hex());
    key
}

const NONCE: &str = "0123456789abcdef";
const OTHER: &str = "fedcba9876543210";

#[tokio::test]
async fn an_otp_is_verified_once_and_every_field_of_the_answer_is_signed() {
    let stage = Stage::shared();
    let (asker, key) = (Asker::add(&stage, "vpn", &[]), add_key(&stage, "vvvvvvvvvvcb"));
    let otp = key.otp(19, 17);
    let verified = asker.verify_with(&otp, NONCE, &[("timestamp", "1"), ("sl", "50"), ("timeout", "8")]).await;
    assert_eq!(verified.status(), "OK");
    let told = ["timestamp", "sessioncounter", "sessionuse", "sl"].map(|name| verified.0[name].as_str());
    assert_eq!(told, ["591879", "19", "17", "100"]);
    assert_eq!(verified.0["t"].len(), "2026-01-01T00:00:00Z0123".len());
    assert_eq!(asker.verify(&otp, NONCE).await, "REPLAYED_REQUEST");
    assert_eq!(asker.verify(&otp, OTHER).await, "REPLAYED_OTP");
    assert_eq!(asker.verify(&key.otp(19, 16), NONCE).await, "REPLAYED_OTP");
    let later = asker.verify_with(&key.otp(20, 0).to_uppercase(), OTHER, &[]).await;
    assert_eq!((later.status(), later.0.contains_key("timestamp")), ("OK", false));
}

#[tokio::test]
async fn hazard_120_head_and_options_spend_no_otp() {
    let stage = Stage::shared();
    let (asker, key) = (Asker::add(&stage, "prober", &[]), add_key(&stage, "vvvvvvvvvvce"));
    let fields = asker.fields(&key.press(), NONCE, &[]);
    let pairs: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let url = format!("{}?{}", asker.url, form(&pairs));
    for method in [reqwest::Method::HEAD, reqwest::Method::OPTIONS] {
        let answer = requests::send(|http| http.request(method.clone(), &url)).await;
        assert_eq!(
            (answer.status, answer.header("allow").map(|allowed| allowed.contains("HEAD"))),
            (405, Some(false)),
            "{method}"
        );
    }
    assert_eq!(read(&asker.send(&fields).await, &asker.key).status(), "OK", "nothing had spent it");
}

#[tokio::test]
async fn a_post_is_verified_like_a_get() {
    let stage = Stage::shared();
    let (asker, key) = (Asker::add(&stage, "poster", &[]), add_key(&stage, "vvvvvvvvvvcd"));
    let fields = asker.fields(&key.press(), NONCE, &[]);
    let pairs: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = requests::post(&asker.url, None, &pairs).await;
    assert_eq!(read(&answer, &asker.key).status(), "OK");
    let other = requests::send(|http| http.put(&asker.url)).await;
    assert_eq!(other.status, 405);
}

#[tokio::test]
async fn each_fault_of_a_request_has_its_status() {
    let stage = Stage::new("");
    let (asker, key) = (Asker::add(&stage, "vpn", &[]), add_key(&stage, "vvvvvvvvvvcb"));
    let strict = Asker::add(&stage, "strict", &["--require-signature"]);
    let otp = key.press();
    let ask = async |extra: &[(&str, &str)]| {
        read(&asker.send(&asker.fields(&otp, NONCE, extra)).await, &asker.key).status().to_owned()
    };
    assert_eq!(ask(&[("otp", "")]).await, "MISSING_PARAMETER");
    assert_eq!(ask(&[("nonce", "short")]).await, "MISSING_PARAMETER");
    assert_eq!(ask(&[("sl", "101")]).await, "MISSING_PARAMETER");
    assert_eq!(ask(&[("otp", "123456")]).await, "BAD_OTP");
    assert_eq!(ask(&[("otp", &YubiKey::new("vvvvvvvvvvvv").press())]).await, "BAD_OTP");
    let foreign = format!("vvvvvvvvvvcb{}", &YubiKey::new("vvvvvvvvvvvv").press()[12..]);
    assert_eq!(ask(&[("otp", &foreign)]).await, "BAD_OTP");

    let mut forged = asker.fields(&otp, NONCE, &[]);
    forged.insert("timestamp".into(), "1".into());
    assert_eq!(read(&asker.send(&forged).await, &asker.key).status(), "BAD_SIGNATURE");
    let mut unsigned = strict.fields(&otp, NONCE, &[]);
    unsigned.remove("h");
    assert_eq!(read(&strict.send(&unsigned).await, &strict.key).status(), "BAD_SIGNATURE");

    // Where there is no client, there is no key to sign with.
    let of_nobody = Asker { id: "4711".into(), key: Vec::new(), ..asker.clone() };
    assert_eq!(of_nobody.verify(&otp, NONCE).await, "NO_SUCH_CLIENT");
    let twice = requests::get(&format!("{}?id={}&id=2&otp={otp}&nonce={NONCE}", asker.url, asker.id)).await;
    assert_eq!(read(&twice, b"").status(), "MISSING_PARAMETER");
    assert_eq!(read(&requests::get(&asker.url).await, b"").status(), "MISSING_PARAMETER");

    stage.json(&["otp-client", "disable", "strict"]);
    assert_eq!(strict.verify(&otp, NONCE).await, "OPERATION_NOT_ALLOWED");
    stage.json(&["otp-key", "disable", "vvvvvvvvvvcb"]);
    assert_eq!(asker.verify(&otp, NONCE).await, "BAD_OTP");
    stage.json(&["otp-key", "enable", "vvvvvvvvvvcb"]);

    // None of all that spent the OTP, and an unsigned request is the protocol's.
    let mut unsigned = asker.fields(&otp, NONCE, &[]);
    unsigned.remove("h");
    assert_eq!(read(&asker.send(&unsigned).await, &asker.key).status(), "OK");
    stage.json(&["otp-client", "remove", "vpn", "--yes"]);
    assert_eq!(read(&asker.send(&asker.fields(&otp, NONCE, &[])).await, b"").status(), "NO_SUCH_CLIENT");
}

#[tokio::test]
async fn hazard_48_the_audit_record_says_why_an_otp_was_refused() {
    let stage = Stage::new("");
    let (asker, key) = (Asker::add(&stage, "vpn", &[]), add_key(&stage, "vvvvvvvvvvcb"));
    let wrong_private_id = key.typed(YubiKey::block_of([0; 6], 6, 1));
    let wrong_crc = key.typed([7; 16]);
    let unknown = YubiKey::new("vvvvvvvvvvvv").press();
    for otp in [&key.otp(5, 5), &key.otp(5, 4), &wrong_private_id, &wrong_crc, &unknown] {
        asker.verify(otp, NONCE).await;
    }
    let records = stage.audit().await;
    let told = records.iter().filter(|record| record["event"] == "otp.validated");
    let told: Vec<_> = told.map(|record| (record["outcome"].clone(), record["reason"].clone())).collect();
    let reasons = ["replayed_code", "wrong_private_id", "wrong_block", "unknown_key"];
    assert_eq!(told[0], ("done".into(), serde_json::Value::Null));
    assert_eq!(told[1..], reasons.map(|reason| ("refused".into(), reason.into())));
    let log = stage.log();
    assert!(!log.contains(&key.otp(5, 5)[12..]) && !format!("{records:?}").contains(&key.otp(5, 5)[12..]));
}

/// One counter for sign-in and validation, and no key may have two.
#[tokio::test]
async fn promise_4_an_otp_is_accepted_once_wherever_it_is_shown() {
    let stage = Stage::new("");
    let asker = Asker::add(&stage, "vpn", &[]);
    let user = stage.add_user("yubi", "reader");
    let key = stage.add_yubico(&user, "ccccccbteudd");
    let (first, second, third) = (key.press(), key.press(), key.press());
    stage.sign_in(&stage.app, &user, &first).await.ok();
    assert_eq!(asker.verify(&first, NONCE).await, "REPLAYED_OTP");
    assert_eq!(asker.verify(&second, NONCE).await, "OK");
    assert_eq!(stage.sign_in(&stage.app, &user, &second).await.refusal(), (400, "invalid_grant".to_owned()));
    stage.json(&["user", "disable", "yubi"]);
    assert_eq!(asker.verify(&third, NONCE).await, "BAD_OTP");

    let private_id = key.private_id_hex();
    let twice = ["otp-key", "add", "--public-id", "ccccccbteudd", "--private-id", &private_id, "--secret-key-stdin"];
    assert_eq!(stage.run_with(&twice, &key.secret_hex()).code, Some(1));
    add_key(&stage, "vvvvvvvvvvcb");
    let taken = ["factor", "add", "yubico-otp", "--user", "yubi", "--public-id", "vvvvvvvvvvcb", "--private-id"];
    let taken = [&taken[..], &[&private_id, "--secret-key-stdin"]].concat();
    assert_eq!(stage.run_with(&taken, &key.secret_hex()).code, Some(1));
}

#[tokio::test]
async fn hazard_49_a_verified_otp_is_spent_for_good_also_by_a_server_that_is_killed() {
    let mut stage = Stage::new("");
    let (asker, key) = (Asker::add(&stage, "vpn", &[]), add_key(&stage, "vvvvvvvvvvcb"));
    for _ in 0..3 {
        let otp = key.press();
        assert_eq!(asker.verify(&otp, NONCE).await, "OK");
        stage.server.kill_and_restart();
        assert_eq!(asker.verify(&otp, OTHER).await, "REPLAYED_OTP");
        assert_eq!(asker.verify(&otp, NONCE).await, "REPLAYED_REQUEST", "the nonce is as durable");
    }
}

/// A deployed server was known to say OK where it could not write: never here.
#[tokio::test]
async fn a_store_that_can_not_be_written_is_a_backend_error_and_never_ok() {
    let stage = Stage::new("");
    let (asker, key) = (Asker::add(&stage, "vpn", &[]), add_key(&stage, "vvvvvvvvvvcb"));
    let otp = key.press();
    let held = stage.writes_held().await;
    assert_eq!(asker.verify(&otp, NONCE).await, "BACKEND_ERROR");
    held.end().await;
    assert_eq!(asker.verify(&otp, OTHER).await, "OK", "it was not spent");
}

#[tokio::test]
async fn an_hsm_that_is_gone_is_a_backend_error_and_never_ok() {
    let stage = Stage::new("");
    let (asker, key) = (Asker::add(&stage, "vpn", &[]), add_key(&stage, "vvvvvvvvvvcb"));
    let otp = key.press();
    let paused = stage.pause_hsm();
    let answer = asker.send(&asker.fields(&otp, NONCE, &[])).await;
    assert_eq!(read(&answer, b"").status(), "BACKEND_ERROR", "there is nothing to sign it with");
    drop(paused);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let status = loop {
        let answer = asker.send(&asker.fields(&otp, OTHER, &[])).await;
        if !answer.body.contains("BACKEND_ERROR") || std::time::Instant::now() > deadline {
            break read(&answer, &asker.key).status().to_owned();
        }
    };
    assert_eq!(status, "OK", "it was not spent");
}

#[tokio::test]
async fn clients_and_keys_of_the_old_servers_move_here_with_what_they_had_spent() {
    let stage = Stage::new("");
    let key = YubiKey::new("vvvvvvvvvvcb");
    let export = format!("# ykksm 1\n4711,vvvvvvvvvvcb,{},{},,2026-01-01,\n", key.private_id_hex(), key.secret_hex());
    let imported = stage.json_with(&["otp-key", "import", "-"], &export);
    assert_eq!((imported["imported"].as_u64(), imported["skipped"].as_array().unwrap().len()), (Some(1), 0));
    assert_eq!(stage.json_with(&["otp-key", "import", "-"], &export)["imported"], 0, "it can be run again");
    let counters = "1,1383728711,1383728732,vvvvvvvvvvcb,5,3,1,2,abcdef,\n1,1,1,cccccccccccc,1,1,1,1,a,\n";
    let raised = stage.json_with(&["otp-key", "import-counters", "-"], counters);
    assert_eq!((raised["imported"].as_u64(), &raised["skipped"][0]), (Some(1), &"cccccccccccc".into()));
    stage.json_with(&["otp-client", "import", "-"], "87,1,1383728711,Eibja2kRFXXoW6hjZaiyBtWnCBA=,a@b,,\n");
    let asker = Asker {
        url: format!("{}/wsapi/2.0/verify", stage.issuer()),
        id: "87".into(),
        key: STANDARD.decode("Eibja2kRFXXoW6hjZaiyBtWnCBA=").unwrap(),
    };
    assert_eq!(asker.verify(&key.otp(5, 3), NONCE).await, "REPLAYED_OTP");
    assert_eq!(asker.verify(&key.otp(5, 4), NONCE).await, "OK");
    assert_eq!(stage.json(&["otp-key", "list"])[0]["serial"], "4711");
    // A key that was lost there proves nobody here, though it is a person's factor.
    let user = stage.add_user("moved", "reader");
    let lost = stage.add_yubico(&user, "ccccccbteuff");
    stage.json_with(
        &["otp-key", "import-counters", "-"],
        "0,1,1,ccccccbteuff,1,1,1,1,a,\n0,1,1,cccccccccccc,1,1,1,1,a,\n",
    );
    assert_eq!(asker.verify(&lost.otp(2, 1), NONCE).await, "BAD_OTP");
    assert_eq!(stage.sign_in(&stage.app, &user, &lost.otp(2, 2)).await.refusal(), (400, "invalid_grant".to_owned()));
    let next = Asker::add(&stage, "next", &[]);
    assert_eq!(next.id, "88");
    let bad = stage.run_with(&["otp-key", "import", "-"], "1,cccc,zz,00\n");
    assert_eq!(bad.code, Some(1));
    assert!(bad.stderr.contains("line 1"));
}

/// Neither an API key nor an AES key stands in any file of the deployment, and a blob on another row does not open.
#[tokio::test]
async fn promise_2_stolen_or_exchanged_keys_of_the_validation_server_are_useless() {
    let stage = Stage::new("[log]\nlevel = \"trace\"");
    let (one, two) = (Asker::add(&stage, "one", &[]), Asker::add(&stage, "two", &[]));
    let keys = ["vvvvvvvvvvcb", "vvvvvvvvvvcd"].map(|public_id| add_key(&stage, public_id));
    assert_eq!(one.verify(&keys[0].press(), NONCE).await, "OK");
    let aes = keys[0].secret_hex();
    let raw: Vec<u8> = aes
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let needles = [one.key.clone(), STANDARD.encode(&one.key).into_bytes(), aes.into_bytes(), raw];
    let files = ["signet.db", "signet.db-wal", "server.log", "audit.anchor"].map(|name| stage.folder().join(name));
    for file in files.iter().filter(|file| file.exists()) {
        let hay = std::fs::read(file).unwrap();
        for needle in &needles {
            assert!(!hay.windows(needle.len()).any(|window| window == needle), "{}", file.display());
        }
    }
    let swap = |kind: &str, first: &str, second: &str| {
        stage.sql(&format!(
            "UPDATE seals SET row_id = CASE row_id WHEN '{first}' THEN '~{second}' ELSE '~{first}' END
             WHERE kind = '{kind}' AND row_id IN ('{first}', '{second}');
             UPDATE seals SET row_id = substr(row_id, 2) WHERE row_id LIKE '~%'"
        ))
    };
    swap("otp_keys.secret", "vvvvvvvvvvcb", "vvvvvvvvvvcd");
    assert_eq!(one.verify(&keys[0].press(), NONCE).await, "BACKEND_ERROR");
    swap("otp_keys.secret", "vvvvvvvvvvcb", "vvvvvvvvvvcd");
    swap("otp_clients.key", &one.id, &two.id);
    let answer = one.send(&one.fields(&keys[0].press(), NONCE, &[])).await;
    assert_eq!(read(&answer, b"").status(), "BACKEND_ERROR");
}

/// The crate `yubico_ng`, a client that is not ours.
#[tokio::test]
async fn the_crate_yubico_ng_accepts_a_good_otp_and_notices_what_is_not() {
    use yubico_ng::YubicoError;
    use yubico_ng::config::Config;
    let stage = Stage::shared();
    let (asker, key) = (Asker::add(&stage, "yubico_ng", &[]), add_key(&stage, "vvvvvvvvvvcf"));
    let between = Responder::between(stage.address(), |body| body.replacen("status=REPLAYED_OTP", "status=OK", 1));
    let ask = async |url: &str, otp: &str| {
        let config = Config::default().set_client_id(&asker.id).set_key(STANDARD.encode(&asker.key)).unwrap();
        yubico_ng::verify(otp, config.set_api_host(url)).await
    };
    let otp = key.press();
    ask(&asker.url, &otp).await.unwrap();
    assert!(matches!(ask(&asker.url, &otp).await, Err(YubicoError::ReplayedOtp)));
    assert!(matches!(ask(&asker.url, &YubiKey::new("vvvvvvvvvvvv").press()).await, Err(YubicoError::BadOtp)));
    let tampered = ask(&between.url("/wsapi/2.0/verify"), &otp).await;
    assert!(matches!(tampered, Err(YubicoError::SignatureMismatch)), "{tampered:?}");
}

/// What a busy validation server does: fifty keys, each OTP shown twice at once.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: run it alone, with --nocapture, best in the release profile"]
async fn ten_thousand_verifications_a_minute_have_one_winner_for_each_otp() {
    const KEYS: usize = 50;
    const PRESSES: usize = 100;
    let stage = Stage::new("");
    let asker = Asker::add(&stage, "vpn", &[]);
    let letters = b"cbdefghijklnrtuv";
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let keys = (0..KEYS).map(|number| {
        let (tens, ones) = (char::from(letters[number / 16]), char::from(letters[number % 16]));
        add_key(&stage, &format!("vvvvvvvvvv{tens}{ones}"))
    });
    let (keys, mut people) = (keys.collect::<Vec<_>>(), JoinSet::new());
    let started = std::time::Instant::now();
    for key in keys {
        let (asker, http) = (asker.clone(), http.clone());
        people.spawn(async move {
            for _ in 0..PRESSES {
                let otp = key.press();
                let ask = async |nonce: &str| {
                    let fields = asker.fields(&otp, nonce, &[]);
                    let pairs: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                    let url = format!("{}?{}", asker.url, form(&pairs));
                    let answer = Answer::read(http.get(url).send().await.unwrap()).await.unwrap();
                    read(&answer, &asker.key).status().to_owned()
                };
                let mut both = <[String; 2]>::from(tokio::join!(ask(NONCE), ask(OTHER)));
                both.sort();
                assert_eq!(both, ["OK", "REPLAYED_OTP"]);
            }
        });
    }
    people.join_all().await;
    let (took, asked) = (started.elapsed(), u32::try_from(2 * KEYS * PRESSES).unwrap());
    println!("{asked} verifications in {took:?}: {:.0} a minute", 60.0 * f64::from(asked) / took.as_secs_f64());
    assert!(took < std::time::Duration::from_secs(60), "{took:?}");
}
