//! The HTTP surface, as clients meet it: one file an endpoint, all through the one test application.

mod addresses;
mod algorithms;
mod discovery;
mod forged_rows;
mod growth;
mod health;
mod introspect;
mod jwks;
mod limits;
mod load;
mod log;
mod malformed;
mod pages;
mod postgres;
mod postgres_roles;
mod revoke;
mod standard_client;
mod statistics;
mod tls;
mod token;
mod wire;
mod wsapi;

use std::sync::Arc;

use tokio::task::JoinSet;

use super::support::application::{ALL_GRANTS, Application, TestClient, TestUser};
use super::support::codes::Totp;
use super::support::requests::{self, Answer, form};
use super::support::server::{Server, Shared};

/// A server with a client that may use every grant.
pub(super) struct Stage {
    server: Server,
    app: TestClient,
}

impl std::ops::Deref for Stage {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Stage {
    fn new(sections: &str) -> Self {
        let server = Application::new(sections).serve();
        let app = server.add_client("app", ALL_GRANTS, "read write");
        Self { server, app }
    }

    /// The stage that tests share which touch nothing but users and clients of their own.
    fn shared() -> Arc<Self> {
        static SHARED: Shared<Stage> = Shared::new();
        SHARED.hold(|| Self::new(""))
    }

    /// A user with a TOTP factor.
    fn person(&self, name: &str) -> (TestUser, Totp) {
        let user = self.add_user(name, "reader");
        let totp = self.add_totp(&user, &[]);
        (user, totp)
    }

    /// A user's first access and refresh token.
    async fn family(&self, name: &str) -> (TestUser, Answer) {
        let (user, totp) = self.person(name);
        let answer = self.sign_in(&self.app, &user, &totp.code()).await.ok();
        (user, answer)
    }

    /// Asks for a token with the same fields so many times at once.
    async fn tokens_at_once(&self, times: usize, fields: &[(&str, &str)]) -> Vec<Answer> {
        let url = format!("{}/oauth2/token", self.issuer());
        let credentials = [("client_id", &*self.app.id), ("client_secret", &*self.app.secret)];
        let body = form(&[fields, &credentials].concat());
        let mut calls = JoinSet::new();
        for _ in 0..times {
            let (url, body) = (url.clone(), body.clone());
            calls.spawn(requests::send(|http| http.post(url).header("content-type", requests::FORM).body(body)));
        }
        calls.join_all().await
    }

    /// A token of the client's own.
    async fn client_token(&self) -> String {
        self.token(&self.app, &[("grant_type", "client_credentials")]).await.ok().access_token()
    }
}

/// How many answers have each status.
fn statuses(answers: &[Answer]) -> std::collections::BTreeMap<u16, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.status).or_default() += 1;
    }
    counts
}
