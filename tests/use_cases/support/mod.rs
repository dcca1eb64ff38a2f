//! One deployment in this process, of which a test holds every end in its hand but the store: that is the real one.
//!
//! - [`InProcess::pass`] is the only way in which time goes by, for the wall clock and for what counts by a clock that
//!   nobody sets. Nothing here waits.
//! - [`hsm::SoftwareHsms`] signs and seals with keys in memory. It fails, lies, loses keys and holds a signature back on
//!   order, and writes down what it was asked.
//! - Randomness comes from a seed: ids and secrets are the same in each run.
//!
//! A person's password is hashed with the cheapest parameters that Argon2id knows: a stored hash is judged by its own.
//! Whoever tests how passwords are hashed calls `add_user`.

pub(crate) mod hand;
pub(crate) mod hsm;
mod pair;
pub(crate) mod people;
pub(crate) mod vault;

#[path = "../../support/codes.rs"]
#[expect(dead_code, reason = "the other tests need more of it")]
pub(crate) mod codes;
#[path = "../../support/security_key.rs"]
#[expect(dead_code, reason = "the other tests need more of it")]
pub(crate) mod security_key;

pub(crate) mod own_chain;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use signet_core::audit::NodeId;
use signet_core::audit::RequestContext;
use signet_core::keys::HsmName;
use signet_core::settings::{KeyWords, RoleWords, SettingsDocument};
use signet_jose::clock::{Clock as _, Timestamp};
use signet_service::sign_in::validation_servers::ValidationServers;
use signet_service::{Deployment, Issuer, Ports, ProcessSettings, Settings};
use signet_store::{SecretsAtRest as _, StoreError, StoreFailure};
use signet_store_sql::SqlStore;
use signet_store_sqlite::SqliteOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use url::Url;

use self::hand::{HandClock, SeededRandom};
use self::hsm::SoftwareHsms;
use own_chain::{OwnChain as _, node};

pub(crate) const ISSUER: &str = "https://signet.example";

/// A deployment with its keys, in a folder of its own that goes with it.
pub(crate) struct InProcess {
    pub(crate) signet: Arc<Deployment>,
    /// The default tenant's.
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) store: Arc<SqlStore>,
    pub(crate) hsms: Arc<SoftwareHsms>,
    clock: Arc<HandClock>,
    setup: Setup,
    folder: tempfile::TempDir,
    /// Whether the test writes rows past the codec.
    is_forged: AtomicBool,
}

impl InProcess {
    /// One HSM token, named `a`, and the settings of [`settings`].
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With other settings.
    pub(crate) async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let app = Self::uninitialised(&["a"], change).await;
        app.initialise().await;
        app
    }

    /// With several HSM tokens, all of them members.
    pub(crate) async fn with_tokens(names: &[&str]) -> Self {
        let app = Self::uninitialised(names, |_| {}).await;
        app.initialise().await;
        app
    }

    /// With an HSM token `b` that is configured, and no member yet.
    pub(crate) async fn new_with_spare() -> Self {
        let app = Self::uninitialised(&["a", "b"], |_| {}).await;
        app.hsms.hide("b");
        app.initialise().await;
        app.hsms.show_all();
        app
    }

    /// Without any key yet.
    pub(crate) async fn uninitialised(names: &[&str], change: impl FnOnce(&mut Setup)) -> Self {
        Self::asking(names, change, Arc::default()).await
    }

    /// With an HSM token, and these servers to ask about Yubico OTPs.
    pub(crate) async fn with_validation_servers(servers: ValidationServers) -> Self {
        let app = Self::asking(&["a"], |_| {}, Arc::new(Some(servers))).await;
        app.initialise().await;
        app
    }

    async fn asking(
        names: &[&str],
        change: impl FnOnce(&mut Setup),
        validation_servers: Arc<Option<ValidationServers>>,
    ) -> Self {
        let folder = in_memoryfolder();
        let clock = Arc::new(HandClock::new());
        let options = SqliteOptions {
            path: folder.path().join("signet.db"),
            create: true,
            readers: 2,
            busy_timeout: Duration::from_secs(4),
            anchor: None,
        };
        let store = signet_store_sqlite::open(options, node(), clock.clone()).await.unwrap();
        let hsms = Arc::new(SoftwareHsms::new(names, clock.clone()));
        let mut setup = Setup::default();
        change(&mut setup);
        let signet = Deployment::new(setup.settings(), Ports { validation_servers, ..ports(&store, &hsms, &clock, 0) });
        let issuer = signet.issuer().clone();
        Self { signet, issuer, store, hsms, clock, setup, folder, is_forged: AtomicBool::new(false) }
    }

    /// Writes to the database past the codec.
    pub(crate) async fn forge(&self, sql: &str) {
        self.is_forged.store(true, Ordering::Relaxed);
        let options = SqliteConnectOptions::new().filename(self.folder.path().join("signet.db"));
        let mut connection = options.connect().await.unwrap();
        connection.execute(AssertSqlSafe(format!("PRAGMA foreign_keys = OFF; {sql}"))).await.unwrap();
    }

    pub(crate) async fn initialise(&self) {
        self.signet.initialisation.initialise(&self.setup.document, &context(), &|_| {}).await.unwrap();
    }

    /// Another process of the same deployment, or this one after a restart: it knows what the store knows.
    pub(crate) fn another_process(&self) -> Arc<Deployment> {
        deployment(&self.setup, &self.store, &self.hsms, &self.clock, 1)
    }

    /// Another process, as it is configured later.
    pub(crate) fn another_process_with(&self, change: impl FnOnce(&mut Setup)) -> Arc<Deployment> {
        let mut setup = self.setup.clone();
        change(&mut setup);
        deployment(&setup, &self.store, &self.hsms, &self.clock, 1)
    }

    /// States settings, as an operator.
    pub(crate) async fn state(&self, document: SettingsDocument) {
        self.issuer.settings_registry.state_settings(document, &context()).await.unwrap();
    }

    /// Another node over the same store.
    pub(crate) async fn another_node(&self, id: &str) -> (Arc<Deployment>, Arc<SqlStore>) {
        let store = self.another_store(id).await;
        let signet = deployment(&self.setup, &store, &self.hsms, &self.clock, 2);
        signet.open_secret().await;
        (signet, store)
    }

    async fn another_store(&self, id: &str) -> Arc<SqlStore> {
        let options = SqliteOptions {
            path: self.folder.path().join("signet.db"),
            create: false,
            readers: 2,
            busy_timeout: Duration::from_secs(4),
            anchor: None,
        };
        signet_store_sqlite::open(options, NodeId::new(id), self.clock.clone()).await.unwrap()
    }

    /// Another node over the same store, with an HSM token of this name that nobody else reaches.
    pub(crate) async fn node_with_own_token(&self, name: &str) -> OwnTokenNode {
        let store = self.another_store(&format!("node of {name}")).await;
        let hsms = Arc::new(SoftwareHsms::new(&[name], self.clock.clone()));
        hsms.take_envelopes();
        let seed = name.bytes().fold(3, u8::wrapping_add);
        OwnTokenNode { signet: deployment(&self.setup, &store, &hsms, &self.clock, seed), store, hsms }
    }

    /// The node as it starts again.
    pub(crate) async fn started_again(&self, node: &OwnTokenNode, name: &str) -> OwnTokenNode {
        let (store, hsms) = (self.another_store(&format!("node of {name}")).await, node.hsms.clone());
        OwnTokenNode { signet: deployment(&self.setup, &store, &hsms, &self.clock, 9), store, hsms }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets so much time go by.
    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.pass(time);
        tokio::time::pause();
        tokio::time::advance(time).await;
        // A paused clock jumps ahead whenever nothing is to be done, such as while the store's thread writes.
        tokio::time::resume();
    }

    /// Sets the wall clock alone, as an administrator does.
    pub(crate) fn set_clock(&self, to: Timestamp) {
        self.clock.set(to);
    }

    /// Has what is kept for later written to the audit log, and how often it was repeated.
    pub(crate) async fn tell_refusals(&self) {
        self.signet.audit.append_repetitions(true).await.unwrap();
    }

    /// The audit log so far.
    pub(crate) async fn audit(&self) -> Vec<Value> {
        audit_of(&self.store).await
    }

    /// The reasons in the audit records of this event, in order; `-` for one without.
    pub(crate) async fn reasons(&self, event: &str) -> Vec<String> {
        self.signet.audit.append_repetitions(false).await.unwrap();
        reasons_of(&self.audit().await, event)
    }

    /// The details in the audit records of this event, in order.
    pub(crate) async fn details(&self, event: &str) -> Vec<String> {
        let records = self.audit().await;
        let of_event = records.iter().filter(|record| record["event"] == event);
        of_event.map(|record| record["detail"].as_str().unwrap_or("-").to_owned()).collect()
    }
}

impl Drop for InProcess {
    /// Whatever a test did, each row is as its codec wrote it: a change that forgot the MAC is found here.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let store = self.store.clone();
        let checked = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(store.check_rows())
        });
        match checked.join().unwrap() {
            Err(StoreError { failure: StoreFailure::NoRowKeys, .. }) => {}
            checked => {
                let forged = checked.unwrap().into_iter().filter(|table| table.forged > 0).collect::<Vec<_>>();
                assert!(
                    self.is_forged.load(Ordering::Relaxed) || forged.is_empty(),
                    "rows that do not verify: {forged:?}"
                );
            }
        }
    }
}

/// A node whose HSM token no other one reaches.
pub(crate) struct OwnTokenNode {
    pub(crate) signet: Arc<Deployment>,
    pub(crate) store: Arc<SqlStore>,
    pub(crate) hsms: Arc<SoftwareHsms>,
}

impl OwnTokenNode {
    /// The reasons in this node's audit records of an event.
    pub(crate) async fn reasons(&self, event: &str) -> Vec<String> {
        reasons_of(&audit_of(&self.store).await, event)
    }

    /// How many envelopes wait for an HSM token.
    pub(crate) async fn waiting(&self, hsm: &str) -> u64 {
        self.store.count_seals(&HsmName::new(hsm)).await.unwrap().waiting
    }
}

async fn audit_of(store: &SqlStore) -> Vec<Value> {
    let records = store.own_records(1, 10_000).await.unwrap();
    records.iter().map(|record| serde_json::from_str(&record.text).unwrap()).collect()
}

fn reasons_of(records: &[Value], event: &str) -> Vec<String> {
    let of_event = records.iter().filter(|record| record["event"] == event);
    of_event.map(|record| record["reason"].as_str().unwrap_or("-").to_owned()).collect()
}

fn deployment(
    setup: &Setup,
    store: &Arc<SqlStore>,
    hsms: &Arc<SoftwareHsms>,
    clock: &Arc<HandClock>,
    seed: u8,
) -> Arc<Deployment> {
    Deployment::new(setup.settings(), ports(store, hsms, clock, seed))
}

fn ports(store: &Arc<SqlStore>, hsms: &Arc<SoftwareHsms>, clock: &Arc<HandClock>, seed: u8) -> Ports {
    Ports {
        store: store.clone(),
        signer: hsms.clone(),
        vault: hsms.clone(),
        key_admin: hsms.clone(),
        hsm_health: hsms.clone(),
        clock: clock.clone(),
        random: Arc::new(SeededRandom::new(seed)),
        validation_servers: Arc::default(),
    }
}

/// Where nothing that is brought to disk waits for a disk, if there is such a place.
fn in_memoryfolder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// What a test sets up otherwise than a deployment without a line of its own.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// What the deployment begins with.
    pub(crate) document: SettingsDocument,
    /// `admin.four_eyes` of the processes.
    pub(crate) four_eyes: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let text = |text: &str| Some(text.to_owned());
        let keys = KeyWords { publish_ahead: text("1d"), clock_skew: text("1m"), ..KeyWords::default() };
        Self { document: SettingsDocument { keys: Some(keys), ..SettingsDocument::default() }, four_eyes: false }
    }
}

impl Setup {
    /// What roles grant.
    pub(crate) fn roles(&mut self, roles: &[(&str, &[&str])]) {
        let list = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let roles = roles.iter().map(|(role, scopes)| ((*role).to_owned(), list(scopes))).collect();
        self.document.roles = Some(RoleWords::Granting(roles));
    }

    fn settings(&self) -> Settings {
        let process = ProcessSettings {
            four_eyes: self.four_eyes,
            password_concurrency: 1,
            longest_token: Duration::from_hours(24),
        };
        Settings::of_default_tenant(ISSUER, &Url::parse(ISSUER).unwrap(), process).unwrap()
    }
}

/// The request of an operator.
pub(crate) fn context() -> RequestContext {
    operator("olga (uid 1000)")
}

/// The request of this operator.
pub(crate) fn operator(name: &str) -> RequestContext {
    RequestContext { operator: Some(name.to_owned()), ..RequestContext::NONE }
}
