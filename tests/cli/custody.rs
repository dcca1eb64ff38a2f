//! `signet custody`: what is wrong with the keys, who used them, and the report that an auditor checks offline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use signet_core::keys::{HsmKey, HsmName, KeyPurpose, KeyState, Signer as _, SigningPolicy, TenantId};
use signet_hsm::HsmConfig;
use signet_jose::clock::{Clock as _, SystemClock};
use signet_jose::{Algorithm, Header, Jwk, KeyId, signing_input};
use tokio::task::JoinSet;

use crate::support::application::{ALL_GRANTS, AUDIENCE, Application};
use crate::support::caller::Caller;
use crate::support::commands::text;
use crate::support::hsm::started;
use crate::support::process::{signal, wait_for};

/// The deployment's key of this purpose, as the store knows it.
fn key_of(deployment: &Application, purpose: &str) -> HsmKey {
    let columns = format!("FROM keys WHERE purpose = '{purpose}'");
    let cka_id = deployment.sql(&format!("SELECT lower(hex(cka_id)) {columns}"));
    let bytes = (0..cka_id.len()).step_by(2).map(|at| u8::from_str_radix(&cka_id[at..at + 2], 16).unwrap());
    let public = deployment.sql(&format!("SELECT public_jwk {columns}"));
    let now = SystemClock.now();
    HsmKey {
        tenant: TenantId::default_tenant(),
        hsm: HsmName::new("primary"),
        purpose: if purpose == "token_signing" { KeyPurpose::TokenSigning } else { KeyPurpose::AuditSigning },
        key_id: KeyId::new(deployment.sql(&format!("SELECT key_id {columns}"))),
        cka_id: bytes.collect(),
        public: Some(Jwk::from_json(&public).unwrap()),
        state: KeyState::Active { since: now },
        created_at: now,
    }
}

/// A token that nobody was issued: what whoever can start a worker of their own beside the server has signed.
async fn forge(deployment: &Application) -> String {
    let key = key_of(deployment, "token_signing");
    let now = SystemClock.now().unix_seconds();
    let claims = json!({
        "iss": deployment.issuer(), "sub": "mallory", "client_id": "mallory", "aud": AUDIENCE, "scope": "read write",
        "iat": now, "exp": now + 60, "jti": "made by nobody"
    });
    let header =
        Header { algorithm: Algorithm::Es256, key_id: Some(key.key_id.clone()), token_type: Some("at+jwt".to_owned()) };
    let input = signing_input(&header, claims.to_string().as_bytes());
    let base = deployment.hsm_token().config();
    let policy = SigningPolicy { issuers: vec![deployment.issuer()], ..base.policy.clone() };
    let config = HsmConfig { state_directory: Some(deployment.folder().to_owned()), policy, ..base };
    let (group, _events) = started(config).await;
    drop(group.sign(&key, Algorithm::Es256, input.clone().into_bytes()).await.unwrap());
    group.shutdown().await;
    key.key_id.to_string()
}

fn differences(deployment: &Application) -> Vec<Value> {
    let texts = deployment.sql("SELECT text FROM audit_records WHERE text LIKE '%custody.difference%'");
    texts.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn account<'r>(report: &'r Value, kind: &str) -> &'r Value {
    report["accounts"].as_array().unwrap().iter().find(|account| account["signed"] == kind).unwrap()
}

async fn tokens(caller: &Caller, count: usize) {
    for _ in 0..count {
        assert_eq!(caller.client_credentials().await.unwrap().status, 200);
    }
}

/// Waits until the server has settled what was lost.
fn wait_until_settled(deployment: &Application) -> Value {
    let log = || std::fs::read_to_string(deployment.file("server.log")).unwrap();
    tokio::task::block_in_place(|| {
        wait_for("books that balance", || log().contains("the books balance").then_some(()));
    });
    deployment.json(&["custody"])
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_1_one_foreign_signature_on_a_quiet_system_is_an_alarm() {
    let deployment = Application::new("");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    tokens(&Caller::new(&server, &credentials), 3).await;
    let before = deployment.json(&["custody"]);
    let tokens_before = account(&before, "token");
    assert_eq!((&tokens_before["made"], &tokens_before["recorded"]), (&json!(3), &json!(3)), "{before}");
    let kid = forge(&deployment).await;
    let difference =
        tokio::task::block_in_place(|| wait_for("the alarm", || differences(&deployment).into_iter().next()));
    assert_eq!((text(&difference, "key"), &difference["signatures"]), (kid.clone(), &json!(1)), "{difference}");
    assert_eq!((&difference["signed"], &difference["outcome"]), (&json!("token"), &json!("failed")));
    let log = std::fs::read_to_string(deployment.file("server.log")).unwrap();
    assert!(log.contains("ALARM: the HSM's signatures and the records differ"), "{log}");
    deployment.run(&["custody"]).fails(1, &["ALARM", &kid, "somebody else used the key"]);
    // It is told once, and stays until somebody answers for it.
    server.stop();
    assert_eq!(differences(&deployment).len(), 1);
    deployment.run(&["custody", "accept", "--why", " "]).fails(2, &["--why"]);
    assert_eq!(deployment.json(&["custody", "accept", "--key", &kid, "--why", "a drill"])["accepted"], 1);
    assert_eq!(deployment.json(&["custody"])["well"], true);
    // With the server off nothing hides it: what the command sees is an alarm by itself.
    forge(&deployment).await;
    deployment.run(&["custody"]).fails(1, &["ALARM", &kid]);
    let server = deployment.serve();
    tokio::task::block_in_place(|| {
        wait_for("the second alarm", || (differences(&deployment).len() == 2).then_some(()))
    });
    server.stop();
}

/// Streams tokens, and strikes again and again, each time after some tokens more.
async fn under_fire(caller: &Caller, rounds: usize, blow: impl Fn()) {
    let (stop, issued) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut streams = JoinSet::new();
    for _ in 0..8 {
        let (caller, stop, issued) = (caller.clone(), Arc::clone(&stop), Arc::clone(&issued));
        streams.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                match caller.client_credentials().await {
                    Ok(answer) => drop(issued.fetch_add(usize::from(answer.status == 200), Ordering::Relaxed)),
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        });
    }
    for round in 1..=rounds {
        let are_enough = || (issued.load(Ordering::Relaxed) >= round * 50).then_some(());
        tokio::task::block_in_place(|| wait_for("tokens under fire", are_enough));
        blow();
    }
    stop.store(true, Ordering::Relaxed);
    streams.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_raise_no_alarm_and_hide_no_foreign_signature() {
    let deployment = Application::with_hsm("sessions = 2\nworkers = 2\ndeadline = \"1s\"", "");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    let caller = Caller::new(&server, &credentials);
    let blow = || server.workers().into_iter().take(1).for_each(|worker| signal(worker, "KILL"));
    under_fire(&caller, 4, blow).await;
    let settled = wait_until_settled(&deployment);
    assert_eq!(settled["well"], true, "{settled}");
    assert_eq!(differences(&deployment), Vec::<Value>::new());
    println!("after killed workers: {}", account(&settled, "token"));
    let kid = forge(&deployment).await;
    let alarm = tokio::task::block_in_place(|| wait_for("the alarm", || differences(&deployment).into_iter().next()));
    assert_eq!((text(&alarm, "key"), &alarm["signatures"]), (kid, &json!(1)), "{alarm}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_raises_no_alarm_and_hides_no_foreign_signature() {
    let deployment = Application::with_hsm("sessions = 2\ndeadline = \"1s\"", "");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    for _ in 0..3 {
        let mut server = deployment.serve();
        let caller = Caller::new(&server, &credentials);
        let id = server.id();
        under_fire(&caller, 1, || signal(id, "KILL")).await;
        server.kill();
    }
    let server = deployment.serve();
    let settled = wait_until_settled(&deployment);
    println!("after killed servers: {}", account(&settled, "token"));
    assert_eq!(settled["well"], true, "{settled}");
    assert_eq!(differences(&deployment), Vec::<Value>::new());
    let is_settled = || {
        let said: Value = serde_json::from_slice(&std::fs::read(deployment.file("in-hand")).unwrap()).unwrap();
        said["left"].is_null().then_some(())
    };
    tokio::task::block_in_place(|| wait_for("what was left to be settled", is_settled));
    let kid = forge(&deployment).await;
    let alarm = tokio::task::block_in_place(|| wait_for("the alarm", || differences(&deployment).into_iter().next()));
    assert_eq!((text(&alarm, "key"), &alarm["signatures"]), (kid, &json!(1)), "{alarm}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_was_put_back_is_an_alarm() {
    let deployment = Application::new("");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    tokens(&Caller::new(&server, &credentials), 2).await;
    server.stop();
    assert_eq!(deployment.json(&["custody"])["well"], true);
    for file in std::fs::read_dir(deployment.folder()).unwrap().flatten() {
        if file.path().extension().is_some_and(|extension| extension == "tally") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    deployment.run(&["custody"]).fails(1, &["ALARM", "behind the records"]);
    let server = deployment.serve();
    let told = tokio::task::block_in_place(|| wait_for("the alarm", || differences(&deployment).into_iter().next()));
    assert!(told["signatures"].as_i64().unwrap() < 0, "{told}");
    server.stop();
}

#[test]
fn promise_1_a_missing_and_an_extractable_key_and_an_orphan_are_told_in_words() {
    let deployment = Application::new("");
    deployment.hsm_token().pkcs11_tool(&["--keygen", "--key-type", "GENERIC:32", "--id", "0123", "--label", "orphan"]);
    let with_orphan = deployment.json(&["custody"]);
    let orphan = &with_orphan["tokens"][0]["unknown"][0];
    assert_eq!((&orphan["label"], &orphan["cka_id"]), (&json!("orphan"), &json!("0123")), "{with_orphan}");
    assert!(with_orphan["notes"][0].as_str().unwrap().contains("\"orphan\""), "{with_orphan}");
    assert_eq!(with_orphan["well"], true, "other software may use the token too");
    let id = deployment.sql("SELECT lower(hex(cka_id)) FROM keys WHERE purpose = 'binding'");
    deployment.hsm_token().pkcs11_tool(&["--delete-object", "--type", "secrkey", "--id", &id]);
    deployment.run(&["custody"]).fails(1, &["WRONG", "binding key", "not in the HSM token"]);
    deployment.hsm_token().pkcs11_tool(&["--keygen", "--key-type", "GENERIC:32", "--id", &id, "--extractable"]);
    deployment.run(&["custody"]).fails(1, &["WRONG", "CKA_EXTRACTABLE is true"]);
    let signed = deployment.run(&["custody", "--signed"]);
    signed.fails(1, &["WRONG: binding key"]);
    // The report is genuine, and what it says is not good.
    let file = deployment.file("report.jws");
    std::fs::write(&file, &signed.stdout).unwrap();
    let verify = ["custody", "verify", file.to_str().unwrap(), "--key", "audit.jwk"];
    deployment.run(&verify).fails(1, &["genuine", "WRONG: binding key", "something is WRONG"]);
}

#[test]
fn a_signed_report_is_checked_offline_and_a_tampered_one_is_refused() {
    let (deployment, elsewhere) = (Application::new(""), Application::with_own_keys());
    let signed = deployment.run(&["custody", "--signed", "--nonce", "audit 2026"]);
    assert_eq!(signed.code, Some(0), "{signed:?}");
    let (good, bad) = (deployment.file("report.jws"), deployment.file("tampered.jws"));
    std::fs::write(&good, &signed.stdout).unwrap();
    let verify = |file: &std::path::Path, options: &[&str]| {
        let start = ["custody", "verify", file.to_str().unwrap(), "--key"];
        // Nothing of the deployment is needed: the configuration is another's, and so is the folder.
        elsewhere.run(&[&start, options].concat())
    };
    let key = deployment.file("audit.jwk");
    let key = key.to_str().unwrap();
    assert_eq!(verify(&good, &[key, "--nonce", "audit 2026"]).code, Some(0));
    let claims = verify(&good, &[key, "--json"]).json();
    assert_eq!((&claims["iss"], &claims["nonce"]), (&json!(deployment.issuer()), &json!("audit 2026")));
    assert_eq!(claims["report"]["tokens"][0]["keys"].as_array().map(Vec::len), Some(6));
    assert_eq!(claims["report"]["well"], true);
    verify(&good, &[key, "--nonce", "audit 2025"]).fails(1, &["nonce"]);
    verify(&good, &["audit.jwk"]).fails(1, &["none of the audit keys"]);
    let [header, payload, signature]: [&str; 3] =
        signed.stdout.trim().split('.').collect::<Vec<_>>().try_into().unwrap();
    let other = if payload.contains('A') { payload.replacen('A', "B", 1) } else { payload.replacen('B', "A", 1) };
    std::fs::write(&bad, format!("{header}.{other}.{signature}")).unwrap();
    verify(&bad, &[key]).fails(1, &["refused", "does not verify"]);
    std::fs::write(&bad, "no report").unwrap();
    verify(&bad, &[key]).fails(1, &["not a compact JWS"]);
    // A checkpoint is signed by the same key, and is no report.
    let checkpoint = deployment.sql("SELECT jws FROM audit_checkpoints LIMIT 1");
    std::fs::write(&bad, checkpoint).unwrap();
    verify(&bad, &[key]).fails(1, &["no custody report"]);
    // The report itself has its record, and balances.
    let after = deployment.json(&["custody"]);
    assert_eq!((&account(&after, "report")["made"], &account(&after, "report")["recorded"]), (&json!(1), &json!(1)));
}

#[test]
fn secrets_are_listed_with_how_they_are_sealed() {
    let deployment = Application::new("");
    let ann = deployment.add_user("ann", "reader");
    deployment.add_totp(&ann, &[]);
    let secrets = deployment.json(&["custody"])["secrets"].clone();
    assert_eq!(
        secrets,
        json!([
            { "kind": "deployment.secret", "hsm": "primary", "mode": "sealed", "count": 1 },
            { "kind": "factors.secret", "hsm": "primary", "mode": "wrapped", "count": 1 },
            { "kind": "users.password", "hsm": "primary", "mode": "sealed", "count": 1 },
        ])
    );
}
