//! `grant_type=refresh_token`: rotation, the retry window, and what ends a family.

use std::collections::BTreeSet;

use super::verified;
use crate::http::{ALL_GRANTS, Stage};
use crate::support::application::{AUDIENCE, TestClient};
use crate::support::requests::Answer;

/// A retry window that is over before anybody can show a token twice.
const NO_WINDOW: &str = "[tokens]\nrefresh_retry_window = \"0s\"";

fn is_invalid_grant(answer: &Answer) -> bool {
    answer.refusal() == (400, "invalid_grant".to_owned())
}

#[tokio::test]
async fn a_refresh_token_gives_a_token_of_the_same_sign_in_and_its_successor() {
    let stage = Stage::shared();
    let (user, first) = stage.family("rotation").await;
    let second = stage.refresh(&stage.app, &first.refresh_token()).await.ok();
    assert_ne!(second.refresh_token(), first.refresh_token());
    let before = verified(&stage, &first.access_token(), AUDIENCE).await.claims;
    let after = verified(&stage, &second.access_token(), AUDIENCE).await.claims;
    for same in ["sub", "aud", "auth_time", "acr", "amr", "client_id", "scope", "roles"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert_eq!(after["sub"], user.id.as_str());
    assert_ne!(before["jti"], after["jti"]);
    stage.refresh(&stage.app, &second.refresh_token()).await.ok();
}

#[tokio::test]
async fn without_the_grant_there_is_no_refresh_token() {
    let stage = Stage::shared();
    let short = stage.add_client("short", "password", "read");
    let (user, totp) = stage.person("short");
    let answer = stage.sign_in(&short, &user, &totp.code()).await.ok();
    assert!(answer.json().get("refresh_token").is_none());
    verified(&stage, &answer.access_token(), AUDIENCE).await;
}

#[tokio::test]
async fn the_predecessor_gets_the_same_successor_within_the_window() {
    let stage = Stage::shared();
    let (_, first) = stage.family("retry").await;
    let second = stage.refresh(&stage.app, &first.refresh_token()).await.ok();
    let again = stage.refresh(&stage.app, &first.refresh_token()).await.ok();
    assert_eq!(again.refresh_token(), second.refresh_token());
    assert_ne!(again.access_token(), second.access_token());
    stage.refresh(&stage.app, &second.refresh_token()).await.ok();
}

/// Until when the window is open: tests/use_cases/refresh.rs.
#[tokio::test]
async fn hazard_26_a_spent_refresh_token_after_the_window_ends_the_family() {
    let stage = Stage::new(NO_WINDOW);
    let (user, first) = stage.family("ann").await;
    let second = stage.refresh(&stage.app, &first.refresh_token()).await.ok();
    assert!(is_invalid_grant(&stage.refresh(&stage.app, &first.refresh_token()).await));
    assert!(is_invalid_grant(&stage.refresh(&stage.app, &second.refresh_token()).await), "the successor is ended too");
    for token in [first.access_token(), second.access_token(), second.refresh_token()] {
        assert!(!stage.is_active(&stage.app, &token).await);
    }
    let records = stage.audit().await;
    let replayed = records.iter().filter(|record| record["event"] == "token.replayed");
    assert_eq!(replayed.filter(|record| record["user"] == user.id.as_str()).count(), 1);
}

#[tokio::test]
async fn hazard_27_one_refresh_token_a_hundred_times_at_once_has_one_successor() {
    let stage = Stage::new("[tokens]\nrefresh_retry_window = \"1m\"");
    let (_, first) = stage.family("ann").await;
    let fields = [("grant_type", "refresh_token"), ("refresh_token", &*first.refresh_token())];
    let answers = stage.tokens_at_once(100, &fields).await;
    let granted: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert!(!granted.is_empty() && answers.iter().all(|answer| matches!(answer.status, 200 | 503)));
    let successors: BTreeSet<String> = granted.iter().map(|answer| answer.refresh_token()).collect();
    assert_eq!(successors.len(), 1, "one successor");
    assert_eq!((stage.rows("grants").await, stage.rows("refresh_tokens").await), (1, 2), "one family, no branch");
    let third = stage.refresh(&stage.app, successors.first().unwrap()).await.ok();
    assert!(stage.is_active(&stage.app, &third.access_token()).await);
}

#[tokio::test]
async fn hazard_28_the_grandparent_within_the_window_ends_the_family() {
    let stage = Stage::new("[tokens]\nrefresh_retry_window = \"1m\"");
    let (_, first) = stage.family("ann").await;
    let second = stage.refresh(&stage.app, &first.refresh_token()).await.ok();
    let third = stage.refresh(&stage.app, &second.refresh_token()).await.ok();
    assert!(is_invalid_grant(&stage.refresh(&stage.app, &first.refresh_token()).await));
    assert!(is_invalid_grant(&stage.refresh(&stage.app, &third.refresh_token()).await));
    assert!(is_invalid_grant(&stage.refresh(&stage.app, &second.refresh_token()).await));
}

/// Neither a kill nor a restart forgets what was spent, or ends what lives.
#[tokio::test]
async fn hazard_29_replay_after_kill_and_restart_is_refused() {
    let mut stage = Stage::new(NO_WINDOW);
    let (_, anns) = stage.family("ann").await;
    let (_, bobs) = stage.family("bob").await;
    let spent = anns.refresh_token();
    let live = stage.refresh(&stage.app, &spent).await.ok().refresh_token();
    stage.server.kill_and_restart();
    assert!(stage.is_active(&stage.app, &live).await);
    assert!(is_invalid_grant(&stage.refresh(&stage.app, &spent).await));
    assert!(is_invalid_grant(&stage.refresh(&stage.app, &live).await));
    stage.refresh(&stage.app, &bobs.refresh_token()).await.ok();
}

#[tokio::test]
async fn hazard_30_another_clients_refresh_token_is_refused_and_stays_alive() {
    let stage = Stage::shared();
    let (_, first) = stage.family("foreign").await;
    let other = stage.add_client("thief", ALL_GRANTS, "read write");
    assert!(is_invalid_grant(&stage.refresh(&other, &first.refresh_token()).await));
    stage.refresh(&stage.app, &first.refresh_token()).await.ok();
}

#[tokio::test]
async fn hazard_30_a_refresh_narrows_scopes_and_never_widens_them() {
    let stage = Stage::shared();
    let (user, totp) = stage.person("narrow");
    let code = totp.code();
    let password = crate::support::application::PASSWORD;
    let fields = [
        ("grant_type", "password"),
        ("username", &*user.name),
        ("password", password),
        ("otp", &code),
        ("scope", "read"),
    ];
    let first = stage.token(&stage.app, &fields).await.ok();
    let refresh = async |token: &str, scope: &str| {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)];
        stage.token(&stage.app, &fields).await
    };
    for wider in ["read write", "write", "admin"] {
        assert_eq!(refresh(&first.refresh_token(), wider).await.refusal(), (400, "invalid_scope".to_owned()));
    }
    let second = refresh(&first.refresh_token(), "read").await.ok();
    assert_eq!(second.text("scope"), "read");
    let (_, both) = stage.family("both").await;
    let narrowed = refresh(&both.refresh_token(), "write").await.ok();
    assert_eq!(narrowed.text("scope"), "write");
    let whole = stage.refresh(&stage.app, &narrowed.refresh_token()).await.ok();
    assert_eq!(whole.text("scope"), "read write", "the grant stays as wide as it was (RFC 6749 §6)");
}

#[tokio::test]
async fn hazard_57_who_is_disabled_or_removed_refreshes_no_more() {
    let stage = Stage::shared();
    for (name, command) in [
        ("gone-1", &["user", "disable", "gone-1"][..]),
        ("gone-2", &["user", "remove", "gone-2", "--yes"]),
        ("gone-3", &["client", "disable", "gone-3-app"]),
        ("gone-4", &["client", "remove", "gone-4-app", "--yes"]),
    ] {
        let app = stage.add_client(&format!("{name}-app"), ALL_GRANTS, "read");
        let (user, totp) = stage.person(name);
        let first = stage.sign_in(&app, &user, &totp.code()).await.ok();
        stage.json(command);
        let refused = stage.refresh(&app, &first.refresh_token()).await;
        let expected = if command[0] == "user" { (400, "invalid_grant") } else { (401, "invalid_client") };
        assert_eq!(refused.refusal(), (expected.0, expected.1.to_owned()), "{command:?}");
        assert!(!stage.is_active(&stage.app, &first.access_token()).await, "{command:?}");
    }
}

/// Enabling somebody again gives back the right to sign in, not the families that were ended.
#[tokio::test]
async fn promise_7_an_ended_family_stays_ended() {
    let stage = Stage::shared();
    let (user, first) = stage.family("comeback").await;
    stage.json(&["user", "disable", &user.name]);
    stage.json(&["user", "enable", &user.name]);
    assert!(is_invalid_grant(&stage.refresh(&stage.app, &first.refresh_token()).await));
    assert!(!stage.is_active(&stage.app, &first.access_token()).await);
    let (user, second) = stage.family("new-password").await;
    stage.json_with(&["user", "set-password", &user.name, "--password-stdin"], "another long passphrase");
    assert!(is_invalid_grant(&stage.refresh(&stage.app, &second.refresh_token()).await));
}

/// Roles are read again at each refresh.
#[tokio::test]
async fn a_refresh_takes_the_roles_that_are_held_now() {
    let stage = Stage::new("[roles]\nreader = [\"read\"]\neditor = [\"read\", \"write\"]");
    let (user, first) = stage.family("ann").await;
    assert_eq!(first.text("scope"), "read");
    stage.json(&["user", "set-roles", &user.name, "--roles", "editor"]);
    let second = stage.refresh(&stage.app, &first.refresh_token()).await.ok();
    assert_eq!(second.text("scope"), "read", "no wider than what was granted");
    let claims = verified(&stage, &second.access_token(), AUDIENCE).await.claims;
    assert_eq!(claims["roles"], serde_json::json!(["editor"]));
    stage.json(&["user", "set-roles", &user.name, "--roles", "visitor"]);
    let third = stage.refresh(&stage.app, &second.refresh_token()).await;
    assert_eq!(third.refusal(), (400, "invalid_scope".to_owned()), "nothing is left of the grant");
}

#[tokio::test]
async fn hazard_88_made_up_tokens_clients_and_names_grow_nothing() {
    let stage = Stage::new("");
    let (_, first) = stage.family("ann").await;
    let tables = ["audit_records", "grants", "refresh_tokens", "revocations", "clients", "users"];
    let mut before = Vec::new();
    for table in tables {
        before.push(stage.rows(table).await);
    }
    for number in 0..40 {
        let made_up = format!("{number:043}");
        assert!(is_invalid_grant(&stage.refresh(&stage.app, &made_up).await));
        assert!(!stage.is_active(&stage.app, &made_up).await);
        stage.revoke(&stage.app, &made_up).await.ok();
        let nobody = TestClient { name: String::new(), id: made_up.clone(), secret: made_up };
        assert_eq!(stage.token(&nobody, &[("grant_type", "client_credentials")]).await.status, 401);
        let name = format!("made-up-{number}");
        let fields = [("grant_type", "password"), ("username", &*name), ("password", "made up"), ("otp", "123456")];
        assert!(is_invalid_grant(&stage.token(&stage.app, &fields).await));
        let wrong = TestClient { secret: "wrong".to_owned(), ..stage.app.clone() };
        assert_eq!(stage.token(&wrong, &[("grant_type", "client_credentials")]).await.status, 401);
    }
    for (table, before) in tables.into_iter().zip(before) {
        // One record tells of the known client's wrong secret, and counts the others; one of the names that are nobody's, twice where
        // the first minute ends meanwhile.
        let allowed = 3 * i64::from(table == "audit_records");
        assert!(stage.rows(table).await <= before + allowed, "{table} grew");
    }
    stage.refresh(&stage.app, &first.refresh_token()).await.ok();
}
