//! Puts configuration, store, HSM workers and issuer together for a command.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::sync::mpsc;

use super::Ended;
use super::output::Output;
use super::run_mark::RunMarks;
use crate::config::{self, Config, StoreConfig};
use signet_core::audit::RequestContext;
use signet_core::keys::{HsmName, KeyAdmin as _, KeyPurpose, SigningPolicy, TenantId, TokenInfo};
use signet_core::mfa::webauthn::{RelyingParty, attestation_roots};
use signet_core::oauth::RoleScopes;
use signet_core::random::OsRandom;
use signet_core::secret::SecretBytes;
use signet_hsm::{Confinement, HsmConfig, HsmEvent, HsmGroup, PinSource, Sandbox};
use signet_jose::clock::SystemClock;
use signet_jose::{Jwk, JwkSet};
use signet_service::reconcile::Slack;
use signet_service::validation_servers::ValidationServers;
use signet_service::{Adapters, KeySettings, Settings, Signet};
use signet_store::{Deployment as _, Keys as _};
use signet_store_sqlite::{SqliteOptions, SqliteStore};

/// What a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The store alone.
    Store,
    /// The store, and the HSM tokens that answer.
    Hsm,
    /// The same for who only looks: no PIN is presented where the token counts wrong tries.
    HsmCarefully,
    /// The store and every HSM token, making the store where there is none.
    HsmAndNewStore,
}

/// How long a command waits for its HSM tokens.
const HSM_PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits for those that don't answer where others do.
const SOME_PATIENCE: Duration = Duration::from_secs(8);
/// Connections that read the store at once.
const READERS: u32 = 4;
/// How long another process's lock on the store is waited for.
const BUSY: Duration = Duration::from_secs(4);

/// The shortest API key of a validation server, in bytes: a shorter one can be guessed.
const LEAST_API_KEY: usize = 16;
/// The name that the operator gave, where several people share a system account. Set once, from the arguments.
static NAMED_OPERATOR: OnceLock<String> = OnceLock::new();

/// Takes the operator's name from the arguments.
pub(super) fn name_operator(name: &str) -> anyhow::Result<()> {
    let well_formed = (1..=64).contains(&name.chars().count())
        && name.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_' | '@'));
    if !well_formed {
        return Err(Ended::Usage("--operator takes a name of letters, digits, `.`, `-`, `_` and `@`".to_owned()).into());
    }
    // Only the first one counts; there is one command in a process.
    let _ = NAMED_OPERATOR.set(name.to_owned());
    Ok(())
}

/// An open deployment.
pub(super) struct Deployment {
    pub(super) config: Config,
    pub(super) store: Arc<SqliteStore>,
    pub(super) hsm: Arc<HsmGroup>,
    pub(super) signet: Arc<Signet>,
    /// This process's mark and those of others; none where nothing is signed.
    pub(super) marks: Option<Arc<RunMarks>>,
    need: Need,
    _ending: Option<Ending>,
}

/// Takes the process's mark away, however the command ends.
struct Ending {
    marks: Arc<RunMarks>,
    signet: Arc<Signet>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.marks.end(self.signet.unaccounted());
    }
}

/// Reads the configuration with the environment's overrides.
pub(super) fn load_config(path: &Path) -> anyhow::Result<Config> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("SIGNET_")) else { continue };
        let value = value.into_string().map_err(|_| Ended::Usage(format!("the variable {name} is not UTF-8")))?;
        variables.push((name.to_owned(), value));
    }
    Ok(Config::load(path, variables.into_iter())?)
}

impl Deployment {
    /// Opens what a command needs and waits for its HSM tokens.
    pub(super) async fn open(path: &Path, need: Need, output: &Output) -> anyhow::Result<Self> {
        let config = load_config(path)?;
        // A command tells faults by its exit; what happens to its workers meanwhile concerns nobody.
        let (events, _) = mpsc::unbounded_channel();
        let deployment = Self::assemble(config, need, events).await?;
        if need != Need::Store {
            deployment.wait_for_hsm(output).await?;
        }
        Ok(deployment)
    }

    /// The same for a command that can do its part with the HSM tokens that answer: waits for them, and fails where none
    /// does.
    pub(super) async fn open_with_any_hsm(path: &Path, output: &Output) -> anyhow::Result<Self> {
        let (events, _) = mpsc::unbounded_channel();
        let deployment = Self::assemble(load_config(path)?, Need::Hsm, events).await?;
        output.progress("waiting for the HSM tokens");
        let outcomes = deployment.hsm.ready_each(HSM_PATIENCE).await;
        let any = outcomes.iter().any(|(_, outcome)| outcome.is_ok());
        if let (false, Some((_, Err(error)))) = (any, outcomes.into_iter().next()) {
            deployment.hsm.shutdown().await;
            deployment.store.close().await;
            return Err(error.into());
        }
        deployment.signet.directory().fresh().await?;
        Ok(deployment)
    }

    /// Opens the store and starts the workers, without waiting for them.
    pub(super) async fn assemble(
        config: Config,
        need: Need,
        events: mpsc::UnboundedSender<HsmEvent>,
    ) -> anyhow::Result<Self> {
        let anchor = Some(config.audit.anchor.clone());
        let store = open_store(&config, need == Need::HsmAndNewStore, anchor).await?;
        let bound = store.hsm_tokens().await?;
        let keys = store.keys().await?;
        let tokens = match need {
            Need::Store => Vec::new(),
            Need::Hsm | Need::HsmCarefully | Need::HsmAndNewStore => {
                let is_careful = need == Need::HsmCarefully;
                hsm_configs(&config, &bound, is_careful)
            }
        };
        let marks = match need {
            Need::Store | Need::HsmCarefully => None,
            Need::Hsm | Need::HsmAndNewStore => Some(Arc::new(RunMarks::leave(&state_folder(&config), A_COMMAND)?)),
        };
        let hsm = HsmGroup::start(own_program()?, tokens, events)?;
        hsm.use_keys(keys);
        let adapters = Adapters {
            store: store.clone(),
            signer: hsm.clone(),
            vault: hsm.clone(),
            key_admin: hsm.clone(),
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            validation_servers: validation_servers(&config)?,
        };
        let signet = Signet::new(settings(&config)?, adapters);
        let _ending = marks.clone().map(|marks| Ending { marks, signet: signet.clone() });
        Ok(Self { config, store, hsm, signet, marks, need, _ending })
    }

    /// Waits for the HSM tokens. Where some answer a command goes on with those, and says without which; `init` needs
    /// them all.
    async fn wait_for_hsm(&self, output: &Output) -> anyhow::Result<()> {
        let ready = async {
            if self.need == Need::Hsm && self.go_on_with_some(output).await {
                return Ok(());
            }
            self.hsm.ready(HSM_PATIENCE).await
        };
        let slow = Duration::from_secs(2);
        tokio::pin!(ready);
        let ready = match tokio::time::timeout(slow, &mut ready).await {
            Ok(ready) => ready,
            Err(_) => {
                for hsm in self.signet.key_admin().tokens() {
                    if let Err(error) = self.signet.key_admin().health(&hsm) {
                        output.progress(&format!("waiting for HSM token {hsm}: {error}"));
                    }
                }
                ready.await
            }
        };
        if let Err(error) = ready {
            self.hsm.shutdown().await;
            return Err(error.into());
        }
        self.signet.directory().fresh().await?;
        Ok(())
    }

    /// Whether several tokens are configured and some of them answer.
    async fn go_on_with_some(&self, output: &Output) -> bool {
        let types_pin = self.config.hsm.iter().any(|hsm| hsm.pin == config::PinSource::Prompt);
        if self.config.hsm.len() < 2 || types_pin {
            return false;
        }
        let outcomes = self.hsm.ready_each(SOME_PATIENCE).await;
        let some_answer = outcomes.iter().any(|(_, outcome)| outcome.is_ok());
        for (hsm, outcome) in outcomes.iter().filter(|_| some_answer) {
            if let Err(error) = outcome {
                output.note(&format!("going on without HSM token {hsm}: {error}"));
            }
        }
        some_answer
    }

    /// Who runs this command, for the audit record.
    pub(super) fn operator(&self) -> RequestContext {
        let account = format!("uid {}", rustix::process::getuid().as_raw());
        let operator = match NAMED_OPERATOR.get() {
            Some(name) => format!("{name} ({account})"),
            None => account,
        };
        RequestContext { operator: Some(operator), ..RequestContext::default() }
    }

    /// Says that a change was made, and closes.
    pub(super) async fn done(self, output: &Output, what: &str) -> anyhow::Result<()> {
        output.value(&json!({ "done": what }), |_| what.to_owned())?;
        self.close().await
    }

    /// Signs what was written to the audit log, where an HSM is at hand, and closes everything in order.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        if self.need != Need::Store
            && let Err(error) = self.signet.checkpoint().await
        {
            tracing::warn!(%error, "no checkpoint was signed; the server's next one covers this change");
        }
        self.hsm.shutdown().await;
        self.store.close().await;
        Ok(())
    }

    /// Adds the public halves of audit keys that were made just now to the configured file, and says where it is. What
    /// stands there already stays: the file judges the store, and is not made from it. Where the file is gone, a key
    /// must sign in its HSM to be written again.
    pub(super) async fn write_audit_keys(&self, made: &[String]) -> anyhow::Result<PathBuf> {
        let path = self.config.audit.public_key.clone();
        let mut known = match std::fs::read_to_string(&path) {
            Ok(text) => JwkSet::from_json(&text).with_context(|| format!("{} is no JWKS", path.display()))?.keys,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.signing_audit_keys(made).await?,
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
        };
        let keys = self.store.keys().await?.into_iter().filter(|key| key.purpose == KeyPurpose::AuditSigning);
        let is_new = |jwk: &Jwk| made.iter().any(|kid| kid == jwk.key_id.as_str());
        let new: Vec<Jwk> = keys.filter_map(|key| key.public).filter(is_new).collect();
        if !new.is_empty() || !path.exists() {
            known.extend(new);
            let text = format!("{:#}\n", JwkSet { keys: known }.to_json());
            let beside = path.with_extension("new");
            let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &path));
            written.with_context(|| format!("can't write {}", path.display()))?;
        }
        Ok(path)
    }
}

impl Deployment {
    /// The audit keys that sign in their HSM now, but for those that were just made.
    async fn signing_audit_keys(&self, made: &[String]) -> anyhow::Result<Vec<Jwk>> {
        let mut keys = Vec::new();
        for key in self.signet.directory().fresh().await?.audit_keys() {
            let jwk = key.verifying.jwk();
            if !made.iter().any(|kid| kid == jwk.key_id.as_str()) {
                self.signet.test_key(key).await.context("an audit key of the store does not sign in its HSM")?;
                keys.push(jwk.clone());
            }
        }
        Ok(keys)
    }
}

/// Starts the workers of a deployment whose store is not there yet, to look at its HSM tokens.
pub(super) fn start_hsm_alone(config: &Config, is_careful: bool) -> anyhow::Result<Arc<HsmGroup>> {
    let (events, _) = mpsc::unbounded_channel();
    Ok(HsmGroup::start(own_program()?, hsm_configs(config, &[], is_careful), events)?)
}

/// Starts other workers for one HSM token than the configuration says, to measure what they give.
pub(super) fn start_hsm_with(
    config: &Config,
    hsm: &HsmName,
    sessions: u32,
    workers: u32,
) -> anyhow::Result<Arc<HsmGroup>> {
    let (events, _) = mpsc::unbounded_channel();
    let of_name = config.hsm.iter().filter(|it| it.name == *hsm);
    let tokens = of_name
        .map(|it| {
            let configured = hsm_config(config, it, &[], true);
            let policy = SigningPolicy { most_per_second: 0, ..configured.policy.clone() };
            HsmConfig { sessions, workers, policy, ..configured }
        })
        .collect();
    Ok(HsmGroup::start(own_program()?, tokens, events)?)
}

/// This very program: a worker must speak the protocol of the server that starts it, also after the file was replaced by
/// a newer version.
fn own_program() -> anyhow::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return Ok(running.to_owned());
    }
    std::env::current_exe().context("the path of this program can't be found")
}

/// What a command may have under way at once.
const A_COMMAND: Slack = Slack { tokens: 0, checkpoints: 1, reports: 1 };

/// What the server may have under way at once: what all queues hold, once more where a request is asked again.
pub(super) fn server_slack(config: &Config) -> Slack {
    let queue = |hsm: &config::HsmConfig| hsm.queue as u64 * u64::from(hsm.workers);
    Slack { tokens: config.hsm.iter().map(queue).sum::<u64>().saturating_mul(2), checkpoints: 2, reports: 0 }
}

/// Where the workers count, and where the processes leave their marks.
pub(super) fn state_folder(config: &Config) -> PathBuf {
    store_folder(config).unwrap_or_else(|| PathBuf::from("/"))
}

/// The folder of the store's file.
fn store_folder(config: &Config) -> Option<PathBuf> {
    let StoreConfig::Sqlite(path) = &config.store;
    path.parent().map(Path::to_owned)
}

/// Opens the store alone.
pub(super) async fn open_store(
    config: &Config,
    create: bool,
    anchor: Option<PathBuf>,
) -> anyhow::Result<Arc<SqliteStore>> {
    let StoreConfig::Sqlite(path) = &config.store;
    let options = SqliteOptions { path: path.clone(), create, readers: READERS, busy_timeout: BUSY, anchor };
    Ok(SqliteStore::open(options, Arc::new(SystemClock)).await?)
}

/// What the workers of each configured HSM token are told; `bound` are the tokens that the deployment is bound to.
pub(super) fn hsm_configs(config: &Config, bound: &[(HsmName, TokenInfo)], is_careful: bool) -> Vec<HsmConfig> {
    config.hsm.iter().map(|hsm| hsm_config(config, hsm, bound, is_careful)).collect()
}

pub(super) fn hsm_config(
    config: &Config,
    hsm: &config::HsmConfig,
    bound: &[(HsmName, TokenInfo)],
    is_careful: bool,
) -> HsmConfig {
    HsmConfig {
        name: hsm.name.clone(),
        module: hsm.module.clone(),
        init_args: hsm.init_args.clone(),
        slot: hsm.slot.map(u64::from),
        token_label: hsm.token_label.clone(),
        pin: match &hsm.pin {
            config::PinSource::File(path) => PinSource::File(path.clone()),
            config::PinSource::Credential(name) => PinSource::Credential(name.clone()),
            config::PinSource::Prompt => PinSource::Prompt,
        },
        sessions: hsm.sessions,
        workers: hsm.workers,
        queue: u32::try_from(hsm.queue).unwrap_or(u32::MAX),
        deadline: hsm.deadline,
        expected_serial: bound.iter().find(|(name, _)| *name == hsm.name).map(|(_, token)| token.serial.clone()),
        environment: hsm.environment.clone().into_iter().collect(),
        state_directory: store_folder(config),
        is_careful,
        policy: signing_policy(config, hsm),
        confinement: confinement(hsm),
        worker_socket: hsm.worker.socket.clone(),
    }
}

/// What each worker of an HSM token signs; the ceiling is shared out among them.
fn signing_policy(config: &Config, hsm: &config::HsmConfig) -> SigningPolicy {
    SigningPolicy {
        issuers: vec![config.server.public_url.as_str().to_owned()],
        longest_token: config.tokens.access_lifetime,
        most_per_second: hsm.worker.max_signatures_per_second.div_ceil(hsm.workers.max(1)),
    }
}

fn confinement(hsm: &config::HsmConfig) -> Confinement {
    let sandbox = match hsm.worker.sandbox {
        config::Sandbox::Off => Sandbox::Off,
        config::Sandbox::Standard => Sandbox::Standard,
        config::Sandbox::Strict => Sandbox::Strict,
    };
    Confinement { sandbox, network: hsm.worker.network, writable: hsm.worker.writable.clone() }
}

/// The servers that verify Yubico OTPs whose keys are elsewhere, with the API key from its file.
fn validation_servers(config: &Config) -> anyhow::Result<Option<Arc<ValidationServers>>> {
    let Some(section) = &config.mfa.yubico_validation else { return Ok(None) };
    let file = section.key_file.display();
    let metadata = std::fs::metadata(&section.key_file);
    let metadata =
        metadata.with_context(|| format!("the API key {file} can't be read (mfa.yubico_validation.key_file)"))?;
    anyhow::ensure!(
        metadata.permissions().mode() & 0o077 == 0,
        "the API key {file} can be read by others than its owner: chmod 0600 {file}"
    );
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(&section.key_file)?);
    let key = STANDARD.decode(text.trim()).ok().filter(|key| key.len() >= LEAST_API_KEY).map(SecretBytes::new);
    let key = key.with_context(|| format!("{file} must hold the API key in base64, of at least 16 bytes"))?;
    let (urls, timeout) = (section.urls.clone(), section.timeout);
    let servers = ValidationServers::new(urls, section.client_id, key, timeout);
    Ok(Some(Arc::new(servers.map_err(|error| anyhow::anyhow!("validation servers can't be asked: {error}"))?)))
}

/// What security keys know this deployment as, with the roots by which they prove their make.
fn relying_party(config: &Config) -> anyhow::Result<Option<Arc<RelyingParty>>> {
    let Some(section) = &config.mfa.webauthn else { return Ok(None) };
    let roots = match &section.attestation {
        None => None,
        Some(attestation) => {
            let file = attestation.trusted_roots.display();
            let text = std::fs::read_to_string(&attestation.trusted_roots);
            let text = text.with_context(|| format!("{file} can't be read (mfa.webauthn.trusted_roots)"))?;
            let roots = attestation_roots::read(&text, &attestation.models);
            Some(roots.with_context(|| format!("{file} can't be used (mfa.webauthn.trusted_roots)"))?)
        }
    };
    let party = RelyingParty::new(&section.rp_id, &config.mfa.issuer_name, &section.origins, roots);
    Ok(Some(Arc::new(party.context("mfa.webauthn can't be used")?)))
}

fn settings(config: &Config) -> anyhow::Result<Settings> {
    Ok(Settings {
        tenant: TenantId::default_tenant(),
        issuer: config.server.public_url.as_str().to_owned(),
        algorithm: config.tokens.algorithm,
        access_lifetime: config.tokens.access_lifetime,
        refresh_lifetime: config.tokens.refresh_lifetime,
        refresh_retry_window: config.tokens.refresh_retry_window,
        role_scopes: config.roles.clone().map_or_else(RoleScopes::claims_only, RoleScopes::granting),
        keys: KeySettings {
            rotate_every: config.keys.rotate_every,
            publish_ahead: config.keys.publish_ahead,
            jwks_max_age: config.keys.jwks_max_age,
            clock_skew: config.keys.clock_skew,
        },
        assurance: config.policy.clone(),
        otp_issuer: config.mfa.issuer_name.clone(),
        lockout: config.mfa.lockout,
        password_concurrency: config.mfa.password_concurrency,
        four_eyes: config.mfa.four_eyes,
        webauthn: relying_party(config)?,
    })
}
