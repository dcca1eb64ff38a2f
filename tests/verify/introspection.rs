//! The client of introspection beside endpoints that answer otherwise than they should.

use axum::Router;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use signet_verify::introspection::{Introspection, IntrospectionClient, IntrospectionError};

async fn start(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

async fn ask(endpoint: &str) -> Result<Introspection, IntrospectionError> {
    IntrospectionClient::new(endpoint, "app", "p w").unwrap().introspect("a b").await
}

#[tokio::test]
async fn the_question_is_a_form_with_the_clients_credentials() {
    let judge = async |headers: HeaderMap, body: String| {
        let is_right = headers["authorization"] == "Basic YXBwOnAlMjB3"
            && headers["content-type"] == "application/x-www-form-urlencoded"
            && body == "token=a%20b";
        format!("{{\"active\":{is_right}}}")
    };
    let url = start(Router::new().route("/", post(judge))).await;
    assert!(matches!(ask(&url).await, Ok(Introspection::Active(_))));
}

#[tokio::test]
async fn what_is_no_whole_answer_of_the_endpoint_itself_makes_nothing_active() {
    let active = r#"{"active":true}"#;
    let elsewhere = start(Router::new().route("/", post(async move || active))).await;
    let app = Router::new()
        .route("/moved", post(async move || (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, elsewhere)])))
        .route("/foreign", post(async move || (StatusCode::UNAUTHORIZED, active)))
        .route("/busy", post(async move || (StatusCode::SERVICE_UNAVAILABLE, active)))
        .route("/long", post(async move || format!("{active}{}", " ".repeat(64 * 1024))))
        .route("/page", post(async || "<html>"));
    let url = start(app).await;
    let moved = ask(&format!("{url}/moved")).await;
    assert!(matches!(moved, Err(IntrospectionError::Status(StatusCode::TEMPORARY_REDIRECT))), "{moved:?}");
    let foreign = ask(&format!("{url}/foreign")).await;
    assert!(matches!(foreign, Err(IntrospectionError::Credentials)), "{foreign:?}");
    let busy = ask(&format!("{url}/busy")).await;
    assert!(matches!(busy, Err(IntrospectionError::Status(StatusCode::SERVICE_UNAVAILABLE))), "{busy:?}");
    assert!(matches!(ask(&format!("{url}/long")).await, Err(IntrospectionError::TooLarge)));
    assert!(matches!(ask(&format!("{url}/page")).await, Err(IntrospectionError::Malformed)));
    let gone = ask("http://127.0.0.1:1/").await;
    assert!(matches!(&gone, Err(IntrospectionError::Request { reason, .. }) if reason.contains("refused")), "{gone:?}");
}
