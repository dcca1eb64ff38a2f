//! Moves a deployment from its SQLite file to a PostgreSQL database.

use std::path::PathBuf;
use std::sync::Arc;

use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_core::keys::{TenantId, hexadecimal};
use signet_core::random::{self, OsRandom};
use signet_jose::clock::{Clock as _, SystemClock};
use signet_store_sql::SqlStore;
use signet_store_sql::copy::{Moving, Told};
use signet_store_sql::pages::TableSum;
use signet_store_sqlite::SqliteOptions;

use super::wiring::{BUSY, own_node, postgres_options};
use crate::config::{Config, PostgresConfig, StoreConfig};

/// Where to.
pub(crate) struct Destination {
    pub(crate) url: String,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
}

/// A store that is about to be copied.
pub(crate) struct StoreCopy {
    store: Arc<SqlStore>,
    file: PathBuf,
}

impl StoreCopy {
    /// Opens the configured store for it, for a caller who holds the node's lock: nobody else copies or writes meanwhile.
    /// Errors: it is no SQLite file.
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        let StoreConfig::Sqlite(file) = &config.store else {
            anyhow::bail!("store.url names a PostgreSQL database already: an SQLite file is what is copied");
        };
        let options = SqliteOptions {
            path: file.clone(),
            create: false,
            readers: 1,
            busy_timeout: BUSY,
            anchor: Some(config.audit.anchor.clone()),
        };
        let store = signet_store_sqlite::open_to_copy(options, own_node(config)?, Arc::new(SystemClock)).await?;
        Ok(Self { store, file: file.clone() })
    }

    /// Copies everything, compares it, and closes the old store for good.
    pub(crate) async fn run(
        &self,
        destination: &Destination,
        context: &RequestContext,
        told: Told<'_>,
    ) -> anyhow::Result<Vec<TableSum>> {
        let Destination { url, password_file, ca_file } = destination;
        let (password_file, ca_file) = (password_file.clone(), ca_file.clone());
        let reached_by = PostgresConfig { url: url.clone(), password_file, ca_file, state_folder: PathBuf::new() };
        let at = SystemClock.now();
        let target = signet_store_postgres::prepare(postgres_options(&reached_by)?, at).await?;
        let moving = Moving {
            fresh_id: hexadecimal(&random::bytes::<16>(&OsRandom)),
            from: format!("sqlite://{}", self.file.display()),
            to: url.clone(),
            record: record(Event::StoreClosed, context, format!("copied to {url}")),
            at,
        };
        Ok(self.store.copy_to(target.as_ref(), &moving, told).await?)
    }

    /// Takes the store back whose copy is not complete; says where it was to go.
    pub(crate) async fn give_up(&self, context: &RequestContext) -> anyhow::Result<Option<String>> {
        let of = |to: &str| record(Event::StoreReopened, context, format!("not copied to {to}"));
        Ok(self.store.give_up_copy(of).await?)
    }

    pub(crate) async fn close(self) {
        self.store.close().await;
    }
}

fn record(event: Event, context: &RequestContext, detail: String) -> AuditEvent {
    let mut draft = AuditEvent::new(event, Outcome::Done, TenantId::default_tenant().as_str(), context);
    draft.detail = Some(detail);
    draft
}
