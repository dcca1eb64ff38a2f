//! Many people at once, made by the library in this process where the command line would start a process for each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use signet_core::audit::RequestContext;
use signet_core::keys::{KeyAdmin as _, RowBinding, TenantId, Vault as _};
use signet_core::mfa::{UserId, password};
use signet_core::random::OsRandom;
use signet_core::secret::{SecretBytes, SecretText};
use signet_hsm::{HsmConfig, HsmGroup};
use signet_jose::clock::{Clock as _, SystemClock};
use signet_service::Deployment;
use signet_service::{Ports, ProcessSettings, Settings};
use signet_store::{Keys as _, User, Users as _};
use signet_store_sql::SqlStore;
use signet_store_sqlite::SqliteOptions;
use tokio::task::JoinSet;
use url::Url;

use super::application::{Application, PASSWORD};
use super::hsm::{Events, started};
use crate::support::store::node;

/// How many are made at once: what the store writes in one commit, and more than hash passwords at once.
const AT_ONCE: usize = 32;

/// The deployment as this process holds it, with a worker of its own.
pub(crate) struct Crowd {
    pub(crate) signet: Arc<Deployment>,
    pub(super) store: Arc<SqlStore>,
    pub(super) group: Arc<HsmGroup>,
    _events: Events,
}

impl Crowd {
    /// Opens a deployment, whether or not a server runs on it.
    pub(crate) async fn of(application: &Application) -> Self {
        // Nobody waits for an answer, and the machine may be busy.
        let config = HsmConfig { deadline: Duration::from_secs(120), ..application.hsm_token().config() };
        let (group, events) = started(config).await;
        let clock = Arc::new(SystemClock);
        let store = match application.postgres() {
            Some(database) => signet_store_postgres::open(database.options(), node(), clock).await.unwrap(),
            None => {
                let (path, busy_timeout) = (application.database(), Duration::from_secs(20));
                let options = SqliteOptions { path, create: false, readers: 4, busy_timeout, anchor: None };
                signet_store_sqlite::open(options, node(), clock).await.unwrap()
            }
        };
        group.use_keys(store.keys().await.unwrap());
        let adapters = Ports {
            store: store.clone(),
            signer: group.clone(),
            vault: group.clone(),
            key_admin: group.clone(),
            hsm_health: group.clone(),
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            validation_servers: Arc::default(),
        };
        let signet = Deployment::new(settings(application), adapters);
        signet.issuer().directory.fresh().await.unwrap();
        signet.open_secret().await;
        Self { signet, store, group, _events: events }
    }

    /// Makes so many, named by the prefix and a number of six digits, some at once.
    pub(crate) async fn make<T, F>(
        &self,
        prefix: &str,
        count: usize,
        make: impl Fn(Arc<Deployment>, String) -> F,
    ) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (mut made, mut making) = (Vec::with_capacity(count), JoinSet::new());
        for number in 0..count {
            if making.len() >= AT_ONCE {
                made.push(making.join_next().await.unwrap().unwrap());
            }
            making.spawn(make(self.signet.clone(), format!("{prefix}{number:06}")));
        }
        made.extend(making.join_all().await);
        made
    }

    /// A user whose password is [`PASSWORD`], hashed for them alone.
    pub(crate) async fn user(signet: &Deployment, name: &str) {
        let roles = BTreeSet::from(["reader".to_owned()]);
        let password = SecretText::new(PASSWORD.to_owned());
        signet.issuer().accounts.add_user(name, roles, &password, &RequestContext::default()).await.unwrap();
    }

    /// What adds users of the same password, hashed once for all of them: Argon2id would take an hour for 100,000.
    pub(crate) fn of_one_hash(&self) -> OneHash {
        let phc = password::hash(&SecretText::new(PASSWORD.to_owned()), &OsRandom).unwrap();
        let phc = Arc::new(SecretBytes::new(phc.expose().as_bytes().to_vec()));
        OneHash { phc, store: self.store.clone(), group: self.group.clone() }
    }

    /// Ends the worker and closes the store.
    pub(crate) async fn close(self) {
        self.group.shutdown().await;
        self.store.close().await;
    }
}

/// See [`Crowd::of_one_hash`].
#[derive(Clone)]
pub(crate) struct OneHash {
    phc: Arc<SecretBytes>,
    store: Arc<SqlStore>,
    group: Arc<HsmGroup>,
}

impl OneHash {
    pub(crate) async fn user(&self, name: &str) {
        let tenant = TenantId::default_tenant();
        let id = UserId::new(format!("id-of-{name}"));
        // The row that the service seals a password for: no sign-in of these users would succeed by another one.
        let row = RowBinding::new(&tenant, "user", id.as_str(), "password");
        let user = User {
            tenant,
            id,
            name: name.to_owned(),
            roles: BTreeSet::from(["reader".to_owned()]),
            enabled: true,
            password: Some(self.group.seal(&row, &self.phc).await.unwrap()),
            credentials_version: 0,
            created_at: SystemClock.now(),
        };
        assert!(self.store.add_user(&user, Vec::new()).await.unwrap());
    }
}

fn settings(application: &Application) -> Settings {
    let issuer = application.issuer();
    let process =
        ProcessSettings { four_eyes: false, password_concurrency: 2, longest_token: Duration::from_secs(3600) };
    Settings::of_default_tenant(&issuer, &Url::parse(&issuer).unwrap(), process).unwrap()
}
