//! A key is destroyed, doubled or made outside: no start, or no token, and never a signature of another key's.

use crate::support::application::{ALL_GRANTS, Application, TestClient};
use crate::support::caller::Caller;
use crate::support::commands::text;
use crate::support::requests::Answer;
use crate::support::server::Server;

/// The signing key's id and its `CKA_ID`s in hexadecimal, as pkcs11-tool takes it.
fn signing_key(deployment: &Application) -> (String, String) {
    let keys = deployment.json(&["key", "list"]);
    let keys = keys.as_array().unwrap();
    let key = keys.iter().find(|key| key["purpose"] == "token_signing").unwrap();
    let kid = text(key, "kid");
    let objects = deployment.hsm_token().pkcs11_tool(&["--list-objects", "--type", "privkey"]);
    let sql = format!("SELECT lower(hex(cka_id)) FROM keys WHERE key_id = '{kid}'");
    let id = deployment.sql(&sql);
    assert!(objects.contains(&id), "{id} is not in {objects}");
    (kid, id)
}

fn delete(deployment: &Application, kind: &str, id: &str) {
    deployment.hsm_token().pkcs11_tool(&["--delete-object", "--type", kind, "--id", id]);
}

async fn ask(server: &Server, credentials: &TestClient) -> Answer {
    Caller::new(server, credentials).client_credentials().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_70_a_destroyed_key_refuses_the_start_and_signs_nothing() {
    let deployment = Application::new("");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    assert_eq!(ask(&server, &credentials).await.status, 200);
    let (kid, id) = signing_key(&deployment);
    delete(&deployment, "privkey", &id);
    // The running worker's session copy outlives the object; a fresh worker finds nothing.
    let worker = server.workers()[0];
    crate::support::process::signal(worker, "KILL");
    tokio::task::block_in_place(|| server.new_worker(&[worker]));
    let answer = ask(&server, &credentials).await;
    assert!(answer.is_try_again() && answer.has_no_token(), "{answer:?}");
    server.stop();
    deployment.run(&["serve"]).fails(1, &[&kid]);
    deployment.run(&["custody"]).fails(1, &[&kid]);
    deployment.run(&["doctor"]).fails(1, &[&kid]);
}

/// Only the public half is exchanged: the private key would sign, and nobody could verify it.
#[test]
fn hazard_67_a_key_whose_public_half_is_anothers_is_refused() {
    let deployment = Application::new("");
    let (kid, id) = signing_key(&deployment);
    delete(&deployment, "privkey", &id);
    delete(&deployment, "pubkey", &id);
    let generate = ["--keypairgen", "--key-type", "EC:prime256v1", "--id", &id, "--sensitive"];
    deployment.hsm_token().pkcs11_tool(&generate);
    deployment.run(&["serve"]).fails(1, &[&kid]);
    deployment.run(&["custody"]).fails(1, &[&kid, "another key's"]);
}

#[test]
fn hazard_68_a_second_key_of_the_same_id_refuses_the_start() {
    let deployment = Application::new("");
    let (kid, id) = signing_key(&deployment);
    deployment.hsm_token().pkcs11_tool(&["--keypairgen", "--key-type", "EC:prime256v1", "--id", &id, "--sensitive"]);
    deployment.run(&["serve"]).fails(1, &["2 objects", "CKA_ID", &kid]);
    deployment.run(&["doctor"]).fails(1, &[&kid]);
}

#[test]
fn hazard_70_an_extractable_key_in_the_place_of_the_right_one_is_refused() {
    let deployment = Application::new("");
    let sql = "SELECT lower(hex(cka_id)) FROM keys WHERE purpose = 'binding'";
    let id = deployment.sql(sql);
    delete(&deployment, "secrkey", &id);
    deployment.hsm_token().pkcs11_tool(&["--keygen", "--key-type", "GENERIC:32", "--id", &id, "--extractable"]);
    deployment.run(&["custody"]).fails(1, &["CKA_EXTRACTABLE is true"]);
    deployment.run(&["doctor"]).fails(1, &["CKA_EXTRACTABLE is true"]);
    deployment.add_user("ann", "reader");
    deployment.run(&["factor", "add", "totp", "--user", "ann"]).fails(1, &["CKA_EXTRACTABLE is true"]);
    assert_eq!(deployment.json(&["factor", "list", "--user", "ann"]).as_array().map(Vec::len), Some(0));
}
