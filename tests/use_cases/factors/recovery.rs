//! What a person shows without their token.

use std::time::Duration;

use signet_core::mfa::recovery::CODES;
use signet_service::factors::recovery::{MAX_REPLACEMENT, MAX_REPLACEMENT_CODES};
use signet_service::{ChangeError, SignInError};

use crate::support::people::{PASSWORD, shown};
use crate::support::{InProcess, context};

#[tokio::test]
async fn each_recovery_code_signs_in_once_and_tells_how_many_are_left() {
    let app = InProcess::new().await;
    let (client, _) = (app.client("app").await, app.person("ann").await);
    let recovery = &app.issuer.factors.recovery;
    let made = recovery.make_recovery_codes("ann", &context()).await.unwrap();
    assert_eq!(made.codes.len(), usize::try_from(CODES).unwrap());
    assert!(matches!(recovery.make_recovery_codes("ann", &context()).await, Err(ChangeError::Conflict(_))));
    for (used, code) in made.codes.iter().take(2).enumerate() {
        let answer = app.token_for(&client, shown("ann", PASSWORD, code.expose())).await.unwrap();
        assert_eq!(answer.recovery_codes_left, Some(CODES - 1 - u32::try_from(used).unwrap()));
    }
    let again = app.token_for(&client, shown("ann", PASSWORD, made.codes[0].expose())).await;
    assert!(again.is_err());
    assert_eq!(app.reasons("sign_in").await.last().unwrap(), "replayed_code");
    app.issuer.factors.lifecycle.remove_factor(&made.factor.id, &context()).await.unwrap();
    assert!(app.token_for(&client, shown("ann", PASSWORD, made.codes[5].expose())).await.is_err());
}

#[tokio::test]
async fn a_replacement_holds_for_its_time() {
    let app = InProcess::new().await;
    app.user("ann").await;
    let recovery = &app.issuer.factors.recovery;
    let day = Duration::from_hours(24);
    for (valid, codes) in [(Duration::ZERO, 1), (MAX_REPLACEMENT + day, 1), (day, 0), (day, MAX_REPLACEMENT_CODES + 1)]
    {
        let refused = recovery.replace_token("ann", valid, codes, &context()).await;
        assert!(matches!(refused, Err(ChangeError::Input(_))), "{valid:?} {codes}");
    }
    let made = recovery.replace_token("ann", day, 3, &context()).await.unwrap();
    let sign_in = async |place: usize| {
        let request = shown("ann", PASSWORD, made.codes[place].expose());
        app.issuer.sessions.begin_session(&request, None, &context()).await.map(drop)
    };
    app.pass(day - Duration::from_secs(1)).await;
    assert_eq!(sign_in(0).await, Ok(()));
    app.pass(Duration::from_secs(1)).await;
    assert_eq!(sign_in(1).await, Err(SignInError::Refused));
    recovery.replace_token("ann", day, 3, &context()).await.unwrap();
    let left = app.issuer.factors.lifecycle.list_factors("ann").await.unwrap();
    assert!(left.len() == 1 && left[0].id != made.factor.id, "the one whose time is over was removed");
}
