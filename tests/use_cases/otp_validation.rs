//! Whether an OTP that another service was shown is good.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signet_core::audit::RequestContext;
use signet_core::mfa::yubico_validation::{ClientNumber, Fields, hmac_sha1, signature_text};
use signet_core::secret::{SecretBytes, SecretText};
use signet_service::ChangeError;
use signet_service::factors::enrolment::YubicoKey;
use signet_service::otp_validation::clients::NewOtpClient;

use crate::support::codes::YubiKey;
use crate::support::people::{PASSWORD, shown};
use crate::support::{InProcess, context};

const HERE: RequestContext = RequestContext::NONE;

fn new_client(name: &str, id: Option<u64>) -> NewOtpClient {
    let id = id.and_then(ClientNumber::new);
    NewOtpClient { name: name.to_owned(), id, key: None, needs_signature: false, enabled: true }
}

fn slot(key: &YubiKey) -> YubicoKey {
    let secret = SecretBytes::new(key.secret.to_vec());
    YubicoKey { public_id: key.public_id().to_owned(), private_id: key.private_id, secret }
}

/// A client that verifies, and a key.
struct Stage {
    app: InProcess,
    api_key: SecretText,
    key: YubiKey,
}

impl Stage {
    async fn new() -> Self {
        let (app, key) = (InProcess::new().await, YubiKey::new("cccccc"));
        let (_, api_key) =
            app.issuer.otp_validation.clients.add_otp_client(new_client("vpn", Some(7)), &context()).await.unwrap();
        app.issuer.otp_validation.keys.add_otp_key(&slot(&key), None, &context()).await.unwrap();
        Self { app, api_key, key }
    }

    /// Asks with these fields beside a client's number; returns the answer's status. Its signature must be the client's.
    async fn ask(&self, client: &str, otp: &str, nonce: &str, more: &[(&str, &str)]) -> String {
        let pairs = [("id", client), ("otp", otp), ("nonce", nonce)].into_iter().chain(more.iter().copied());
        let fields = Fields::collect(pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
        let body = self.app.issuer.otp_validation.validator.validate_otp(Some(&fields), &HERE).await;
        body.lines().find_map(|line| line.strip_prefix("status=")).unwrap().to_owned()
    }

    async fn status(&self, otp: &str, nonce: &str) -> String {
        self.ask("7", otp, nonce, &[]).await
    }
}

fn nonce(number: u32) -> String {
    format!("{number:016}")
}

#[tokio::test]
async fn an_otp_is_good_once_wherever_it_is_shown() {
    let stage = Stage::new().await;
    let (older, otp) = (stage.key.press(), stage.key.press());
    assert_eq!(stage.status(&otp, &nonce(1)).await, "OK");
    assert_eq!(stage.status(&otp, &nonce(1)).await, "REPLAYED_REQUEST");
    assert_eq!(stage.status(&otp, &nonce(2)).await, "REPLAYED_OTP");
    assert_eq!(stage.status(&older, &nonce(3)).await, "REPLAYED_OTP");
    // A user's key: what signed in is spent here, and the other way round.
    let (app, anns) = (&stage.app, YubiKey::new("cccccd"));
    app.user("ann").await;
    app.issuer.factors.enrolment.enrol_yubico_otp("ann", "key", &slot(&anns), &context()).await.unwrap();
    let sign_in =
        async |otp: &str| app.issuer.sessions.begin_session(&shown("ann", PASSWORD, otp), None, &HERE).await.is_ok();
    let (one, two) = (anns.press(), anns.press());
    assert!(sign_in(&one).await);
    assert_eq!(stage.status(&one, &nonce(4)).await, "REPLAYED_OTP");
    assert_eq!(stage.status(&two, &nonce(5)).await, "OK");
    assert!(!sign_in(&two).await);
}

#[tokio::test]
async fn whatever_is_wrong_has_its_status_and_its_reason() {
    let stage = Stage::new().await;
    let otp = stage.key.press();
    let wrong_key = YubiKey::new("cccccc").press();
    let signature = signature_text(&hmac_sha1(b"another key", "anything"));
    let unknown_key = YubiKey::new("cccccv").press();
    for (place, (client, otp, signature, status, reason)) in [
        ("8", &*otp, "", "NO_SUCH_CLIENT", ""),
        ("7", "no otp", "", "BAD_OTP", ""),
        ("7", &unknown_key, "", "BAD_OTP", "unknown_key"),
        ("7", &wrong_key, "", "BAD_OTP", ""),
        ("7", &otp, &signature, "BAD_SIGNATURE", "wrong_signature"),
        ("7", &otp, "", "OK", "-"),
    ]
    .into_iter()
    .enumerate()
    {
        let more = [("h", signature)];
        let more = if signature.is_empty() { &[][..] } else { &more };
        let found = stage.ask(client, otp, &nonce(u32::try_from(place).unwrap()), more).await;
        assert_eq!(found, status, "{place}");
        if !reason.is_empty() {
            assert_eq!(stage.app.reasons("otp.validated").await.last().unwrap(), reason);
        }
    }
}

#[tokio::test]
async fn a_client_that_must_sign_is_answered_where_it_did_alone() {
    let stage = Stage::new().await;
    let clients = &stage.app.issuer.otp_validation.clients;
    let new = NewOtpClient { needs_signature: true, ..new_client("mail", None) };
    let (client, api_key) = clients.add_otp_client(new, &context()).await.unwrap();
    assert_eq!(client.id.get(), 8, "the number after the greatest one");
    let otp = stage.key.press();
    assert_eq!(stage.ask("8", &otp, &nonce(1), &[]).await, "BAD_SIGNATURE");
    let signed = format!("id=8&nonce={}&otp={otp}", nonce(2));
    let key = STANDARD.decode(api_key.expose()).unwrap();
    let signature = signature_text(&hmac_sha1(&key, &signed));
    assert_eq!(stage.ask("8", &otp, &nonce(2), &[("h", &signature)]).await, "OK");
    assert_ne!(stage.api_key.expose(), api_key.expose());
}

#[tokio::test]
async fn what_is_disabled_verifies_nothing() {
    let stage = Stage::new().await;
    let validation = &stage.app.issuer.otp_validation;
    validation.clients.enable_otp_client("vpn", false, &context()).await.unwrap();
    assert_eq!(stage.status(&stage.key.press(), &nonce(1)).await, "OPERATION_NOT_ALLOWED");
    validation.clients.enable_otp_client("vpn", true, &context()).await.unwrap();
    validation.keys.enable_otp_key("cccccc", false, &context()).await.unwrap();
    assert_eq!(stage.status(&stage.key.press(), &nonce(2)).await, "BAD_OTP");
    validation.keys.enable_otp_key("cccccc", true, &context()).await.unwrap();
    assert!(validation.keys.disable_yubico_key("cccccc", &context()).await.unwrap());
    assert!(!validation.keys.disable_yubico_key("vvvvvv", &context()).await.unwrap());
    assert_eq!(stage.status(&stage.key.press(), &nonce(3)).await, "BAD_OTP");
    assert_eq!(stage.app.reasons("otp.validated").await, ["disabled", "disabled"], "a repetition is counted");
}

/// Where the HSM does not answer nothing is called good, and nothing is spent.
#[tokio::test]
async fn where_the_hsm_does_not_answer_nothing_is_good_and_nothing_is_spent() {
    let stage = Stage::new().await;
    assert_eq!(stage.status(&stage.key.press(), &nonce(1)).await, "OK");
    let otp = stage.key.press();
    stage.app.hsms.go_away("a");
    assert_eq!(stage.status(&otp, &nonce(2)).await, "BACKEND_ERROR");
    stage.app.hsms.recover("a");
    assert_eq!(stage.status(&otp, &nonce(3)).await, "OK");
}

#[tokio::test]
async fn clients_are_added_found_and_removed_each_on_the_record() {
    let app = InProcess::new().await;
    let clients = &app.issuer.otp_validation.clients;
    let (client, _) = clients.add_otp_client(new_client("vpn", None), &context()).await.unwrap();
    assert_eq!(clients.find_otp_client("vpn").await.unwrap(), client);
    assert_eq!(clients.find_otp_client("1").await.unwrap(), client);
    assert_eq!(clients.otp_clients_after(Some(client.id), 10).await.unwrap(), []);
    assert_eq!(clients.otp_clients_after(None, 10).await.unwrap(), [client]);
    for (name, id) in [("vpn", None), ("other", Some(1))] {
        let taken = clients.add_otp_client(new_client(name, id), &context()).await;
        assert!(matches!(taken, Err(ChangeError::Taken { noun: "otp-client", .. })), "{name}");
    }
    clients.remove_otp_client("vpn", &context()).await.unwrap();
    assert!(matches!(clients.find_otp_client("vpn").await, Err(ChangeError::Missing { .. })));
    assert_eq!(app.details("otp_client.changed").await, ["added: vpn", "removed: vpn"]);
}

#[tokio::test]
async fn keys_are_added_raised_and_removed_each_on_the_record() {
    let stage = Stage::new().await;
    let keys = &stage.app.issuer.otp_validation.keys;
    let taken = keys.add_otp_key(&slot(&stage.key), None, &context()).await;
    assert!(matches!(taken, Err(ChangeError::Taken { noun: "otp-key", .. })));
    let older = stage.key.otp(3, 1);
    assert!(keys.raise_yubico_counter("cccccc", 4 << 8, &context()).await.unwrap());
    assert!(!keys.raise_yubico_counter("cccccc", 3 << 8, &context()).await.unwrap(), "a counter never falls");
    assert_eq!(stage.status(&older, &nonce(1)).await, "REPLAYED_OTP");
    assert_eq!(stage.status(&stage.key.otp(4, 1), &nonce(2)).await, "OK");
    let listed = keys.otp_keys_after(None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    let public_id = listed[0].public_id.as_str();
    assert_eq!(keys.find_otp_key(public_id).await.unwrap().public_id, public_id);
    assert!(matches!(keys.find_otp_key("none").await, Err(ChangeError::Missing { .. })));
    assert!(keys.otp_keys_after(Some(public_id), 10).await.unwrap().is_empty());
    keys.remove_otp_key("cccccc", &context()).await.unwrap();
    assert!(matches!(keys.remove_otp_key("cccccc", &context()).await, Err(ChangeError::Missing { .. })));
    let expected = ["added: cccccc", "counter raised: cccccc", "removed: cccccc"];
    assert_eq!(stage.app.details("otp_key.changed").await, expected);
}
