//! What a peer may take: of bytes, of time, of parameters.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::Stage;
use crate::support::requests::{self, Answer, FORM, basic, read_all, status};

async fn post(stage: &Stage, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let url = format!("{}/oauth2/token", stage.issuer());
    let authorization = basic(&stage.app.id, &stage.app.secret);
    requests::send(|http| {
        let request = http.post(url).header("authorization", authorization).body(body);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    })
    .await
}

#[tokio::test]
async fn hazard_83_a_large_body_is_413_and_large_headers_are_431() {
    let stage = Stage::shared();
    let form = [("content-type", FORM)];
    let padded = |bytes: usize| {
        let start = "grant_type=client_credentials&x=";
        format!("{start}{}", "x".repeat(bytes - start.len())).into_bytes()
    };
    post(&stage, &form, padded(64 * 1024)).await.ok();
    assert_eq!(post(&stage, &form, padded(64 * 1024 + 1)).await.status, 413);
    // Also where the length is not said beforehand, and where it is a lie of gigabytes.
    let chunk = format!("{:x}\r\n{}\r\n", 32 * 1024, "x".repeat(32 * 1024));
    let head = |length: &str| {
        let authorization = basic(&stage.app.id, &stage.app.secret);
        format!(
            "POST /oauth2/token HTTP/1.1\r\nHost: {}\r\nAuthorization: {authorization}\r\nContent-Type: {FORM}\r\n\
             Connection: close\r\n{length}\r\n\r\n",
            stage.address()
        )
    };
    let chunked = format!("{}{chunk}{chunk}{chunk}0\r\n\r\n", head("Transfer-Encoding: chunked"));
    assert_eq!(status(&stage.raw(chunked.as_bytes())), 413);
    let huge = format!("{}{}", head("Content-Length: 99999999999"), "x".repeat(70_000));
    assert_eq!(status(&stage.raw(huge.as_bytes())), 413);
    let headers = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nX: {}\r\n\r\n", stage.address(), "x".repeat(20_000));
    assert_eq!(status(&stage.raw(headers.as_bytes())), 431);
    let many = "X-A: b\r\n".repeat(500);
    let many = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n{many}\r\n", stage.address());
    assert_eq!(status(&stage.raw(many.as_bytes())), 431);
    stage.client_token().await;
}

#[tokio::test]
async fn hazard_86_a_million_keys_or_great_depth_are_400_or_413() {
    let stage = Stage::shared();
    let form = [("content-type", FORM)];
    let keys = |count: usize| (0..count).map(|key| format!("k{key}=&")).collect::<String>().into_bytes();
    assert_eq!(post(&stage, &form, keys(1_000_000)).await.status, 413);
    assert_eq!(post(&stage, &form, keys(5_000)).await.refusal(), (400, "invalid_request".to_owned()));
    assert_eq!(post(&stage, &form, "&".repeat(60_000).into_bytes()).await.status, 400);
    let json = [("content-type", "application/json")];
    assert_eq!(post(&stage, &json, "[".repeat(60_000).into_bytes()).await.status, 400);
    assert_eq!(post(&stage, &json, "[".repeat(10_000_000).into_bytes()).await.status, 400);
    stage.client_token().await;
}

#[tokio::test]
async fn hazard_87_a_compressed_body_is_415() {
    let stage = Stage::shared();
    for encoding in ["gzip", "br", "zstd", "deflate", "gzip, identity"] {
        let headers = [("content-type", FORM), ("content-encoding", encoding)];
        let answer = post(&stage, &headers, b"\x1f\x8b\x08\x00".to_vec()).await;
        assert_eq!(answer.status, 415, "{encoding}");
    }
    let headers = [("content-type", FORM), ("content-encoding", "identity")];
    post(&stage, &headers, b"grant_type=client_credentials".to_vec()).await.ok();
}

/// Peers that stall in the header, in the body, between requests, or that read nothing.
#[tokio::test]
async fn hazard_82_slow_peers_are_closed() {
    let limits = "[server.limits]\nheader_timeout = \"1s\"\nidle_timeout = \"1s\"\nrequest_timeout = \"2s\"";
    let stage = Stage::new(limits);
    let host = stage.address();
    let in_header = format!("POST /oauth2/token HTTP/1.1\r\nHost: {host}\r\nX-Slow: ");
    let authorization = basic(&stage.app.id, &stage.app.secret);
    let in_body = format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nContent-Type: {FORM}\r\n\
         Content-Length: 500\r\n\r\ngrant_type=client"
    );
    let between = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let patience = Duration::from_secs(10);
    let peers = [
        ("silent", String::new(), None),
        ("header", in_header, None),
        ("body", in_body, Some(408)),
        ("idle", between, Some(200)),
    ];
    let threads = peers.map(|(what, start, expected)| {
        std::thread::spawn(move || {
            let started = Instant::now();
            let mut stream = TcpStream::connect(host).unwrap();
            stream.write_all(start.as_bytes()).unwrap();
            // A drop every now and then must not keep the connection open.
            let mut drip = stream.try_clone().unwrap();
            let dripping = matches!(what, "header" | "body");
            let dripped = std::thread::spawn(move || {
                while dripping && started.elapsed() < patience && drip.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(200));
                }
            });
            stream.set_read_timeout(Some(patience)).unwrap();
            let answer = read_all(&mut stream);
            let took = started.elapsed();
            drop(stream);
            dripped.join().unwrap();
            assert!(took < patience, "{what}: {took:?}");
            if let Some(expected) = expected {
                assert_eq!(status(&answer), expected, "{what}");
            }
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
    stage.client_token().await;
}

/// A peer that asks again and again and reads nothing: the server stops writing and lets go of the connection.
#[tokio::test]
async fn hazard_82_a_peer_that_does_not_read_is_closed() {
    let limits = "[server.limits]\nheader_timeout = \"1s\"\nidle_timeout = \"1s\"\nrequest_timeout = \"2s\"";
    let stage = Stage::new(limits);
    let request = format!("GET /.well-known/openid-configuration HTTP/1.1\r\nHost: {}\r\n\r\n", stage.address());
    let many = request.repeat(500);
    let mut stream = TcpStream::connect(stage.address()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let started = Instant::now();
    // Until the buffers of both sides are full and the server has given up.
    let broken = loop {
        if let Err(error) = stream.write_all(many.as_bytes()) {
            break error;
        }
        assert!(started.elapsed() < Duration::from_secs(15), "the server reads on and on");
    };
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    assert!(matches!(broken.kind(), ConnectionReset | BrokenPipe), "{broken}");
    stage.client_token().await;
}

/// The HSM takes longer than a request may: the caller is told so, and does not find the connection closed.
#[tokio::test]
async fn a_request_that_passes_its_deadline_is_answered() {
    let limits = "[server.limits]\nheader_timeout = \"1s\"\nidle_timeout = \"1s\"\nrequest_timeout = \"2s\"";
    let stage = Stage::new(limits);
    let paused = stage.pause_hsm();
    let answer = stage.token(&stage.app, &[("grant_type", "client_credentials")]).await;
    assert_eq!((answer.status, answer.retry_after()), (503, Some(1)), "{answer:?}");
    drop(paused);
}
