//! Promise 5 by counting: for what was shown, the HSM does the same whoever is named, whatever factors they have, and
//! whatever was wrong. The module writes down each call.

use std::collections::BTreeMap;

use crate::http::Stage;
use crate::support::application::{Application, PASSWORD, TestUser};
use crate::support::codes::YubiKey;
use crate::support::fault::FaultModule;
use crate::support::piv::PivKey;

/// The calls that work on secrets since the last order. Others look for handles or at the module's health.
fn work(module: &FaultModule) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in module.calls() {
        if ["C_Sign", "C_Decrypt", "C_Encrypt", "C_UnwrapKey"].iter().any(|kind| call.starts_with(kind)) {
            *counts.entry(call).or_default() += 1;
        }
    }
    counts
}

/// The work for a refusal. Now and then the server makes a test signature: what counts is what is seen twice.
async fn quiet_work(stage: &Stage, module: &FaultModule, fields: &[(&str, &str)]) -> BTreeMap<String, usize> {
    let mut last = None;
    for _ in 0..4 {
        module.calm();
        let refused = stage.token(&stage.app, fields).await;
        assert_eq!(refused.status, 400, "{fields:?}: {refused:?}");
        let done = work(module);
        if last.replace(done.clone()) == Some(done.clone()) {
            return done;
        }
    }
    panic!("the same refusal costs something else each time: {last:?}");
}

/// What is shown beside the password: a field with its value for a name.
struct Shown<'s> {
    what: &'static str,
    field: &'static str,
    value: Box<dyn Fn(&str) -> String + 's>,
}

fn shown<'s>(what: &'static str, field: &'static str, value: impl Fn(&str) -> String + 's) -> Shown<'s> {
    Shown { what, field, value: Box::new(value) }
}

#[tokio::test]
async fn hazard_53_promise_5_the_hsm_works_the_same_whoever_is_named_and_whatever_is_wrong() {
    let module = FaultModule::standing("log calls");
    // No checkpoint is signed meanwhile.
    let sections = "[audit]\ncheckpoint_interval = \"1h\"";
    let server = Application::with_faults(&module, "sessions = 2\ndeadline = \"12s\"", sections).serve();
    let app = server.add_client("app", "password,refresh_token", "read");
    let stage = Stage { server, app };
    let (ann, totp) = stage.person("ann");
    stage.json(&["factor", "add", "hotp", "--user", "ann"]);
    stage.json(&["factor", "add", "recovery", "--user", "ann"]);
    let (yubikey, stranger) = (stage.add_yubico(&ann, "ccccccbteudd"), YubiKey::new("vvvvvvvvvvvv"));
    let (card, foreign) = (stage.add_piv(&ann), PivKey::new());
    stage.add_user("bob", "reader");
    stage.person("carl");
    stage.json(&["user", "disable", "carl"]);
    let nonce = stage.nonce(&stage.app).await;
    let sign = |key: &PivKey, name: &str, nonce: &str| {
        let user = TestUser { name: name.to_owned(), id: String::new() };
        key.shown(&stage.issuer(), &stage.app, &user, nonce)
    };
    let spent = yubikey.press();
    stage.sign_in(&stage.app, &ann, &spent).await.ok();
    let kinds = [
        shown("six digits", "otp", |_| totp.wrong()),
        shown("eight digits", "otp", |_| "00000000".to_owned()),
        shown("a spent Yubico OTP", "otp", |_| spent.clone()),
        shown("a stranger's Yubico OTP", "otp", |_| stranger.press()),
        shown("a recovery code", "otp", |_| "0000-1111-2222-3333".to_owned()),
        shown("what is no code", "otp", |_| "what?".to_owned()),
        shown("a stranger's card", "piv", |name| sign(&foreign, name, &nonce)),
        shown("her card for another name", "piv", |_| sign(&card, "zoe", &nonce)),
        shown("what is no signature", "piv", |_| "AAAA".to_owned()),
    ];
    for Shown { what, field, value } in &kinds {
        stage.json(&["user", "unlock", "ann"]);
        let mut expected = None;
        for (name, password) in
            [("ann", PASSWORD), ("ann", "wrong"), ("bob", PASSWORD), ("carl", PASSWORD), ("nobody", PASSWORD)]
        {
            let shown = value(name);
            let fields = [("grant_type", "password"), ("username", name), ("password", password), (field, &*shown)];
            let done = quiet_work(&stage, &module, &fields).await;
            assert!(done.get("C_Decrypt").is_some_and(|count| *count > 0), "{what}, {name}: {done:?}");
            assert_eq!(&done, expected.get_or_insert_with(|| done.clone()), "{what}: {name} with {password}");
        }
    }
}
