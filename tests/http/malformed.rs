//! Requests that break the rules: the answer is the registered one, never a 500, and repeats nothing of the request.

use reqwest::Method;

use super::Stage;
use crate::support::requests::{self, Answer, FORM, basic, form, status};

const POSTED: [&str; 3] = ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"];

/// A body of any kind, authenticated as the stage's client.
async fn post(stage: &Stage, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
    let url = format!("{}{path}", stage.issuer());
    let authorization = basic(&stage.app.id, &stage.app.secret);
    let headers = [("content-type", content_type.to_owned()), ("authorization", authorization)];
    requests::send(|http| {
        headers.into_iter().fold(http.post(url).body(body), |request, (name, value)| request.header(name, value))
    })
    .await
}

fn is_invalid_request(answer: &Answer) -> bool {
    answer.refusal() == (400, "invalid_request".to_owned())
}

#[tokio::test]
async fn hazard_32_a_parameter_given_twice_is_refused() {
    let stage = Stage::shared();
    for body in [
        "grant_type=client_credentials&grant_type=client_credentials",
        "grant_type=client_credentials&%67rant_type=password",
        "grant_type=client_credentials&scope=read&scope=write",
        "token=a&token=b",
        "grant_type=client_credentials&anything=1&anything=2",
    ] {
        for path in POSTED {
            assert!(is_invalid_request(&post(&stage, path, FORM, body).await), "{path} {body}");
        }
    }
    let both =
        form(&[("grant_type", "client_credentials"), ("client_id", &stage.app.id), ("client_id", &stage.app.id)]);
    assert!(is_invalid_request(&post(&stage, "/oauth2/token", FORM, both).await));
}

#[tokio::test]
async fn hazard_33_other_methods_and_media_types_are_refused() {
    let stage = Stage::shared();
    for path in POSTED {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD] {
            let url = format!("{}{path}?grant_type=client_credentials", stage.issuer());
            let answer = requests::send(|http| http.request(method.clone(), url)).await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method} {path}");
        }
        for content_type in ["application/json", "multipart/form-data; boundary=x", "text/plain", ""] {
            let answer = post(&stage, path, content_type, r#"{"grant_type":"client_credentials"}"#).await;
            assert!(is_invalid_request(&answer), "{path} {content_type}");
        }
        let in_address = format!("{path}?grant_type=client_credentials&token=x");
        let body = "grant_type=client_credentials&token=x";
        assert!(is_invalid_request(&post(&stage, &in_address, FORM, body).await), "parameters in the address");
    }
    let charset = post(
        &stage,
        "/oauth2/token",
        "Application/X-WWW-Form-Urlencoded; charset=UTF-8",
        "grant_type=client_credentials",
    );
    charset.await.ok();
    for path in ["/oauth2/jwks", "/.well-known/openid-configuration", "/healthz", "/readyz"] {
        assert_eq!(post(&stage, path, FORM, "").await.status, 405, "{path}");
    }
    for path in ["/oauth2", "/oauth2/token/", "/oauth2//token", "/oauth2/../oauth2/token", "/OAUTH2/TOKEN"] {
        let answer = stage.raw(&raw_request(&stage, "GET", path, &host(&stage), ""));
        assert_eq!(status(&answer), 404, "{path}");
    }
}

#[tokio::test]
async fn hazard_42_control_characters_and_broken_encodings_are_refused_and_never_repeated() {
    let stage = Stage::shared();
    for value in [
        "%0d%0aSet-Cookie:marker=1",
        "%00marker",
        "marker%0a",
        "marker%c0%af",
        "marker%ff",
        "marker%f",
        "marker%zz",
        "marker%ed%a0%80",
    ] {
        for name in ["grant_type", "token", "scope", "refresh_token", "marker"] {
            let body = format!("grant_type2=x&{name}={value}");
            for path in POSTED {
                let answer = post(&stage, path, FORM, body.clone()).await;
                assert!(is_invalid_request(&answer), "{path} {body}: {}", answer.body);
                let told = format!("{:?}{}", answer.headers, answer.body);
                assert!(!told.contains("marker"), "{told}");
            }
        }
    }
    let bytes = post(&stage, "/oauth2/token", FORM, &b"grant_type=\xc0\xaf"[..]).await;
    assert!(is_invalid_request(&bytes));
    // In the credentials the same is a failed authentication; still nothing breaks, and nothing comes back.
    for id in ["%00", "%0d%0a", "%ff", "marker\u{1f511}"] {
        let credentials = format!("client_id={id}&client_secret=marker&grant_type=client_credentials");
        let url = format!("{}/oauth2/token", stage.issuer());
        let answer = requests::send(|http| http.post(url).header("content-type", FORM).body(credentials)).await;
        assert!(matches!(answer.status, 400 | 401) && !answer.body.contains("marker"), "{}", answer.body);
    }
    for authorization in ["Basic", "Basic ", "Basic %%%", "Bearer x", "Basic OjovLw", "Basic AAD/", "\u{e4}", "basic  "]
    {
        let request =
            raw_request(&stage, "POST", "/oauth2/token", &host(&stage), &format!("Authorization: {authorization}\r\n"));
        assert_eq!(status(&stage.raw(&request)), 401, "{authorization:?}");
    }
}

fn host(stage: &Stage) -> String {
    format!("Host: {}\r\n", stage.address())
}

/// A raw request for a token, with these headers in place of the usual ones.
fn raw_request(stage: &Stage, method: &str, path: &str, host: &str, headers: &str) -> Vec<u8> {
    let authorization = basic(&stage.app.id, &stage.app.secret);
    let authorization =
        if headers.contains("Authorization") { String::new() } else { format!("Authorization: {authorization}\r\n") };
    let body = "grant_type=client_credentials";
    format!(
        "{method} {path} HTTP/1.1\r\n{host}{authorization}Content-Type: {FORM}\r\nConnection: close\r\n\
         Content-Length: {}\r\n{headers}\r\n{body}",
        body.len(),
    )
    .into_bytes()
}

#[tokio::test]
async fn hazard_38_the_issuer_comes_from_the_configuration_whatever_host_is_named() {
    let stage = Stage::shared();
    let ask = |host: &str, headers: &str, method: &str, path: &str| {
        stage.raw(&raw_request(&stage, method, path, host, headers))
    };
    let metadata = "/.well-known/openid-configuration";
    for (host, expected) in [
        ("Host: evil.example\r\n", 421),
        ("Host: evil.example:18080\r\n", 421),
        ("Host: 127.0.0.1.evil.example:18080\r\n", 421),
        ("Host: user@127.0.0.1:18080\r\n", 421),
        ("Host: 127.0.0.1:1\r\n", 421),
        ("Host: \r\n", 421),
        ("Host: a\r\nHost: b\r\n", 400),
        ("", 400),
    ] {
        for (method, path) in [("POST", "/oauth2/token"), ("GET", metadata), ("GET", "/oauth2/jwks")] {
            let answer = ask(host, "", method, path);
            assert_eq!(status(&answer), expected, "{host:?} {path}");
            assert!(!answer.contains("evil") && !answer.contains("access_token"), "{answer}");
        }
    }
    let spoofed = "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nForwarded: host=evil.example\r\n\
                   X-Forwarded-For: 203.0.113.7\r\nX-Original-URL: /evil\r\n";
    let answer = ask(&host(&stage), spoofed, "GET", metadata);
    assert_eq!(status(&answer), 200);
    assert!(answer.contains(&format!("\"issuer\":\"{}\"", stage.issuer())) && !answer.contains("evil"), "{answer}");
    assert_eq!(status(&ask(&host(&stage), spoofed, "POST", "/oauth2/token")), 200);
    let absolute = format!("http://evil.example{metadata}");
    assert!(matches!(status(&ask(&host(&stage), "", "GET", &absolute)), 200 | 400 | 421));
    assert!(!ask(&host(&stage), "", "GET", &absolute).contains("evil"));
    let records = stage.audit().await;
    assert!(records.iter().all(|record| record["address"] != "203.0.113.7"), "the peer's address is the socket's");
}

#[tokio::test]
async fn a_request_id_is_the_servers_own() {
    let stage = Stage::shared();
    let answer = stage.raw(&raw_request(&stage, "POST", "/oauth2/token", &host(&stage), "X-Request-Id: injected\r\n"));
    assert_eq!(status(&answer), 200);
    assert!(answer.contains("x-request-id: ") && !answer.contains("injected"), "{answer}");
}

/// Requests that two servers could read in two ways are read in none.
#[tokio::test]
async fn ambiguous_message_framing_is_refused() {
    let stage = Stage::shared();
    for headers in [
        "Content-Length: 5\r\n",
        "Content-Length: -1\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
    ] {
        let answer = stage.raw(&raw_request(&stage, "POST", "/oauth2/token", &host(&stage), headers));
        assert!(!answer.contains("access_token"), "{headers:?}: {answer}");
        assert!(answer.is_empty() || (400..500).contains(&status(&answer)), "{headers:?}: {answer}");
    }
    for garbage in
        [&b"\0\0\0\0\r\n\r\n"[..], b"GET\r\n\r\n", b"POST /oauth2/token HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00"]
    {
        let answer = stage.raw(&[garbage, b"\r\n\r\n"].concat());
        assert!(answer.is_empty() || (400..=505).contains(&status(&answer)), "{answer}");
    }
    stage.client_token().await;
}
