//! What HTTP itself asks of every address: safe methods, unread bodies, conditions, targets, other sites, and that what is advertised is
//! there.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::Stage;
use crate::support::application::{AUDIENCE, Application};
use crate::support::requests::{self, Answer, FORM, basic, form, status};

async fn ask(method: Method, url: &str, headers: &[(&str, &str)]) -> Answer {
    requests::send(|http| {
        headers.iter().fold(http.request(method, url), |request, (name, value)| request.header(*name, *value))
    })
    .await
}

/// A 405 or 404 of a body that is not read, on a connection that is kept, and whether another request is answered there.
fn talk_twice(stage: &Stage, method: &str, path: &str, body: &[u8]) -> (String, bool) {
    let mut stream = TcpStream::connect(stage.listens_on()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let host = stage.address();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "{path}: no answer");
        answer.extend_from_slice(&piece[..read]);
    }
    let head = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let ends = head.contains("\r\nconnection: close\r\n");
    if !ends {
        stream.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
        assert!(stream.read(&mut piece).unwrap() > 0, "{path}: the connection was kept, and answers no more");
    }
    (head, ends)
}

#[tokio::test]
async fn hazard_120_a_body_that_is_not_read_is_announced() {
    let stage = Stage::shared();
    for (method, path, answer) in [
        ("POST", "/oauth2/jwks", 405),
        ("POST", "/healthz", 405),
        ("POST", "/nowhere", 404),
        ("PUT", "/oauth2/token", 405),
        ("GET", "/healthz", 200),
        ("DELETE", "/account", 405),
        ("GET", "/.well-known/openid-configuration", 200),
    ] {
        for length in [1, 4_000, 60_000, 3_000_000] {
            let (head, ends) = talk_twice(&stage, method, path, &vec![b'x'; length]);
            assert_eq!(status(&head), answer, "{method} {path} {length}");
            assert!(ends, "{method} {path} {length}: {head}");
        }
        let (_, ends) = talk_twice(&stage, method, path, b"");
        assert!(!ends, "{method} {path}: there was nothing to read");
    }
    // What is read leaves the connection as it is.
    let body = form(&[("grant_type", "client_credentials")]);
    let (authorization, host) = (basic(&stage.app.id, &stage.app.secret), stage.address());
    let head = format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nContent-Type: {FORM}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let two = format!("{head}GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answers = stage.raw(two.as_bytes());
    assert_eq!((status(&answers), answers.matches("HTTP/1.1 200").count()), (200, 2), "{answers}");
}

#[tokio::test]
async fn hazard_120_a_condition_is_read_by_its_whole_grammar_at_the_keys() {
    let stage = Stage::shared();
    let url = format!("{}/oauth2/jwks", stage.issuer());
    let tag = stage.get("/oauth2/jwks").await.header("etag").unwrap().to_owned();
    let lists =
        [format!("W/{tag}"), format!("\"x\", {tag}"), format!("\"x,y\",W/{tag} ,"), "*".to_owned(), tag.clone()];
    for method in [Method::GET, Method::HEAD] {
        for list in &lists {
            let answer = ask(method.clone(), &url, &[("if-none-match", list)]).await;
            assert_eq!((answer.status, answer.header("etag")), (304, Some(tag.as_str())), "{method} {list}");
        }
        let lines = ask(method.clone(), &url, &[("if-none-match", "\"x\""), ("if-none-match", &tag)]).await;
        assert_eq!(lines.status, 304, "{method}: several lines");
        assert_eq!(ask(method.clone(), &url, &[("if-none-match", "\"x\"")]).await.status, 200, "{method}");
    }
}

#[tokio::test]
async fn a_target_that_names_another_host_is_misdirected() {
    let stage = Stage::shared();
    let own = stage.address();
    for (target, host, answer) in [
        ("http://evil.example/login".to_owned(), own.to_string(), 421),
        (format!("http://evil.example@{own}/login"), own.to_string(), 421),
        (format!("http://{own}/login"), "evil.example".to_owned(), 421),
        (format!("http://{own}/login"), own.to_string(), 200),
        ("/login".to_owned(), own.to_string(), 200),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(status(&stage.raw(request.as_bytes())), answer, "{target} at {host}");
    }
}

#[tokio::test]
async fn scripts_of_other_sites_read_public_documents_and_nothing_else() {
    let stage = Stage::shared();
    let origin = ("origin", "https://app.example");
    for path in ["/oauth2/jwks", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let url = format!("{}{path}", stage.issuer());
        let read = ask(Method::GET, &url, &[origin]).await.ok();
        assert_eq!(read.header("access-control-allow-origin"), Some("*"), "{path}");
        assert_eq!(read.header("access-control-allow-credentials"), None, "{path}");
        let asked =
            [origin, ("access-control-request-method", "GET"), ("access-control-request-headers", "if-none-match")];
        let preflight = ask(Method::OPTIONS, &url, &asked).await.ok();
        assert_eq!(preflight.header("access-control-allow-headers"), Some("if-none-match"), "{path}");
    }
    for path in ["/login", "/account", "/healthz", "/oauth2/introspect", "/wsapi/2.0/verify"] {
        let answer = ask(Method::GET, &format!("{}{path}", stage.issuer()), &[origin]).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
}

#[tokio::test]
async fn a_person_who_gets_lost_sees_a_page_and_software_a_word() {
    let stage = Stage::shared();
    let url = |path: &str| format!("{}{path}", stage.issuer());
    let browser = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
    for path in ["/nowhere", "/login/", "/account/nowhere"] {
        let page = ask(Method::GET, &url(path), &[browser]).await;
        assert_eq!((page.status, page.header("content-type")), (404, Some("text/html; charset=utf-8")), "{path}");
        assert!(
            page.body.contains("There is no such page") && page.header("content-security-policy").is_some(),
            "{path}"
        );
        let word = ask(Method::GET, &url(path), &[("accept", "*/*")]).await;
        assert_eq!(word.refusal(), (404, "invalid_request".to_owned()), "{path}");
    }
    let no_redirects =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let home = no_redirects.get(url("/")).send().await.unwrap();
    assert_eq!((home.status().as_u16(), &home.headers()["location"]), (303, &"/account".parse().unwrap()));
}

/// Every URL in a document.
fn urls(document: &Value) -> BTreeSet<String> {
    match document {
        Value::String(text) if text.starts_with("http") => BTreeSet::from([text.clone()]),
        Value::Array(items) => items.iter().flat_map(urls).collect(),
        Value::Object(members) => members.values().flat_map(urls).collect(),
        _ => BTreeSet::new(),
    }
}

#[tokio::test]
async fn hazard_120_every_advertised_address_answers_also_below_a_path() {
    let application = Application::new("");
    let (host, issuer) = (application.issuer(), format!("{}/auth/id", application.issuer()));
    application.edit(&format!("\"{host}\""), &format!("\"{issuer}/\""));
    let server = application.serve();
    let app = server.add_client("app", "client_credentials", "read");
    let documents = [
        format!("{host}/.well-known/oauth-authorization-server/auth/id"),
        format!("{host}/.well-known/openid-configuration/auth/id"),
        format!("{issuer}/.well-known/oauth-authorization-server"),
        format!("{issuer}/.well-known/openid-configuration"),
    ];
    let read = requests::get(&documents[0]).await.ok().json();
    assert_eq!(read["issuer"], issuer.as_str());
    for document in &documents {
        assert_eq!(requests::get(document).await.ok().json(), read, "{document}");
    }
    for (member, list) in read.as_object().unwrap() {
        assert!(list.as_array().is_none_or(|list| !list.is_empty()), "{member} is empty");
    }
    let endpoints = urls(&read);
    assert!(endpoints.len() >= 6, "{endpoints:?}");
    for endpoint in endpoints.iter().filter(|endpoint| **endpoint != issuer) {
        let answer = requests::get(endpoint).await;
        assert!([200, 405].contains(&answer.status), "{endpoint}: {}", answer.status);
        // A proxy that takes the path away gets the same.
        assert_eq!(requests::get(&endpoint.replacen("/auth/id", "", 1)).await.status, answer.status, "{endpoint}");
    }
    let token =
        requests::post(read["token_endpoint"].as_str().unwrap(), Some(&app), &[("grant_type", "client_credentials")]);
    assert_eq!(token.await.ok().json()["token_type"], "Bearer");
    // The pages' links lead where browsers know them, and so do redirects.
    let no_redirects =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for (path, leads_to) in [("", "account"), ("/", "account"), ("/account", "login")] {
        let answer = no_redirects.get(format!("{issuer}{path}")).send().await.unwrap();
        let location = answer.headers()["location"].to_str().unwrap();
        assert_eq!((answer.status().as_u16(), location), (303, format!("/auth/id/{leads_to}").as_str()), "{path}");
    }
    for login in [format!("{issuer}/login"), format!("{host}/login")] {
        let page = requests::get(&login).await.ok().body;
        assert!(page.contains("action=\"/auth/id/login\"") && !page.contains("=\"/login"), "{page}");
    }
    assert_eq!(requests::get(&format!("{issuer}/assets/signet.css")).await.status, 200);
    let lost = ask(Method::GET, &format!("{issuer}/nowhere"), &[("accept", "text/html")]).await;
    assert!(lost.status == 404 && lost.body.contains("href=\"/auth/id/account\""), "{}", lost.body);
}

#[tokio::test]
async fn several_resources_give_a_token_for_all_of_them() {
    let stage = Stage::shared();
    let other = "https://b.example";
    let app = stage.add_client_for("two", "client_credentials", "read", &[AUDIENCE, other]);
    let ask = async |resources: &[&str]| {
        let mut fields = vec![("grant_type", "client_credentials")];
        fields.extend(resources.iter().map(|resource| ("resource", *resource)));
        stage.token(&app, &fields).await
    };
    let both = ask(&[AUDIENCE, other]).await.ok();
    let claims = super::token::verified(&stage, &both.access_token(), other).await;
    super::token::verified(&stage, &both.access_token(), AUDIENCE).await;
    drop(claims);
    assert!(ask(&[other, other]).await.ok().json()["access_token"].is_string());
    assert_eq!(ask(&[other, "https://c.example"]).await.refusal(), (400, "invalid_target".to_owned()));
}
