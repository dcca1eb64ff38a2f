//! A blob that was moved to another row by somebody who can write to the database does not open.

use super::scan::PASSWORD;
use crate::support::application::{ALL_GRANTS, Application, TestClient};
use crate::support::caller::Caller;
use crate::support::codes::Totp;
use crate::support::requests::Answer;
use std::sync::Arc;

const OTHER_PASSWORD: &str = "Planted-Passw0rd-of-Bob";

/// Ann and Bob with a TOTP each.
struct Two {
    deployment: Arc<Application>,
    credentials: TestClient,
    ann: Totp,
    bob: Totp,
}

impl Two {
    fn new() -> Self {
        let deployment = Application::new("");
        let ann = deployment.add_user_with("ann", "reader", PASSWORD);
        let bob = deployment.add_user_with("bob", "reader", OTHER_PASSWORD);
        let (ann, bob) = (deployment.add_totp(&ann, &[]), deployment.add_totp(&bob, &[]));
        let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
        Self { deployment, credentials, ann, bob }
    }

    /// Exchanges the blobs of two rows.
    fn swap(&self, kind: &str, first: &str, second: &str) {
        let changed = self.deployment.sql(&format!(
            "UPDATE seals SET row_id = CASE row_id WHEN '{first}' THEN '~{second}' ELSE '~{first}' END
                 WHERE kind = '{kind}' AND row_id IN ('{first}', '{second}');
                 UPDATE seals SET row_id = substr(row_id, 2) WHERE row_id LIKE '~%'; SELECT changes();"
        ));
        assert_eq!(changed, "2");
    }
}

fn is_refused(answer: &Answer) -> bool {
    answer.has_no_token()
        && (answer.status == 400 && answer.json()["error"] == "invalid_grant" || answer.is_try_again())
}

fn user_id(deployment: &Application, name: &str) -> String {
    deployment.sql(&format!("SELECT id FROM users WHERE name = '{name}'"))
}

fn kind_of(deployment: &Application, row: &str) -> String {
    deployment.sql(&format!("SELECT kind FROM seals WHERE row_id = '{row}'"))
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_2_exchanged_password_hashes_let_nobody_in() {
    let two = Two::new();
    let (ann, bob) = (user_id(&two.deployment, "ann"), user_id(&two.deployment, "bob"));
    let kind = kind_of(&two.deployment, &ann);
    two.swap(&kind, &ann, &bob);
    let server = two.deployment.serve();
    let caller = Caller::new(&server, &two.credentials);
    // Bob's own password for Ann's account, with Ann's code: what a thief of the database would try.
    for (user, password, totp) in
        [("ann", OTHER_PASSWORD, &two.ann), ("ann", PASSWORD, &two.ann), ("bob", OTHER_PASSWORD, &two.bob)]
    {
        let answer = caller.sign_in(user, password, &totp.code()).await.unwrap();
        assert!(is_refused(&answer), "{user}: {answer:?}");
    }
    two.swap(&kind, &ann, &bob);
    let answer = caller.sign_in("ann", PASSWORD, &two.ann.at(1)).await.unwrap();
    assert_eq!(answer.status, 200, "back in its row it opens: {answer:?}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_2_exchanged_factor_secrets_let_nobody_in() {
    let two = Two::new();
    let kind = kind_of(&two.deployment, &two.ann.id);
    two.swap(&kind, &two.ann.id, &two.bob.id);
    let server = two.deployment.serve();
    let caller = Caller::new(&server, &two.credentials);
    for (user, password, totp) in
        [("ann", PASSWORD, &two.bob), ("ann", PASSWORD, &two.ann), ("bob", OTHER_PASSWORD, &two.ann)]
    {
        let answer = caller.sign_in(user, password, &totp.code()).await.unwrap();
        assert!(is_refused(&answer), "{user}: {answer:?}");
    }
    two.swap(&kind, &two.ann.id, &two.bob.id);
    let answer = caller.sign_in("ann", PASSWORD, &two.ann.at(1)).await.unwrap();
    assert_eq!(answer.status, 200, "back in its row it opens: {answer:?}");
    server.stop();
}

/// A copy of one's own secret in another's place does not open either, or else a thief's own token would do.
#[tokio::test(flavor = "multi_thread")]
async fn promise_2_a_factor_copied_over_anothers_lets_nobody_in() {
    let two = Two::new();
    let server = two.deployment.serve();
    let caller = Caller::new(&server, &two.credentials);
    let copied = two.deployment.sql(&format!(
        "UPDATE seals SET blob = (SELECT blob FROM seals WHERE row_id = '{}') WHERE row_id = '{}'; SELECT changes();",
        two.bob.id, two.ann.id
    ));
    assert_eq!(copied, "1");
    for totp in [&two.bob, &two.ann] {
        let answer = caller.sign_in("ann", PASSWORD, &totp.code()).await.unwrap();
        assert!(is_refused(&answer), "{answer:?}");
    }
    assert_eq!(caller.sign_in("bob", OTHER_PASSWORD, &two.bob.at(0)).await.unwrap().status, 200);
    server.stop();
}
