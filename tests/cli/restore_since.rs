//! What had ended since the copy that was restored: ended again by an export of the audit log, or by an operator's word.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::application::{ALL_GRANTS, Application, TestClient, TestUser};
use crate::support::codes::YubiKey;
use crate::support::commands::text;
use crate::support::oathtool::counter_code;
use crate::support::postgres::is_wanted;
use crate::support::server::Server;

async fn token_of(server: &Server, client: &TestClient) -> String {
    server.token(client, &[("grant_type", "client_credentials")]).await.ok().access_token()
}

/// A token that counts, of a user.
struct Button(String);

impl Button {
    fn add(application: &Application, user: &str) -> Self {
        Self(text(&application.json(&["factor", "add", "hotp", "--user", user]), "secret_base32"))
    }

    fn at(&self, counter: u64) -> String {
        counter_code(&self.0, 6, counter)
    }
}

/// Puts the backup in the place of the store, which is lost.
fn lose_the_store(application: &Application) {
    for ending in ["", "-wal", "-shm"] {
        let file = application.database().with_extension(format!("db{ending}"));
        let _ = fs::remove_file(file);
    }
}

fn export(application: &Arc<Application>, file: &str) {
    application.run(&["audit", "export", "--output", file]).ok();
}

/// A deployment that was restored from a backup, with an export that is newer.
struct Restored {
    application: Arc<Application>,
    client: TestClient,
    ann: TestUser,
    button: Button,
    key: YubiKey,
    /// What the Yubico token typed after the backup.
    pressed: String,
    /// Two access tokens from before the backup; the second one was revoked after it.
    tokens: [String; 2],
    answered: serde_json::Value,
}

async fn restored() -> Restored {
    let application = Application::new("");
    let server = application.serve();
    let client = server.add_client("app", ALL_GRANTS, "read write");
    for name in ["replaced", "disabled", "removed"] {
        server.add_client(name, "client_credentials", "read");
    }
    let ann = server.add_user("ann", "reader,writer,auditor");
    for name in ["disabled-user", "removed-user", "changed-user", "enabled-again"] {
        server.add_user(name, "reader");
    }
    let (button, key) = (Button::add(&application, "ann"), server.add_yubico(&ann, "ccccccccccbd"));
    let lost = server.json(&["factor", "add", "totp", "--user", "ann"]);
    server.sign_in(&client, &ann, &button.at(0)).await.ok();
    let tokens = [token_of(&server, &client).await, token_of(&server, &client).await];
    server.json(&["backup", "one.backup"]);

    // What the store of the backup knows nothing of.
    for code in 1..4 {
        server.sign_in(&client, &ann, &button.at(code)).await.ok();
    }
    let pressed = key.press();
    server.sign_in(&client, &ann, &pressed).await.ok();
    server.revoke(&client, &tokens[1]).await.ok();
    for command in [
        &["user", "disable", "disabled-user"][..],
        &["user", "remove", "removed-user", "--yes"],
        &["user", "disable", "enabled-again"],
        &["user", "enable", "enabled-again"],
        &["user", "set-roles", "ann", "--roles", "reader,admin"],
        &["factor", "remove", &text(&lost, "id"), "--yes"],
        &["client", "renew-secret", "replaced"],
        &["client", "disable", "disabled"],
        &["client", "remove", "removed", "--yes"],
    ] {
        server.json(command);
    }
    server.json_with(&["user", "set-password", "changed-user", "--password-stdin"], "another long pass phrase");
    server.stop();
    export(&application, "later.jsonl");
    lose_the_store(&application);
    let restored = application.json(&["restore", "one.backup", "--why", "the disk failed", "--audit", "later.jsonl"]);
    let answered = restored["answered"].clone();
    Restored { application, client, ann, button, key, pressed, tokens, answered }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_export_says_had_ended_is_ended_again() {
    if is_wanted() {
        return;
    }
    let Restored { application, client, ann, button, key, pressed, tokens, answered } = restored().await;
    assert_eq!(answered["removed"], serde_json::json!({"user": 1, "factor": 1, "client": 1}), "{answered}");
    assert_eq!(answered["disabled"], serde_json::json!({"user": 2, "client": 2}), "{answered}");
    assert_eq!((&answered["roles_taken"], &answered["counters_moved"]), (&1.into(), &2.into()));
    assert_eq!((&answered["revoked_tokens"], &answered["disabled_counting"]), (&1.into(), &0.into()));
    let shown = |noun: &str, name: &str| application.json(&[noun, "show", name]);
    assert_eq!(shown("user", "ann")["roles"], serde_json::json!(["reader"]), "given roles are not given again");
    for (name, enabled) in [("disabled-user", false), ("changed-user", false), ("enabled-again", true)] {
        assert_eq!(shown("user", name)["enabled"], enabled, "{name}");
    }
    application.run(&["user", "show", "removed-user"]).fails(1, &["removed-user"]);

    let server = application.serve();
    for code in 0..4 {
        assert_eq!(server.sign_in(&client, &ann, &button.at(code)).await.status, 400, "{code} was spent");
    }
    assert_eq!(server.sign_in(&client, &ann, &pressed).await.status, 400, "it was spent");
    server.sign_in(&client, &ann, &button.at(4)).await.ok();
    server.sign_in(&client, &ann, &key.press()).await.ok();
    assert!(server.is_active(&client, &tokens[0]).await && !server.is_active(&client, &tokens[1]).await);
    server.stop();
    assert_eq!(application.json(&["audit", "verify"])["intact"], true);
    let told = application.audit().await;
    let again = told.iter().filter(|record| {
        record["detail"].as_str().is_some_and(|detail| detail.starts_with("ended again after a restore"))
    });
    assert_eq!(again.count(), 3 + 4 + 1 + 2 + 1, "each on the record");
    assert!(told.iter().any(|record| record["event"] == "store.restore_answered"
        && record["detail"].as_str().unwrap().ends_with("later records; the disk failed")));
}

/// Commands change the store before the operator has said what ended; an export must be newer, whole and of this deployment.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_issued_until_an_operator_has_said_what_had_ended() {
    if is_wanted() {
        return;
    }
    let application = Application::new("");
    let client = application.add_client("app", ALL_GRANTS, "read write");
    application.add_user("ann", "reader");
    application.run(&["restore", "--ended", "nothing"]).fails(1, &["there is nothing to say"]);
    export(&application, "older.jsonl");
    application.json(&["backup", "one.backup"]);
    application.json(&["user", "disable", "ann"]);
    export(&application, "later.jsonl");
    lose_the_store(&application);
    // A key that signed nothing here.
    let jwk = r#"{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"another",
        "x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}"#;
    fs::write(application.file("another.jwk"), jwk).unwrap();
    let whole = fs::read_to_string(application.file("later.jsonl")).unwrap();
    fs::write(application.file("altered.jsonl"), whole.replace("disabled", "enabled")).unwrap();

    application.json(&["restore", "one.backup", "--why", "the disk failed"]);
    application.run(&["serve"]).fails(1, &["nobody has said yet", "signet restore --ended"]);
    application.run(&["restore", "--ended", " "]).fails(2, &["--ended must say"]);
    let with = |file: &str, more: &[&str]| {
        application.run(&[&["restore", "--ended", "by an export", "--audit", file], more].concat())
    };
    with("older.jsonl", &[]).fails(1, &["reaches no further than the store"]);
    with("altered.jsonl", &[]).fails(1, &["is refused", "was changed"]);
    with("later.jsonl", &["--key", "another.jwk"]).fails(1, &["is refused", "not signed by the audit key"]);
    application.run(&["serve"]).fails(1, &["nobody has said yet"]);
    // An operator ends by commands what had ended, and says so.
    application.json(&["user", "disable", "ann"]);
    let answered = application.json(&["restore", "--ended", "ann had been disabled"]);
    assert_eq!(answered["later_records"], serde_json::Value::Null);
    let server = application.serve();
    server.token(&client, &[("grant_type", "client_credentials")]).await.ok();
    server.stop();
}

/// The backup's signing key was revoked and destroyed since: it is never made anew, and another one signs.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_hsm_has_no_more_is_revoked_after_a_restore() {
    if is_wanted() {
        return;
    }
    let application = Application::new("");
    let client = application.add_client("app", ALL_GRANTS, "read write");
    let kid = |token: &str| {
        let token = signet_verify::inspect(token).unwrap();
        token.unverified_header["kid"].as_str().unwrap().to_owned()
    };
    let server = application.serve();
    let before = kid(&token_of(&server, &client).await);
    server.json(&["backup", "one.backup"]);
    server.json(&["key", "rotate", "--emergency", &before, "--yes"]);
    let between = kid(&token_of(&server, &client).await);
    server.stop();
    lose_the_store(&application);
    application.json(&["restore", "one.backup", "--why", "the disk failed"]);
    let answered = application.json(&["restore", "--ended", "a key had been revoked"]);
    assert_eq!(answered["missing_keys"], serde_json::json!([before]));
    let server = application.serve();
    // The server makes another key as soon as it runs.
    let until = Instant::now() + Duration::from_secs(60);
    let after = loop {
        let answer = server.token(&client, &[("grant_type", "client_credentials")]).await;
        if answer.status == 200 {
            break kid(&answer.access_token());
        }
        assert!(Instant::now() < until, "no key was made: {answer:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(after != before && after != between, "{before}, {between}, {after}");
    server.stop();
    let revoked = application.json(&["key", "list"]);
    let ended = revoked.as_array().unwrap().iter().find(|key| key["kid"] == before.as_str()).unwrap();
    assert_eq!(ended["end"], "revoked");
}
