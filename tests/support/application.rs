//! The test application: one real deployment of Signet, from `signet init` to `signet serve`.
//!
//! Every part is what a user runs: the `signet` binary, a SoftHSM token of its own, a SQLite file or, where
//! [`postgres`](super::postgres) is wanted, a PostgreSQL database, sockets on loopback.
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
//! [`Application`] is the deployment with the command line over it ([`commands`](super::commands)). [`Server`] is a
//! running `signet serve`; a deployment may have several at once. A [`Caller`] is a client that a task of its own can
//! hold. Suites whose tests can't disturb one another share a server by [`Shared`].
//!
//! `signet init` is run once for all tests: a deployment is a copy of what it made ([`template`](super::template)),
//! unless its sections say what `init` is to make, or the test asks for [keys of its own](Application::with_own_keys).
//!
//! [`Server`]: super::server::Server
//! [`Caller`]: super::caller::Caller
//! [`Shared`]: super::server::Shared

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::fault::{self, FaultModule};
use super::hsm::SoftToken;
use super::postgres::{self, Database};
use super::template;

/// The audience of clients that name none.
pub(crate) const AUDIENCE: &str = "https://api.example";
/// Every user's password, where a test asks for no other.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// All grants that a client can have.
pub(crate) const ALL_GRANTS: &str = "password,refresh_token,client_credentials";

/// The name of `[[hsm]]`.
const USUAL_NAME: &str = "primary";

/// The lines of `[[hsm]]` where a test names none. The deadline is one for machines that are busy.
const USUAL_HSM: &str = "sessions = 2\ndeadline = \"12s\"";

/// A client, with the secret that was shown once.
#[derive(Debug, Clone)]
pub(crate) struct TestClient {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// A user.
#[derive(Debug, Clone)]
pub(crate) struct TestUser {
    pub(crate) name: String,
    pub(crate) id: String,
}

/// A deployment in a folder of its own, which goes with it.
pub(crate) struct Application {
    token: Arc<SoftToken>,
    /// The folder of a node that shares HSM token and store with the first one.
    home: Option<TempDir>,
    /// What clients know it as, where that is not the address of its own: a balancer, or the first node.
    balancer: Option<SocketAddr>,
    /// Where its store is, if not in a SQLite file in its folder.
    postgres: Option<Arc<Database>>,
    hsm: Hsm,
    address: Mutex<SocketAddr>,
    sections: Mutex<String>,
    tls: Option<String>,
    /// Whether clients know it as `localhost`, which browsers take for secure.
    is_named: bool,
    /// The process that listened at the configured address last.
    pub(super) served_by: Mutex<Option<u32>>,
    /// Whether the test writes rows past Signet.
    is_forged: AtomicBool,
}

impl Drop for Application {
    /// Whatever a server and the commands beside it did, each row is as its codec wrote it: a change that forgot the MAC is
    /// found here.
    fn drop(&mut self) {
        let has_served = self.served_by.lock().is_ok_and(|served_by| served_by.is_some());
        if has_served && !self.is_forged.load(Ordering::Relaxed) && !std::thread::panicking() {
            let checked = self.run(&["--json", "audit", "verify", "--store"]);
            // A test that broke the HSM has nothing to check by.
            assert!(!checked.stdout.contains("\"intact\": false"), "rows that do not verify: {}", checked.stdout);
        }
    }
}

/// The lines of `[[hsm]]` that suites differ in.
struct Hsm {
    name: String,
    module: PathBuf,
    lines: String,
    environment: Vec<(String, String)>,
}

impl Application {
    /// A deployment whose configuration ends in these sections (`[tokens]`, `[roles]`, `[server.limits]`, ...: what is the deployment's is stated in its store).
    pub(crate) fn new(sections: &str) -> Arc<Self> {
        Self::with_hsm(USUAL_HSM, sections)
    }

    /// A deployment with these further lines of `[[hsm]]`, `sessions` and `deadline` among them.
    pub(crate) fn with_hsm(lines: &str, sections: &str) -> Arc<Self> {
        Self::initialised(soft_hsm(copied_or_new(sections), lines), fresh_address(), Naming::Address, sections)
    }

    /// A deployment that shares no key with any other.
    pub(crate) fn with_own_keys() -> Arc<Self> {
        Self::initialised(soft_hsm(SoftToken::new(), USUAL_HSM), fresh_address(), Naming::Address, "")
    }

    /// A deployment before `signet init`.
    pub(crate) fn uninitialised(sections: &str) -> Arc<Self> {
        Self::uninitialised_with_hsm(USUAL_HSM, sections)
    }

    /// A deployment before `signet init`, with these further lines of `[[hsm]]`.
    pub(crate) fn uninitialised_with_hsm(lines: &str, sections: &str) -> Arc<Self> {
        Self::configured(soft_hsm(SoftToken::new(), lines), fresh_address(), Naming::Address, sections)
    }

    /// A deployment at `http://localhost` on a port of its own: security keys know no addresses.
    pub(crate) fn on_localhost(sections: &str) -> Arc<Self> {
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        Self::initialised(soft_hsm(copied_or_new(sections), USUAL_HSM), free, Naming::Localhost, sections)
    }

    /// A deployment behind TLS, with a certificate that it signs itself.
    pub(crate) fn with_tls(sections: &str) -> Arc<Self> {
        Self::initialised(soft_hsm(copied_or_new(sections), USUAL_HSM), fresh_address(), Naming::Certificate, sections)
    }

    /// A deployment whose module fails on order. `lines` are further ones of `[[hsm]]`, `deadline` among them.
    pub(crate) fn with_faults(module: &FaultModule, lines: &str, sections: &str) -> Arc<Self> {
        let environment = module.environment();
        let (name, library) = (USUAL_NAME.to_owned(), fault::shared_library());
        let hsm = Hsm { name, module: library, lines: lines.to_owned(), environment };
        Self::initialised((module.token.clone(), hsm), fresh_address(), Naming::Address, sections)
    }

    /// A deployment whose store is in PostgreSQL, wherever other tests keep theirs.
    pub(crate) fn on_postgres(sections: &str) -> Arc<Self> {
        let (hsm, naming) = (soft_hsm(SoftToken::new(), USUAL_HSM), Naming::Address);
        let application = Self::kept_in(Some(Database::new()), hsm, fresh_address(), naming, sections);
        application.initialise();
        application
    }

    /// This deployment as clients know it that come by a balancer.
    pub(super) fn behind(self: Arc<Self>, balancer: SocketAddr) -> Arc<Self> {
        let mut application = Arc::into_inner(self).unwrap();
        application.balancer = Some(balancer);
        application.write_configuration();
        Arc::new(application)
    }

    /// Another node of this deployment, which shares its database and its HSM token, with a folder and an address of its own.
    pub(crate) fn another_node(&self) -> Arc<Self> {
        let home = tempfile::tempdir().unwrap();
        super::write_secret(&home.path().join("pin"), &self.token.pin());
        fs::copy(self.file("audit.jwk"), home.path().join("audit.jwk")).unwrap();
        self.node_with(Arc::clone(&self.token), Some(home), &self.hsm.name)
    }

    /// Another node of this deployment, which shares its database alone: its HSM token has this name, and no other node reaches it.
    /// It has not joined yet.
    pub(crate) fn node_with_own_token(&self, name: &str) -> Arc<Self> {
        self.node_with(Arc::new(SoftToken::new()), None, name)
    }

    fn node_with(&self, token: Arc<SoftToken>, home: Option<TempDir>, name: &str) -> Arc<Self> {
        let hsm = Hsm {
            name: name.to_owned(),
            module: self.hsm.module.clone(),
            lines: self.hsm.lines.clone(),
            environment: self.hsm.environment.clone(),
        };
        let node = Self {
            token,
            home,
            balancer: Some(self.balancer.unwrap_or_else(|| self.address())),
            postgres: self.postgres.clone(),
            hsm,
            address: Mutex::new(fresh_address()),
            sections: Mutex::new(self.sections.lock().unwrap().clone()),
            tls: None,
            is_named: false,
            served_by: Mutex::new(None),
            is_forged: AtomicBool::new(false),
        };
        node.write_configuration();
        Arc::new(node)
    }

    fn initialised(hsm: (Arc<SoftToken>, Hsm), address: SocketAddr, naming: Naming, sections: &str) -> Arc<Self> {
        let application = Self::configured(hsm, address, naming, sections);
        match application.is_initialised() {
            true => application.state_settings(),
            false => application.initialise(),
        }
        application
    }

    fn configured(hsm: (Arc<SoftToken>, Hsm), address: SocketAddr, naming: Naming, sections: &str) -> Arc<Self> {
        let is_copy = is_initialised(hsm.0.path());
        let postgres = postgres::is_wanted().then(|| if is_copy { template::copy_database() } else { Database::new() });
        Self::kept_in(postgres, hsm, address, naming, sections)
    }

    fn kept_in(
        postgres: Option<Database>,
        (token, hsm): (Arc<SoftToken>, Hsm),
        address: SocketAddr,
        naming: Naming,
        sections: &str,
    ) -> Arc<Self> {
        let tls = matches!(naming, Naming::Certificate).then(|| write_certificate(token.path(), address));
        let application = Self {
            token,
            home: None,
            balancer: None,
            postgres: postgres.map(Arc::new),
            hsm,
            address: Mutex::new(address),
            sections: Mutex::new(sections.to_owned()),
            tls,
            is_named: matches!(naming, Naming::Localhost),
            served_by: Mutex::new(None),
            is_forged: AtomicBool::new(false),
        };
        application.write_configuration();
        Arc::new(application)
    }

    /// Replaces the sections that [`new`](Self::new) was given, and takes every [`edit`](Self::edit) back. A running
    /// server keeps what it read of its configuration; settings are stated at once.
    pub(crate) fn reconfigure(&self, sections: &str) {
        sections.clone_into(&mut self.sections.lock().unwrap());
        self.write_configuration();
        if self.is_initialised() {
            self.state_settings();
        }
    }

    /// The file of those sections that are the deployment's, and not this machine's; none where there are none.
    pub(crate) fn settings(&self) -> Option<PathBuf> {
        let (settings, _) = parted(&self.sections.lock().unwrap());
        let file = self.file("deployment.toml");
        (!settings.is_empty()).then(|| {
            fs::write(&file, settings).unwrap();
            file
        })
    }

    /// `signet init`, beginning with those sections that are the deployment's.
    #[track_caller]
    pub(crate) fn initialise(&self) {
        match self.settings() {
            Some(file) => self.json(&["init", "--settings", file.to_str().unwrap()]),
            None => self.json(&["init"]),
        };
    }

    /// States these sections, beside what is set already.
    #[track_caller]
    pub(crate) fn state(&self, sections: &str) {
        let file = self.file("stated.toml");
        fs::write(&file, sections).unwrap();
        self.json(&["apply", "-f", file.to_str().unwrap()]);
    }

    #[track_caller]
    fn state_settings(&self) {
        if let Some(file) = self.settings() {
            self.json(&["apply", "-f", file.to_str().unwrap()]);
        }
    }

    /// Says that this test writes rows past Signet.
    pub(crate) fn forges_rows(&self) {
        self.is_forged.store(true, Ordering::Relaxed);
    }

    /// Replaces text of the configuration.
    #[track_caller]
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.configuration()).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(self.configuration(), text.replace(from, to)).unwrap();
    }

    /// Takes another address: somebody else has this one.
    pub(super) fn move_away(&self) {
        let (before, after) = (self.address(), fresh_address());
        *self.address.lock().unwrap() = after;
        self.edit(&before.to_string(), &after.to_string());
    }

    fn write_configuration(&self) {
        let server = match &self.tls {
            Some(_) => "\n[server.tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n",
            None => "",
        };
        let mut environment = format!("SOFTHSM2_CONF = \"{}\"", self.token.configuration().display());
        for (name, value) in &self.hsm.environment {
            write!(environment, ", {name} = \"{value}\"").unwrap();
        }
        let text = format!(
            "[server]\npublic_url = \"{issuer}\"\nlisten = \"{address}\"\n{server}\n[store]\n{store}\n\
             \n[[hsm]]\nname = \"{name}\"\nmodule = \"{module}\"\ntoken_label = \"signet\"\npin_file = \"pin\"\n\
             environment = {{ {environment} }}\n{lines}\n\n{sections}\n",
            issuer = self.issuer(),
            address = self.address(),
            store = store_lines(self.postgres()),
            name = self.hsm.name,
            module = self.hsm.module.display(),
            lines = self.hsm.lines,
            sections = parted(&self.sections.lock().unwrap()).1,
        );
        fs::write(self.configuration(), text).unwrap();
    }

    /// The folder of the deployment: configuration, database, PIN, tokens, audit anchor, the servers' log.
    pub(crate) fn folder(&self) -> &Path {
        self.home.as_ref().map_or_else(|| self.token.path(), TempDir::path)
    }

    /// A file of the deployment's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The HSM token.
    pub(crate) fn hsm_token(&self) -> &SoftToken {
        &self.token
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.file("signet.toml")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.file("signet.db")
    }

    /// The database, where it is not a SQLite file.
    pub(crate) fn postgres(&self) -> Option<&Database> {
        self.postgres.as_deref()
    }

    fn is_initialised(&self) -> bool {
        is_initialised(self.folder())
    }

    /// What the servers wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.file("server.log")).unwrap_or_default()
    }

    /// `server.listen`.
    pub(crate) fn address(&self) -> SocketAddr {
        *self.address.lock().unwrap()
    }

    /// `server.public_url`: what `iss` must be.
    pub(crate) fn issuer(&self) -> String {
        if let Some(balancer) = self.balancer {
            return format!("http://{balancer}");
        }
        if self.is_named {
            return format!("http://localhost:{}", self.address().port());
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    pub(super) fn is_behind_balancer(&self) -> bool {
        self.balancer.is_some()
    }

    pub(super) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The certificate in PEM, where the deployment has TLS.
    pub(crate) fn certificate(&self) -> &str {
        self.tls.as_deref().unwrap()
    }
}

/// How clients know a deployment.
enum Naming {
    /// `http://` and its address.
    Address,
    /// `http://localhost` and its port.
    Localhost,
    /// `https://` and its address, by a certificate of its own.
    Certificate,
}

/// Whether `signet init` was run in a folder: it leaves the audit key there.
fn is_initialised(folder: &Path) -> bool {
    folder.join("audit.jwk").exists()
}

/// The lines of `[store]`.
pub(super) fn store_lines(postgres: Option<&Database>) -> String {
    match postgres {
        Some(database) => format!("url = \"{}\"\nstate_folder = \".\"", database.url()),
        None => "url = \"sqlite://signet.db\"".to_owned(),
    }
}

fn soft_hsm(token: SoftToken, lines: &str) -> (Arc<SoftToken>, Hsm) {
    let (name, module) = (USUAL_NAME.to_owned(), token.module().to_owned());
    let hsm = Hsm { name, module, lines: lines.to_owned(), environment: Vec::new() };
    (Arc::new(token), hsm)
}

/// A copy of the template, or a new token where `init` is to make something else.
fn copied_or_new(sections: &str) -> SoftToken {
    let is_usual = !["algorithm", "[[hsm]]", "[keys]", "[audit]", "[store]"].iter().any(|it| sections.contains(it));
    if is_usual { template::copy() } else { SoftToken::new() }
}

/// Of sections those that are the deployment's, and those that are this machine's.
fn parted(sections: &str) -> (String, String) {
    const SETTINGS: [&str; 5] = ["tokens", "keys", "roles", "policy", "mfa"];
    let (mut settings, mut own, mut is_setting) = (String::new(), String::new(), false);
    for line in sections.lines() {
        if let Some(header) = line.strip_prefix('[') {
            let name = header.split([']', '.']).next().unwrap();
            is_setting = SETTINGS.contains(&name);
        }
        let to = if is_setting { &mut settings } else { &mut own };
        to.push_str(line);
        to.push('\n');
    }
    (settings, own)
}

/// An address that no other test has: 127.0.0.0/8 is all loopback, so that each deployment has an IP address for itself
/// and no port has to be guessed.
pub(super) fn fresh_address() -> SocketAddr {
    static USED: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), USED.fetch_add(1, Ordering::Relaxed));
    let [.., high, low] = (process.wrapping_mul(2_654_435_761) >> 16).to_be_bytes();
    // The last byte is 1 to 254, each once before the one before it changes: no two numbers share an address.
    let (row, host) = ((number / 254) as u8, (number % 254) as u8 + 1);
    SocketAddr::from((Ipv4Addr::new(127, high.clamp(1, 254), low ^ row, host), 18_080))
}

fn write_certificate(folder: &Path, address: SocketAddr) -> String {
    let made = rcgen::generate_simple_self_signed([address.ip().to_string()]).unwrap();
    let certificate = made.cert.pem();
    fs::write(folder.join("certificate.pem"), &certificate).unwrap();
    super::write_secret(&folder.join("key.pem"), &made.signing_key.serialize_pem());
    certificate
}
