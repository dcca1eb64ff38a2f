use std::time::Duration;

use signet_core::audit::Event;
use signet_core::keys::login::{EndedLogin, LOGIN_LEASE, Presenting};
use signet_core::keys::{HsmName, LoginRecord, TokenIdentity};
use signet_store::{LoginChange, Store, StoredLogins};

use super::deployment::token;
use crate::support::store::OwnChain as _;
use crate::support::store::{after, draft, now, texts};

fn identity(serial: &str) -> TokenIdentity {
    (&token(serial)).into()
}

fn stored(serial: &str, version: i64, record: LoginRecord) -> StoredLogins {
    StoredLogins { token: identity(serial), hsm: HsmName::new("primary"), version, record }
}

fn under_way(node: &str) -> LoginRecord {
    let presenting = Presenting { node: node.to_owned(), is_allowed: true, is_over: false };
    LoginRecord { presenting: Some(presenting), ..LoginRecord::default() }
}

/// Writes a record over the one of this version.
async fn write(store: &dyn Store, serial: &str, version: i64, record: LoginRecord, lasts: Option<Duration>) -> bool {
    let change = LoginChange { logins: stored(serial, version, record), lasts };
    store.change_logins(change, now(), vec![draft(Event::HsmLoginAllowed)]).await.unwrap()
}

pub(super) async fn logins_come_back_as_written(store: &dyn Store) {
    assert_eq!(store.logins_of(&identity("1"), now()).await.unwrap(), None);
    let ended = |node: &str| EndedLogin { node: node.to_owned(), detail: "C_Login answered \"so\"".to_owned() };
    let record = LoginRecord {
        refused: Some(ended("a")),
        unknown: 2,
        last_unknown: Some(ended("b")),
        is_closed: true,
        stopped: texts(&["a", "b, with a comma"]),
        allowed: texts(&["c"]),
        cleared: texts(&["d", "e"]),
        ..under_way("a")
    };
    assert!(write(store, "1", 0, record.clone(), Some(LOGIN_LEASE)).await);
    assert!(write(store, "2", 0, LoginRecord::default(), None).await);
    assert_eq!(store.logins_of(&identity("1"), now()).await.unwrap(), Some(stored("1", 1, record.clone())));
    // Another token under the same label is another one.
    let all = [stored("1", 1, record), stored("2", 1, LoginRecord::default())];
    assert_eq!(store.logins(now()).await.unwrap(), all);
    assert!(write(store, "1", 1, LoginRecord::default(), None).await);
    assert_eq!(store.logins_of(&identity("1"), now()).await.unwrap(), Some(stored("1", 2, LoginRecord::default())));
}

pub(super) async fn logins_are_changed_by_whoever_read_them_last(store: &dyn Store) {
    assert!(!write(store, "1", 3, under_way("a"), Some(LOGIN_LEASE)).await, "there is none of this version");
    assert!(write(store, "1", 0, under_way("a"), Some(LOGIN_LEASE)).await);
    assert!(!write(store, "1", 0, under_way("b"), Some(LOGIN_LEASE)).await, "it is there by now");
    assert!(write(store, "1", 1, LoginRecord::default(), None).await);
    assert!(!write(store, "1", 1, under_way("b"), Some(LOGIN_LEASE)).await);
    assert_eq!(store.logins_of(&identity("1"), now()).await.unwrap(), Some(stored("1", 2, LoginRecord::default())));
    assert_eq!(store.head().await.unwrap().sequence, 2, "what did not take place is not told");
}

pub(super) async fn a_login_is_over_when_its_lease_has_run_out(store: &dyn Store) {
    let is_over = async |at| {
        let stored = store.logins_of(&identity("1"), after(at)).await.unwrap().unwrap();
        stored.record.presenting.unwrap().is_over
    };
    assert!(write(store, "1", 0, under_way("a"), Some(Duration::from_secs(10))).await);
    assert!(!is_over(9).await);
    // Another change does not prolong it, and takes nothing from it.
    assert!(write(store, "1", 1, under_way("a").allow("b"), None).await);
    assert!(!is_over(9).await);
    assert!(write(store, "1", 2, under_way("a"), Some(Duration::ZERO)).await);
    assert!(is_over(0).await);
}
