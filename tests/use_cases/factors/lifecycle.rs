//! What an operator changes of factors.

use signet_service::ChangeError;
use signet_store::FactorId;

use crate::support::{InProcess, context};

#[tokio::test]
async fn factors_are_listed_renamed_disabled_and_removed_each_on_the_record() {
    let app = InProcess::new().await;
    let (ann, bob) = (app.person("ann").await, app.person("bob").await);
    let lifecycle = &app.issuer.factors.lifecycle;
    let all = lifecycle.factors_after(None, 100).await.unwrap();
    let listed: Vec<_> = all.iter().map(|listed| (&*listed.user_name, &listed.factor.id)).collect();
    assert_eq!(listed, [("ann", &ann.app), ("bob", &bob.app)]);
    lifecycle.rename_factor(&ann.app, "new phone", &context()).await.unwrap();
    assert_eq!(lifecycle.list_factors("ann").await.unwrap()[0].label, "new phone");
    lifecycle.enable_factor(&ann.app, false, &context()).await.unwrap();
    assert!(matches!(lifecycle.enable_factor(&ann.app, false, &context()).await, Err(ChangeError::Conflict(_))));
    lifecycle.enable_factor(&ann.app, true, &context()).await.unwrap();
    lifecycle.remove_factor(&ann.app, &context()).await.unwrap();
    assert!(lifecycle.list_factors("ann").await.unwrap().is_empty());
    assert!(matches!(lifecycle.approve_factor(&bob.app, &context()).await, Err(ChangeError::Conflict(_))));
    let expected = ["added", "added", "renamed", "disabled", "enabled", "removed"];
    assert_eq!(app.details("factor.changed").await, expected);
}

#[tokio::test]
async fn a_factor_that_is_not_there_can_not_be_changed() {
    let app = InProcess::new().await;
    let (lifecycle, id, context) = (&app.issuer.factors.lifecycle, FactorId::new("gone"), context());
    let missing = ChangeError::Missing { noun: "factor", name: "gone".to_owned() };
    assert_eq!(lifecycle.find_factor(&id).await, Err(missing.clone()));
    assert_eq!(lifecycle.enable_factor(&id, true, &context).await, Err(missing.clone()));
    assert_eq!(lifecycle.rename_factor(&id, "label", &context).await, Err(missing.clone()));
    assert_eq!(lifecycle.approve_factor(&id, &context).await, Err(missing.clone()));
    assert_eq!(lifecycle.remove_factor(&id, &context).await, Err(missing));
}
