//! What a program meets that speaks to the API itself: pages, conditions, problems.

use reqwest::Method;
use serde_json::{Value, json};

use super::{ask, get, post, with_json};
use crate::support::application::{Application, PASSWORD};
use crate::support::requests::Answer;

/// The `type` and status of a problem, whose detail must be one (RFC 9457).
fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let value = answer.json();
    assert_eq!(value["status"], json!(answer.status), "{answer:?}");
    assert!(value["title"].is_string() && value["detail"].as_str().is_some_and(|text| text.len() > 10), "{answer:?}");
    (answer.status, answer.text("type").rsplit(':').next().unwrap().to_owned())
}

#[tokio::test]
async fn lists_come_by_pages_and_filters() {
    let application = Application::new("");
    let server = application.serve();
    for number in 0..5 {
        let roles = if number % 2 == 0 { json!(["even", "all"]) } else { json!(["all"]) };
        let new = json!({"name": format!("user-{number}"), "roles": roles, "password": PASSWORD});
        assert_eq!(post(&application, "/users", &new).await.status, 201);
    }
    let names = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = get(&application, "/users?limit=2").await.ok().json();
    assert_eq!((names(&first), &first["next"]), (vec!["user-0".to_owned(), "user-1".to_owned()], &json!("user-1")));
    let rest = get(&application, "/users?limit=3&after=user-1").await.ok().json();
    assert_eq!((names(&rest).len(), rest.get("next")), (3, None));
    let even = get(&application, "/users?limit=2&role=even").await.ok().json();
    assert_eq!(names(&even), ["user-0", "user-2"]);
    let after = even["next"].as_str().unwrap();
    let even = get(&application, &format!("/users?limit=2&role=even&after={after}")).await.ok().json();
    assert_eq!((names(&even), even.get("next")), (vec!["user-4".to_owned()], None));
    assert_eq!(names(&get(&application, "/users?enabled=false").await.ok().json()), [""; 0]);
    for bad in ["limit=0", "limit=1001", "limit=x", "colour=red", "enabled=perhaps"] {
        assert_eq!(
            problem(&get(&application, &format!("/users?{bad}")).await),
            (400, "invalid-request".to_owned()),
            "{bad}"
        );
    }
    server.stop();
}

#[tokio::test]
async fn a_change_that_depends_on_what_was_seen_is_made_to_that_alone() {
    let application = Application::new("");
    let server = application.serve();
    post(&application, "/users", &json!({"name": "ann", "password": PASSWORD})).await;
    let seen = get(&application, "/users/ann").await.ok();
    let tag = seen.header("etag").unwrap().to_owned();
    let known =
        ask(&application, |http, base| http.get(format!("{base}/users/ann")).header("if-none-match", &tag)).await;
    assert_eq!(known.status, 304);
    let with = async |method: Method, field: &str, condition: &str| {
        ask(&application, |http, base| {
            with_json(
                http.request(method, format!("{base}/users/ann")).header(field, condition),
                &json!({"roles": ["z"]}),
            )
        })
        .await
    };
    let weak = format!("\"other,\", W/{tag}");
    for (method, field, condition, status) in [
        (Method::GET, "if-none-match", weak.as_str(), 304),
        (Method::HEAD, "if-none-match", weak.as_str(), 304),
        (Method::GET, "if-none-match", "*", 304),
        (Method::GET, "if-none-match", "\"other\"", 200),
        (Method::GET, "if-match", "\"other\"", 412),
        // A weak tag says that two things are as good as the same, which is no ground to change one.
        (Method::PATCH, "if-match", weak.as_str(), 412),
        (Method::PATCH, "if-none-match", "*", 412),
        (Method::PATCH, "if-none-match", weak.as_str(), 412),
    ] {
        assert_eq!(with(method.clone(), field, condition).await.status, status, "{method} {field}: {condition}");
    }
    let head = with(Method::HEAD, "accept", "*/*").await;
    assert_eq!((head.status, head.header("etag"), head.body.as_str()), (200, Some(tag.as_str()), ""));
    assert_eq!(get(&application, "/users/ann").await.header("etag"), Some(tag.as_str()), "nothing was changed");
    let change = |tag: String, roles: Value| {
        let application = &application;
        async move {
            let body = json!({"roles": roles});
            ask(application, |http, base| {
                with_json(http.patch(format!("{base}/users/ann")).header("if-match", tag), &body)
            })
            .await
        }
    };
    assert_eq!(change(tag.clone(), json!(["a"])).await.ok().json()["roles"], json!(["a"]));
    assert_eq!(problem(&change(tag.clone(), json!(["b"])).await), (412, "changed-meanwhile".to_owned()));
    assert_eq!(get(&application, "/users/ann").await.json()["roles"], json!(["a"]));
    // Of many that saw the same, one changes it.
    let tag = get(&application, "/users/ann").await.header("etag").unwrap().to_owned();
    let all: Vec<_> = (0..10).map(|number| change(tag.clone(), json!([format!("r{number}")]))).collect();
    let answers = futures_util::future::join_all(all).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
    assert_eq!(change("*".to_owned(), json!(["c"])).await.status, 200);
    let gone = ask(&application, |http, base| {
        with_json(http.patch(format!("{base}/users/bob")).header("if-match", "*"), &json!({"roles": []}))
    });
    assert_eq!(problem(&gone.await), (412, "changed-meanwhile".to_owned()));
    server.stop();
}

#[tokio::test]
async fn problems_say_what_is_wrong_and_repeat_no_secret() {
    let application = Application::new("");
    let server = application.serve();
    let secret = "hunter2-hunter2-hunter2";
    for (body, status, kind, words) in [
        (json!({"name": "ann"}), 422, "invalid-request", "missing field `password`"),
        (json!({"name": "ann", "password": secret, "admin": true}), 422, "invalid-request", "unknown field `admin`"),
        (json!({"name": secret, "password": 7}), 422, "invalid-request", "is none that is taken"),
        (json!({"name": "ann", "roles": secret, "password": secret}), 422, "invalid-request", "is none that is taken"),
        (json!({"name": "ann", "password": "short"}), 422, "invalid-request", "too short"),
        (json!({"name": " ann", "password": secret}), 422, "invalid-request", "name"),
    ] {
        let answer = post(&application, "/users", &body).await;
        assert_eq!(problem(&answer), (status, kind.to_owned()), "{body}");
        let detail = answer.text("detail");
        assert!(detail.contains(words) && !answer.json().to_string().contains(secret), "{detail}");
    }
    let send = |method: Method, path: &'static str, kind: &'static str, body: &'static str| {
        let application = &application;
        async move {
            ask(application, |http, base| {
                http.request(method, format!("{base}{path}")).header("content-type", kind).body(body)
            })
            .await
        }
    };
    for (method, path, kind, body, status, word) in [
        (Method::POST, "/users", "text/plain", "{}", 415, "invalid-request"),
        (Method::POST, "/users", "application/json", "{", 400, "invalid-request"),
        (Method::PUT, "/users", "application/json", "{}", 405, "method-not-allowed"),
        (Method::GET, "/colours", "application/json", "", 404, "not-found"),
        (Method::DELETE, "/users/nobody", "application/json", "", 404, "not-found"),
        (Method::GET, "/users/%ff", "application/json", "", 400, "invalid-request"),
        (Method::POST, "/users/nobody/factors", "application/json", "{\"kind\":\"totp\"}", 404, "not-found"),
        (Method::POST, "/users/nobody/factors", "application/json", "{\"kind\":\"magic\"}", 422, "invalid-request"),
    ] {
        let answer = send(method.clone(), path, kind, body).await;
        assert_eq!(problem(&answer), (status, word.to_owned()), "{method} {path} {body}");
    }
    post(&application, "/users", &json!({"name": "ann", "password": secret})).await;
    let again = post(&application, "/users", &json!({"name": "ann", "password": secret})).await;
    assert_eq!(problem(&again), (409, "conflict".to_owned()));
    assert!(!application.log().contains(secret), "the log has a password");
    server.stop();
}

#[tokio::test]
async fn what_another_state_would_allow_is_a_conflict_and_what_none_would_is_not() {
    let application = Application::new("");
    let server = application.serve();
    post(&application, "/users", &json!({"name": "ann", "password": PASSWORD})).await;
    let codes = post(&application, "/users/ann/factors", &json!({"kind": "recovery"})).await.json();
    let token = json!({"kind": "totp", "serial": "4711", "secret_hex": "00".repeat(20)});
    post(&application, "/stock", &json!({"tokens": [token]})).await.ok();
    let to_ann = json!({"user": "ann"});
    assert_eq!(post(&application, "/stock/4711/assignment", &to_ann).await.status, 201);
    let approval = format!("/factors/{}/approval", codes["id"].as_str().unwrap());
    for (path, body, status, kind) in [
        ("/users/ann/factors", json!({"kind": "recovery"}), 409, "conflict"),
        ("/users/ann/factors", json!({"kind": "yubico_remote", "public_id": "vvccccccccbb"}), 409, "conflict"),
        ("/users/ann/factors", json!({"kind": "totp", "digits": 7}), 422, "invalid-request"),
        ("/stock/4711/assignment", to_ann.clone(), 409, "conflict"),
        ("/stock/4712/assignment", to_ann, 404, "not-found"),
        (approval.as_str(), json!({}), 409, "conflict"),
        ("/four-eyes/lowering", json!({}), 403, "forbidden"),
    ] {
        assert_eq!(problem(&post(&application, path, &body).await), (status, kind.to_owned()), "{path} {body}");
    }
    server.stop();
}

#[tokio::test]
async fn a_hsm_that_is_away_is_503_and_nothing_is_half_done() {
    let application = Application::with_hsm("sessions = 2\ndeadline = \"1s\"", "");
    let server = application.serve();
    post(&application, "/users", &json!({"name": "ann", "password": PASSWORD})).await;
    let paused = server.pause_hsm();
    let added = post(&application, "/users/ann/factors", &json!({"kind": "totp"})).await;
    assert_eq!(problem(&added), (503, "unavailable".to_owned()));
    drop(paused);
    assert_eq!(get(&application, "/users/ann/factors").await.ok().json(), json!([]));
    server.stop();
}
