//! Which HSM tokens belong to the deployment, and what is sealed for each.

use std::time::Duration;

use signet_core::keys::{HsmFailure, HsmName, KeyPurpose};
use signet_core::settings::SettingsDocument;
use signet_service::hsm_membership::Membership;
use signet_service::key_ring::rotation::Rotator;
use signet_service::{InitialiseError, MembershipError};
use signet_store::{Keys as _, SecretsAtRest as _};

use crate::support::{InProcess, context};

const DAY: Duration = Duration::from_hours(24);

fn hsm(name: &str) -> HsmName {
    HsmName::new(name)
}

#[tokio::test]
async fn init_makes_what_is_missing_and_leaves_what_is_there() {
    let app = InProcess::uninitialised(&["a"], |_| {}).await;
    let initialise =
        async || app.signet.initialisation.initialise(&SettingsDocument::default(), &context(), &|_| {}).await;
    app.hsms.fail_at("a", "generate", HsmFailure::Overloaded);
    assert!(matches!(initialise().await, Err(InitialiseError::Hsm(_))));
    app.hsms.recover("a");
    let made = initialise().await.unwrap();
    let purposes = [KeyPurpose::Sealing, KeyPurpose::Binding, KeyPurpose::TokenSigning, KeyPurpose::AuditSigning];
    assert_eq!(made.iter().map(|key| key.purpose).collect::<Vec<_>>(), purposes);
    assert!(made.iter().all(|key| key.created));
    let again = initialise().await.unwrap();
    assert!(again.iter().all(|key| !key.created));
    assert_eq!(app.store.keys().await.unwrap().len(), purposes.len());
    assert_eq!(app.reasons("deployment.initialised").await.len(), 1);
}

#[tokio::test]
async fn init_refuses_another_token_under_a_known_name_and_tokens_that_keep_nothing() {
    let app = InProcess::new().await;
    app.hsms.exchange("a");
    let refused = app.signet.initialisation.initialise(&SettingsDocument::default(), &context(), &|_| {}).await;
    assert!(matches!(refused, Err(InitialiseError::OtherToken { .. })));
    let app = InProcess::uninitialised(&["a"], |_| {}).await;
    app.hsms.only_sign("a");
    let refused = app.signet.initialisation.initialise(&SettingsDocument::default(), &context(), &|_| {}).await;
    assert_eq!(refused.unwrap_err(), InitialiseError::NothingSeals);
}

#[tokio::test]
async fn a_token_is_added_with_keys_of_its_own_and_everything_sealed_for_it() {
    let app = InProcess::new_with_spare().await;
    let (client, ann) = (app.client("app").await, app.person("ann").await);
    let status = app.signet.hsm_membership.hsm_status(&[hsm("a"), hsm("b")]).await.unwrap();
    assert_eq!(status.iter().map(|one| one.membership).collect::<Vec<_>>(), [Membership::Member, Membership::NotAdded]);
    let added = app.signet.hsm_membership.add_hsm(&hsm("b"), &context(), &|_| {}).await.unwrap();
    assert!(added.keeps_secrets && added.seals.sealed == 0);
    let sealed = app.signet.hsm_membership.seal_more(&hsm("b"), None).await.unwrap();
    assert!(sealed.next.is_none() && sealed.seals.sealed == sealed.seals.secrets && sealed.resealed.extended > 0);
    let again = app.signet.hsm_membership.add_hsm(&hsm("b"), &context(), &|_| {}).await.unwrap();
    assert!(again.seals == sealed.seals && again.keys.iter().all(|key| !key.created));
    let nobody = app.signet.hsm_membership.seal_more(&hsm("c"), None).await;
    assert!(matches!(nobody, Err(MembershipError::NotAMember(_))));
    assert_eq!(app.reasons("hsm.added").await.len(), 1);
    // Its signing key is published before it signs.
    let status = app.signet.hsm_membership.hsm_status(&[hsm("a"), hsm("b")]).await.unwrap();
    assert_eq!(status[1].signing_key, Some("next"));
    let mut rotator = Rotator::new(app.signet.key_ring.rotation.clone(), "one".to_owned());
    rotator.work().await.unwrap();
    app.pass(DAY).await;
    rotator.work().await.unwrap();
    // Now the deployment goes on without the first one.
    app.hsms.go_away("a");
    let request = app.right(&ann).await;
    app.token_for(&client, request).await.unwrap();
}

#[tokio::test]
async fn what_can_not_be_a_member_is_refused() {
    let app = InProcess::new_with_spare().await;
    let add = async |name: &str| app.signet.hsm_membership.add_hsm(&hsm(name), &context(), &|_| {}).await;
    assert!(matches!(add("c").await, Err(MembershipError::NotConfigured(_))));
    app.hsms.copy_serial("a", "b");
    assert!(matches!(add("b").await, Err(MembershipError::SameToken { .. })));
    assert!(app.reasons("hsm.added").await.is_empty());
    let app = InProcess::uninitialised(&["a"], |_| {}).await;
    let refused = app.signet.hsm_membership.add_hsm(&hsm("a"), &context(), &|_| {}).await;
    assert!(matches!(refused, Err(MembershipError::NotInitialised)));
}

#[tokio::test]
async fn a_token_is_retired_while_another_one_signs_and_can_open_everything() {
    let app = InProcess::with_tokens(&["a", "b"]).await;
    let (client, ann) = (app.client("app").await, app.person("ann").await);
    let old = app.token(&client).await.unwrap().access_token;
    let retire = async |name: &str| app.signet.hsm_membership.retire_hsm(&hsm(name), &context(), &|_| {}).await;
    assert!(matches!(retire("c").await, Err(MembershipError::NotAMember(_))));
    app.hsms.go_away("b");
    assert!(matches!(retire("a").await, Err(MembershipError::NothingElseSigns { .. })));
    let alone = app.person("bob").await;
    app.hsms.recover("b");
    assert!(matches!(retire("a").await, Err(MembershipError::SealedAlone { .. })), "what was sealed for it alone");
    app.signet.resealing.reseal_where_needed().await;
    let retired = retire("a").await.unwrap();
    assert!(retired.removed_seals > 0);
    assert!(matches!(retire("b").await, Err(MembershipError::Last(_))));
    app.hsms.go_away("a");
    for person in [&ann, &alone] {
        let request = app.right(person).await;
        app.token_for(&client, request).await.unwrap();
    }
    assert!(app.is_active(&client, &old).await, "its keys stay published until their last token has expired");
    let status = app.signet.hsm_membership.hsm_status(&[hsm("a"), hsm("b")]).await.unwrap();
    assert_eq!((status[0].membership, status[0].seals.sealed), (Membership::Retired, 0));
    assert_eq!(app.reasons("hsm.retired").await.len(), 1);
    app.hsms.recover("a");
    app.hsms.exchange("a");
    let refused = app.signet.hsm_membership.add_hsm(&hsm("a"), &context(), &|_| {}).await;
    assert!(matches!(refused, Err(MembershipError::Keys(InitialiseError::RetiredName { .. }))));
}

/// What was sealed while a token was away is sealed for it once it is back, and nothing is said twice.
#[tokio::test]
async fn what_a_token_missed_is_sealed_for_it_later() {
    let app = InProcess::with_tokens(&["a", "b"]).await;
    app.hsms.go_away("b");
    let ann = app.person("ann").await;
    let lacking = async || {
        let count = app.store.count_seals(&hsm("b")).await.unwrap();
        count.secrets - count.sealed
    };
    assert_eq!(lacking().await, 2, "a password and a seed");
    app.hsms.recover("b");
    let resealed = app.signet.resealing.reseal(&hsm("b"), Duration::ZERO).await.unwrap();
    assert_eq!((resealed.extended, resealed.unopened, lacking().await), (2, 0, 0));
    app.hsms.go_away("a");
    let request = app.right(&ann).await;
    app.issuer.sessions.begin_session(&request, None, &context()).await.unwrap();
}

#[tokio::test]
async fn the_members_are_those_that_were_not_retired() {
    let app = InProcess::with_tokens(&["a", "b"]).await;
    assert_eq!(app.signet.key_ring.members.live_members().await.unwrap(), [hsm("a"), hsm("b")]);
    app.signet.hsm_membership.retire_hsm(&hsm("a"), &context(), &|_| {}).await.unwrap();
    assert_eq!(app.signet.key_ring.members.live_members().await.unwrap(), [hsm("b")]);
}

#[tokio::test]
async fn init_goes_on_where_it_was_interrupted() {
    let app = InProcess::uninitialised(&["a", "b"], |_| {}).await;
    let initialise =
        async || app.signet.initialisation.initialise(&SettingsDocument::default(), &context(), &|_| {}).await;
    app.hsms.fail_at("b", "generate", HsmFailure::Overloaded);
    initialise().await.unwrap_err();
    app.hsms.recover("b");
    let made = initialise().await.unwrap();
    let created: Vec<&str> = made.iter().filter(|key| key.created).map(|key| key.hsm.as_str()).collect();
    // What keeps secrets is made in each before any signs.
    assert_eq!((made.len(), created), (8, vec!["b", "b", "a", "a", "b", "b"]));
}
