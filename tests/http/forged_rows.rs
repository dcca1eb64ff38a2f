//! What somebody writes to the database past Signet gives nobody a token, a session or a yes. The fault is a failure (503), not a
//! refusal: it is the deployment's, not the caller's.

use super::Stage;
use crate::support::application::{ALL_GRANTS, TestClient};
use crate::support::process::wait_for;

const CLIENT_CREDENTIALS: &[(&str, &str)] = &[("grant_type", "client_credentials")];

#[tokio::test]
async fn a_planted_client_gets_no_token() {
    let stage = Stage::new("");
    stage.forges_rows();
    let app = stage.app.clone();
    stage.token(&app, CLIENT_CREDENTIALS).await.ok();
    stage.sql(
        "INSERT INTO clients SELECT tenant, 'planted', 'planted', secret_hash, grant_types, scopes, audiences, allow_from, origins, enabled, created_at,
            version, mac_key, mac FROM clients",
    );
    let planted = TestClient { name: "planted".to_owned(), id: "planted".to_owned(), secret: app.secret.clone() };
    let answer = stage.token(&planted, CLIENT_CREDENTIALS).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    stage.token(&app, CLIENT_CREDENTIALS).await.ok();
    // A client that may do more than it was allowed to.
    let few = stage.add_client("few", "refresh_token", "read");
    stage.sql("UPDATE clients SET grant_types = '[\"client_credentials\"]' WHERE name = 'few'");
    let answer = stage.token(&few, CLIENT_CREDENTIALS).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    let told = stage.log().matches("does not verify, and is refused").count();
    assert_eq!(told, 2, "each row once");
}

#[tokio::test]
async fn a_planted_role_gets_no_token() {
    let stage = Stage::new("");
    stage.forges_rows();
    let (ann, totp) = stage.person("ann");
    stage.sql("UPDATE users SET roles = '[\"admin\"]' WHERE name = 'ann'");
    let answer = stage.sign_in(&stage.app, &ann, &totp.code()).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    let log = stage.log();
    assert!(log.contains("does not verify") && !log.contains("[\\\"admin"), "{log}");
}

#[tokio::test]
async fn an_ended_family_is_not_revived() {
    let stage = Stage::new("");
    stage.forges_rows();
    let (_, first) = stage.family("ann").await;
    let (access, refresh) = (first.json()["access_token"].clone(), first.json()["refresh_token"].clone());
    let (access, refresh) = (access.as_str().unwrap(), refresh.as_str().unwrap());
    assert!(stage.is_active(&stage.app, access).await);
    stage.revoke(&stage.app, refresh).await.ok();
    assert!(!stage.is_active(&stage.app, access).await);
    stage.sql("UPDATE grants SET ended_at = NULL, end_reason = NULL; UPDATE refresh_tokens SET spent_at = NULL");
    assert_eq!(stage.refresh(&stage.app, refresh).await.status, 503);
    assert_eq!(stage.introspect(&stage.app, access).await.status, 503);
    // A family of another client's, by this one's token.
    let other = stage.add_client("other", ALL_GRANTS, "read write");
    stage.sql(&format!("UPDATE grants SET client_id = '{}'", other.id));
    assert_eq!(stage.refresh(&other, refresh).await.status, 503);
}

#[tokio::test]
async fn a_planted_key_is_not_published() {
    let stage = Stage::new("");
    stage.forges_rows();
    stage.token(&stage.app, CLIENT_CREDENTIALS).await.ok();
    // Any public key would do: the audit key's is at hand.
    let kid = stage.sql("SELECT key_id FROM keys WHERE purpose = 'audit_signing'");
    stage.sql(
        "INSERT INTO keys SELECT tenant, 'planted', hsm, 'token_signing', algorithm, cka_id, public_jwk, 'next', state_since, state_until,
            end_reason, token_lifetime, created_at, version, mac_key, mac FROM keys WHERE purpose = 'audit_signing';
         UPDATE generations SET value = value + 1 WHERE noun = 'keys'",
    );
    // All others go on.
    stage.token(&stage.app, CLIENT_CREDENTIALS).await.ok();
    let published = stage.get("/oauth2/jwks").await.ok();
    assert!(!published.body.contains(&kid), "{}", published.body);
    assert!(stage.log().contains("does not verify, and is refused"));
    let report = stage.run(&["--json", "doctor", "--quick"]);
    assert!(report.code == Some(1) && report.stdout.contains("keys planted"), "{report:?}");
    let told = "SELECT COUNT(*) FROM audit_records WHERE text LIKE '%row.refused%planted%'";
    wait_for("the alarm on the record", || (stage.sql(told) == "1").then_some(()));
    // Once it is gone, all is as it was.
    stage.sql("DELETE FROM keys WHERE key_id = 'planted'");
    stage.token(&stage.app, CLIENT_CREDENTIALS).await.ok();
    let published = stage.get("/oauth2/jwks").await.ok();
    assert!(!published.body.contains(&kid), "{}", published.body);
}
