//! Who signs in, and the software that asks for tokens.

use std::collections::BTreeSet;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use signet_core::audit::RequestContext;
use signet_core::keys::{OtpHash, RowBinding, Vault as _};
use signet_core::mfa::FactorId;
use signet_core::mfa::enrolment::TotpParameters;
use signet_core::mfa::{Credentials, SecondFactor};
use signet_core::oauth::grant::{ClientCredentialsRequest, PasswordRequest, RefreshRequest, TokenRequest};
use signet_core::oauth::{GrantType, OAuthError, Parameters, PresentedCredentials, Reach};
use signet_core::secret::{SecretBytes, SecretText};
use signet_service::clients::authentication::KnownClient;
use signet_service::clients::registry::NewClient;
use signet_service::issuing::TokenAnswer;
use signet_service::sessions::LiveSession;
use signet_store::{Client, User, UserId, Users as _};

use super::codes::SixDigits;
use super::{InProcess, context};

/// Everybody's password.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// How long a code of an authenticator app is shown.
pub(crate) const STEP: Duration = Duration::from_secs(30);
/// The only address that anybody signs in from.
const SOMEWHERE: RequestContext = RequestContext::NONE;

/// A user with the password [`PASSWORD`] and an authenticator app.
pub(crate) struct Person {
    pub(crate) user: User,
    pub(crate) app: FactorId,
    pub(crate) codes: SixDigits,
}

/// A client with its secret.
pub(crate) struct TestClient {
    pub(crate) client: Client,
    pub(crate) secret: SecretText,
}

impl TestClient {
    pub(crate) fn presented(&self) -> PresentedCredentials {
        presented(self.client.id.as_str(), self.secret.expose())
    }
}

/// What a client with this id and secret shows.
pub(crate) fn presented(id: &str, secret: &str) -> PresentedCredentials {
    let body = format!("client_id={id}&client_secret={secret}");
    PresentedCredentials::read(None, &Parameters::parse(body.as_bytes()).unwrap()).unwrap()
}

pub(crate) fn secret(text: &str) -> SecretText {
    SecretText::new(text.to_owned())
}

pub(crate) fn words<const N: usize>(words: [&str; N]) -> BTreeSet<String> {
    words.map(str::to_owned).into()
}

/// A sign-in by these.
pub(crate) fn shown(name: &str, password: &str, otp: &str) -> Credentials {
    Credentials { username: secret(name), password: secret(password), second: SecondFactor::Code(secret(otp)) }
}

impl InProcess {
    /// A user without a factor.
    pub(crate) async fn user(&self, name: &str) -> User {
        let tenant = self.issuer.settings.tenant.clone();
        let id = UserId::new(self.issuer.ids.next());
        let row = RowBinding::new(&tenant, "user", id.as_str(), "password");
        let phc = SecretBytes::new(cheapest_hash().into_bytes());
        // What `add_user` does, but for the cost of the hash.
        let user = User {
            tenant,
            password: Some(self.hsms.seal(&row, &phc).await.unwrap()),
            id,
            name: name.to_owned(),
            roles: words(["reader"]),
            enabled: true,
            credentials_version: 0,
            created_at: self.now(),
        };
        assert!(self.store.add_user(&user, vec![]).await.unwrap());
        user
    }

    /// A user with an authenticator app.
    pub(crate) async fn person(&self, name: &str) -> Person {
        let user = self.user(name).await;
        let (app, codes) = self.add_totp(name).await;
        Person { user, app, codes }
    }

    /// Enrols an authenticator app.
    pub(crate) async fn add_totp(&self, user: &str) -> (FactorId, SixDigits) {
        let maker = &self.issuer.factors.enrolment;
        let (factor, made) = maker.enrol_totp(user, "phone", TotpParameters::DEFAULT, &context()).await.unwrap();
        let secret = made.secret.expose().to_vec();
        (factor.id, SixDigits { hash: OtpHash::Sha1, secret, is_clock: true })
    }

    /// What an authenticator app shows now.
    pub(crate) fn code(&self, codes: &SixDigits) -> String {
        codes.at(self.now().unix_seconds() / 30)
    }

    /// What a person's app shows next: a step goes by.
    pub(crate) async fn next_code(&self, person: &Person) -> String {
        self.pass(STEP).await;
        self.code(&person.codes)
    }

    /// A code that no step near has.
    pub(crate) fn wrong_code(&self, person: &Person) -> String {
        let now = self.now().unix_seconds() / 30;
        let near: Vec<String> = (now - 3..=now + 3).map(|step| person.codes.at(step)).collect();
        (0..).map(|number| format!("{number:06}")).find(|code| !near.contains(code)).unwrap()
    }

    /// A person's right sign-in, by the next code.
    pub(crate) async fn right(&self, person: &Person) -> Credentials {
        shown(&person.user.name, PASSWORD, &self.next_code(person).await)
    }

    /// Begins a session; returns its secret.
    pub(crate) async fn session(&self, person: &Person) -> SecretText {
        let request = self.right(person).await;
        self.issuer.sessions.begin_session(&request, None, &SOMEWHERE).await.unwrap()
    }

    /// The session of a secret, where it holds.
    pub(crate) async fn live(&self, secret: &SecretText) -> Option<LiveSession> {
        self.issuer.sessions.live_session(secret).await.unwrap()
    }

    /// A session that began just now.
    pub(crate) async fn fresh(&self, person: &Person) -> LiveSession {
        self.live(&self.session(person).await).await.unwrap()
    }

    /// A client of all grants, for `read` and `write`.
    pub(crate) async fn client(&self, name: &str) -> TestClient {
        let new = NewClient {
            name: name.to_owned(),
            grants: GrantType::ALL.into(),
            scopes: words(["read", "write"]),
            audiences: BTreeSet::new(),
            reach: Reach::default(),
        };
        let (client, secret) = self.issuer.clients.add_client(new, &context()).await.unwrap();
        TestClient { client, secret }
    }

    /// The client, as one that proved who it is.
    pub(crate) async fn known(&self, client: &TestClient) -> KnownClient {
        self.issuer.client_authenticator.authenticate_client(&client.presented(), &SOMEWHERE).await.unwrap()
    }

    /// `grant_type=client_credentials`.
    pub(crate) async fn token(&self, client: &TestClient) -> Result<TokenAnswer, OAuthError> {
        let request =
            TokenRequest::ClientCredentials(ClientCredentialsRequest { scopes: None, resources: BTreeSet::new() });
        self.issuer.issuing.token(&client.presented(), &request, &SOMEWHERE).await
    }

    /// `grant_type=password`.
    pub(crate) async fn token_for(
        &self,
        client: &TestClient,
        credentials: Credentials,
    ) -> Result<TokenAnswer, OAuthError> {
        self.token_asking(client, asking(credentials)).await
    }

    /// `grant_type=password` that asks for something in particular.
    pub(crate) async fn token_asking(
        &self,
        client: &TestClient,
        request: PasswordRequest,
    ) -> Result<TokenAnswer, OAuthError> {
        let request = TokenRequest::Password(request);
        self.issuer.issuing.token(&client.presented(), &request, &SOMEWHERE).await
    }

    /// `grant_type=refresh_token`.
    pub(crate) async fn refresh(&self, client: &TestClient, token: &SecretText) -> Result<TokenAnswer, OAuthError> {
        let request =
            TokenRequest::Refresh(RefreshRequest { token: token.clone(), scopes: None, resources: BTreeSet::new() });
        self.issuer.issuing.token(&client.presented(), &request, &SOMEWHERE).await
    }

    /// A person's first tokens.
    pub(crate) async fn family(&self, client: &TestClient, person: &Person) -> TokenAnswer {
        let request = self.right(person).await;
        self.token_for(client, request).await.unwrap()
    }

    /// Whether introspection calls a token active.
    pub(crate) async fn is_active(&self, client: &TestClient, token: &SecretText) -> bool {
        let known = self.known(client).await;
        let answer = self.issuer.issuing.introspection.introspect(&known, token.expose()).await.unwrap();
        answer["active"] == true
    }
}

/// A request of the password grant that asks for nothing in particular.
pub(crate) fn asking(credentials: Credentials) -> PasswordRequest {
    PasswordRequest { credentials, scopes: None, resources: BTreeSet::new(), acr_values: Vec::new() }
}

/// A hash of [`PASSWORD`] that takes no time.
fn cheapest_hash() -> String {
    let cheapest = Params::new(Params::MIN_M_COST, 1, 1, None).unwrap();
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, cheapest);
    hasher.hash_password_with_salt(PASSWORD.as_bytes(), b"a salt of a test").unwrap().to_string()
}
