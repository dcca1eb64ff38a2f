//! Promise 9 over several nodes: one token, one store, and for each node its own PIN file, state and supervisors.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use signet_core::keys::{HsmError, HsmFailure, HsmHealth as _, KeyAdmin as _, LoginRecord, Signer as _, TokenIdentity};
use signet_fault_module::log::Kind;
use signet_hsm::{HsmConfig, HsmGroup, PinSource};
use signet_jose::Algorithm;
use signet_jose::clock::SystemClock;
use signet_service::hsm_logins::HsmLogins;
use signet_store::{LoginChange, Logins as _, StoredLogins};
use signet_store_sql::SqlStore;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::pin::write_pin;
use crate::support::fault::FaultModule;
use crate::support::hsm::{PROGRAM, hsm, pair, probe};
use crate::support::process::{runs, signal, wait_for};
use crate::support::store::now;

const PATIENCE: Duration = Duration::from_secs(20);

macro_rules! on_every_engine {
    ($($case:ident),+ $(,)?) => {
        on_every_engine!(@ sqlite Place::new(); $($case),+);
        on_every_engine!(@ postgres Database::new(); $($case),+);
    };
    (@ $engine:ident $place:expr; $($case:ident),+) => {
        mod $engine {
            #[expect(unused_imports, reason = "each engine has a place of its own")]
            use crate::support::{postgres::Database, store::Place};
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    let place = $place;
                    super::$case(place.open().await, place.open().await).await;
                }
            )+
        }
    };
}

on_every_engine!(
    promise_9_a_wrong_pin_at_nodes_that_never_logged_in_is_presented_once_by_all,
    promise_9_a_new_node_with_a_mistyped_pin_keeps_no_other_from_restarting,
    promise_9_a_pin_changed_in_the_hsm_costs_two_tries_on_however_many_nodes,
    promise_9_a_worker_killed_in_its_login_comes_back_by_itself_once,
    promise_9_without_the_store_no_pin_is_presented,
    a_login_that_counted_no_try_is_tried_again,
    a_worker_that_was_logged_out_asks_before_it_logs_in_again,
);

/// A node: what is its own.
struct Node {
    name: &'static str,
    store: Arc<SqlStore>,
    folder: TempDir,
    config: HsmConfig,
}

impl Node {
    fn new(name: &'static str, store: &Arc<SqlStore>, module: &FaultModule, pin: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = module.config();
        config.pin = PinSource::File(folder.path().join("pin"));
        config.state_directory = Some(folder.path().to_owned());
        let node = Self { name, store: store.clone(), folder, config };
        node.write_pin(pin);
        node
    }

    fn pin_file(&self) -> PathBuf {
        self.folder.path().join("pin")
    }

    fn write_pin(&self, pin: &str) {
        write_pin(&self.pin_file(), pin);
    }

    /// Its supervisors, which wait for nothing.
    fn start(&self) -> Arc<HsmGroup> {
        let logins = HsmLogins::new(self.store.clone(), Arc::new(SystemClock), self.name.to_owned());
        let (events, _) = mpsc::unbounded_channel();
        let configs = vec![self.config.clone()];
        HsmGroup::start_as_a_node(PROGRAM.into(), configs, events, Some(Arc::new(logins))).unwrap()
    }

    async fn started(&self) -> Arc<HsmGroup> {
        let group = self.start();
        group.ready(PATIENCE).await.unwrap();
        group
    }
}

/// Why the node's PIN is not presented, once its worker has found out.
async fn refusal(group: &HsmGroup) -> String {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match group.ready(PATIENCE).await {
            Err(HsmError { failure: HsmFailure::PinRefused(detail), .. }) => return detail,
            Err(other) => panic!("{other}"),
            Ok(()) => assert!(tokio::time::Instant::now() < until, "it serves"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn up(group: &HsmGroup) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while group.worker_process_ids(&hsm()).is_empty() {
        assert!(tokio::time::Instant::now() < until, "{:?}", group.readiness(&hsm()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ends the worker of a node that is up, and waits until its supervisor knows.
async fn kill_worker(group: &HsmGroup) {
    let [worker] = group.worker_process_ids(&hsm())[..] else { panic!("one worker") };
    signal(worker, "KILL");
    while group.worker_process_ids(&hsm()).contains(&worker) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The operator's word, as `signet hsm allow-login` writes it.
async fn allow(store: &SqlStore, change: impl Fn(LoginRecord) -> LoginRecord) {
    loop {
        let logins = store.logins(now()).await.unwrap().remove(0);
        let record = change(logins.record.clone());
        let logins = StoredLogins { record, ..logins };
        // The end of a login may be written at this moment.
        if store.change_logins(LoginChange { logins, lasts: None }, now(), vec![]).await.unwrap() {
            return;
        }
    }
}

async fn promise_9_a_wrong_pin_at_nodes_that_never_logged_in_is_presented_once_by_all(
    one: Arc<SqlStore>,
    two: Arc<SqlStore>,
) {
    let module = FaultModule::new();
    let wrong = "0000-not-the-pin";
    let nodes: Vec<Node> =
        ["a", "b", "c"].map(|name| Node::new(name, if name == "b" { &two } else { &one }, &module, wrong)).into();
    let groups: Vec<Arc<HsmGroup>> = nodes.iter().map(Node::start).collect();
    let mut refused = 0;
    for group in &groups {
        let why = refusal(group).await;
        refused += usize::from(why.contains("CKR_PIN_INCORRECT for this node's PIN"));
        assert!(why.contains("signet hsm allow-login primary") && !why.contains(wrong), "{why}");
    }
    assert_eq!((refused, module.logins()), (1, 1));
    // All are started anew, and one is put right without a word of an operator's.
    nodes[2].write_pin(&module.token.pin());
    for (node, group) in nodes.iter().zip(groups) {
        group.shutdown().await;
        let again = node.start();
        let why = refusal(&again).await;
        assert!(why.contains("signet hsm allow-login primary --node"), "{why}");
        again.shutdown().await;
    }
    assert_eq!(module.logins(), 1);
    // A server that runs goes on by itself after that word.
    let waiting = nodes[2].start();
    refusal(&waiting).await;
    allow(&one, |record| record.allow("c")).await;
    up(&waiting).await;
    assert_eq!(module.logins(), 2);
    // That the PIN was wrong elsewhere is of no account to a node that has logged in since.
    kill_worker(&waiting).await;
    up(&waiting).await;
    waiting.shutdown().await;
}

async fn promise_9_a_new_node_with_a_mistyped_pin_keeps_no_other_from_restarting(
    one: Arc<SqlStore>,
    two: Arc<SqlStore>,
) {
    let module = FaultModule::new();
    let (old, new) =
        (Node::new("old", &one, &module, &module.token.pin()), Node::new("new", &two, &module, "mistyped"));
    let serving = old.started().await;
    let refused = new.start();
    assert!(refusal(&refused).await.contains("CKR_PIN_INCORRECT"));
    kill_worker(&serving).await;
    up(&serving).await;
    assert_eq!(module.logins(), 3);
    // From now on it is known to be that node's own mistake: a further node logs in, and that one does not.
    let further = Node::new("further", &two, &module, &module.token.pin()).started().await;
    new.write_pin(&module.token.pin());
    let again = new.start();
    assert!(refusal(&again).await.contains("signet hsm allow-login primary --node new"));
    assert_eq!(module.logins(), 4);
    for group in [serving, refused, further, again] {
        group.shutdown().await;
    }
}

async fn promise_9_a_pin_changed_in_the_hsm_costs_two_tries_on_however_many_nodes(
    one: Arc<SqlStore>,
    two: Arc<SqlStore>,
) {
    let module = FaultModule::new();
    let pin = module.token.pin();
    let nodes: Vec<Node> =
        ["a", "b", "c", "d"].map(|name| Node::new(name, if name < "c" { &one } else { &two }, &module, &pin)).into();
    let mut groups = Vec::new();
    for node in &nodes {
        groups.push(node.started().await);
    }
    module.token.pkcs11_tool(&["--change-pin", "--new-pin", "another-pin-77"]);
    let before = module.logins();
    // Whoever is logged in goes on; the workers that start anew find out.
    for group in &groups[..3] {
        kill_worker(group).await;
    }
    for group in &groups[..3] {
        refusal(group).await;
    }
    assert_eq!(module.logins() - before, 2);
    groups[3].describe(&hsm()).await.unwrap();
    kill_worker(&groups[3]).await;
    assert!(refusal(&groups[3]).await.contains("the PINs of two nodes"));
    assert_eq!(module.logins() - before, 2);
    // Every node is put right, and an operator says so.
    nodes.iter().for_each(|node| node.write_pin("another-pin-77"));
    allow(&two, LoginRecord::allow_every_node).await;
    for group in &groups {
        up(group).await;
        group.shutdown().await;
    }
    assert_eq!(module.logins() - before, 6);
}

async fn promise_9_a_worker_killed_in_its_login_comes_back_by_itself_once(one: Arc<SqlStore>, two: Arc<SqlStore>) {
    let module = FaultModule::new();
    let node = Node::new("a", &one, &module, &module.token.pin());
    let other = Node::new("b", &two, &module, &module.token.pin());
    let group = node.started().await;
    let serving = other.started().await;
    let logins = module.logins();
    module.order("C_Login nth 1 before hang");
    kill_worker(&group).await;
    let in_login =
        || wait_for("a worker in C_Login", || module.records_since().into_iter().find(|it| it.kind == Kind::Fault));
    let hanging = in_login().process_id;
    signal(hanging, "KILL");
    wait_for("its end", || (!runs(hanging)).then_some(()));
    up(&group).await;
    assert_eq!(module.logins() - logins, 2, "presented once more");
    // Twice in a row: every node waits for an operator, but for whoever is logged in.
    for last in [false, true] {
        module.order("C_Login nth 1 before hang");
        if !last {
            kill_worker(&group).await;
        }
        signal(in_login().process_id, "KILL");
    }
    assert!(refusal(&group).await.contains("two logins in a row"));
    module.calm();
    let logins = module.logins();
    serving.describe(&hsm()).await.unwrap();
    kill_worker(&serving).await;
    assert!(refusal(&serving).await.contains("two logins in a row"));
    assert_eq!(module.logins(), logins);
    allow(&two, |record| record.allow("b")).await;
    up(&serving).await;
    serving.shutdown().await;
    group.shutdown().await;
}

async fn promise_9_without_the_store_no_pin_is_presented(one: Arc<SqlStore>, two: Arc<SqlStore>) {
    let module = FaultModule::new();
    let (lost, node) =
        (Node::new("a", &one, &module, &module.token.pin()), Node::new("a", &two, &module, &module.token.pin()));
    one.close().await;
    let group = lost.start();
    let failure = group.ready(Duration::from_secs(2)).await.unwrap_err().failure;
    let is_told =
        matches!(&failure, HsmFailure::Unavailable(detail) if detail.contains("no PIN is presented without the store"));
    assert!(is_told, "{failure}");
    assert_eq!(module.logins(), 0);
    group.shutdown().await;
    node.started().await.shutdown().await;
}

async fn a_login_that_counted_no_try_is_tried_again(one: Arc<SqlStore>, two: Arc<SqlStore>) {
    let module = FaultModule::new();
    let node = Node::new("a", &one, &module, &module.token.pin());
    // CKR_DEVICE_REMOVED
    module.order("C_Login nth 1 before return 0x32");
    let group = node.started().await;
    assert!(module.is_done());
    assert_eq!(module.logins(), 2);
    let logins = two.logins(now()).await.unwrap().remove(0);
    assert_eq!((logins.record.clone(), logins.hsm), (LoginRecord::default(), hsm()));
    let token = group.describe(&hsm()).await.unwrap().token;
    assert_eq!(logins.token, TokenIdentity::from(&token));
    group.shutdown().await;
}

/// With one session, the thread that asks is the only one that could read the answer.
async fn a_worker_that_was_logged_out_asks_before_it_logs_in_again(one: Arc<SqlStore>, two: Arc<SqlStore>) {
    let module = FaultModule::new();
    for (name, sessions) in [("a", 1), ("b", 3)] {
        let mut node = Node::new(name, &one, &module, &module.token.pin());
        node.config.sessions = sessions;
        let group = node.started().await;
        let key = pair(&group, Algorithm::Es256).await;
        let logins = module.logins();
        for round in 1..4 {
            module.order("C_SignInit nth 1 before logout");
            let signing = (0..12).map(|_| {
                let (group, key) = (group.clone(), key.clone());
                tokio::spawn(async move { group.sign(&key, Algorithm::Es256, probe(&key)).await.map(drop) })
            });
            let signing: Vec<_> = signing.collect();
            group.list(&hsm()).await.unwrap();
            for signed in signing {
                signed.await.unwrap().unwrap();
            }
            assert!(module.is_done());
            assert_eq!(module.logins(), logins + round, "{sessions} sessions");
        }
        // And where the record says no, it does not.
        let worker = group.worker_process_ids(&hsm());
        allow(&two, |record| LoginRecord { stopped: [name.to_owned()].into(), ..record }).await;
        module.order("C_SignInit nth 1 before logout");
        assert!(group.sign(&key, Algorithm::Es256, probe(&key)).await.is_err());
        assert!(refusal(&group).await.contains("signet hsm allow-login primary --node"));
        assert_eq!(module.logins(), logins + 3);
        allow(&two, |record| record.allow(name)).await;
        up(&group).await;
        assert_ne!(group.worker_process_ids(&hsm()), worker);
        group.shutdown().await;
    }
}
