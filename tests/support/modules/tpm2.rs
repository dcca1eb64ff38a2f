//! tpm2-pkcs11 on a software TPM, behind the resource manager that clears away what a killed process leaves in it.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::super::application::fresh_address;
use super::{LABEL, ModuleToken, PIN, SECURITY_OFFICER, Server, library, run, variable};

const PORT: u16 = 2321;
const CONTROL: u16 = 2322;

pub(super) fn token() -> ModuleToken {
    let directory = TempDir::new().unwrap();
    let (state, store) = (directory.path().join("tpm"), directory.path().join("store"));
    std::fs::create_dir(&state).unwrap();
    std::fs::create_dir(&store).unwrap();
    let SocketAddr::V4(address) = fresh_address() else { unreachable!() };
    let bus = directory.path().join("bus");
    let bus_address = format!("unix:path={}", bus.display());
    let servers = vec![
        start_tpm(&state, *address.ip()),
        start_bus(&bus, &bus_address),
        start_manager(&directory.path().join("manager.log"), *address.ip(), &bus_address),
    ];
    let environment = vec![
        variable("TPM2_PKCS11_STORE", &store),
        ("TPM2_PKCS11_BACKEND".into(), "esysdb".into()),
        ("TPM2_PKCS11_TCTI".into(), "tabrmd:bus_type=session".into()),
        ("DBUS_SESSION_BUS_ADDRESS".into(), bus_address),
    ];
    let module = library("libtpm2_pkcs11.so.1");
    let tool = |arguments: &[&str]| {
        let mut command = Command::new("pkcs11-tool");
        run(command.arg("--module").arg(&module).args(arguments).envs(environment.clone()))
    };
    tool(&["--init-token", "--slot-index", "0", "--label", LABEL, "--so-pin", SECURITY_OFFICER]);
    let as_officer = ["--token-label", LABEL, "--login", "--login-type", "so", "--so-pin", SECURITY_OFFICER];
    tool(&[&as_officer[..], &["--init-pin", "--pin", PIN]].concat());
    let mut token = ModuleToken::new(directory, module, environment);
    token.servers = servers;
    token
}

fn start_tpm(state: &Path, address: Ipv4Addr) -> Server {
    let mut command = Command::new("swtpm");
    command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"]);
    command.arg(format!("dir={}", state.display()));
    command.args(["--server", &format!("type=tcp,port={PORT},bindaddr={address},disconnect")]);
    command.args(["--ctrl", &format!("type=tcp,port={CONTROL},bindaddr={address}")]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Server::start(command, move || TcpStream::connect((address, CONTROL)).is_ok())
}

fn start_bus(socket: &Path, address: &str) -> Server {
    let mut command = Command::new("dbus-daemon");
    command.args(["--session", "--nofork", "--address", address]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let socket = socket.to_owned();
    Server::start(command, move || UnixStream::connect(&socket).is_ok())
}

fn start_manager(log: &Path, tpm: Ipv4Addr, bus: &str) -> Server {
    let mut command = Command::new("tpm2-abrmd");
    command.args(["--session", "--allow-root", "--tcti", &format!("swtpm:host={tpm},port={PORT}")]);
    command.env("DBUS_SESSION_BUS_ADDRESS", bus).stdin(Stdio::null());
    let told = std::fs::File::create(log).unwrap();
    command.stdout(told.try_clone().unwrap()).stderr(told);
    let bus = bus.to_owned();
    Server::start(command, move || has_name(&bus))
}

/// Whether the manager has taken its name on the bus.
fn has_name(bus: &str) -> bool {
    let mut asked = Command::new("dbus-send");
    asked.env("DBUS_SESSION_BUS_ADDRESS", bus).args(["--session", "--print-reply", "--dest=org.freedesktop.DBus"]);
    asked.args(["/", "org.freedesktop.DBus.NameHasOwner", "string:com.intel.tss2.Tabrmd"]);
    asked.output().is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).contains("boolean true"))
}
