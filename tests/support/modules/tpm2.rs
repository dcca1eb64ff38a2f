//! tpm2-pkcs11 on a software TPM, which serves one connection at a time.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
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
    let server = start(&state, *address.ip());
    let environment = vec![
        variable("TPM2_PKCS11_STORE", &store),
        ("TPM2_PKCS11_BACKEND".into(), "esysdb".into()),
        ("TPM2_PKCS11_TCTI".into(), format!("swtpm:host={},port={PORT}", address.ip())),
    ];
    let module = library("libtpm2_pkcs11.so.1");
    let tool = |arguments: &[&str]| {
        let mut command = Command::new("pkcs11-tool");
        run(command.arg("--module").arg(&module).args(arguments).envs(environment.clone()))
    };
    tool(&["--init-token", "--slot-index", "0", "--label", LABEL, "--so-pin", SECURITY_OFFICER]);
    tool(&[
        &["--token-label", LABEL, "--login", "--login-type", "so", "--so-pin", SECURITY_OFFICER][..],
        &["--init-pin", "--pin", PIN],
    ]
    .concat());
    let mut token = ModuleToken::new(directory, module, environment);
    token.server = Some(server);
    token
}

fn start(state: &Path, address: Ipv4Addr) -> Server {
    let mut command = Command::new("swtpm");
    command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"]);
    command.arg(format!("dir={}", state.display()));
    command.args(["--server", &format!("type=tcp,port={PORT},bindaddr={address},disconnect")]);
    command.args(["--ctrl", &format!("type=tcp,port={CONTROL},bindaddr={address}")]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Server::start(command, move || TcpStream::connect((address, CONTROL)).is_ok())
}
