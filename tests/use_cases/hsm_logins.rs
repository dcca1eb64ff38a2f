//! Who presents a PIN to an HSM token, among nodes that share a store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use signet_core::audit::AuditEvent;
use signet_core::keys::login::LOGIN_LEASE;
use signet_core::keys::{
    HsmName, KeyAdmin as _, LoginAnswer, LoginOutcome, LoginPermit, LoginPermits as _, LoginQuestion, PinMarker,
    TokenIdentity, TokenInfo,
};
use signet_jose::clock::Timestamp;
use signet_service::MembershipError;
use signet_service::hsm_logins::{AllowedNodes, HsmLogins};
use signet_store::{LoginChange, Logins, StoreError, StoreFailure, StoredLogins};
use signet_store_sql::SqlStore;

use crate::support::{InProcess, operator};

fn hsm() -> HsmName {
    HsmName::new("a")
}

fn refused() -> LoginOutcome {
    LoginOutcome::Refused("CKR_PIN_INCORRECT".to_owned())
}

/// The store, whose writes can be told to go wrong.
struct FaultyStore {
    store: Arc<SqlStore>,
    /// So many writes take place, and their answer is lost.
    lost_answers: AtomicU32,
    /// So many don't take place.
    refusals: AtomicU32,
}

impl FaultyStore {
    fn over(app: &InProcess) -> Arc<Self> {
        Arc::new(Self { store: app.store.clone(), lost_answers: AtomicU32::new(0), refusals: AtomicU32::new(0) })
    }
}

fn takes_one(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
}

#[async_trait]
impl Logins for FaultyStore {
    async fn logins(&self, at: Timestamp) -> Result<Vec<StoredLogins>, StoreError> {
        self.store.logins(at).await
    }

    async fn logins_of(&self, token: &TokenIdentity, at: Timestamp) -> Result<Option<StoredLogins>, StoreError> {
        self.store.logins_of(token, at).await
    }

    async fn change_logins(
        &self,
        change: LoginChange,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let away = || StoreFailure::Unavailable("the test says so".to_owned()).during("change");
        if takes_one(&self.refusals) {
            return Err(away());
        }
        let changed = self.store.change_logins(change, at, audit).await;
        if takes_one(&self.lost_answers) { Err(away()) } else { changed }
    }
}

async fn token(app: &InProcess) -> TokenInfo {
    app.hsms.describe(&hsm()).await.unwrap().token
}

async fn question(app: &InProcess, was_taken: bool) -> LoginQuestion {
    let token = token(app).await;
    LoginQuestion { token, marker: PinMarker::None, was_taken, is_typed: false, counts_tries: false }
}

fn node(app: &InProcess, store: Arc<dyn Logins>, id: &str) -> HsmLogins {
    HsmLogins::new(store, app.signet.ports().clock.clone(), id.to_owned())
}

fn permit(answer: LoginAnswer) -> LoginPermit {
    match answer {
        LoginAnswer::Present(permit) => permit,
        other => panic!("{other:?}"),
    }
}

async fn record(app: &InProcess) -> StoredLogins {
    let token = TokenIdentity::from(&token(app).await);
    app.store.logins_of(&token, app.now()).await.unwrap().unwrap()
}

#[tokio::test]
async fn one_worker_of_all_nodes_logs_in_at_a_time() {
    let app = InProcess::new().await;
    let (one, two) = (node(&app, app.store.clone(), "one"), node(&app, app.store.clone(), "two"));
    let question = question(&app, false).await;
    let first = permit(one.ask(&hsm(), &question).await);
    let LoginAnswer::Wait(why) = one.ask(&hsm(), &question).await else { panic!() };
    assert!(why.contains("another worker of this node"), "{why}");
    let LoginAnswer::Wait(why) = two.ask(&hsm(), &question).await else { panic!() };
    assert!(why.contains("node one"), "{why}");
    one.end(first, LoginOutcome::Taken).await;
    let second = permit(two.ask(&hsm(), &question).await);
    two.end(second, LoginOutcome::Taken).await;
    assert_eq!(record(&app).await.record, Default::default());
}

#[tokio::test]
async fn a_node_that_never_said_how_its_login_ended_is_waited_for_no_longer_than_its_lease() {
    let app = InProcess::new().await;
    let (gone, other) = (node(&app, app.store.clone(), "gone"), node(&app, app.store.clone(), "other"));
    let question = question(&app, true).await;
    let _never_ended = permit(gone.ask(&hsm(), &question).await);
    app.pass(LOGIN_LEASE - Duration::from_secs(1)).await;
    assert!(matches!(other.ask(&hsm(), &question).await, LoginAnswer::Wait(_)));
    app.pass(Duration::from_secs(1)).await;
    drop(permit(other.ask(&hsm(), &question).await));
    assert_eq!(record(&app).await.record.unknown, 1);
}

#[tokio::test]
async fn a_lost_answer_of_the_store_is_no_login_that_ended_unknown() {
    let app = InProcess::new().await;
    let store = FaultyStore::over(&app);
    let one = node(&app, store.clone(), "one");
    let question = question(&app, false).await;
    for faults in [&store.lost_answers, &store.refusals] {
        faults.store(1, Ordering::SeqCst);
        let LoginAnswer::Wait(why) = one.ask(&hsm(), &question).await else { panic!() };
        assert!(why.contains("no PIN is presented without the store"), "{why}");
        let permit = permit(one.ask(&hsm(), &question).await);
        assert_eq!(record(&app).await.record.unknown, 0);
        one.end(permit, LoginOutcome::Taken).await;
    }
    // A process that was killed in its login is another matter.
    let killed = permit(node(&app, app.store.clone(), "one").ask(&hsm(), &question).await);
    let LoginAnswer::Stop(why) = one.ask(&hsm(), &question).await else { panic!() };
    assert!(why.contains("never taken") && record(&app).await.record.unknown == 1, "{why}");
    drop(killed);
}

#[tokio::test]
async fn how_a_login_ended_is_written_as_soon_as_the_store_can_and_once() {
    let app = InProcess::new().await;
    let store = FaultyStore::over(&app);
    let one = node(&app, store.clone(), "one");
    let permit = permit(one.ask(&hsm(), &question(&app, true).await).await);
    store.refusals.store(2, Ordering::SeqCst);
    store.lost_answers.store(1, Ordering::SeqCst);
    one.end(permit, refused()).await;
    let kept = record(&app).await.record;
    assert!(!kept.is_closed && kept.presenting.is_none() && kept.stopped == BTreeSet::from(["one".to_owned()]));
}

#[tokio::test]
async fn a_login_is_allowed_on_the_record_and_once() {
    let app = InProcess::new().await;
    let one = node(&app, app.store.clone(), "one");
    let ask = question(&app, true).await;
    one.end(permit(one.ask(&hsm(), &ask).await), refused()).await;
    assert!(one.is_stopped(&hsm(), &ask).await);
    let status = app.signet.hsm_membership.hsm_status(&[hsm()]).await.unwrap();
    let trouble = status[0].logins.clone().unwrap();
    assert_eq!(
        (trouble.stopped, trouble.last.unwrap()),
        (vec!["one".to_owned()], "node one (CKR_PIN_INCORRECT)".to_owned())
    );
    let these = |node: &str| AllowedNodes::These(vec![node.to_owned()]);
    let allow = async |nodes: &AllowedNodes| app.signet.login_allowances.allow(&hsm(), nodes, &operator("eve")).await;
    let elsewhere = allow(&these("two")).await.unwrap();
    assert_eq!((elsewhere.allowed, elsewhere.stopped), (vec!["two".to_owned()], vec!["one".to_owned()]));
    assert!(one.is_stopped(&hsm(), &ask).await);
    let here = allow(&these("one")).await.unwrap();
    assert!(here.stopped.is_empty() && !here.others_wait && !one.is_stopped(&hsm(), &ask).await);
    one.end(permit(one.ask(&hsm(), &ask).await), refused()).await;
    assert!(one.is_stopped(&hsm(), &ask).await, "it was one login");
    allow(&AllowedNodes::Every).await.unwrap();
    one.end(permit(one.ask(&hsm(), &ask).await), LoginOutcome::Taken).await;
    assert_eq!(app.signet.hsm_membership.hsm_status(&[hsm()]).await.unwrap()[0].logins, None);
    let told = app.details("hsm.login_allowed").await;
    let said = ["two", "one"].map(|node| format!("HSM token a: one login of node {node}"));
    assert_eq!(told, [said[0].clone(), said[1].clone(), "HSM token a: logins of every node".to_owned()]);
}

/// One that is configured and no member yet is known by the name under which a node logged in.
#[tokio::test]
async fn a_login_is_allowed_at_whatever_has_been_logged_in_to() {
    let app = InProcess::uninitialised(&["a"], |_| {}).await;
    let every = AllowedNodes::Every;
    let unknown = app.signet.login_allowances.allow(&hsm(), &every, &operator("eve")).await;
    assert_eq!(unknown.unwrap_err(), MembershipError::NotAMember(hsm()));
    let one = node(&app, app.store.clone(), "one");
    let ask = question(&app, false).await;
    one.end(permit(one.ask(&hsm(), &ask).await), refused()).await;
    app.signet.login_allowances.allow(&hsm(), &every, &operator("eve")).await.unwrap();
    assert!(!one.is_stopped(&hsm(), &ask).await);
}
