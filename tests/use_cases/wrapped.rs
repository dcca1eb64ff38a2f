//! HSM tokens that use the secrets of factors without their leaving them: the mode `wrapped`. The tokens in memory open
//! nothing that is wrapped, as real ones do.

use std::time::Duration;

use signet_core::keys::{HsmName, KeyPurpose, OtpHash, SealMode};
use signet_core::secret::SecretBytes;
use signet_core::token_files::{Format, ImportOptions, tokens};
use signet_service::SignInError;
use signet_service::factors::enrolment::YubicoKey;
use signet_store::{Factors as _, Keys as _, Users as _};

use crate::support::codes::{SixDigits, YubiKey};
use crate::support::people::{PASSWORD, shown};
use crate::support::{InProcess, context};

/// Two tokens, of which `a` wraps and `b` seals.
async fn app() -> InProcess {
    let app = InProcess::uninitialised(&["a", "b"], |_| {}).await;
    app.hsms.wrap("a");
    app.initialise().await;
    app
}

async fn sign_in(app: &InProcess, name: &str, otp: &str) -> bool {
    let done = app.issuer.sessions.begin_session(&shown(name, PASSWORD, otp), None, &context()).await;
    match done {
        Ok(_) => true,
        Err(SignInError::Refused) => false,
        Err(error) => panic!("{error}"),
    }
}

/// How a user's factors are kept by each token.
async fn modes(app: &InProcess, name: &str) -> Vec<(String, Option<SealMode>)> {
    let tenant = &app.issuer.settings.tenant;
    let user = app.store.user_by_name(tenant, name).await.unwrap().unwrap();
    let factors = app.store.factors(tenant, &user.id).await.unwrap();
    let copies = factors.into_iter().flat_map(|factor| factor.secret.0);
    copies.map(|(hsm, blob)| (hsm.to_string(), SealMode::of_blob(blob.first()))).collect()
}

const BOTH: [(&str, Option<SealMode>); 2] = [("a", Some(SealMode::Wrapped)), ("b", Some(SealMode::Sealed))];

fn owned(modes: &[(&str, Option<SealMode>)]) -> Vec<(String, Option<SealMode>)> {
    modes.iter().map(|(hsm, mode)| ((*hsm).to_owned(), *mode)).collect()
}

#[tokio::test]
async fn factors_are_wrapped_where_a_token_can_and_sign_in_by_each_token() {
    let app = app().await;
    let mut keys = app.store.keys().await.unwrap();
    keys.retain(|key| key.purpose == KeyPurpose::Wrapping);
    let wrapping: Vec<&str> = keys.iter().map(|key| key.hsm.as_str()).collect();
    assert_eq!(wrapping, ["a"], "a token that can't wrap has no key for it");
    let (ann, key) = (app.person("ann").await, YubiKey::new("cccccc"));
    let (public_id, secret) = (key.public_id().to_owned(), SecretBytes::new(key.secret.to_vec()));
    let slot = YubicoKey { public_id, private_id: key.private_id, secret };
    app.issuer.factors.enrolment.enrol_yubico_otp("ann", "key", &slot, &context()).await.unwrap();
    assert_eq!(modes(&app, "ann").await, owned(&[BOTH, BOTH].concat()));
    assert!(sign_in(&app, "ann", &app.code(&ann.codes)).await);
    for away in ["b", "a"] {
        app.hsms.go_away(away);
        assert!(sign_in(&app, "ann", &app.next_code(&ann).await).await, "without {away}");
        assert!(sign_in(&app, "ann", &key.press()).await, "without {away}");
        app.hsms.recover(away);
    }
    assert!(!sign_in(&app, "ann", &app.wrong_code(&ann)).await);
}

#[tokio::test]
async fn a_token_of_the_stock_stays_wrapped_when_it_becomes_a_factor() {
    let app = app().await;
    app.user("ann").await;
    let file = "4711,0101010101010101010101010101010101010101,hotp,6,0\n";
    let options = ImportOptions { format: Some(Format::OathCsv), ..ImportOptions::default() };
    let read = tokens(file.as_bytes(), &options).unwrap().map(Result::unwrap).collect();
    app.issuer.factors.stock_import.import_tokens(read, &context()).await.unwrap();
    app.issuer.factors.stock.assign_stock("4711", "ann", None, &context()).await.unwrap();
    assert_eq!(modes(&app, "ann").await, owned(&BOTH));
    let codes = SixDigits { hash: OtpHash::Sha1, secret: vec![1; 20], is_clock: false };
    assert!(sign_in(&app, "ann", &codes.at(0)).await);
}

/// What was enrolled while a token was away is wrapped for it later, and recovery codes work by it alone.
#[tokio::test]
async fn what_a_wrapping_token_missed_is_wrapped_for_it_later() {
    let app = app().await;
    app.hsms.go_away("a");
    app.user("ann").await;
    let codes = app.issuer.factors.recovery.make_recovery_codes("ann", &context()).await.unwrap().codes;
    assert_eq!(modes(&app, "ann").await, owned(&BOTH[1..]));
    app.hsms.recover("a");
    let resealed = app.signet.resealing.reseal(&HsmName::new("a"), Duration::ZERO).await.unwrap();
    assert_eq!((resealed.extended, resealed.unopened), (2, 0), "a password and the codes' secret");
    assert_eq!(modes(&app, "ann").await, owned(&BOTH));
    app.hsms.go_away("b");
    assert!(sign_in(&app, "ann", codes[0].expose()).await);
    assert!(!sign_in(&app, "ann", codes[0].expose()).await, "a code is good once");
}
