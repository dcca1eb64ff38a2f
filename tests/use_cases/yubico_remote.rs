//! A YubiKey whose AES key another validation server has: whether its OTP signs in here. The server is another deployment
//! in this process, between which and the one that asks a test meddles.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signet_core::audit::RequestContext;
use signet_core::mfa::yubico_validation::{ClientNumber, Fields};
use signet_core::secret::SecretBytes;
use signet_service::factors::enrolment::YubicoKey;
use signet_service::otp_validation::clients::NewOtpClient;
use signet_service::sign_in::Surface;
use signet_service::sign_in::validation_servers::{ValidationServer, ValidationServers};
use signet_service::{Issuer, SignInError, Unavailable};

use crate::support::codes::YubiKey;
use crate::support::people::{PASSWORD, shown};
use crate::support::{InProcess, context};
use signet_core::oauth::ClientId;

const HERE: RequestContext = RequestContext::NONE;

/// What becomes of an answer on its way; `None` where nothing gets through either way.
type Meddler = Option<fn(String) -> String>;

const HONEST: Meddler = Some(|answer| answer);

/// Another deployment that knows the key, as it is reached from here.
struct Elsewhere {
    issuer: Arc<Issuer>,
    meddler: Arc<Mutex<Meddler>>,
}

#[async_trait]
impl ValidationServer for Elsewhere {
    fn name(&self) -> &str {
        "elsewhere"
    }

    async fn answer(&self, pairs: Vec<(String, String)>) -> Result<String, String> {
        let meddler = self.meddler.lock().unwrap().ok_or("no route")?;
        let fields = Fields::collect(pairs).unwrap();
        Ok(meddler(self.issuer.otp_validation.validator.validate_otp(Some(&fields), &HERE).await))
    }
}

/// A deployment with a person whose key another one knows, and that other one.
struct Stage {
    app: InProcess,
    /// Kept: its store goes with it.
    _elsewhere: InProcess,
    key: YubiKey,
    meddlers: Vec<Arc<Mutex<Meddler>>>,
}

impl Stage {
    /// So many ways to the other deployment.
    async fn new(ways: usize) -> Self {
        let (elsewhere, key) = (InProcess::new().await, YubiKey::new("cccccc"));
        let client = ClientNumber::new(7).unwrap();
        let new =
            NewOtpClient { name: "vpn".to_owned(), id: Some(client), key: None, needs_signature: true, enabled: true };
        let (_, api_key) = elsewhere.issuer.otp_validation.clients.add_otp_client(new, &context()).await.unwrap();
        let (public_id, secret) = (key.public_id().to_owned(), SecretBytes::new(key.secret.to_vec()));
        let slot = YubicoKey { public_id, private_id: key.private_id, secret };
        elsewhere.issuer.otp_validation.keys.add_otp_key(&slot, None, &context()).await.unwrap();
        let meddlers: Vec<Arc<Mutex<Meddler>>> = (0..ways).map(|_| Arc::new(Mutex::new(HONEST))).collect();
        let way = |meddler: &Arc<Mutex<Meddler>>| -> Arc<dyn ValidationServer> {
            Arc::new(Elsewhere { issuer: elsewhere.issuer.clone(), meddler: meddler.clone() })
        };
        let api_key = SecretBytes::new(STANDARD.decode(api_key.expose()).unwrap());
        let ways = meddlers.iter().map(way).collect();
        let servers = ValidationServers::new(ways, client, api_key, Duration::from_secs(5));
        let app = InProcess::with_validation_servers(servers).await;
        app.user("ann").await;
        let enrolment = &app.issuer.factors.enrolment;
        enrolment.enrol_yubico_remote("ann", "key", key.public_id(), &context()).await.unwrap();
        Self { app, _elsewhere: elsewhere, key, meddlers }
    }

    fn meddle(&self, way: usize, meddler: Meddler) {
        *self.meddlers[way].lock().unwrap() = meddler;
    }

    async fn sign_in(&self, name: &str, otp: &str) -> Result<Vec<String>, SignInError> {
        let (client, request) = (ClientId::new("app"), shown(name, PASSWORD, otp));
        let done = self.app.issuer.sign_in.authenticate(&request, Surface::Client(client.clone()), &HERE).await;
        done.map(|(authentication, _)| authentication.amr())
    }

    async fn last_reason(&self) -> String {
        self.app.reasons("sign_in").await.pop().unwrap()
    }
}

#[tokio::test]
async fn what_another_server_accepts_signs_in_once() {
    let stage = Stage::new(1).await;
    let (older, otp) = (stage.key.press(), stage.key.press());
    assert_eq!(stage.sign_in("ann", &otp).await.unwrap(), ["pwd", "otp", "hwk", "mfa"]);
    for spent in [&otp, &older] {
        assert_eq!(stage.sign_in("ann", spent).await, Err(SignInError::Refused));
        assert_eq!(stage.last_reason().await, "replayed_code");
    }
    let of_another_key = YubiKey::new("cccccc").press();
    assert_eq!(stage.sign_in("ann", &of_another_key).await, Err(SignInError::Refused));
    assert_eq!(stage.last_reason().await, "remote_bad_otp");
}

/// A server that accepts an OTP twice does not make it good twice.
#[tokio::test]
async fn an_answer_from_before_and_a_counter_that_fell_open_nothing() {
    static KEPT: Mutex<Option<String>> = Mutex::new(None);
    let stage = Stage::new(1).await;
    let keep = |answer: String| KEPT.lock().unwrap().insert(answer).clone();
    stage.meddle(0, Some(keep));
    let otp = stage.key.press();
    stage.sign_in("ann", &otp).await.unwrap();
    stage.meddle(0, Some(|_| KEPT.lock().unwrap().clone().unwrap()));
    // The nonce is another one each time: the answer is worth nothing.
    assert_eq!(stage.sign_in("ann", &otp).await, Err(SignInError::Unavailable(Unavailable)));
    assert_eq!(stage.sign_in("ann", &stage.key.press()).await, Err(SignInError::Unavailable(Unavailable)));
}

#[tokio::test]
async fn an_answer_that_was_tampered_with_or_never_came_opens_nothing() {
    let stage = Stage::new(1).await;
    let meddlers: [Meddler; 4] = [
        None,
        Some(|answer| answer.replace("sl=100", "sl=99")),
        Some(|answer| answer.lines().filter(|line| !line.starts_with("h=")).collect::<Vec<_>>().join("\r\n")),
        Some(|_| "<html>hello</html>".to_owned()),
    ];
    for meddler in meddlers {
        stage.meddle(0, meddler);
        assert_eq!(stage.sign_in("ann", &stage.key.press()).await, Err(SignInError::Unavailable(Unavailable)));
    }
    stage.meddle(0, HONEST);
    stage.sign_in("ann", &stage.key.press()).await.unwrap();
}

/// One way is cut, one brings a refusal: the server that accepts wins.
#[tokio::test]
async fn of_several_servers_the_one_that_accepts_wins() {
    let stage = Stage::new(2).await;
    stage.meddle(0, None);
    stage.sign_in("ann", &stage.key.press()).await.unwrap();
    // Both reach the same server, which is asked the same twice: the second question is refused as a repetition.
    stage.meddle(0, HONEST);
    stage.sign_in("ann", &stage.key.press()).await.unwrap();
}

/// Whoever shows an OTP of that key is answered alike while no server answers: it tells nobody whose key it is.
#[tokio::test]
async fn while_no_server_answers_everybody_who_shows_the_key_is_answered_alike() {
    let stage = Stage::new(1).await;
    stage.app.user("bob").await;
    stage.meddle(0, None);
    for name in ["ann", "bob", "nobody"] {
        assert_eq!(stage.sign_in(name, &stage.key.press()).await, Err(SignInError::Unavailable(Unavailable)), "{name}");
    }
    stage.meddle(0, HONEST);
    assert_eq!(stage.sign_in("bob", &stage.key.press()).await, Err(SignInError::Refused));
    stage.sign_in("ann", &stage.key.press()).await.unwrap();
}
