//! Enrolment by an operator.

use signet_core::mfa::FactorDetail;
use signet_core::mfa::enrolment::TotpParameters;
use signet_core::mfa::policy::Limit;
use signet_core::secret::SecretBytes;
use signet_service::ChangeError;
use signet_service::factors::enrolment::{Device, NewOtp, YubicoKey};

use crate::support::codes::YubiKey;
use crate::support::people::{PASSWORD, shown};
use crate::support::{InProcess, context};

/// A YubiKey's slot, as an operator enrols it.
pub(super) fn slot(key: &YubiKey) -> YubicoKey {
    YubicoKey {
        public_id: key.public_id().to_owned(),
        private_id: key.private_id,
        secret: SecretBytes::new(key.secret.to_vec()),
    }
}

pub(super) fn hotp(serial: Option<&str>) -> NewOtp {
    NewOtp {
        label: "token".to_owned(),
        serial: serial.map(str::to_owned),
        parameters: TotpParameters::DEFAULT,
        device: Device::Counter(0),
        secret: Some(SecretBytes::new(vec![7; 20])),
    }
}

#[tokio::test]
async fn a_person_has_four_tokens_that_show_digits_at_most() {
    let app = InProcess::new().await;
    app.user("ann").await;
    let maker = &app.issuer.factors.enrolment;
    for number in 0..Limit::DIGITS.most {
        match number % 2 {
            0 => drop(maker.enrol_totp("ann", "phone", TotpParameters::DEFAULT, &context()).await.unwrap()),
            _ => drop(maker.enrol_otp("ann", hotp(None), &context()).await.unwrap()),
        }
    }
    let refused = maker.enrol_otp("ann", hotp(None), &context()).await;
    assert!(matches!(refused, Err(ChangeError::Conflict(text)) if text.contains("TOTP and HOTP factors")));
    assert_eq!(app.details("factor.changed").await, ["added"; Limit::DIGITS.most]);
    maker.enrol_yubico_otp("ann", "key", &slot(&YubiKey::new("cccccc")), &context()).await.unwrap();
}

/// One device is one person's: its serial number, or what it types, is in the tenant once.
#[tokio::test]
async fn a_device_belongs_to_one_person() {
    let app = InProcess::new().await;
    app.user("ann").await;
    app.user("bob").await;
    let maker = &app.issuer.factors.enrolment;
    let key = YubiKey::new("cccccc");
    maker.enrol_otp("ann", hotp(Some("4711")), &context()).await.unwrap();
    maker.enrol_yubico_otp("ann", "key", &slot(&key), &context()).await.unwrap();
    let taken = |name: &str| ChangeError::Taken { noun: "factor", name: name.to_owned() };
    assert_eq!(maker.enrol_otp("bob", hotp(Some("4711")), &context()).await.unwrap_err(), taken("4711"));
    let again = maker.enrol_yubico_otp("bob", "key", &slot(&key), &context()).await;
    assert_eq!(again.unwrap_err(), taken("cccccc"));
}

#[tokio::test]
async fn what_can_not_be_a_factor_is_refused() {
    let app = InProcess::new().await;
    app.user("ann").await;
    let maker = &app.issuer.factors.enrolment;
    let key = |public_id: &str, length| YubicoKey {
        public_id: public_id.to_owned(),
        private_id: [0; 6],
        secret: SecretBytes::new(vec![1; length]),
    };
    for (label, key) in [("key", key("no modhex", 16)), ("key", key("cccccc", 15)), ("", key("cccccc", 16))] {
        let refused = maker.enrol_yubico_otp("ann", label, &key, &context()).await;
        assert!(matches!(refused, Err(ChangeError::Input(_))), "{label} {key:?}");
    }
    let missing = maker.enrol_totp("nobody", "phone", TotpParameters::DEFAULT, &context()).await;
    assert_eq!(missing.unwrap_err(), ChangeError::Missing { noun: "user", name: "nobody".to_owned() });
    let nobody_verifies = maker.enrol_yubico_remote("ann", "key", "cccccc", &context()).await;
    assert!(matches!(nobody_verifies, Err(ChangeError::Conflict(text)) if text.contains("yubico_validation")));
    assert!(app.details("factor.changed").await.is_empty());
}

#[tokio::test]
async fn a_yubikey_and_a_counter_token_sign_in_once_a_press() {
    let app = InProcess::new().await;
    app.user("ann").await;
    let (maker, key) = (&app.issuer.factors.enrolment, YubiKey::new("cccccc"));
    maker.enrol_yubico_otp("ann", "key", &slot(&key), &context()).await.unwrap();
    let (counter, _) = maker.enrol_otp("ann", hotp(None), &context()).await.unwrap();
    let codes = crate::support::codes::SixDigits {
        hash: signet_core::keys::OtpHash::Sha1,
        secret: vec![7; 20],
        is_clock: false,
    };
    let (older, newer) = (key.press(), key.press());
    for (code, reason) in [
        (&newer, "-"),
        (&newer, "replayed_code"),
        (&older, "replayed_code"),
        (&codes.at(3), "-"),
        (&codes.at(3), "wrong_code"),
        (&codes.at(2), "wrong_code"),
    ] {
        let signed_in = app.issuer.sessions.begin_session(&shown("ann", PASSWORD, code), None, &context()).await;
        assert_eq!(signed_in.is_ok(), reason == "-");
        assert_eq!(app.reasons("sign_in").await.last().unwrap(), reason);
    }
    let counter = app.issuer.factors.lifecycle.find_factor(&counter.id).await.unwrap();
    assert!(matches!(counter.detail, FactorDetail::Hotp(state) if state.next_counter == 4));
}
