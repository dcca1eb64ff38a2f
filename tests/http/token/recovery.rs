//! Recovery codes, and what an operator gives to a person whose token is lost.

use serde_json::Value;

use crate::admin::operators::{ROLES, admin_client, asking, operator, token};
use crate::admin::{get, post};
use crate::http::{Stage, statuses};
use crate::support::application::{Application, PASSWORD};
use crate::support::codes::YubiKey;
use crate::support::write_secret;

fn codes(made: &Value) -> Vec<String> {
    made["codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn hazard_56_a_recovery_code_counts_once_also_of_many_at_once() {
    let stage = Stage::new("");
    let (user, totp) = stage.person("ann");
    let made = stage.json(&["factor", "add", "recovery", "--user", "ann"]);
    let codes = codes(&made);
    assert_eq!(codes.len(), 10);
    let answer = stage.sign_in(&stage.app, &user, &codes[0]).await.ok();
    assert_eq!(answer.json()["recovery_codes_left"], 9, "the person is to hear of it");
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(answer.access_token()).unwrap().claims;
    assert_eq!(claims["acr"], "urn:signet:aal1", "no token was shown");
    assert_eq!(stage.sign_in(&stage.app, &user, &codes[0]).await.refusal(), (400, "invalid_grant".to_owned()));
    // In any case, with spaces: people type them from paper.
    stage.sign_in(&stage.app, &user, &codes[1].to_uppercase().replace('-', " ")).await.ok();
    let fields = [("grant_type", "password"), ("username", "ann"), ("password", PASSWORD), ("otp", &*codes[2])];
    let counts = statuses(&stage.tokens_at_once(50, &fields).await);
    assert_eq!(counts.get(&200), Some(&1), "{counts:?}");
    let used: Vec<_> =
        stage.audit().await.into_iter().filter(|record| record["event"] == "recovery_code.used").collect();
    let left: Vec<_> = used.iter().map(|record| record["detail"].as_str().unwrap()).collect();
    assert_eq!(left, ["9 codes left", "8 codes left", "7 codes left"]);
    // A wrong password spends none.
    let wrong = [("grant_type", "password"), ("username", "ann"), ("password", "wrong"), ("otp", &*codes[3])];
    assert_ne!(stage.token(&stage.app, &wrong).await.status, 200);
    stage.json(&["user", "unlock", "ann"]);
    stage.sign_in(&stage.app, &user, &codes[3]).await.ok();
    let again = stage.run(&["factor", "add", "recovery", "--user", "ann"]);
    assert!(again.stderr.contains("signet factor remove"), "a set at a time");
    stage.sign_in(&stage.app, &user, &totp.code()).await.ok();
}

#[tokio::test]
async fn hazard_53_a_recovery_code_of_another_is_refused_like_a_wrong_one() {
    let stage = Stage::new("");
    let (ann, _) = stage.person("ann");
    let (bob, _) = stage.person("bob");
    let hers = codes(&stage.json(&["factor", "add", "recovery", "--user", "ann"]));
    let made_up = stage.sign_in(&stage.app, &bob, "0000-0000-0000-0000").await;
    let other = stage.sign_in(&stage.app, &bob, &hers[0]).await;
    let fields = [("grant_type", "password"), ("username", "nobody"), ("password", PASSWORD), ("otp", &*hers[0])];
    assert_eq!(other.distinguishing(), made_up.distinguishing());
    assert_eq!(stage.token(&stage.app, &fields).await.distinguishing(), made_up.distinguishing());
    stage.sign_in(&stage.app, &ann, &hers[0]).await.ok();
}

#[tokio::test]
async fn a_replacement_holds_for_its_time_and_each_of_its_codes_once() {
    let stage = Stage::new("");
    let user = stage.add_user("ann", "reader");
    let replace = |valid: &str| stage.json(&["factor", "replace", "--user", "ann", "--valid", valid, "--codes", "2"]);
    // That its time is over is a rule of time: tests/use_cases/factors/recovery.rs.
    let made = codes(&replace("1h"));
    stage.sign_in(&stage.app, &user, &made[0]).await.ok();
    assert_eq!(stage.sign_in(&stage.app, &user, &made[0]).await.status, 400);
    stage.sign_in(&stage.app, &user, &made[1]).await.ok();
    let listed = stage.json(&["factor", "list", "--user", "ann"]);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert!(listed[0]["valid_until"].is_string());
    assert_eq!(stage.run(&["factor", "replace", "--user", "ann", "--valid", "30d"]).code, Some(1));
}

/// Settings that an account states may be the first person's: they take another one beside her.
async fn settings_wait_too(stage: &Stage, olga: &str, petra: &str) {
    stage.state("[tokens]\naccess_lifetime = \"9m\"");
    let settings = async || asking(stage, olga, "GET", "/settings", None).await.ok().json();
    let proposal = asking(stage, olga, "GET", "/settings/proposal", None).await.ok().json();
    let seen = serde_json::json!({"stated_at": proposal["stated_at"]});
    let approve = async |token: &str| asking(stage, token, "POST", "/settings/proposal/approval", Some(&seen)).await;
    assert_eq!(post(stage, "/settings/proposal/approval", &seen).await.status, 403, "no account approves");
    for (token, status, lifetime) in [(olga, 200, "5m"), (olga, 403, "5m"), (petra, 200, "9m")] {
        assert_eq!(approve(token).await.status, status);
        assert_eq!(settings().await["tokens"]["access_lifetime"], lifetime);
    }
}

/// Under the four-eyes rule no operator alone makes a way in.
#[tokio::test]
async fn hazard_93_what_an_operator_adds_waits_for_another_persons_approval() {
    let roles = ROLES.replace("\"admin:audit\"]", "\"admin:audit\", \"admin:settings\"]");
    let stage = Stage::new(&format!("{roles}\n[admin]\nfour_eyes = true"));
    let laptop = admin_client(&stage, "laptop");
    let (olga, petra) = (operator(&stage, "olga", "chief"), operator(&stage, "petra", "chief"));
    let (olga, petra) = (token(&stage, &laptop, &olga).await, token(&stage, &laptop, &petra).await);
    let user = stage.add_user("ann", "reader");
    let made = stage.json(&["factor", "replace", "--user", "ann", "--operator", "olga"]);
    let (id, code) = (made["id"].as_str().unwrap(), &codes(&made)[0]);
    assert_eq!(made["state"], "pending");
    assert_eq!(stage.sign_in(&stage.app, &user, code).await.status, 400);
    for alone in [
        &["factor", "approve", id][..],
        &["factor", "approve", id, "--operator", "olga"],
        &["factor", "approve", id, "--operator", "petra"],
        &["factor", "enable", id],
    ] {
        assert_eq!(stage.run(alone).code, Some(1), "{alone:?}");
    }
    // The account that asked may be olga's: her approval is the first of two.
    let path = format!("/factors/{id}/approval");
    let approve = async |token: &str| asking(&stage, token, "POST", &path, Some(&serde_json::json!({}))).await;
    assert_eq!(approve(&olga).await.ok().text("state"), "pending");
    assert_eq!(approve(&olga).await.status, 403);
    assert_eq!(stage.sign_in(&stage.app, &user, code).await.status, 400);
    assert_eq!(approve(&petra).await.ok().text("state"), "enabled");
    stage.sign_in(&stage.app, &user, code).await.ok();
    let records = stage.audit().await;
    let of = |outcome: &str| {
        let is_so = |record: &&Value| record["change"] == "approved" && record["outcome"] == outcome;
        records.iter().filter(is_so).count()
    };
    assert_eq!((of("refused"), of("done")), (4, 2));
    // So do roles that let ann do what they do.
    stage.run(&["user", "set-roles", "ann", "--roles", "reader,chief"]).ok();
    assert_eq!(stage.json(&["user", "role-requests"])[0]["roles"], serde_json::json!(["chief"]));
    assert_eq!(stage.run(&["user", "approve-roles", "ann"]).code, Some(1), "no account approves");
    let empty = serde_json::json!({});
    let approve = async |token: &str| asking(&stage, token, "POST", "/users/ann/roles/approval", Some(&empty)).await;
    let first = approve(&olga).await.ok().json();
    assert_eq!(
        (&first["roles"], &first["waiting"]["roles"]),
        (&serde_json::json!(["reader"]), &serde_json::json!(["chief"]))
    );
    assert_eq!(approve(&olga).await.status, 403);
    let second = approve(&petra).await.ok().json();
    assert_eq!((&second["roles"], second.get("waiting")), (&serde_json::json!(["chief", "reader"]), None));
    assert_eq!(approve(&petra).await.status, 409);
    // It holds on, also where the file asks for it no more, and no account ends it.
    settings_wait_too(&stage, &olga, &petra).await;
    stage.edit("four_eyes = true", "four_eyes = false");
    let lowered = get(&stage, "/four-eyes").await.ok().json();
    assert_eq!(lowered, serde_json::json!({"holds": true, "configured": true}), "the server runs by what it read");
    assert_eq!(post(&stage, "/four-eyes/lowering", &serde_json::json!({})).await.status, 403);
    let another = stage.json(&["factor", "add", "recovery", "--user", "ann"]);
    assert_eq!(another["state"], "pending");
}

/// Whatever an operator adds waits, is told to wait, and is written down so.
#[tokio::test]
async fn hazard_93_a_pending_factor_of_any_kind_is_told_and_written_down_as_such() {
    let stage = Application::new("");
    write_secret(&stage.folder().join("api.key"), "Eibja2kRFXXoW6hjZaiyBtWnCBA=");
    stage.reconfigure(
        &format!("{ROLES}\n[admin]\nfour_eyes = true\n[yubico_validation]\nurls = [\"http://127.0.0.1:9/verify\"]\nclient_id = \"1\"\n\
         key_file = \"api.key\""),
    );
    for name in ["olga", "petra"] {
        operator(&stage, name, "chief");
    }
    stage.add_user("ann", "reader");
    let key = YubiKey::new("cccccccccccb");
    let own = ["--public-id", "cccccccccccb", "--private-id", &key.private_id_hex(), "--secret-key-stdin"];
    let remote = ["--public-id", "cccccccccccd"];
    for (kind, options) in [("yubico-otp", &own[..]), ("yubico-remote", &remote), ("hotp", &[]), ("recovery", &[])] {
        let added = stage.run_with(&[&["factor", "add", kind, "--user", "ann"], options].concat(), &key.secret_hex());
        let told = added.stderr;
        assert_eq!(added.code, Some(0), "{kind}: {told}");
        assert!(told.contains("signet factor approve"), "{kind}: {told}");
    }
    let records = stage.audit().await;
    let added: Vec<_> = records.iter().filter(|record| record["event"] == "factor.changed").skip(2).collect();
    assert_eq!(added.len(), 4);
    for record in added {
        assert!(record["detail"].as_str().unwrap().starts_with("added, waits for approval"), "{record}");
    }
}
