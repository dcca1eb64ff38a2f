//! A client that a task of its own can hold, and to which a server that is gone is an answer too.

use signet_verify::{Verifier, inspect};

use super::application::{AUDIENCE, TestClient};
use super::requests::{self, Answer};
use super::server::Server;

/// One client, with its credentials, a server to ask, and connections that are kept.
#[derive(Clone)]
pub(crate) struct Caller {
    http: reqwest::Client,
    base: String,
    issuer: String,
    client: TestClient,
}

impl Caller {
    pub(crate) fn new(server: &Server, client: &TestClient) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, base: server.url(""), issuer: server.issuer(), client: client.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, reqwest::Error> {
        Answer::read(self.http.get(format!("{}{path}", self.base)).send().await?).await
    }

    /// Posts a form.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Result<Answer, reqwest::Error> {
        let request = requests::posted(&self.http, &format!("{}{path}", self.base), Some(&self.client), fields);
        Answer::read(request.send().await?).await
    }

    pub(crate) async fn token(&self, fields: &[(&str, &str)]) -> Result<Answer, reqwest::Error> {
        self.post("/oauth2/token", fields).await
    }

    pub(crate) async fn client_credentials(&self) -> Result<Answer, reqwest::Error> {
        self.token(&[("grant_type", "client_credentials"), ("scope", "read")]).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Result<Answer, reqwest::Error> {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    pub(crate) async fn sign_in(&self, user: &str, password: &str, otp: &str) -> Result<Answer, reqwest::Error> {
        let fields = [("grant_type", "password"), ("username", user), ("password", password), ("otp", otp)];
        self.token(&fields).await
    }

    pub(crate) async fn introspect(&self, token: &str) -> Result<Answer, reqwest::Error> {
        self.post("/oauth2/introspect", &[("token", token)]).await
    }

    pub(crate) async fn revoke(&self, token: &str) -> Result<Answer, reqwest::Error> {
        self.post("/oauth2/revoke", &[("token", token)]).await
    }

    /// A verifier with the keys that are published now; it asks nobody afterwards.
    pub(crate) async fn verifier(&self) -> Verifier {
        let jwks = self.get("/oauth2/jwks").await.unwrap().body;
        Verifier::builder(&self.issuer).audience(AUDIENCE).build_from_text(&jwks).unwrap()
    }
}

/// The `jti` of an access token, unverified.
pub(crate) fn token_id(token: &str) -> String {
    let view = inspect(token).unwrap();
    view.unverified_claims["jti"].as_str().unwrap().to_owned()
}
