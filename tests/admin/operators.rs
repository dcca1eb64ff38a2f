//! Operators by tokens: what a help desk can do, and what it can't, whatever it tries.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{ask, get, with_json};
use crate::support::application::{Application, PASSWORD, TestClient, TestUser};
use crate::support::codes::Totp;
use crate::support::requests::Answer;
use crate::support::server::Server;

pub(crate) const ROLES: &str = "[roles]\nreader = [\"read\"]\nhelpdesk = [\"admin:users\", \"admin:factors\", \
     \"admin:clients\"]\nauditor = [\"admin:users:read\"]\nwatcher = [\"admin:health:read\"]\nchief = [\"admin:users\", \"admin:factors\", \"admin:clients\", \
     \"admin:keys\", \"admin:audit\"]";

/// An operator with an authenticator app.
pub(crate) fn operator(application: &Application, name: &str, role: &str) -> (TestUser, Totp) {
    let user = application.add_user(name, role);
    let totp = application.add_totp(&user, &[]);
    (user, totp)
}

/// The client of an operator's machine.
pub(crate) fn admin_client(application: &Application, name: &str) -> TestClient {
    let added = application.json(&["client", "add", name, "--admin"]);
    let text = |member: &str| added[member].as_str().unwrap().to_owned();
    TestClient { name: name.to_owned(), id: text("client_id"), secret: text("client_secret") }
}

pub(crate) async fn token(server: &Server, client: &TestClient, (user, totp): &(TestUser, Totp)) -> String {
    server.sign_in(client, user, &totp.code()).await.ok().access_token()
}

/// Asks with a token, over the socket.
pub(crate) async fn asking(
    application: &Application,
    token: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    ask(application, |http, base| {
        let request = http.request(method.parse().unwrap(), format!("{base}{path}")).bearer_auth(token);
        match body {
            Some(body) => with_json(request, body),
            None => request,
        }
    })
    .await
}

#[tokio::test]
async fn a_help_desk_helps_and_is_never_more_than_that() {
    let application = Application::new(ROLES);
    let server = application.serve();
    let laptop = admin_client(&application, "laptop");
    let hal = operator(&application, "hal", "helpdesk");
    let boss = operator(&application, "boss", "chief");
    application.add_user("ann", "reader");
    let token = token(&server, &laptop, &hal).await;
    let asking =
        async |method: &str, path: &str, body: Option<&Value>| asking(&application, &token, method, path, body).await;
    // It helps.
    let new = json!({"password": "another horse battery"});
    assert_eq!(asking("PUT", "/users/ann/password", Some(&new)).await.status, 204);
    assert_eq!(asking("POST", "/users/ann/factors", Some(&json!({"kind": "totp"}))).await.status, 201);
    let records = application.audit().await;
    let replaced = records.iter().rfind(|record| record["change"] == "password_replaced").unwrap();
    let told = format!("hal by laptop (user {}, client {})", hal.0.id, laptop.id);
    assert_eq!(replaced["operator"], told, "the token decides who asked, over the socket too");
    // It gives nobody what it has not, itself least of all.
    for name in ["hal", "ann"] {
        let given = asking("PATCH", &format!("/users/{name}"), Some(&json!({"roles": ["chief"]}))).await;
        assert_eq!(given.status, 403, "{given:?}");
        assert!(given.text("detail").contains("admin:keys admin:audit"), "{given:?}");
    }
    // It has the nouns that its roles grant.
    let refused = asking("GET", "/stock", None).await;
    assert_eq!(refused.status, 403);
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(challenge.contains("insufficient_scope") && challenge.contains("admin:stock:read"), "{challenge}");
    everything_at_an_administrator(&application, &boss, &token).await;
    // It ends with the person, at once.
    application.json(&["user", "disable", "hal"]);
    let ended = asking("GET", "/users/ann", None).await;
    assert_eq!((ended.status, ended.text("type").as_str()), (401, "urn:signet:problem:unauthenticated"));
    assert!(ended.header("www-authenticate").unwrap().contains("invalid_token"));
    server.stop();
}

/// Whatever changes a person, a factor or a client is refused where it is an administrator's: every operation that the document
/// has, so that one which comes later is asked too.
async fn everything_at_an_administrator(application: &Arc<Application>, boss: &(TestUser, Totp), token: &str) {
    let document = ask(application, |http, _| http.get("http://signet/api/openapi.json")).await.ok().json();
    let factors = get(application, "/users/boss/factors").await.ok().json();
    let factor = factors[0]["id"].as_str().unwrap().to_owned();
    admin_client(application, "vault");
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let rest = path.strip_prefix("/api/v1").unwrap();
        let path = match rest.split('/').nth(1).unwrap() {
            "users" if rest.contains("{name}") => rest.replace("{name}", &boss.0.name).replace("{id}", "x"),
            "factors" if rest.contains("{id}") => rest.replace("{id}", &factor),
            "clients" if rest.contains("{name}") => rest.replace("{name}", "vault"),
            _ => continue,
        };
        for (method, operation) in item.as_object().unwrap().iter().filter(|(method, _)| *method != "get") {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let body = schema
                .as_str()
                .map(|schema| document.pointer(&schema[1..]).and_then(|schema| schema.get("example")).unwrap().clone());
            let answer = asking(application, token, &method.to_uppercase(), &path, body.as_ref()).await;
            assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
            tried += 1;
        }
    }
    assert!(tried >= 15, "{tried}");
    let there = get(application, "/users/boss").await.ok().json();
    assert_eq!((&there["roles"], &there["enabled"]), (&json!(["chief"]), &json!(true)));
}

#[tokio::test]
async fn only_tokens_for_the_admin_api_are_taken_there() {
    let application = Application::new(ROLES);
    let server = application.serve();
    let boss = operator(&application, "boss", "chief");
    // A client that is no operator's gets no such scope, and its tokens are worth nothing here.
    let refused = application.run(&["client", "add", "app", "--grant", "password", "--scope", "admin:users"]);
    refused.fails(1, &["urn:signet:admin"]);
    let app = application.add_client("app", "password", "read");
    let other = token(&server, &app, &boss).await;
    for (shown, status) in
        [(format!("Bearer {other}"), 401), ("Bearer x".to_owned(), 401), ("Basic eDp5".to_owned(), 401)]
    {
        let answer = ask(&application, |http, base| http.get(format!("{base}/users")).header("authorization", &shown));
        assert_eq!(answer.await.status, status, "{shown}");
    }
    // Nobody signs in for it by a password alone.
    let laptop = admin_client(&application, "laptop");
    let alone = server
        .post("/oauth2/token", &laptop, &[("grant_type", "password"), ("username", "boss"), ("password", PASSWORD)])
        .await;
    assert!(alone.has_no_token() && alone.status == 400, "{alone:?}");
    // Software has what was named for it.
    let robot = application.json(&["client", "add", "robot", "--admin-noun", "users:read"]);
    assert_eq!((&robot["scope"], &robot["audiences"]), (&json!("admin:users:read"), &json!(["urn:signet:admin"])));
    let robot = TestClient {
        name: "robot".to_owned(),
        id: robot["client_id"].as_str().unwrap().to_owned(),
        secret: robot["client_secret"].as_str().unwrap().to_owned(),
    };
    let own = server.post("/oauth2/token", &robot, &[("grant_type", "client_credentials")]).await.ok().access_token();
    assert_eq!(asking(&application, &own, "GET", "/users/boss", None).await.status, 200);
    assert_eq!(asking(&application, &own, "DELETE", "/users/boss", None).await.status, 403);
    application.run(&["client", "add", "x", "--admin-noun", "user"]).fails(2, &["no noun `user`", "users"]);
    server.stop();
}

#[test]
fn accounts_that_are_named_have_those_scopes_alone() {
    let application = Application::new(ROLES);
    let uid = rustix::process::getuid().as_raw();
    application.edit("[store]", &format!("[admin.operators]\n{uid} = [\"admin:users:read\"]\n\n[store]"));
    assert_eq!(application.json(&["user", "list"]), json!([]));
    application
        .run_with(&["user", "add", "ann", "--password-stdin"], PASSWORD)
        .fails(1, &["lacks the scope admin:users", "admin.operators"]);
    application.run(&["client", "list"]).fails(1, &["admin:clients:read"]);
}
