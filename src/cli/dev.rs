//! `signet dev`: a throwaway deployment on a soft token, with a demo user, and the commands that get a token.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::json;

use super::factor::qr_code;
use super::{Output, deployment, init, operator};
use crate::config::{Config, LogConfig, LogFormat, LogLevel};
use crate::server::{self, Listening, Need, Runtime, ServeError};
use signet_core::mfa::totp::{Enrolment, TotpParameters};
use signet_core::oauth::{Client, GrantType, Reach};
use signet_core::random::{OsRandom, url_text};
use signet_core::secret::SecretText;
use signet_core::settings::{MfaWords, RoleWords, SettingsDocument};
use signet_service::clients::registry::NewClient;
use signet_service::{ChangeError, Deployment};
use signet_state_file::{Access, LockedFile};

const PROVISION: &str = include_str!("../../softhsm/provision.sh");
const SOFTHSM_TEMPLATE: &str = include_str!("../../softhsm/softhsm2.conf.in");
const USER: &str = "demo";
const CLIENT: &str = "demo-app";
/// Factors of earlier starts that stay.
const KEPT_FACTORS: usize = 2;
/// What of the configuration says where it listens.
const LISTEN: &str = "server.listen";
/// Where a new deployment listens.
const FIRST: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080));
/// How many ports after a taken one are tried.
const PORTS_TRIED: u16 = 100;
const AUDIENCE: &str = "https://api.demo.example";

#[derive(Debug, clap::Args)]
pub(super) struct Dev {
    /// Where the soft token, the database and the configuration are kept.
    #[arg(long, default_value = ".signet", value_name = "FOLDER")]
    state_dir: PathBuf,
    /// Where it listens, on loopback. Without this where its signet.toml says, 127.0.0.1:8080 at first, or at the next free
    /// port.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

/// What the demo user signs in with, made at each start: nothing of it is stored in clear.
struct Demo {
    password: SecretText,
    enrolment: Enrolment,
    client: Client,
    client_secret: SecretText,
}

impl Dev {
    pub(super) async fn run(self, output: &Output) -> anyhow::Result<()> {
        let asked = self.listen;
        anyhow::ensure!(
            asked.is_none_or(|listen| listen.ip().is_loopback()),
            "a throwaway deployment listens on loopback only"
        );
        server::start_log(LogConfig { level: LogLevel::Warn, format: LogFormat::Text });
        let state = self.state_dir.as_path();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state)?;
        let state = &std::fs::canonicalize(state)?;
        // Held until the end: another server of this folder would change the first one's address under it.
        let Some(_lock) = LockedFile::try_open(&state.join("dev.lock"), Access::InPlace)? else {
            anyhow::bail!(
                "the deployment in {} is being served already: stop it, or name another --state-dir",
                state.display()
            );
        };
        let module = provision(state, output)?;
        let file = write_config(state, &module, asked.unwrap_or(FIRST))?;
        let config = Config::load_with_environment(&file)?;
        // Before anything is made: the issuer's name holds the port.
        let listening = listen(asked, config.server.listen, output)?;
        let config = move_to(&file, config, listening.address())?;
        let alone = server::try_lock(state)?.context("a server runs on this deployment already: stop it first")?;
        let deployment = deployment::open(&file, Need::HsmAndNewStore, output).await?;
        let demo = prepare(&deployment, output).await;
        let closed = deployment.close().await;
        drop(alone);
        let demo = demo?;
        closed?;
        let (text, told) = (instructions(&demo, &file, &config)?, told(&demo, &file, &config));
        let ready = |address: SocketAddr, issuer: &str| {
            // What follows is what the person came for: a standard output that is gone is no reason to stop serving.
            let _ = output.value(&told, |_| text.clone());
            output.note(&format!("serving {issuer} on {address}; Ctrl-C stops"));
        };
        server::run_on(listening, config, None, &ready).await
    }
}

/// Takes the address that was asked for; where none was, the configured one or the next free port.
fn listen(asked: Option<SocketAddr>, configured: SocketAddr, output: &Output) -> anyhow::Result<Listening> {
    let first = match (asked, Listening::bind(asked.unwrap_or(configured), LISTEN)) {
        (None, Err(ServeError::Listen { problem, .. })) if problem.kind() == std::io::ErrorKind::AddrInUse => {
            configured
        }
        (_, bound) => return Ok(bound?),
    };
    let ports = first.port().saturating_add(1)..=first.port().saturating_add(PORTS_TRIED);
    let free = ports.into_iter().find_map(|port| Listening::bind(SocketAddr::new(first.ip(), port), LISTEN).ok());
    let free =
        free.with_context(|| format!("{first} is taken, and so are the ports after it: name one with --listen"))?;
    output.note(&format!("{first} is taken: listening on {} instead", free.address()));
    Ok(free)
}

/// Writes another address into `signet.toml`, and into the issuer's name where that is made of the old one.
fn move_to(file: &Path, config: Config, to: SocketAddr) -> anyhow::Result<Config> {
    let from = config.server.listen;
    if from == to {
        return Ok(config);
    }
    let text = std::fs::read_to_string(file)?;
    let (local, moved_local) = (format!("http://localhost:{}", from.port()), format!("http://localhost:{}", to.port()));
    let moved = text
        .replace(&format!("\"{from}\""), &format!("\"{to}\""))
        .replace(&format!("\"http://{from}\""), &format!("\"http://{to}\""))
        .replace(&format!("\"{local}\""), &format!("\"{moved_local}\""));
    signet_state_file::replace(file, moved.as_bytes())?;
    let config = Config::load_with_environment(file)?;
    anyhow::ensure!(
        config.server.listen == to,
        "this deployment listens on {}: change server.listen in {}, or name another --state-dir",
        config.server.listen,
        file.display()
    );
    Ok(config)
}

/// Makes the soft token by the script that `softhsm/` documents; returns the PKCS#11 module's path.
fn provision(state: &Path, output: &Output) -> anyhow::Result<String> {
    let folder = state.join("softhsm");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    std::fs::write(folder.join("provision.sh"), PROVISION)?;
    std::fs::write(folder.join("softhsm2.conf.in"), SOFTHSM_TEMPLATE)?;
    let mut script = Command::new("sh");
    script.arg(folder.join("provision.sh")).arg(state).stdin(Stdio::null());
    let run = script.output().context("sh can't be started")?;
    let told = String::from_utf8_lossy(&run.stderr).trim().to_owned();
    if run.status.success() && !told.is_empty() {
        output.note(&told);
    }
    anyhow::ensure!(
        run.status.success(),
        "the soft token could not be made: {told}\nInstall SoftHSM2 (Debian: apt-get install softhsm2) and try again"
    );
    let module = String::from_utf8(run.stdout).ok().and_then(|text| text.lines().last().map(str::to_owned));
    module.context("the provisioning script names no module")
}

/// Writes `signet.toml` where there is none. One that is there stays.
fn write_config(state: &Path, module: &str, listen: SocketAddr) -> anyhow::Result<PathBuf> {
    let path = state.join("signet.toml");
    let text = format!(
        r#"# A throwaway deployment on a soft token. docs/reference/configuration.md explains every key.
[server]
public_url = "http://{listen}"
listen = "{listen}"

[store]
url = "sqlite://signet.db"

[[hsm]]
name = "primary"
module = {module}
token_label = "signet"
pin_file = "pin"
sessions = 2
[hsm.environment]
SOFTHSM2_CONF = {conf}

[log]
level = "warn"
"#,
        module = toml_text(module),
        conf = toml_text(&state.join("softhsm2.conf").to_string_lossy()),
    );
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => file.write_all(text.as_bytes())?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("can't write {}", path.display())),
    }
    Ok(path)
}

/// A text as TOML writes it.
fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Makes keys, user, factor and client where they are missing, and fresh secrets for them: nothing that was shown at an
/// earlier start is kept in clear. The last two TOTP factors stay, so that an app that scanned one goes on working.
async fn prepare(deployment: &Runtime, output: &Output) -> anyhow::Result<Demo> {
    let is_new = deployment.signet.issuer().directory.at_hand().await?.published().next().is_none();
    if is_new {
        let made = init::initialise(deployment, &founding(), output).await?;
        // A program reads one object, and that is not this.
        if !output.is_json() {
            init::print(&made, output)?;
        }
    }
    let (signet, operator) = (&deployment.signet, operator());
    signet.open_secret().await;
    let password = SecretText::new(url_text::<12>(&OsRandom));
    match signet.issuer().accounts.find_user(USER).await {
        Ok(_) => signet.issuer().accounts.set_password(USER, &password, &operator).await?,
        Err(ChangeError::Missing { .. }) => {
            let roles = BTreeSet::from(["reader".to_owned()]);
            signet.issuer().accounts.add_user(USER, roles, &password, &operator).await?;
        }
        Err(error) => return Err(error.into()),
    }
    let factors = signet.issuer().factors.lifecycle.list_factors(USER).await?;
    for old in factors.iter().rev().skip(KEPT_FACTORS) {
        signet.issuer().factors.lifecycle.remove_factor(&old.id, &operator).await?;
    }
    let (_, enrolment) =
        signet.issuer().factors.enrolment.enrol_totp(USER, "demo", TotpParameters::DEFAULT, &operator).await?;
    let (client, client_secret) = prepare_client(signet).await?;
    Ok(Demo { password, enrolment, client, client_secret })
}

/// What the deployment begins with.
fn founding() -> SettingsDocument {
    let scopes = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect::<BTreeSet<_>>();
    let roles = [("reader", scopes(&["read"])), ("writer", scopes(&["read", "write"]))];
    SettingsDocument {
        roles: Some(RoleWords::Granting(roles.map(|(role, scopes)| (role.to_owned(), scopes)).into())),
        mfa: Some(MfaWords { issuer_name: Some("Signet demo".to_owned()), ..MfaWords::default() }),
        ..SettingsDocument::default()
    }
}

async fn prepare_client(signet: &Deployment) -> anyhow::Result<(Client, SecretText)> {
    let operator = operator();
    match signet.issuer().clients.find_client(CLIENT).await {
        Ok(client) => Ok((client, signet.issuer().clients.renew_client_secret(CLIENT, &operator).await?)),
        Err(ChangeError::Missing { .. }) => {
            let new = NewClient {
                name: CLIENT.to_owned(),
                grants: BTreeSet::from(GrantType::ALL),
                scopes: BTreeSet::from(["read", "write"].map(str::to_owned)),
                audiences: BTreeSet::from([AUDIENCE.to_owned()]),
                reach: Reach::default(),
            };
            Ok(signet.issuer().clients.add_client(new, &operator).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// The same for a program, e.g. the tests of another project (docs/guides/ci.md).
fn told(demo: &Demo, file: &Path, config: &Config) -> serde_json::Value {
    let issuer = config.server.public_url.as_str();
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "introspection_endpoint": format!("{issuer}/oauth2/introspect"),
        "jwks_uri": format!("{issuer}/oauth2/jwks"),
        "audience": AUDIENCE,
        "client_id": demo.client.id.as_str(),
        "client_secret": demo.client_secret.expose(),
        "username": USER,
        "password": demo.password.expose(),
        "totp_secret_base32": demo.enrolment.secret_base32.expose(),
        "config": file,
        "admin_socket": &config.admin.socket,
        "process_id": std::process::id(),
    })
}

fn instructions(demo: &Demo, file: &Path, config: &Config) -> anyhow::Result<String> {
    let (issuer, listen) = (config.server.public_url.as_str(), config.server.listen);
    let program = std::env::current_exe()?;
    let secret = demo.enrolment.secret_base32.expose();
    let code = format!("oathtool --totp -b {secret}");
    let get = format!(
        "TOKEN=$(curl -s http://{listen}/oauth2/token -u '{}:{}' \\\n  -d grant_type=password -d username={USER} \
         --data-urlencode 'password={}' \\\n  -d scope=read -d otp=$({code}) | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')",
        demo.client.id,
        demo.client_secret.expose(),
        demo.password.expose(),
    );
    Ok(format!(
        "\n{qr}\nThe demo user's code: scan it with an authenticator app, or print the current one with\n\n  {code}\n  \
         ({uri})\n\nGet a token (a code works once; the next one comes within 30 seconds):\n\n{get}; echo \"$TOKEN\"\n\n\
         Verify it, asking nobody but the published keys:\n\n\
         echo \"$TOKEN\" | {program} token verify --jwks {issuer}/oauth2/jwks --issuer {issuer} --audience {AUDIENCE}\n\n\
         Operate it: {program} --config {config} user list  (also: custody, doctor, audit verify, key list)\n",
        qr = qr_code(&demo.enrolment.otpauth_uri)?,
        uri = demo.enrolment.otpauth_uri.expose(),
        program = program.display(),
        config = file.display(),
    ))
}
