//! `[policy]`: what must have been proved for a client, a scope and a role.

use serde_json::{Value, json};

use super::verified;
use crate::http::Stage;
use crate::support::application::{AUDIENCE, PASSWORD};

const SECTIONS: &str = "[policy]\nrequire = [\"urn:signet:aal2\"]\nauthenticator_claim = true\n\
     [policy.clients]\nconsole = [\"phishing-resistant\"]\n\
     [policy.scopes]\nwrite = [\"yubico_otp\"]\n\
     [policy.roles]\nadmin = [\"yubico_otp\", \"webauthn\"]\n";

async fn claims(stage: &Stage, token: &str) -> Value {
    verified(stage, token, AUDIENCE).await.claims
}

#[tokio::test]
async fn roles_and_scopes_that_ask_for_more_are_left_out_until_it_is_shown() {
    let stage = Stage::new(SECTIONS);
    let user = stage.add_user("ann", "reader,admin");
    let totp = stage.add_totp(&user, &[]);
    let key = stage.add_yubico(&user, "ccccccbteudd");
    let by_code = stage.sign_in(&stage.app, &user, &totp.code()).await.ok();
    let weak = claims(&stage, &by_code.access_token()).await;
    assert_eq!((&weak["scope"], &weak["roles"]), (&json!("read"), &json!(["reader"])));
    assert_eq!(weak["authenticator"], json!({ "kind": "totp" }));
    let refreshed = stage.refresh(&stage.app, &by_code.refresh_token()).await.ok();
    let refreshed = claims(&stage, &refreshed.access_token()).await;
    assert_eq!((&refreshed["scope"], &refreshed["roles"]), (&json!("read"), &json!(["reader"])));
    let by_key = stage.sign_in(&stage.app, &user, &key.press()).await.ok();
    let strong = claims(&stage, &by_key.access_token()).await;
    assert_eq!((&strong["scope"], &strong["roles"]), (&json!("read write"), &json!(["admin", "reader"])));
    assert_eq!(strong["authenticator"], json!({ "kind": "yubico_otp" }));
    let refreshed = stage.refresh(&stage.app, &by_key.refresh_token()).await.ok();
    assert_eq!(claims(&stage, &refreshed.access_token()).await["roles"], json!(["admin", "reader"]));
}

#[tokio::test]
async fn hazard_51_a_client_that_asks_for_a_stronger_sign_in_gets_no_weaker_one() {
    let stage = Stage::new(SECTIONS);
    let console = stage.add_client("console", "password,refresh_token", "read");
    let (user, totp) = stage.person("bob");
    let refused = stage.sign_in(&console, &user, &totp.code()).await;
    assert_eq!(refused.refusal(), (400, "unmet_authentication_requirements".to_owned()));
    // A wrong sign-in learns nothing of the policy.
    let wrong = stage.sign_in(&console, &user, "000000").await;
    assert_eq!(wrong.refusal(), (400, "invalid_grant".to_owned()));
    let records = stage.audit().await;
    let told =
        records.iter().any(|record| record["event"] == "token.refused" && record["reason"] == "sign_in_too_weak");
    assert!(told, "{records:?}");
    assert_eq!(stage.rows("grants").await, 0);
}

#[tokio::test]
async fn a_client_may_ask_for_a_level_by_acr_values_which_a_higher_one_reaches() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("asks");
    let ask = async |values: &str, code: &str| {
        let fields = [("grant_type", "password"), ("username", &*user.name), ("password", PASSWORD), ("otp", code)];
        stage.token(&stage.app, &[&fields[..], &[("acr_values", values)]].concat()).await
    };
    ask("urn:signet:aal3 urn:signet:aal1", &totp.at(-1)).await.ok();
    let refused = ask("urn:signet:aal3", &totp.at(0)).await;
    assert_eq!(refused.refusal(), (400, "unmet_authentication_requirements".to_owned()));
}

/// The policy of today holds for yesterday's sign-in.
#[tokio::test]
async fn a_policy_that_asks_for_more_ends_refreshing() {
    let mut stage = Stage::new("");
    let (user, totp) = stage.person("carl");
    let family = stage.sign_in(&stage.app, &user, &totp.code()).await.ok();
    let family = stage.refresh(&stage.app, &family.refresh_token()).await.ok();
    stage.reconfigure("[policy]\nrequire = [\"urn:signet:aal3\"]\n");
    stage.server.kill_and_restart();
    let refused = stage.refresh(&stage.app, &family.refresh_token()).await;
    assert_eq!(refused.refusal(), (400, "invalid_grant".to_owned()));
}
