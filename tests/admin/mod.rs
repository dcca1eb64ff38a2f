//! The admin API: over the socket of a running server, and the commands that are its clients, with a server and without one.

mod commands;
mod conditions;
mod declared;
mod guide;
mod operations;
pub(crate) mod operators;
mod records;
mod remote;
mod repeated;
mod socket;

use std::time::Duration;

use serde_json::Value;

use crate::support::application::Application;
use crate::support::requests::Answer;

/// Asks the admin API over the socket, as a program would that is not ours.
pub(crate) async fn ask(
    application: &Application,
    build: impl FnOnce(&reqwest::Client, &str) -> reqwest::RequestBuilder,
) -> Answer {
    let http = reqwest::Client::builder().unix_socket(application.file("admin.sock"));
    let http = http.timeout(Duration::from_secs(60)).build().unwrap();
    let response = build(&http, "http://signet/api/v1").send().await.unwrap();
    Answer::read(response).await.unwrap()
}

/// Reads a thing.
pub(crate) async fn get(application: &Application, path: &str) -> Answer {
    ask(application, |http, base| http.get(format!("{base}{path}"))).await
}

/// Makes or does a thing.
pub(crate) async fn post(application: &Application, path: &str, body: &Value) -> Answer {
    ask(application, |http, base| with_json(http.post(format!("{base}{path}")), body)).await
}

/// Adds a JSON body.
pub(crate) fn with_json(request: reqwest::RequestBuilder, body: &Value) -> reqwest::RequestBuilder {
    request.header("content-type", "application/json").body(body.to_string())
}
