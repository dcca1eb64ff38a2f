//! A throwaway deployment on a soft token, and its server.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::people::{self, Person};
use crate::{Failure, Shape, load, processes};

const SIGNET: &str = env!("CARGO_BIN_EXE_signet");
pub(crate) const AUDIENCE: &str = "https://api.example";
const PASSWORD: &str = "correct horse battery staple";
/// How many people sign in.
const PEOPLE: usize = 20;

/// The files of a deployment with an ES256 and an RS256 key, and a client.
pub(crate) struct Deployment {
    folder: tempfile::TempDir,
    /// The soft token's module, and the one that workers load, with what that reads from the environment.
    module: String,
    pub(crate) loaded: String,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) port: u16,
    authorization: String,
}

impl Deployment {
    pub(crate) fn new(shape: &Shape) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let module = provision(folder.path())?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (loaded, environment) = (module.clone(), Vec::new());
        let mut deployment = Self { folder, module, loaded, environment, port, authorization: String::new() };
        if shape.operation_ms > 0 {
            deployment.imitate(shape)?;
        }
        std::fs::write(deployment.path("signet.toml"), deployment.config(shape)?)?;
        deployment.run(&["init"])?;
        if shape.tokens == 1 {
            deployment.run(&["key", "generate", "--algorithm", "RS256", "--bits", "2048"])?;
        }
        let client = deployment.run(&[
            "--json",
            "client",
            "add",
            "bench",
            "--grant",
            "client_credentials,password",
            "--scope",
            "read",
            "--audience",
            AUDIENCE,
        ])?;
        let client: Value = serde_json::from_str(&client)?;
        let member = |name: &str| client[name].as_str().ok_or("client add printed something else");
        let pair = format!("{}:{}", member("client_id")?, member("client_secret")?);
        deployment.authorization = format!("Basic {}", STANDARD.encode(pair));
        Ok(deployment)
    }

    fn config(&self, shape: &Shape) -> Result<String, Failure> {
        let mut text = format!(
            "[server]\npublic_url = \"{}\"\nlisten = \"127.0.0.1:{}\"\n[store]\n{}\n\
             [log]\nlevel = \"warn\"\n",
            self.issuer(),
            self.port,
            match crate::text_argument("--store") {
                Some(url) => format!("url = \"{url}\"\nstate_folder = \".\""),
                None => "url = \"sqlite://signet.db\"".to_owned(),
            }
        );
        for number in 0..shape.tokens {
            let folder =
                if number == 0 { self.folder.path().to_owned() } else { self.path(&format!("token-{number}")) };
            if number > 0 {
                std::fs::create_dir(&folder)?;
                provision(&folder)?;
            }
            text += &self.token_section(shape, number, &folder);
        }
        Ok(text)
    }

    fn token_section(&self, shape: &Shape, number: u64, folder: &Path) -> String {
        let environment = self.environment.iter().map(|(name, value)| format!("{name} = \"{value}\"\n"));
        format!(
            "[[hsm]]\nname = \"token-{number}\"\nmodule = \"{module}\"\ntoken_label = \"signet\"\n\
             pin_file = \"{pin}\"\nsessions = {sessions}\nworkers = {workers}\n[hsm.environment]\n\
             SOFTHSM2_CONF = \"{conf}\"\n{environment}",
            module = self.loaded,
            pin = folder.join("pin").display(),
            sessions = shape.sessions.div_ceil(shape.workers),
            workers = shape.workers,
            conf = folder.join("softhsm2.conf").display(),
            environment = environment.collect::<String>(),
        )
    }

    /// The fault module in front of the real one, as slow and as narrow as a network HSM. A worker opens two sessions
    /// more than it signs with.
    fn imitate(&mut self, shape: &Shape) -> Result<(), Failure> {
        let library = std::env::current_exe()?.with_file_name("libsignet_fault_module.so");
        if !library.is_file() {
            return Err(format!("cargo has not built {}", library.display()).into());
        }
        let sessions = shape.sessions.div_ceil(shape.workers) + 2;
        let rules = format!("limit sessions {sessions}\nlimit operation-ms {}\n", shape.operation_ms);
        signet_fault_module::rules::Rules::parse(&rules)?;
        std::fs::write(self.path("fault.rules"), rules)?;
        self.loaded = library.display().to_string();
        self.environment = vec![
            (signet_fault_module::MODULE_VARIABLE.to_owned(), self.module.clone()),
            (signet_fault_module::RULES_VARIABLE.to_owned(), self.path("fault.rules").display().to_string()),
        ];
        Ok(())
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds people with a password and a HOTP token each.
    pub(crate) fn people(&self) -> Result<Vec<Person>, Failure> {
        (0..PEOPLE)
            .map(|number| {
                let name = format!("person-{number}");
                self.run_with(&["user", "add", &name, "--password-stdin"], PASSWORD)?;
                self.run_with(&["factor", "add", "hotp", "--user", &name, "--secret-stdin"], people::BASE32)?;
                Ok(Person { name, presses: 0 })
            })
            .collect()
    }

    /// One request for a token for software, as it goes over the wire.
    pub(crate) fn token_request(&self) -> Vec<u8> {
        self.request("grant_type=client_credentials&scope=read")
    }

    /// One sign-in of a person by password and code.
    pub(crate) fn sign_in_request(&self, name: &str, code: &str) -> Vec<u8> {
        let password = PASSWORD.replace(' ', "+");
        self.request(&format!("grant_type=password&username={name}&password={password}&otp={code}"))
    }

    fn request(&self, body: &str) -> Vec<u8> {
        format!(
            "POST /oauth2/token HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.port,
            self.authorization,
            body.len()
        )
        .into_bytes()
    }

    fn run(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Result<String, Failure> {
        let mut command = Command::new(SIGNET);
        command.arg("--config").arg(self.path("signet.toml")).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().ok_or("no standard input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts a server that signs with this algorithm, and waits until it is ready.
    pub(crate) fn serve(&self, algorithm: &str) -> Result<Server<'_>, Failure> {
        self.run_with(&["apply", "-f", "-"], &format!("[tokens]\nalgorithm = \"{algorithm}\"\n"))?;
        self.serve_as(&self.path("signet.toml"), self.port)
    }

    /// Starts one more node over the same database and HSM token, in a folder of this name.
    pub(crate) fn join(&self, name: &str) -> Result<Server<'_>, Failure> {
        let (folder, port) = (self.path(name), TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        std::fs::create_dir(&folder)?;
        std::fs::copy(self.path("audit.jwk"), folder.join("audit.jwk"))?;
        let listen = |port: u16| format!("listen = \"127.0.0.1:{port}\"");
        let text = std::fs::read_to_string(self.path("signet.toml"))?.replace(&listen(self.port), &listen(port));
        std::fs::write(folder.join("signet.toml"), text)?;
        self.serve_as(&folder.join("signet.toml"), port)
    }

    fn serve_as(&self, config: &Path, port: u16) -> Result<Server<'_>, Failure> {
        let started = Instant::now();
        let mut serve = Command::new(SIGNET);
        serve.arg("--config").arg(config).arg("serve");
        let child = serve.stderr(Stdio::null()).spawn()?;
        let mut server = Server { child, port, deployment: self, ready_after: Duration::ZERO };
        let request = format!("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        while started.elapsed() < Duration::from_secs(20) {
            if load::ask_once(port, request.as_bytes()).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                server.ready_after = started.elapsed();
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err("the server did not become ready".into())
    }
}

/// Makes a soft token in a folder; gives its module.
fn provision(folder: &Path) -> Result<String, Failure> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/softhsm/provision.sh");
    let provisioned = Command::new("sh").arg(script).arg(folder).output()?;
    if !provisioned.status.success() {
        return Err(String::from_utf8_lossy(&provisioned.stderr).into());
    }
    let module = String::from_utf8(provisioned.stdout)?;
    Ok(module.lines().last().ok_or("softhsm/provision.sh names no module")?.to_owned())
}

/// A running server; stopped when dropped.
pub(crate) struct Server<'d> {
    child: Child,
    pub(crate) port: u16,
    pub(crate) deployment: &'d Deployment,
    /// From the start of the process to the first 200 of `/readyz`.
    pub(crate) ready_after: Duration,
}

impl Server<'_> {
    /// CPU seconds of the server without its workers.
    pub(crate) fn own_cpu_seconds(&self) -> Result<f64, Failure> {
        processes::cpu_seconds(self.child.id())
    }

    /// CPU seconds of the server and its workers.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, Failure> {
        processes::family(self.child.id()).into_iter().map(processes::cpu_seconds).sum()
    }

    /// A line of the processes' memory in KiB, summed.
    pub(crate) fn memory(&self, line: &str) -> Result<u64, Failure> {
        processes::family(self.child.id()).into_iter().map(|process| processes::memory_kib(process, line)).sum()
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let asked = rustix::process::Pid::from_child(&self.child);
        // A server that is gone already needs no signal.
        let _ = rustix::process::kill_process(asked, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
