//! `Idempotency-Key`: what creates is done once, whatever becomes of the answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ask, get, post, with_json};
use crate::support::application::{Application, PASSWORD};
use crate::support::cluster::Cluster;
use crate::support::requests::Answer;

/// Asks for something under a key.
async fn under(application: &Application, key: &str, path: &str, body: &Value) -> Answer {
    ask(application, |http, base| with_json(http.post(format!("{base}{path}")), body).header("idempotency-key", key))
        .await
}

/// Has something made twice under one key. Returns what was shown once.
async fn made_once(application: &Application, path: &str, body: &Value, secrets: &[&str]) -> Value {
    let first = under(application, path, path, body).await;
    let again = under(application, path, path, body).await;
    assert_eq!((first.status, again.status), (201, 201), "{} {}", first.body, again.body);
    let place = first.header("location").unwrap().to_owned();
    assert_eq!(again.header("location"), Some(place.as_str()));
    assert_eq!((first.header("signet-repeated"), again.header("signet-repeated")), (None, Some("true")));
    let seen = get(application, place.strip_prefix("/api/v1").unwrap()).await.ok().json();
    assert_eq!(again.json(), seen, "the thing as it is now");
    for secret in secrets {
        assert!(first.json()[secret].is_string() || first.json()[secret].is_array(), "{secret}: {}", first.body);
        assert!(again.json().get(secret).is_none(), "{secret}: {}", again.body);
    }
    first.json()
}

#[tokio::test]
async fn whatever_is_created_is_created_once_and_its_secret_shown_once() {
    let application = Application::new("");
    let server = application.serve();
    let ann = json!({"name": "ann/ä", "password": PASSWORD});
    made_once(&application, "/users", &ann, &[]).await;
    let of_ann = "/users/ann%2F%C3%A4";
    let totp = json!({"kind": "totp"});
    made_once(&application, &format!("{of_ann}/factors"), &totp, &["secret_base32", "otpauth_uri"]).await;
    made_once(&application, &format!("{of_ann}/replacement"), &json!({"valid_seconds": 600, "codes": 2}), &["codes"])
        .await;
    let mail = json!({"name": "mail", "grants": ["client_credentials"], "scope": "read"});
    made_once(&application, "/clients", &mail, &["client_secret"]).await;
    let first = under(&application, "renewal", "/clients/mail/secret", &json!({})).await;
    let again = under(&application, "renewal", "/clients/mail/secret", &json!({})).await;
    assert!(first.json()["client_secret"].is_string() && again.json().get("client_secret").is_none(), "{again:?}");
    made_once(&application, "/otp-clients", &json!({"name": "vpn"}), &["api_key"]).await;
    made_once(&application, "/keys", &json!({"algorithm": "ES384"}), &[]).await;
    let token = json!({"kind": "totp", "serial": "4711", "secret_hex": "00".repeat(20)});
    post(&application, "/stock", &json!({"tokens": [token]})).await.ok();
    made_once(&application, "/stock/4711/assignment", &json!({"user": "ann/ä"}), &[]).await;
    // Of many at once one makes it; the others hear that it is under way, or what it made.
    let bob = json!({"name": "bob", "password": PASSWORD});
    let all = futures_util::future::join_all((0..8).map(|_| under(&application, "bob", "/users", &bob))).await;
    let made = all.iter().filter(|answer| answer.status == 201 && answer.header("signet-repeated").is_none());
    assert_eq!(made.count(), 1, "{all:?}");
    assert!(all.iter().all(|answer| [201, 409].contains(&answer.status)), "{all:?}");
    // Another request needs another key; one that was refused does not.
    let other = under(&application, "bob", "/users", &json!({"name": "eve", "password": PASSWORD})).await;
    assert_eq!(other.status, 422);
    assert!(other.text("detail").contains("another key"), "{other:?}");
    assert_eq!(under(&application, "eve", "/users", &json!({"name": "eve", "password": "short"})).await.status, 422);
    assert_eq!(under(&application, "eve", "/users", &json!({"name": "eve", "password": PASSWORD})).await.status, 201);
    for bad in ["", "a b", &"x".repeat(256)] {
        assert_eq!(under(&application, bad, "/users", &bob).await.status, 400, "{bad}");
    }
    application.run(&["user", "remove", "eve", "--yes"]).ok();
    let gone = under(&application, "eve", "/users", &json!({"name": "eve", "password": PASSWORD})).await;
    assert_eq!(gone.status, 409);
    assert!(gone.text("detail").contains("not there any more"), "{gone:?}");
    server.stop();
}

#[tokio::test]
async fn a_request_that_a_killed_server_had_in_hand_is_not_made_again() {
    let application = Application::new("");
    let mut server = application.serve();
    post(&application, "/users", &json!({"name": "ann", "password": PASSWORD})).await;
    let paused = server.pause_hsm();
    let totp = json!({"kind": "totp"});
    let hangs = async {
        let asked = under(&application, "k", "/users/ann/factors", &totp);
        // Whoever asks hangs up: the request goes on.
        assert!(tokio::time::timeout(Duration::from_millis(200), asked).await.is_err());
    };
    hangs.await;
    let meanwhile = under(&application, "k", "/users/ann/factors", &totp).await;
    assert_eq!(meanwhile.status, 409);
    assert!(meanwhile.text("detail").contains("under way"), "{meanwhile:?}");
    server.kill();
    drop(paused);
    server.restart();
    let after = under(&application, "k", "/users/ann/factors", &totp).await;
    assert_eq!(after.status, 409);
    assert!(after.text("detail").contains("cut off"), "{after:?}");
    assert_eq!(get(&application, "/users/ann/factors").await.ok().json(), json!([]));
    assert_eq!(under(&application, "k2", "/users/ann/factors", &totp).await.status, 201);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_made_under_a_key_another_one_shows() {
    let cluster = Cluster::of(2, "");
    let [one, two] = &cluster.servers[..] else { panic!("two nodes") };
    let mail = json!({"name": "mail", "grants": ["client_credentials"], "scope": "read"});
    let first = under(one, "k", "/clients", &mail).await;
    let again = under(two, "k", "/clients", &mail).await;
    assert_eq!((first.status, again.status, again.header("signet-repeated")), (201, 201, Some("true")), "{again:?}");
    assert_eq!(first.json()["client_id"], again.json()["client_id"]);
    assert!(again.json().get("client_secret").is_none(), "{again:?}");
}
