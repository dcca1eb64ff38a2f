//! A blob that was moved to another row by somebody who can write to the database does not open.

use super::scan::PASSWORD;
use crate::faults::caller::{Answer, Caller};
use crate::faults::deployment::{Deployment, sqlite, totp};

const OTHER_PASSWORD: &str = "Planted-Passw0rd-of-Bob";

/// Ann and Bob with a TOTP each.
struct Two {
    deployment: Deployment,
    credentials: (String, String),
    ann: (String, String),
    bob: (String, String),
}

impl Two {
    fn new() -> Self {
        let deployment = Deployment::new();
        deployment.add_user("ann", PASSWORD);
        deployment.add_user("bob", OTHER_PASSWORD);
        let (ann, bob) = (deployment.add_totp("ann"), deployment.add_totp("bob"));
        let credentials = deployment.add_client("app");
        Self { deployment, credentials, ann, bob }
    }

    /// Exchanges the blobs of two rows.
    fn swap(&self, kind: &str, first: &str, second: &str) {
        let changed = sqlite(
            &self.deployment,
            &format!(
                "UPDATE seals SET row_id = CASE row_id WHEN '{first}' THEN '~{second}' ELSE '~{first}' END
                 WHERE kind = '{kind}' AND row_id IN ('{first}', '{second}');
                 UPDATE seals SET row_id = substr(row_id, 2) WHERE row_id LIKE '~%'; SELECT changes();"
            ),
        );
        assert_eq!(changed, "2");
    }
}

fn is_refused(answer: &Answer) -> bool {
    answer.has_no_token() && (answer.status == 400 && answer.body["error"] == "invalid_grant" || answer.is_try_again())
}

fn user_id(deployment: &Deployment, name: &str) -> String {
    sqlite(deployment, &format!("SELECT id FROM users WHERE name = '{name}'"))
}

fn kind_of(deployment: &Deployment, row: &str) -> String {
    sqlite(deployment, &format!("SELECT kind FROM seals WHERE row_id = '{row}'"))
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
    for (user, password, seed) in
        [("ann", OTHER_PASSWORD, &two.ann.1), ("ann", PASSWORD, &two.ann.1), ("bob", OTHER_PASSWORD, &two.bob.1)]
    {
        let answer = caller.sign_in(user, password, &totp(seed, 0)).await.unwrap();
        assert!(is_refused(&answer), "{user}: {answer:?}");
    }
    two.swap(&kind, &ann, &bob);
    let answer = caller.sign_in("ann", PASSWORD, &totp(&two.ann.1, 1)).await.unwrap();
    assert_eq!(answer.status, 200, "back in its row it opens: {answer:?}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_2_exchanged_factor_secrets_let_nobody_in() {
    let two = Two::new();
    let kind = kind_of(&two.deployment, &two.ann.0);
    two.swap(&kind, &two.ann.0, &two.bob.0);
    let server = two.deployment.serve();
    let caller = Caller::new(&server, &two.credentials);
    for (user, password, seed) in
        [("ann", PASSWORD, &two.bob.1), ("ann", PASSWORD, &two.ann.1), ("bob", OTHER_PASSWORD, &two.ann.1)]
    {
        let answer = caller.sign_in(user, password, &totp(seed, 0)).await.unwrap();
        assert!(is_refused(&answer), "{user}: {answer:?}");
    }
    two.swap(&kind, &two.ann.0, &two.bob.0);
    let answer = caller.sign_in("ann", PASSWORD, &totp(&two.ann.1, 1)).await.unwrap();
    assert_eq!(answer.status, 200, "back in its row it opens: {answer:?}");
    server.stop();
}

/// A copy of one's own secret in another's place does not open either, or else a thief's own token would do.
#[tokio::test(flavor = "multi_thread")]
async fn promise_2_a_factor_copied_over_anothers_lets_nobody_in() {
    let two = Two::new();
    let server = two.deployment.serve();
    let caller = Caller::new(&server, &two.credentials);
    let copied = sqlite(
        &two.deployment,
        &format!(
            "UPDATE seals SET blob = (SELECT blob FROM seals WHERE row_id = '{}') WHERE row_id = '{}'; SELECT changes();",
            two.bob.0, two.ann.0
        ),
    );
    assert_eq!(copied, "1");
    for seed in [&two.bob.1, &two.ann.1] {
        let answer = caller.sign_in("ann", PASSWORD, &totp(seed, 0)).await.unwrap();
        assert!(is_refused(&answer), "{answer:?}");
    }
    assert_eq!(caller.sign_in("bob", OTHER_PASSWORD, &totp(&two.bob.1, 0)).await.unwrap().status, 200);
    server.stop();
}
