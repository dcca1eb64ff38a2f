//! `grant_type=password` with `piv`: a key signs the server's nonce. The keys are software of the test's own; a card
//! behind PC/SC does the same in `cli::piv_card`.

use std::fs;

use signet_core::mfa::piv::SignInContext;

use super::verified;
use crate::admin::operators::{ROLES, admin_client, asking, operator, token};
use crate::http::{Stage, statuses};
use crate::support::application::{AUDIENCE, Application, PASSWORD, TestClient, TestUser};
use crate::support::piv::{PivKey, SERIAL_NUMBER};
use crate::support::requests::Answer;
use crate::support::write_secret;

impl Stage {
    /// Enrols a key without an attestation.
    pub(super) fn add_piv(&self, user: &TestUser) -> PivKey {
        let key = PivKey::new();
        let file = self.folder().join("key.pub");
        fs::write(&file, key.public_pem()).unwrap();
        let file = file.to_str().unwrap();
        self.json(&["factor", "add", "piv", "--user", &user.name, "--public-key", file]);
        key
    }

    pub(super) async fn nonce(&self, client: &TestClient) -> String {
        self.post("/oauth2/challenge", client, &[]).await.ok().text("nonce")
    }

    async fn show(&self, user: &TestUser, password: &str, piv: &str) -> Answer {
        let fields = [("grant_type", "password"), ("username", &*user.name), ("password", password), ("piv", piv)];
        self.token(&self.app, &fields).await
    }

    async fn signed(&self, key: &PivKey, user: &TestUser) -> String {
        key.shown(&self.issuer(), &self.app, user, &self.nonce(&self.app).await)
    }
}

#[tokio::test]
async fn a_person_with_an_enrolled_key_gets_a_token() {
    let stage = Stage::new("");
    let user = stage.add_user("ann", "reader");
    let key = stage.add_piv(&user);
    let answer = stage.show(&user, PASSWORD, &stage.signed(&key, &user).await).await.ok();
    let claims = verified(&stage, &answer.access_token(), AUDIENCE).await.claims;
    assert_eq!(claims["sub"], user.id.as_str());
    // An operator says that it is a card's key; nothing proves that it is in hardware, and asks for a PIN.
    assert_eq!((&claims["acr"], &claims["amr"]), (&"urn:signet:aal2".into(), &serde_json::json!(["pwd", "sc", "mfa"])));
}

#[tokio::test]
async fn hazard_43_a_signed_nonce_is_spent_once_also_a_hundred_times_at_once_and_after_a_crash() {
    let mut stage = Stage::new("");
    let user = stage.add_user("ann", "reader");
    let key = stage.add_piv(&user);
    let shown = stage.signed(&key, &user).await;
    let fields = [("grant_type", "password"), ("username", &*user.name), ("password", PASSWORD), ("piv", &*shown)];
    let counts = statuses(&stage.tokens_at_once(100, &fields).await);
    assert_eq!(counts.get(&200), Some(&1), "{counts:?}");
    assert!(counts.keys().all(|status| [200, 400, 503].contains(status)), "{counts:?}");
    assert_eq!((stage.rows("grants").await, stage.rows("piv_nonces").await), (1, 1));
    stage.server.kill_and_restart();
    let again = stage.signed(&key, &user).await;
    stage.show(&user, PASSWORD, &again).await.ok();
    assert_eq!(stage.show(&user, PASSWORD, &again).await.refusal(), (400, "invalid_grant".to_owned()));
    stage.refused_as(&user, &["replayed_code"]).await;
}

/// Another's key, another server's, client's or person's signature, a made-up nonce, an unknown name, a wrong password:
/// one answer, and the record says which.
#[tokio::test]
async fn hazard_48_a_key_is_good_for_its_user_issuer_client_and_nonce_alone() {
    let stage = Stage::new("");
    let other_client = stage.add_client("other", "password", "read");
    let (ann, bob) = (stage.add_user("ann", "reader"), stage.add_user("bob", "reader"));
    let (hers, his) = (stage.add_piv(&ann), stage.add_piv(&bob));
    let issuer = stage.issuer();
    let right = SignInContext { issuer: &issuer, client: &stage.app.id, username: "ann" };
    let nonce = stage.nonce(&stage.app).await;
    let foreign_nonce = stage.nonce(&other_client).await;
    let spoilt = {
        let flipped = if nonce.ends_with('A') { "E" } else { "A" };
        format!("{}{flipped}", &nonce[..nonce.len() - 1])
    };
    let cases = [
        ("bob's key", his.shown_for(right, &nonce), "unknown_key"),
        (
            "another issuer",
            hers.shown_for(SignInContext { issuer: "https://b.example", ..right }, &nonce),
            "wrong_signature",
        ),
        (
            "another client",
            hers.shown_for(SignInContext { client: &other_client.id, ..right }, &nonce),
            "wrong_signature",
        ),
        ("another user", hers.shown_for(SignInContext { username: "bob", ..right }, &nonce), "wrong_signature"),
        ("another client's nonce", hers.shown_for(right, &foreign_nonce), "wrong_nonce"),
        ("a made-up nonce", hers.shown_for(right, &spoilt), "wrong_nonce"),
        ("no signature", "AAAA".to_owned(), "wrong_code"),
    ];
    let first = stage.show(&ann, PASSWORD, &cases[0].1).await;
    assert_eq!(first.refusal(), (400, "invalid_grant".to_owned()));
    for (what, shown, _) in &cases[1..] {
        assert_eq!(stage.show(&ann, PASSWORD, shown).await.distinguishing(), first.distinguishing(), "{what}");
    }
    let good = hers.shown_for(right, &nonce);
    assert_eq!(stage.show(&ann, "wrong password", &good).await.distinguishing(), first.distinguishing());
    let nobody = TestUser { name: "nobody".to_owned(), id: String::new() };
    let shown = hers.shown(&issuer, &stage.app, &nobody, &nonce);
    assert_eq!(stage.show(&nobody, PASSWORD, &shown).await.distinguishing(), first.distinguishing());
    let expected: Vec<&str> = cases.iter().map(|(_, _, reason)| *reason).chain(["wrong_password"]).collect();
    stage.refused_as(&ann, &expected).await;
    assert_eq!(stage.rows("piv_nonces").await, 0, "what is refused leaves nothing behind");
    stage.show(&ann, PASSWORD, &good).await.ok();
}

#[tokio::test]
async fn a_code_and_a_signature_together_are_no_request_and_a_nonce_needs_a_client_with_the_grant() {
    let stage = Stage::shared();
    let fields = [("grant_type", "password"), ("username", "x"), ("password", "x"), ("otp", "123456"), ("piv", "x")];
    assert_eq!(stage.token(&stage.app, &fields).await.refusal(), (400, "invalid_request".to_owned()));
    let machine = stage.add_client("machine", "client_credentials", "read");
    let refused = stage.post("/oauth2/challenge", &machine, &[]).await;
    assert_eq!(refused.refusal(), (400, "unauthorized_client".to_owned()));
    assert_eq!(stage.post_plain("/oauth2/challenge", &[]).await.status, 401);
    let document = stage.get("/.well-known/openid-configuration").await.ok();
    assert_eq!(document.text("piv_challenge_endpoint"), format!("{}/oauth2/challenge", stage.issuer()));
}

/// A stage that trusts one key's root.
fn trusting(key: &PivKey, more: &str) -> Stage {
    let section = format!("[mfa.piv]\nattestation_roots = [\"root.pem\"]\n{more}");
    let server = Application::new("").serve();
    fs::write(server.folder().join("root.pem"), &key.root).unwrap();
    server.state(&section);
    let app = server.add_client("app", "password,refresh_token", "read");
    Stage { server, app }
}

#[tokio::test]
async fn an_attested_key_reaches_aal3_and_a_doubtful_attestation_is_refused() {
    let key = PivKey::new();
    let stage = trusting(&key, "require_attestation = true");
    let user = stage.add_user("ann", "reader");
    let file = |name: &str, text: &str| {
        let path = stage.folder().join(name);
        write_secret(&path, text);
        path.to_str().unwrap().to_owned()
    };
    let (attestation, f9) = (file("att.pem", &key.attestation), file("f9.pem", &key.intermediate));
    let stranger = PivKey::new();
    let (foreign, foreign_f9) =
        (file("foreign.pem", &stranger.attestation), file("foreign-f9.pem", &stranger.intermediate));
    let public = file("key.pub", &key.public_pem());
    let add = ["factor", "add", "piv", "--user", "ann"];
    for (arguments, word) in [
        (vec!["--public-key", &public], "require_attestation"),
        (vec!["--attestation", &attestation], "leads to none of the configured roots"),
        (vec!["--attestation", &foreign, "--intermediate", &foreign_f9], "leads to none"),
        (vec!["--attestation", &public], "not a certificate"),
    ] {
        let refused = stage.run(&[&add[..], &arguments].concat());
        let told = refused.stderr;
        assert!(refused.code == Some(1) && told.contains(word), "{arguments:?}: {told}");
    }
    let other_key = file("other.pub", &stranger.public_pem());
    let crossed = ["--public-key", &other_key, "--attestation", &attestation, "--intermediate", &f9];
    let refused = stage.run(&[&add[..], &crossed].concat());
    assert!(refused.stderr.contains("another key"), "{refused:?}");
    assert!(stage.json(&["factor", "list", "--user", "ann"]).as_array().unwrap().is_empty());

    let good = ["--attestation", &attestation, "--intermediate", &f9];
    let added = stage.json(&[&add[..], &good].concat());
    assert_eq!((&added["attested"], &added["serial"]), (&true.into(), &SERIAL_NUMBER.to_string().into()));
    let taken = stage.run(&[&add[..], &good].concat());
    assert_eq!(taken.code, Some(1), "a key is one factor: {taken:?}");
    let answer = stage.show(&user, PASSWORD, &stage.signed(&key, &user).await).await.ok();
    let claims = verified(&stage, &answer.access_token(), AUDIENCE).await.claims;
    assert_eq!(claims["acr"], "urn:signet:aal3");
    assert_eq!(claims["amr"], serde_json::json!(["pwd", "sc", "hwk", "pin", "mfa"]));
}

#[tokio::test]
async fn a_key_that_signs_without_the_pin_or_by_a_limited_issuer_is_not_enrolled() {
    for (key, word) in [
        (PivKey::with_pin_policy(1), "PIN policy is `never`"),
        (PivKey::by_a_constrained_issuer(), "a critical extension that Signet does not judge"),
    ] {
        refuses_attestation(&key, word);
    }
}

fn refuses_attestation(key: &PivKey, word: &str) {
    let stage = trusting(key, "");
    stage.add_user("ann", "reader");
    let (attestation, f9) = (stage.folder().join("att.pem"), stage.folder().join("f9.pem"));
    fs::write(&attestation, &key.attestation).unwrap();
    fs::write(&f9, &key.intermediate).unwrap();
    let files = ["--attestation", attestation.to_str().unwrap(), "--intermediate", f9.to_str().unwrap()];
    let refused = stage.run(&[&["factor", "add", "piv", "--user", "ann"][..], &files].concat());
    assert!(refused.stderr.contains(word), "{refused:?}");
}

impl Stage {
    /// Enrols the key with its attestation; gives the factor as printed.
    fn add_attested(&self, user: &TestUser, key: &PivKey, more: &[&str]) -> serde_json::Value {
        let (attestation, f9) = (self.folder().join("att.pem"), self.folder().join("f9.pem"));
        fs::write(&attestation, &key.attestation).unwrap();
        fs::write(&f9, &key.intermediate).unwrap();
        let files = ["--attestation", attestation.to_str().unwrap(), "--intermediate", f9.to_str().unwrap()];
        self.json(&[&["factor", "add", "piv", "--user", &user.name][..], &files, more].concat())
    }
}

/// One device: its OTP slot and its PIV key are two factors with one serial number, which tokens tell.
#[tokio::test]
async fn a_yubikeys_codes_and_its_piv_key_are_two_factors_of_one_serial_number() {
    let key = PivKey::new();
    let stage = trusting(&key, "[policy]\nauthenticator_claim = true\n[policy.scopes]\nread = [\"urn:signet:aal3\"]");
    let user = stage.add_user("ann", "reader");
    let serial = SERIAL_NUMBER.to_string();
    let csv = stage.folder().join("yubikey.csv");
    fs::write(&csv, format!("{serial},ccccccbteudd,010203040506,ecde18dbe76fbd0c33330f1c354871db,,,\n")).unwrap();
    let csv = csv.to_str().unwrap().to_owned();
    let piv = stage.add_attested(&user, &key, &["--label", "blue"]);
    let told = serde_json::json!([piv["serial"], piv["attested"], piv["kind"]]);
    assert_eq!(told, serde_json::json!([serial, true, "piv"]), "{piv}");
    stage.json(&["factor", "import", &csv]);
    stage.json(&["factor", "assign", "--serial", &serial, "--user", "ann"]);
    let listed = stage.json(&["factor", "list", "--user", "ann"]);
    let told: Vec<_> = listed.as_array().unwrap().iter().map(|factor| (&factor["kind"], &factor["serial"])).collect();
    assert_eq!(told, [(&"piv".into(), &(&*serial).into()), (&"yubico_otp".into(), &(&*serial).into())]);
    let exported = stage.run(&["factor", "export"]);
    let exported = exported.stdout;
    assert!(exported.contains(&format!("ann,piv,blue,{serial},")), "{exported}");

    let answer = stage.show(&user, PASSWORD, &stage.signed(&key, &user).await).await.ok();
    let claims = verified(&stage, &answer.access_token(), AUDIENCE).await.claims;
    assert_eq!(claims["authenticator"], serde_json::json!({ "kind": "piv", "serial": serial }));
    assert_eq!((&claims["scope"], &claims["acr"]), (&"read".into(), &"urn:signet:aal3".into()));
}

/// A PIV key lives like every other factor: approved by a second person, disabled, enabled, removed.
#[tokio::test]
async fn a_key_waits_for_approval_and_proves_nothing_while_it_is_disabled_or_once_it_is_removed() {
    let key = PivKey::new();
    let server = Application::new(&format!("{ROLES}\n[admin]\nfour_eyes = true")).serve();
    fs::write(server.folder().join("root.pem"), &key.root).unwrap();
    server.state("[mfa.piv]\nattestation_roots = [\"root.pem\"]");
    let app = server.add_client("app", "password,refresh_token", "read");
    let stage = Stage { server, app };
    let laptop = admin_client(&stage, "laptop");
    let persons = ["olga", "petra"].map(|name| operator(&stage, name, "chief"));
    let user = stage.add_user("ann", "reader");
    let added = stage.add_attested(&user, &key, &["--operator", "olga"]);
    let id = added["id"].as_str().unwrap();
    assert_eq!((&added["state"], &added["serial"]), (&"pending".into(), &SERIAL_NUMBER.to_string().into()));
    let status = async || stage.show(&user, PASSWORD, &stage.signed(&key, &user).await).await.status;
    assert_eq!(status().await, 400, "nobody has approved it");
    assert_eq!(stage.run(&["factor", "approve", id, "--operator", "olga"]).code, Some(1));
    let [olga, petra] = &persons;
    let tokens = [token(&stage, &laptop, olga).await, token(&stage, &laptop, petra).await];
    let approved_by_both = async || {
        for token in &tokens {
            assert_eq!(status().await, 400, "one person has approved it at most");
            asking(&stage, token, "POST", &format!("/factors/{id}/approval"), Some(&serde_json::json!({}))).await.ok();
        }
    };
    approved_by_both().await;
    let family = stage.show(&user, PASSWORD, &stage.signed(&key, &user).await).await.ok();
    stage.json(&["factor", "disable", id]);
    assert_eq!(status().await, 400, "it is disabled");
    let refused = stage.refresh(&stage.app, &family.refresh_token()).await;
    assert_eq!(refused.refusal(), (400, "invalid_grant".to_owned()), "who had the card may have begun it");
    stage.json(&["factor", "enable", id]);
    approved_by_both().await;
    assert_eq!(status().await, 200);
    assert_eq!(stage.run_with(&["factor", "resync", id, "--codes-stdin"], "111111\n222222\n").code, Some(1));
    stage.json(&["factor", "remove", id, "--yes"]);
    assert_eq!(status().await, 400, "it is gone");
    let again = stage.add_attested(&user, &key, &["--operator", "olga"]);
    assert_ne!(again["id"], id, "the card can be enrolled anew");
}

/// Who knows the password alone shuts no card by wrong signatures: nobody guesses one.
#[tokio::test]
async fn hazard_47_wrong_signatures_shut_no_card() {
    let stage = Stage::new("");
    let (user, totp) = stage.person("ann");
    let (blue, red) = (stage.add_piv(&user), stage.add_piv(&user));
    let nonce = stage.nonce(&stage.app).await;
    let elsewhere = SignInContext { issuer: "https://b.example", client: &stage.app.id, username: "ann" };
    for _ in 0..20 {
        assert_eq!(stage.show(&user, PASSWORD, &blue.shown_for(elsewhere, &nonce)).await.status, 400);
    }
    stage.show(&user, PASSWORD, &stage.signed(&blue, &user).await).await.ok();
    stage.show(&user, PASSWORD, &stage.signed(&red, &user).await).await.ok();
    stage.sign_in(&stage.app, &user, &totp.code()).await.ok();
    // Who has the card and guesses the password shuts that card.
    for _ in 0..10 {
        assert_eq!(stage.show(&user, "a guess", &stage.signed(&blue, &user).await).await.status, 400);
    }
    assert_eq!(stage.show(&user, PASSWORD, &stage.signed(&blue, &user).await).await.status, 400);
    stage.show(&user, PASSWORD, &stage.signed(&red, &user).await).await.ok();
    stage.json(&["user", "unlock", "ann"]);
    stage.show(&user, PASSWORD, &stage.signed(&blue, &user).await).await.ok();
}
