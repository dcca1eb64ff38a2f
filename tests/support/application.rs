//! The test application: one real deployment of Signet, from `signet init` to `signet serve`.
//!
//! Every part is what a user runs: the `signet` binary, a SoftHSM token of its own, a SQLite file, sockets on loopback.
//! A test reads like this:
//!
//! ```ignore
//! let server = Application::new("[tokens]\naccess_lifetime = \"1m\"").serve();
//! let app = server.add_client("app", "password,refresh_token", "read write");
//! let ann = server.add_user("ann", "reader");
//! let totp = server.add_totp(&ann, &[]);
//! let answer = server.sign_in(&app, &ann, &totp.code()).await;
//! assert_eq!(answer.status, 200);
//! ```
//!
//! [`Application`] is the deployment with the command line over it; [`Server`](super::server::Server) is its running
//! `signet serve`, which is killed when it is dropped. Suites whose tests can't disturb one another share a server by
//! [`Shared`](super::server::Shared).

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::codes::{Totp, YubiKey};
use super::fault::{self, FaultModule};
use super::hsm::{PROGRAM, SoftToken};

/// The audience of clients that name none.
pub(crate) const AUDIENCE: &str = "https://api.example";
/// Every user's password.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A client, with the secret that was shown once.
#[derive(Debug, Clone)]
pub(crate) struct TestClient {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// A user; the password is [`PASSWORD`].
#[derive(Debug, Clone)]
pub(crate) struct TestUser {
    pub(crate) name: String,
    pub(crate) id: String,
}

/// An initialised deployment in a folder of its own.
pub(crate) struct Application {
    token: Arc<SoftToken>,
    hsm: Hsm,
    address: Mutex<SocketAddr>,
    sections: Mutex<String>,
    tls: Option<String>,
    /// Whether clients know it as `localhost`, which browsers take for secure.
    is_named: bool,
}

/// The lines of `[[hsm]]` that suites differ in.
struct Hsm {
    module: PathBuf,
    lines: String,
    environment: Vec<(String, String)>,
}

impl Application {
    /// A deployment whose configuration ends in these sections (`[tokens]`, `[roles]`, `[server.limits]`, ...).
    pub(crate) fn new(sections: &str) -> Arc<Self> {
        Self::initialised(sections, false, None)
    }

    /// The same as `http://localhost` on a port of its own: security keys know no addresses.
    pub(crate) fn on_localhost(sections: &str) -> Arc<Self> {
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        Self::initialised_at(free, true, sections, false, None)
    }

    /// The same behind TLS, with a certificate that it signs itself.
    pub(crate) fn with_tls(sections: &str) -> Arc<Self> {
        Self::initialised(sections, true, None)
    }

    /// A deployment whose module fails on order. `lines` are further ones of `[[hsm]]`, `deadline` among them.
    pub(crate) fn with_faults(module: &FaultModule, lines: &str, sections: &str) -> Arc<Self> {
        Self::initialised(sections, false, Some((module, lines)))
    }

    fn initialised(sections: &str, tls: bool, faults: Option<(&FaultModule, &str)>) -> Arc<Self> {
        Self::initialised_at(fresh_address(), false, sections, tls, faults)
    }

    fn initialised_at(
        address: SocketAddr,
        is_named: bool,
        sections: &str,
        tls: bool,
        faults: Option<(&FaultModule, &str)>,
    ) -> Arc<Self> {
        let (token, hsm) = match faults {
            Some((faults, lines)) => {
                let module = fault::shared_library();
                (faults.token.clone(), Hsm { module, lines: lines.to_owned(), environment: faults.environment() })
            }
            None => {
                let token = SoftToken::new();
                let (module, lines) = (token.module().to_owned(), "sessions = 2\ndeadline = \"12s\"".to_owned());
                (Arc::new(token), Hsm { module, lines, environment: Vec::new() })
            }
        };
        let tls = tls.then(|| write_certificate(token.path(), address));
        let sections = Mutex::new(sections.to_owned());
        let application = Self { token, hsm, address: Mutex::new(address), sections, tls, is_named };
        application.write_configuration();
        application.cli_json(&["init"], "");
        Arc::new(application)
    }

    /// Replaces the sections that [`new`](Self::new) was given. A running server keeps what it read.
    pub(crate) fn reconfigure(&self, sections: &str) {
        sections.clone_into(&mut self.sections.lock().unwrap());
        self.write_configuration();
    }

    /// Takes another address: somebody else has this one.
    pub(super) fn move_away(&self) {
        *self.address.lock().unwrap() = fresh_address();
        self.write_configuration();
    }

    fn write_configuration(&self) {
        let server = match &self.tls {
            Some(_) => "\n[server.tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n",
            None => "",
        };
        let line = |(name, value): &(String, String)| format!("{name} = \"{value}\"\n");
        let environment: String = self.hsm.environment.iter().map(line).collect();
        let text = format!(
            "[server]\npublic_url = \"{issuer}\"\nlisten = \"{address}\"\n{server}\n[store]\nurl = \"sqlite://signet.db\"\n\
             \n[[hsm]]\nname = \"primary\"\nmodule = \"{module}\"\ntoken_label = \"signet\"\npin_file = \"pin\"\n\
             {lines}\n[hsm.environment]\nSOFTHSM2_CONF = \"{softhsm}\"\n{environment}\n{sections}\n",
            issuer = self.issuer(),
            address = self.address(),
            module = self.hsm.module.display(),
            lines = self.hsm.lines,
            softhsm = self.token.configuration().display(),
            sections = self.sections.lock().unwrap(),
        );
        fs::write(self.configuration(), text).unwrap();
    }

    /// The folder of the deployment: configuration, database, PIN, tokens, audit anchor, the server's log.
    pub(crate) fn folder(&self) -> &Path {
        self.token.path()
    }

    /// The HSM token.
    pub(crate) fn hsm_token(&self) -> &SoftToken {
        &self.token
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder().join("signet.toml")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder().join("signet.db")
    }

    /// What the server wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder().join("server.log")).unwrap_or_default()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        *self.address.lock().unwrap()
    }

    /// `server.public_url`: what `iss` must be.
    pub(crate) fn issuer(&self) -> String {
        if self.is_named {
            return format!("http://localhost:{}", self.address().port());
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    pub(super) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The certificate in PEM, where the deployment has TLS.
    pub(crate) fn certificate(&self) -> &str {
        self.tls.as_deref().unwrap()
    }

    /// `signet` with these arguments, not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(self.configuration()).args(arguments);
        command
    }

    /// Runs a command with `input` on its standard input.
    pub(crate) fn cli(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that reads nothing may have closed its end already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Runs a command that must succeed, with `--json`; gives what it printed.
    pub(crate) fn cli_json(&self, arguments: &[&str], input: &str) -> Value {
        let output = self.cli(&[arguments, &["--json"]].concat(), input);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "signet {arguments:?}: {told}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn add_user(&self, name: &str, roles: &str) -> TestUser {
        let added = self.cli_json(&["user", "add", name, "--roles", roles, "--password-stdin"], PASSWORD);
        TestUser { name: name.to_owned(), id: text(&added, "id") }
    }

    /// Enrols a TOTP factor; `options` are those of `signet factor add totp`.
    pub(crate) fn add_totp(&self, user: &TestUser, options: &[&str]) -> Totp {
        let arguments = [&["factor", "add", "totp", "--user", &user.name], options].concat();
        Totp::new(&text(&self.cli_json(&arguments, ""), "otpauth_uri"))
    }

    /// Enrols a YubiKey of this public id, with a fresh AES key.
    pub(crate) fn add_yubico(&self, user: &TestUser, public_id: &str) -> YubiKey {
        let key = YubiKey::new(public_id);
        let private_id = key.private_id_hex();
        self.cli_json(
            &[
                &["factor", "add", "yubico-otp", "--user", &user.name, "--public-id", public_id][..],
                &["--private-id", &private_id, "--secret-key-stdin"],
            ]
            .concat(),
            &key.secret_hex(),
        );
        key
    }

    /// Adds a client of [`AUDIENCE`].
    pub(crate) fn add_client(&self, name: &str, grants: &str, scopes: &str) -> TestClient {
        self.add_client_for(name, grants, scopes, &[AUDIENCE])
    }

    pub(crate) fn add_client_for(&self, name: &str, grants: &str, scopes: &str, audiences: &[&str]) -> TestClient {
        let mut arguments = vec!["client", "add", name, "--grant", grants, "--scope", scopes];
        arguments.extend(audiences.iter().flat_map(|audience| ["--audience", audience]));
        let added = self.cli_json(&arguments, "");
        TestClient { name: name.to_owned(), id: text(&added, "client_id"), secret: text(&added, "client_secret") }
    }

    /// The audit records, oldest first.
    pub(crate) async fn audit(&self) -> Vec<Value> {
        let mut connection = super::store::raw(&self.database()).await;
        let texts = sqlx::query_scalar("SELECT text FROM audit_records ORDER BY sequence");
        let texts: Vec<String> = texts.fetch_all(&mut connection).await.unwrap();
        texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    /// The reasons of this user's refused sign-ins, oldest first.
    pub(crate) async fn refusals(&self, user: &TestUser) -> Vec<String> {
        let records = self.audit().await;
        let refused = records.iter().filter(|record| record["event"] == "sign_in" && record["outcome"] == "refused");
        let of_user = refused.filter(|record| record["user"] == user.id.as_str());
        of_user.map(|record| record["reason"].as_str().unwrap().to_owned()).collect()
    }

    /// How many rows a table has.
    pub(crate) async fn rows(&self, table: &str) -> i64 {
        let mut connection = super::store::raw(&self.database()).await;
        let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        sqlx::query_scalar(statement).fetch_one(&mut connection).await.unwrap()
    }

    pub(super) fn start(&self) -> Child {
        let log = fs::File::create(self.folder().join("server.log")).unwrap();
        self.command(&["serve"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }
}

/// An address that no other test has: 127.0.0.0/8 is all loopback, so that each deployment has an IP address for itself
/// and no port has to be guessed.
pub(super) fn fresh_address() -> SocketAddr {
    static USED: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), USED.fetch_add(1, Ordering::Relaxed) + 1);
    let [.., high, low] = (process.wrapping_mul(2_654_435_761) >> 16).to_be_bytes();
    let [.., tens, ones] = number.to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, high.clamp(1, 254), low ^ tens, ones.clamp(1, 254)), 18_080))
}

fn write_certificate(folder: &Path, address: SocketAddr) -> String {
    let made = rcgen::generate_simple_self_signed([address.ip().to_string()]).unwrap();
    let certificate = made.cert.pem();
    fs::write(folder.join("certificate.pem"), &certificate).unwrap();
    super::write_secret(&folder.join("key.pem"), &made.signing_key.serialize_pem());
    certificate
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}")).to_owned()
}
