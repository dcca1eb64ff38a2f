//! What an audit log says had ended is ended again in a store that is older.

use std::collections::BTreeMap;

use signet_core::audit::AuditEvent;
use signet_core::audit::since::{Noun, Since};
use signet_core::keys::KeyPurpose;
use signet_core::mfa::yubico_validation::ClientNumber;
use signet_core::mfa::{FactorDetail, FactorId};
use signet_core::secret::SecretBytes;
use signet_service::factors::enrolment::YubicoKey;
use signet_service::otp_validation::clients::NewOtpClient;
use signet_store::{Factors as _, Keys as _, OtpValidation as _, Users as _};

use crate::support::own_chain::OwnChain as _;
use crate::support::people::{secret, words};
use crate::support::{InProcess, context};

/// What the records after the first so many say.
async fn since(app: &InProcess, known: i64) -> Since {
    let mut since = Since::default();
    for record in app.store.own_records(known + 1, 1000).await.unwrap() {
        since.take(&serde_json::from_str::<AuditEvent>(&record.text).unwrap(), record.at);
    }
    since
}

async fn add_otp_key(app: &InProcess, public_id: &str) {
    let secret = SecretBytes::new(vec![7; 16]);
    let key = YubicoKey { public_id: public_id.to_owned(), private_id: [1; 6], secret };
    app.issuer.otp_validation.keys.add_otp_key(&key, None, &context()).await.unwrap();
}

/// Users, clients, and what belongs to the validation protocol; gives a user's factor.
async fn inhabited() -> (InProcess, FactorId) {
    let app = InProcess::new().await;
    for name in ["gone", "off", "changed", "demoted", "back"] {
        app.user(name).await;
    }
    let phone = app.person("phone").await.app;
    for name in ["renewed", "closed"] {
        app.client(name).await;
    }
    let vpn = NewOtpClient {
        name: "vpn".to_owned(),
        id: ClientNumber::new(7),
        key: None,
        needs_signature: false,
        enabled: true,
    };
    app.issuer.otp_validation.clients.add_otp_client(vpn, &context()).await.unwrap();
    for public_id in ["cccccc", "dddddd"] {
        add_otp_key(&app, public_id).await;
    }
    (app, phone)
}

#[tokio::test]
async fn what_had_ended_is_ended_again_once_and_what_was_given_is_not_given() {
    let (app, phone) = inhabited().await;
    let (users, clients, validation) = (&app.issuer.accounts, &app.issuer.clients, &app.issuer.otp_validation);
    users.set_roles("demoted", words(["reader", "writer"]), &context()).await.unwrap();

    let before = app.store.head().await.unwrap().sequence;
    for (name, enabled) in [("off", false), ("back", false), ("back", true)] {
        users.enable_user(name, enabled, &context()).await.unwrap();
    }
    users.set_password("changed", &secret("another long pass phrase"), &context()).await.unwrap();
    users.set_roles("demoted", words(["reader", "admin"]), &context()).await.unwrap();
    app.issuer.factors.lifecycle.enable_factor(&phone, false, &context()).await.unwrap();
    clients.renew_client_secret("renewed", &context()).await.unwrap();
    clients.enable_client("closed", false, &context()).await.unwrap();
    validation.clients.enable_otp_client("vpn", false, &context()).await.unwrap();
    validation.keys.enable_otp_key("cccccc", false, &context()).await.unwrap();
    validation.keys.raise_yubico_counter("dddddd", 300, &context()).await.unwrap();
    let told = since(&app, before).await;

    // The store as it had been.
    users.enable_user("off", true, &context()).await.unwrap();
    users.set_roles("demoted", words(["reader", "writer"]), &context()).await.unwrap();
    app.issuer.factors.lifecycle.enable_factor(&phone, true, &context()).await.unwrap();
    clients.enable_client("closed", true, &context()).await.unwrap();
    validation.clients.enable_otp_client("vpn", true, &context()).await.unwrap();
    validation.keys.enable_otp_key("cccccc", true, &context()).await.unwrap();
    validation.keys.remove_otp_key("dddddd", &context()).await.unwrap();
    add_otp_key(&app, "dddddd").await;

    let ended = app.signet.restoring.end_again(&told, &context()).await.unwrap();
    let expected = [(Noun::User, 2), (Noun::Factor, 1), (Noun::Client, 2), (Noun::OtpClient, 1), (Noun::OtpKey, 1)];
    assert_eq!(ended.disabled, BTreeMap::from(expected));
    assert_eq!((ended.roles, ended.counters, ended.tokens), (1, 1, 0));
    assert_eq!(users.find_user("demoted").await.unwrap().roles, words(["reader"]));
    assert!(users.find_user("back").await.unwrap().enabled);
    let tenant = &app.issuer.settings.tenant;
    assert_eq!(app.store.otp_key(tenant, "dddddd").await.unwrap().unwrap().last_counter, 300);

    // Again: nothing is left to end.
    let again = app.signet.restoring.end_again(&told, &context()).await.unwrap();
    assert_eq!(again, signet_service::restoring::EndedAgain::default());
}

/// Whoever wrote one row past Signet keeps nobody from ending all the others.
#[tokio::test]
async fn a_forged_row_is_told_of_and_the_rest_is_ended_again() {
    let (app, _) = inhabited().await;
    let (users, clients) = (&app.issuer.accounts, &app.issuer.clients);
    let before = app.store.head().await.unwrap().sequence;
    let ids = [users.find_user("gone").await.unwrap().id, users.find_user("off").await.unwrap().id];
    for name in ["off", "back"] {
        users.enable_user(name, false, &context()).await.unwrap();
    }
    clients.enable_client("closed", false, &context()).await.unwrap();
    users.remove_user("gone", &context()).await.unwrap();
    let told = since(&app, before).await;
    app.user("gone").await;
    app.forge(&format!("UPDATE users SET id = '{}', roles = '[\"admin\"]' WHERE name = 'gone'", ids[0])).await;
    app.forge("UPDATE users SET enabled = 1, roles = '[\"admin\"]' WHERE name = 'off'").await;
    users.enable_user("back", true, &context()).await.unwrap();
    clients.enable_client("closed", true, &context()).await.unwrap();

    let ended = app.signet.restoring.end_again(&told, &context()).await.unwrap();
    assert_eq!(ended.refused.iter().collect::<Vec<_>>(), [&format!("users default {}", ids[1])]);
    assert_eq!(ended.removed, BTreeMap::from([(Noun::User, 1)]), "what does not verify can be removed");
    assert_eq!(ended.disabled, BTreeMap::from([(Noun::User, 1), (Noun::Client, 1)]));
    // On the record once, for as long as it is there.
    let refused = &app.signet.refused_rows;
    for _ in 0..2 {
        refused.record().await.unwrap();
        let named: Vec<String> = refused.list().await.unwrap().into_iter().map(|row| row.id).collect();
        assert_eq!(named, [format!("default {}", ids[1])]);
    }
    let records = app.store.own_records(1, 1000).await.unwrap();
    let told: Vec<_> = records.iter().filter(|record| record.text.contains("row.refused")).collect();
    assert!(told.len() == 1 && told[0].text.contains(ids[1].as_str()), "{told:?}");
}

#[tokio::test]
async fn what_had_been_removed_is_removed_again_where_it_is_there() {
    let (app, phone) = inhabited().await;
    let users = &app.issuer.accounts;
    let before = app.store.head().await.unwrap().sequence;
    let gone = users.find_user("gone").await.unwrap();
    users.remove_user("gone", &context()).await.unwrap();
    app.issuer.factors.lifecycle.remove_factor(&phone, &context()).await.unwrap();
    let told = since(&app, before).await;
    assert!(app.store.add_user(&gone, vec![]).await.unwrap());
    let ended = app.signet.restoring.end_again(&told, &context()).await.unwrap();
    assert_eq!(ended.removed, BTreeMap::from([(Noun::User, 1)]), "the factor is not there");
    users.find_user("gone").await.unwrap_err();
}

/// A counter only ever goes on, whatever kind of token has it.
#[tokio::test]
async fn counters_are_moved_past_what_was_spent() {
    let app = InProcess::new().await;
    app.user("ann").await;
    let maker = &app.issuer.factors.enrolment;
    let yubico =
        YubicoKey { public_id: "cccccccccccb".to_owned(), private_id: [1; 6], secret: SecretBytes::new(vec![7; 16]) };
    let factor = maker.enrol_yubico_otp("ann", "key", &yubico, &context()).await.unwrap();
    let tenant = &app.issuer.settings.tenant;
    let counter_of = async || match app.store.factor(tenant, &factor.id).await.unwrap().unwrap().detail {
        FactorDetail::YubicoOtp(state) => state.last_counter,
        other => panic!("{other:?}"),
    };
    let mut told = Since::default();
    let thing =
        signet_core::audit::since::Thing { noun: Noun::Factor, tenant: tenant.to_string(), id: factor.id.to_string() };
    for (counter, moved, stands) in [(700, 1, 700), (500, 0, 700)] {
        told.fates
            .insert(thing.clone(), signet_core::audit::since::Fate { counter: Some(counter), ..Default::default() });
        let ended = app.signet.restoring.end_again(&told, &context()).await.unwrap();
        assert_eq!((ended.counters, counter_of().await), (moved, stands));
    }
}

#[tokio::test]
async fn revoked_keys_and_tokens_are_revoked_again_and_keys_that_are_gone_as_well() {
    let app = InProcess::with_tokens(&["a", "b"]).await;
    let client = app.client("app").await;
    let token = app.token(&client).await.unwrap();
    let of_signing = async || {
        let keys = app.store.keys().await.unwrap().into_iter();
        keys.filter(|key| key.purpose == KeyPurpose::TokenSigning).collect::<Vec<_>>()
    };
    let keys = of_signing().await;
    assert_eq!(app.signet.restoring.revoke_missing_keys(&context()).await.unwrap().len(), 0);
    let jti = signet_verify::inspect(token.access_token.expose()).unwrap().unverified_claims["jti"].clone();
    let told = Since {
        revoked_keys: [keys[0].key_id.to_string()].into(),
        revoked_tokens: vec![signet_core::audit::since::RevokedToken {
            tenant: app.issuer.settings.tenant.to_string(),
            jti: jti.as_str().unwrap().to_owned(),
            at: app.now(),
        }],
        ..Since::default()
    };
    let ended = app.signet.restoring.end_again(&told, &context()).await.unwrap();
    assert_eq!((ended.keys.len(), ended.tokens), (1, 1));
    assert!(!app.is_active(&client, &token.access_token).await);
    app.hsms.lose(&keys[1]);
    let missing = app.signet.restoring.revoke_missing_keys(&context()).await.unwrap();
    assert_eq!(missing, [keys[1].key_id.to_string()].into());
    assert!(of_signing().await.iter().all(|key| !key.state.is_published()));
}
