//! `signet login --keyring` with a real keyring: GNOME's daemon on a D-Bus of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use super::login::{Terminal, mode};
use crate::support::application::{Application, PASSWORD, TestUser};
use crate::support::process::{Ran, feed, wait_for};

/// A bus that starts no service by itself: another keyring would take the name.
const BUS: &str = "<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><policy context=\"default\">\
     <allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy></busconfig>";

/// A D-Bus session with an unlocked keyring on it.
struct Session {
    address: String,
    children: Vec<Child>,
    home: tempfile::TempDir,
}

impl Session {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let configuration = home.path().join("bus.conf");
        std::fs::write(&configuration, BUS).unwrap();
        let mut bus = Command::new("dbus-daemon");
        bus.arg("--config-file").arg(&configuration).args(["--nofork", "--print-address=1"]).stdout(Stdio::piped());
        let mut bus = bus.spawn().expect("Debian's dbus-daemon is installed");
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let mut session = Self { address: address.trim().to_owned(), children: vec![bus], home };
        let mut daemon = Command::new("gnome-keyring-daemon");
        daemon.args(["--foreground", "--components=secrets", "--unlock"]).stdin(Stdio::piped());
        daemon.stdout(Stdio::null()).stderr(Stdio::null()).env("DBUS_SESSION_BUS_ADDRESS", &session.address);
        for variable in ["HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"] {
            daemon.env(variable, session.home.path());
        }
        let mut daemon = daemon.spawn().expect("Debian's gnome-keyring is installed");
        writeln!(daemon.stdin.take().unwrap(), "the keyring's password").unwrap();
        session.children.push(daemon);
        wait_for("the keyring's default collection", || {
            session.call("ReadAlias", "string:default").contains("/collection/").then_some(())
        });
        session
    }

    /// Asks the Secret Service by somebody else's program.
    fn call(&self, method: &str, argument: &str) -> String {
        let mut command = Command::new("dbus-send");
        command.args(["--session", "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets"]);
        command.arg(format!("org.freedesktop.Secret.Service.{method}")).arg(argument);
        let output = command.env("DBUS_SESSION_BUS_ADDRESS", &self.address).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn items(&self) -> usize {
        self.call("SearchItems", "dict:string:string:application,signet").matches("object path").count()
    }

    fn run(&self, terminal: &Terminal, arguments: &[&str], input: &str) -> Ran {
        let mut command = terminal.command(arguments);
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.address);
        feed(command, input)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn login<'a>(terminal: &'a Terminal, issuer: &'a str, user: &'a TestUser, more: &[&'a str]) -> Vec<&'a str> {
    let arguments = ["login", "--issuer", issuer, "--client-id", &terminal.app.id, "--client-secret-stdin"];
    [&arguments[..], &["--user", &user.name, "--credentials-stdin"], more].concat()
}

#[tokio::test]
async fn tokens_and_the_clients_secret_are_in_the_keyring_and_in_no_file() {
    let session = Session::start();
    // Each token is refreshed at its next use.
    let terminal = Terminal::at(Application::new("[tokens]\naccess_lifetime = \"20s\""));
    let ann = terminal.server.add_user("ann", "reader");
    let totp = terminal.server.add_totp(&ann, &[]);
    let issuer = terminal.server.issuer();
    let input = |steps: i64| format!("{}\n{PASSWORD}\n{}\n", terminal.app.secret, totp.at(steps));
    let ran = session.run(&terminal, &login(&terminal, &issuer, &ann, &["--keyring", "--json"]), &input(-1));
    assert_eq!((&ran.json()["kept_in"], session.items()), (&"keyring".into(), 1), "{ran:?}");
    let file = std::fs::read_to_string(terminal.kept()).unwrap();
    assert!(!file.contains("_token") && !file.contains(&terminal.app.secret), "{file}");
    assert_eq!(mode(&terminal.kept()), 0o600);

    let print = || session.run(&terminal, &["login", "--print-token"], "");
    let (first, second) = (print(), print());
    assert!(first.code == Some(0) && second.code == Some(0) && first.stdout != second.stdout, "{first:?} {second:?}");
    assert!(terminal.server.is_active(&terminal.app, second.stdout.trim_end()).await);
    assert_eq!(session.items(), 1, "a refreshed token takes the earlier one's place");
    let stepped_up = session.run(
        &terminal,
        &["login", "--max-age", "0", "--credentials-stdin", "--json"],
        &format!("{PASSWORD}\n{}\n", totp.at(0)),
    );
    assert_eq!(stepped_up.json()["kept_in"], "keyring", "{stepped_up:?}");
    // Without the session's bus there is no keyring, and nothing is told but that.
    terminal.run(&["login", "--print-token"], "").fails(1, &["no keyring"]);
    let elsewhere = terminal.run(&login(&terminal, &issuer, &ann, &["--keyring"]), &input(1));
    elsewhere.fails(1, &["no keyring", "without --keyring"]);

    let in_file = session.run(&terminal, &login(&terminal, &issuer, &ann, &["--json"]), &input(1));
    assert_eq!((&in_file.json()["kept_in"], session.items()), (&"file".into(), 0), "the item goes with its sign-in");
    assert_eq!(session.run(&terminal, &["logout"], "").code, Some(0));
}

#[tokio::test]
async fn logging_out_deletes_the_keyrings_item() {
    let session = Session::start();
    let terminal = Terminal::at(Application::new(""));
    let ann = terminal.server.add_user("ann", "reader");
    let totp = terminal.server.add_totp(&ann, &[]);
    let issuer = terminal.server.issuer();
    let input = format!("{}\n{PASSWORD}\n{}\n", terminal.app.secret, totp.code());
    assert_eq!(session.run(&terminal, &login(&terminal, &issuer, &ann, &["--keyring"]), &input).code, Some(0));
    let token = session.run(&terminal, &["login", "--print-token"], "").stdout;
    assert_eq!(session.run(&terminal, &["logout"], "").code, Some(0));
    assert_eq!((session.items(), terminal.kept().exists()), (0, false));
    assert!(!terminal.server.is_active(&terminal.app, token.trim_end()).await);
}
