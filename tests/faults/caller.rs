//! A client of the HTTP surface that keeps what matters of each answer.

use serde_json::Value;

use super::deployment::{AUDIENCE, ISSUER, Server};
use signet_verify::{Verifier, inspect};

/// What was answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Value,
}

impl Answer {
    #[track_caller]
    pub(crate) fn text(&self, key: &str) -> String {
        self.body[key].as_str().unwrap_or_else(|| panic!("{key} in {self:?}")).to_owned()
    }

    /// A 503 that says when to come again.
    pub(crate) fn is_try_again(&self) -> bool {
        self.status == 503 && self.retry_after.as_ref().is_some_and(|seconds| seconds.parse::<u32>().is_ok())
    }

    /// Whatever is answered, nothing of a token is in it.
    pub(crate) fn has_no_token(&self) -> bool {
        self.body.get("access_token").is_none() && self.body.get("refresh_token").is_none()
    }
}

/// One client, with its credentials and a server to ask.
#[derive(Clone)]
pub(crate) struct Caller {
    http: reqwest::Client,
    base: String,
    credentials: (String, String),
}

impl Caller {
    pub(crate) fn new(server: &Server, credentials: &(String, String)) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, base: server.url(""), credentials: credentials.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, reqwest::Error> {
        read(self.http.get(format!("{}{path}", self.base)).send().await?).await
    }

    /// Posts a form.
    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Answer, reqwest::Error> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request =
            self.http.post(format!("{}{path}", self.base)).basic_auth(&self.credentials.0, Some(&self.credentials.1));
        read(request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await?).await
    }

    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Result<Answer, reqwest::Error> {
        self.post("/oauth2/token", form).await
    }

    pub(crate) async fn client_credentials(&self) -> Result<Answer, reqwest::Error> {
        self.token(&[("grant_type", "client_credentials"), ("scope", "read")]).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Result<Answer, reqwest::Error> {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    pub(crate) async fn sign_in(&self, user: &str, password: &str, otp: &str) -> Result<Answer, reqwest::Error> {
        let form = [("grant_type", "password"), ("username", user), ("password", password), ("otp", otp)];
        self.token(&form).await
    }

    pub(crate) async fn introspect(&self, token: &str) -> Result<Answer, reqwest::Error> {
        self.post("/oauth2/introspect", &[("token", token)]).await
    }

    pub(crate) async fn revoke(&self, token: &str) -> Result<Answer, reqwest::Error> {
        self.post("/oauth2/revoke", &[("token", token)]).await
    }

    /// A verifier with the keys that are published now; it asks nobody afterwards.
    pub(crate) async fn verifier(&self) -> Verifier {
        let jwks = self.get("/oauth2/jwks").await.unwrap().body.to_string();
        Verifier::builder(ISSUER).audience(AUDIENCE).build_from_text(&jwks).unwrap()
    }
}

async fn read(response: reqwest::Response) -> Result<Answer, reqwest::Error> {
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let text = response.text().await?;
    Ok(Answer { status, retry_after, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
}

/// The `jti` of an access token, unverified.
pub(crate) fn token_id(token: &str) -> String {
    let view = inspect(token).unwrap();
    view.unverified_claims["jti"].as_str().unwrap().to_owned()
}
