//! Nodes whose HSM tokens no other node reaches or names share one database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::Value;
use signet_core::admission::Admission;
use signet_core::keys::{Envelope, HsmName, OtpSecretKind, RowBinding, TenantId, envelope, hexadecimal};
use signet_core::random::OsRandom;
use signet_jose::algorithm::KeyType;
use signet_jose::clock::Timestamp;
use signet_jose::{Algorithm, Header, Jwk, KeyId, PublicKey, UnverifiedJws, assemble, signing_input};

use crate::support::application::{ALL_GRANTS, Application, TestUser};
use crate::support::caller::Caller;
use crate::support::cluster::Cluster;
use crate::support::process::wait_for;
use crate::support::requests;
use crate::support::server::Server;

/// A key takes over soon, and is published for a while before it does.
pub(super) const SOON: &str = "[keys]\npublish_ahead = \"2s\"\njwks_max_age = \"1s\"\nclock_skew = \"1s\"";

/// How long a secret may take to the other nodes.
const SOON_ENOUGH: Duration = Duration::from_secs(1);

/// What is missing for the HSM tokens, as a node sees it.
fn waiting(node: &Application, hsm: &str) -> (u64, u64, u64) {
    let listed = node.json(&["hsm", "list"]);
    let listed = listed.as_array().unwrap().iter().find(|listed| listed["name"] == hsm).unwrap().clone();
    let number = |name: &str| listed["seals"][name].as_u64().unwrap();
    (number("secrets"), number("sealed"), number("waiting"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_enrols_on_one_node_signs_in_on_each_other_one_within_a_second() {
    let cluster = Cluster::of_own_tokens(3, SOON);
    let app = cluster.servers[0].add_client("app", ALL_GRANTS, "read");
    let mut tokens = Vec::new();
    for (number, server) in cluster.servers.iter().enumerate() {
        let ann = server.add_user(&format!("ann-{number}"), "reader");
        let key = server.add_yubico(&ann, &format!("vvcccccccc{}", ["bb", "bc", "bd"][number]));
        let enrolled = Instant::now();
        for other in &cluster.servers {
            let answer = loop {
                let answer = other.sign_in(&app, &ann, &key.press()).await;
                if answer.status == 200 || enrolled.elapsed() > SOON_ENOUGH {
                    break answer;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            tokens.push(answer.ok());
        }
    }
    // Nobody's configuration names another one's HSM token, and each signed by its own.
    let jwks: Value = requests::get(&cluster.url("/oauth2/jwks")).await.json();
    assert!(jwks["keys"].as_array().unwrap().len() >= 3, "{jwks}");
    for token in &tokens {
        for server in &cluster.servers {
            assert!(server.is_active(&app, &token.access_token()).await);
        }
    }
    let refresh = tokens[0].refresh_token();
    let mut successors = Vec::new();
    for server in &cluster.servers {
        successors.push(server.refresh(&app, &refresh).await.ok().refresh_token());
    }
    assert!(successors.windows(2).all(|pair| pair[0] == pair[1]), "{successors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_late_signs_nobody_in_until_everything_has_come() {
    let mut cluster = Cluster::of(1, SOON);
    let app = cluster.servers[0].add_client("app", ALL_GRANTS, "read");
    let ann = cluster.servers[0].add_user("ann", "reader");
    let key = cluster.servers[0].add_yubico(&ann, "vvccccccccbe");
    let totp = cluster.servers[0].add_totp(&ann, &[]);
    let late = cluster.admit("late");
    // Nobody is there who could send it anything.
    cluster.servers[0].kill();
    let server = late.start_serving();
    let told = wait_for("a node that says what is missing", || {
        let log = server.log();
        log.contains("secrets have not come to this node's HSM token yet").then_some(log)
    });
    assert!(told.contains("sign-ins are answered 503"), "{told}");
    let report = server.get("/readyz").await;
    assert_eq!(report.status, 503);
    assert!(report.text("secrets").contains("3 are still on their way"), "{}", report.text("secrets"));
    let nobody = TestUser { name: "nobody".to_owned(), id: String::new() };
    for user in [&ann, &nobody] {
        assert!(server.sign_in(&app, user, &key.press()).await.is_try_again());
    }
    assert_eq!(waiting(&late, "late"), (4, 1, 0));
    // Tokens are asked for all the while.
    cluster.servers[0].restart();
    let caller = Caller::new(&cluster.servers[0], &app);
    let is_over = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let is_over = Arc::clone(&is_over);
        async move {
            let mut issued = 0;
            while !is_over.load(Ordering::Relaxed) {
                caller.client_credentials().await.unwrap().ok();
                issued += 1;
            }
            issued
        }
    });
    until_ready(&server).await;
    assert_eq!(waiting(&late, "late"), (4, 4, 0));
    server.sign_in(&app, &ann, &key.press()).await.ok();
    server.sign_in(&app, &ann, &totp.code()).await.ok();
    is_over.store(true, Ordering::Relaxed);
    assert!(load.await.unwrap() > 0);
    assert!(server.sql("SELECT complete_at FROM transports WHERE hsm = 'late'").parse::<i64>().unwrap() > 0);
}

async fn until_ready(server: &Server) {
    for _ in 0..300 {
        if server.get("/readyz").await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{}\n{}", server.get("/readyz").await.body, server.log());
}

/// Whoever writes the database can encrypt to a public key, and move what others encrypted.
#[tokio::test(flavor = "multi_thread")]
async fn a_planted_envelope_and_one_of_another_row_are_refused_and_never_become_a_seal() {
    let mut cluster = Cluster::of_own_tokens(2, SOON);
    let app = cluster.servers[0].add_client("app", ALL_GRANTS, "read");
    let ann = cluster.servers[0].add_user("ann", "reader");
    let key = cluster.servers[0].add_yubico(&ann, "vvccccccccbf");
    wait_for("seals of ann's", || (waiting(&cluster.first, "token-1").2 == 0).then_some(()));
    cluster.servers[1].kill();
    // What is for bob waits, and is put in the place of ann's; and one by somebody's own hand is for her key.
    let bob = cluster.servers[0].add_user("bob", "reader");
    cluster.first.sql(&format!(
        "DELETE FROM seals WHERE hsm = 'token-1' AND kind IN ('users.password', 'factors.secret');
         INSERT INTO envelopes (tenant, kind, row_id, hsm, envelope) SELECT tenant, kind, '{ann}', hsm, envelope FROM envelopes
            WHERE row_id = '{bob}';
         INSERT INTO envelopes (tenant, kind, row_id, hsm, envelope) SELECT tenant, 'factors.secret', id, 'token-1', '\\x{planted}'
            FROM factors;
         INSERT INTO envelopes (tenant, kind, row_id, hsm, envelope) VALUES
            ('default', 'users.password', 'nobody', 'token-1', '\\x03'), ('default', 'factors.secret', 'nobody', 'token-1', '\\x03')",
        ann = ann.id,
        bob = bob.id,
        planted = planted(&cluster.first),
    ));
    cluster.servers[1].restart();
    let refused = wait_for("four refusals", || {
        let audit = cluster.first.run(&["audit", "export"]).ok().stdout;
        (audit.matches("envelope.refused").count() >= 4).then_some(audit)
    });
    for why in ["did not write it, or not for this row", "belongs to no row that is there", "is no envelope"] {
        assert!(refused.contains(why), "{why}: {refused}");
    }
    assert!(cluster.servers[1].log().contains("ALARM: an envelope was refused"));
    // Who has the secrets sends them again, and they are the true ones.
    wait_for("seals of all", || {
        let (secrets, sealed, waiting) = waiting(&cluster.first, "token-1");
        (secrets == sealed && waiting == 0).then_some(())
    });
    cluster.servers[1].sign_in(&app, &ann, &key.press()).await.ok();
}

/// An envelope by the hand of whoever writes the database, for the HSM token `token-1`.
fn planted(node: &Application) -> String {
    let key_id = node.sql("SELECT key_id FROM keys WHERE hsm = 'token-1' AND purpose = 'transport'");
    let jwk = node.sql("SELECT public_jwk FROM keys WHERE hsm = 'token-1' AND purpose = 'transport'");
    let factor = node.sql("SELECT id || '/' || user_id FROM factors");
    let row = RowBinding::new(&TenantId::default_tenant(), "factor", &factor, "secret");
    let kind = Some(OtpSecretKind::Aes128);
    let sealed = envelope::seal(&OsRandom, &Jwk::from_json(&jwk).unwrap().key, &row, kind, &[7; 16]).unwrap();
    hexadecimal(&Envelope::new(&KeyId::new(key_id), sealed).to_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_a_writer_of_the_database_offers_is_refused_and_so_is_another_code() {
    let cluster = Cluster::of(1, SOON);
    let node = cluster.first.node_with_own_token("late");
    node.run(&["node", "join", "late", "--admitted", "ABCD"]).fails(1, &["no code of `signet node join`"]);
    let asked = node.json(&["node", "join", "late"]);
    let code = asked["code"].as_str().unwrap();
    assert_eq!(node.json(&["node", "join", "late"])["code"], asked["code"], "asked again, by the same key");
    node.run(&["node", "join", "late", "--admitted", code]).fails(1, &["not admitted yet"]);
    // Another transport key in its place: the code is of the one that the new machine shows.
    let request = cluster.first.sql("SELECT public_jwk FROM joins");
    let (attacker, jwk) = attackers_key();
    cluster.first.sql(&format!("UPDATE joins SET public_jwk = '{}'", jwk.to_json()));
    cluster.first.run(&["node", "admit", code]).fails(1, &["has this code", "do not go on"]);
    cluster.first.sql(&format!("UPDATE joins SET public_jwk = '{request}'"));
    // A secret that another key signed, by its own name and by that of the key that is to vouch.
    let vouching = cluster.first.sql("SELECT key_id FROM keys WHERE purpose = 'audit_signing'");
    let transport = Jwk::from_json(&request).unwrap();
    for (kid, why) in [(jwk.key_id.as_str(), "signed by another key"), (vouching.as_str(), "forged")] {
        let offered = offer(&attacker, kid, &transport, &cluster.first.issuer());
        cluster.first.sql(&format!("UPDATE joins SET admission = '{offered}'"));
        node.run(&["node", "join", "late", "--admitted", code]).fails(1, &[why, "nothing was taken"]);
    }
    assert_eq!(cluster.first.sql("SELECT COUNT(*) FROM hsm_tokens"), "1");
    // An honest one is taken, by a code in small letters, once.
    cluster.first.json(&["node", "admit", &code.to_lowercase()]);
    node.json(&["node", "join", "late", "--admitted", code]);
    node.run(&["node", "join", "late"]).fails(1, &["already"]);
    node.run(&["node", "join", "late", "--admitted", code]).fails(1, &["does not ask"]);
    let pinned = std::fs::read_to_string(node.file("audit.jwk")).unwrap();
    assert!(pinned.contains(&vouching), "{pinned}");
    let events = cluster.first.run(&["audit", "export"]).ok().stdout;
    assert!(events.contains("node.admitted"), "{events}");
}

fn attackers_key() -> (EcdsaKeyPair, Jwk) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public = PublicKey::from_ec_point(KeyType::P256, pair.public_key().as_ref()).unwrap();
    (pair, Jwk::new(public, Algorithm::Es256).unwrap())
}

/// An admission that the attacker's key signed, with a secret of their own.
fn offer(attacker: &EcdsaKeyPair, kid: &str, transport: &Jwk, issuer: &str) -> String {
    let row = RowBinding::of_deployment_secret();
    let admission = Admission {
        issuer: issuer.to_owned(),
        signed_at: Timestamp::from_unix_seconds(1_700_000_000),
        hsm: HsmName::new("late"),
        transport: transport.key_id.clone(),
        generation: 1,
        envelope: envelope::seal(&OsRandom, &transport.key, &row, None, &[7; 32]).unwrap(),
    };
    let token_type = Some("signet-admission+jws".to_owned());
    let header = Header { algorithm: Algorithm::Es256, key_id: Some(KeyId::new(kid)), token_type };
    let input = signing_input(&header, &admission.to_payload().unwrap());
    let signature = attacker.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    assemble(input, signature.as_ref())
}

/// A restore renews the deployment's secret on one node; the other one, whose HSM token that does not reach, takes it at its start.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_a_restore_renewed_comes_to_the_other_nodes_token() {
    let mut cluster = Cluster::of_own_tokens(1, SOON);
    let app = cluster.servers[0].add_client("app", ALL_GRANTS, "read");
    let ann = cluster.servers[0].add_user("ann", "reader");
    let key = cluster.servers[0].add_yubico(&ann, "vvccccccccbb");
    let other = cluster.admit("late");
    let server = other.serve();
    until_ready(&server).await;
    server.sign_in(&app, &ann, &key.press()).await.ok();
    server.stop();
    cluster.servers.pop().unwrap().stop();
    cluster.first.sql("INSERT INTO halts (id, node, at, restored) VALUES (1, 'one', 0, 0)");
    cluster.first.json(&["restore", "--in-place", "--why", "failed over"]);
    let answered = cluster.first.json(&["restore", "--ended", "nothing had ended"]);
    assert_eq!((&answered["secret_generation"], &answered["void_rows_count"]), (&2.into(), &0.into()), "{answered}");
    let tokens = "SELECT string_agg(hsm, ' ' ORDER BY hsm) FROM seals WHERE kind = 'deployment.secret'";
    assert_eq!(cluster.first.sql(tokens), "primary");
    let server = other.serve();
    assert_eq!(cluster.first.sql(tokens), "late primary");
    until_ready(&server).await;
    assert_eq!(server.sign_in(&app, &ann, &key.press()).await.status, 400, "two in a row are wanted");
    server.sign_in(&app, &ann, &key.press()).await.ok();
    assert_eq!(other.json(&["audit", "verify", "--store"])["intact"], true);
    let first = cluster.first.serve();
    first.sign_in(&app, &ann, &key.press()).await.ok();
    assert_eq!(cluster.first.sql("SELECT COUNT(*) FROM joins"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_rotates_its_own_token_and_the_tokens_of_all_verify() {
    let cluster = Cluster::of_own_tokens(2, SOON);
    let app = cluster.servers[0].add_client("app", ALL_GRANTS, "read");
    let client_credentials = [("grant_type", "client_credentials")];
    let kid_of = |token: &str| UnverifiedJws::parse(token).unwrap().header().key_id.clone().unwrap();
    let mut tokens = Vec::new();
    for server in &cluster.servers {
        tokens.push(server.token(&app, &client_credentials).await.ok().access_token());
    }
    let [first, second] = [kid_of(&tokens[0]), kid_of(&tokens[1])];
    assert_ne!(first, second);
    cluster.servers[1].run(&["key", "rotate"]).ok();
    let rotated = loop {
        let token = cluster.servers[1].token(&app, &client_credentials).await.ok().access_token();
        if kid_of(&token) != second {
            break token;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let other = cluster.servers[0].token(&app, &client_credentials).await.ok().access_token();
    assert_eq!(kid_of(&other), first, "the other node's key is not touched");
    for server in &cluster.servers {
        let verifier = Caller::new(server, &app).verifier().await;
        for token in tokens.iter().chain([&rotated, &other]) {
            assert!(server.is_active(&app, token).await);
            verifier.verify_now(token).unwrap();
        }
    }
}
