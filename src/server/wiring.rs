//! Makes the parts of a deployment from its configuration: the store, the settings and what they name.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::node_file;
use super::validation_server::HttpValidationServer;
use crate::config::{Config, PostgresConfig, StoreConfig};
use signet_core::audit::NodeId;
use signet_core::secret::SecretBytes;
use signet_jose::clock::{Clock as _, SystemClock};
use signet_service::sign_in::validation_servers::{ValidationServer, ValidationServers};
use signet_service::{ProcessSettings, Settings};
use signet_store_postgres::PostgresOptions;
use signet_store_sql::SqlStore;
use signet_store_sqlite::SqliteOptions;
use url::Url;

/// Connections that read the store at once.
const READERS: u32 = 4;
/// How long another process's lock on the store is waited for.
pub(super) const BUSY: Duration = Duration::from_secs(4);
/// The shortest API key of a validation server, in bytes: a shorter one can be guessed.
const MIN_API_KEY: usize = 16;

/// The node that this machine is, by its state folder.
pub(super) fn own_node(config: &Config) -> anyhow::Result<NodeId> {
    Ok(NodeId::new(node_file::node_id(config.store.folder())?))
}

/// Opens the store alone.
pub(crate) async fn open_store(
    config: &Config,
    create: bool,
    anchor: Option<PathBuf>,
) -> anyhow::Result<Arc<SqlStore>> {
    let clock = Arc::new(SystemClock);
    let node = own_node(config)?;
    match &config.store {
        StoreConfig::Sqlite(path) => {
            let options = SqliteOptions { path: path.clone(), create, readers: READERS, busy_timeout: BUSY, anchor };
            Ok(signet_store_sqlite::open(options, node, clock).await?)
        }
        StoreConfig::Postgres(database) => {
            let mut options = postgres_options(database)?;
            (options.create, options.anchor) = (create, anchor);
            Ok(signet_store_postgres::open(options, node, clock).await?)
        }
    }
}

/// Opens the store for whoever decides about one that is behind what was written to it.
pub(super) async fn open_to_decide(config: &Config) -> anyhow::Result<Arc<SqlStore>> {
    let (clock, node) = (Arc::new(SystemClock), own_node(config)?);
    match &config.store {
        StoreConfig::Sqlite(path) => {
            let (path, readers) = (path.clone(), READERS);
            let options = SqliteOptions { path, create: false, readers, busy_timeout: BUSY, anchor: None };
            Ok(signet_store_sqlite::open_to_copy(options, node, clock).await?)
        }
        StoreConfig::Postgres(database) => {
            Ok(signet_store_postgres::open_to_decide(postgres_options(database)?, node, clock).await?)
        }
    }
}

/// Another role of the database than the one that serves.
pub(crate) struct OtherRole {
    pub(crate) name: String,
    pub(crate) password_file: Option<PathBuf>,
}

/// Applies the migrations that the store lacks, as the role of `store.url` or as another one, and grants `serving` what a
/// role needs to serve. Returns number and name of each.
pub(crate) async fn migrate_store(
    config: &Config,
    role: Option<&OtherRole>,
    serving: Option<&str>,
) -> anyhow::Result<Vec<(i64, &'static str)>> {
    let now = SystemClock.now();
    let done = match &config.store {
        StoreConfig::Sqlite(path) => {
            anyhow::ensure!(
                role.is_none() && serving.is_none(),
                "the store is an SQLite file, which knows no roles: leave --as and --serve-role away"
            );
            let options =
                SqliteOptions { path: path.clone(), create: false, readers: 1, busy_timeout: BUSY, anchor: None };
            signet_store_sqlite::migrate(&options, now).await?
        }
        StoreConfig::Postgres(database) => {
            let mut options = postgres_options(database)?;
            if let Some(role) = role {
                let password = role.password_file.as_deref().map(password_from).transpose()?;
                options = options.as_role(&role.name, password.as_deref());
            }
            signet_store_postgres::migrate(&options, serving, now).await?
        }
    };
    Ok(done.into_iter().map(|migration| (migration.version, migration.name)).collect())
}

/// How a database is reached, with the role's password from its file.
pub(super) fn postgres_options(database: &PostgresConfig) -> anyhow::Result<PostgresOptions> {
    let password = database.password_file.as_deref().map(password_from).transpose()?;
    let options = PostgresOptions::new(&database.url, password.as_deref(), database.ca_file.clone());
    options.context("store.url can't be used")
}

/// The database role's password: the first line of its file.
fn password_from(file: &Path) -> anyhow::Result<String> {
    let text = secret_file(file, "the database's password", "store.password_file")?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// What stands in a file that only its owner can read.
fn secret_file(path: &Path, what: &str, key: &str) -> anyhow::Result<zeroize::Zeroizing<String>> {
    let file = path.display();
    let metadata = std::fs::metadata(path).with_context(|| format!("{what} {file} can't be read ({key})"))?;
    anyhow::ensure!(
        metadata.permissions().mode() & 0o077 == 0,
        "{what} {file} can be read by others than its owner: chmod 0600 {file}"
    );
    let text = signet_text_file::text(zeroize::Zeroizing::new(std::fs::read(path)?));
    text.map_err(|fault| anyhow::anyhow!("{what} {file} is no text: {fault}"))
}

/// The servers that verify Yubico OTPs whose keys are elsewhere, with the API key from its file.
pub(super) fn validation_servers(config: &Config) -> anyhow::Result<Option<ValidationServers>> {
    let Some(section) = &config.yubico_validation else { return Ok(None) };
    let file = section.key_file.display();
    let text = secret_file(&section.key_file, "the API key", "yubico_validation.key_file")?;
    let key = STANDARD.decode(text.trim()).ok().filter(|key| key.len() >= MIN_API_KEY).map(SecretBytes::new);
    let key = key.with_context(|| format!("{file} must hold the API key in base64, of at least 16 bytes"))?;
    let server = |url: &Url| -> anyhow::Result<Arc<dyn ValidationServer>> {
        let server = HttpValidationServer::new(url.clone(), section.timeout);
        Ok(Arc::new(server.context("validation servers can't be asked")?))
    };
    let servers = section.urls.iter().map(server).collect::<anyhow::Result<_>>()?;
    Ok(Some(ValidationServers::new(servers, section.client_id, key, section.timeout)))
}

/// What an issuer goes by until it has read what is stated in the store.
pub(super) fn settings(config: &Config) -> anyhow::Result<Settings> {
    let url = &config.server.public_url;
    let process = ProcessSettings {
        four_eyes: config.admin.four_eyes,
        password_concurrency: config.server.limits.password_concurrency,
        longest_token: config.longest_token(),
    };
    Settings::of_default_tenant(url.as_str(), url.url(), process).context("server.public_url can't be used")
}
