//! p11-kit's client in front of its server in front of SoftHSM: the token is in another process.

use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use super::super::hsm::SoftToken;
use super::{LABEL, ModuleToken, Server, library};

pub(super) fn token() -> ModuleToken {
    let soft = SoftToken::new();
    let socket = soft.path().join("p11.sock");
    let mut command = Command::new("p11-kit");
    command.args(["server", "--foreground", "--name"]).arg(&socket);
    command.arg("--provider").arg(soft.module()).arg(format!("pkcs11:token={LABEL}"));
    command.env("SOFTHSM2_CONF", soft.configuration());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let address = socket.to_str().unwrap().to_owned();
    let server = Server::start(command, move || UnixStream::connect(&socket).is_ok());
    let mut token = ModuleToken::of_softhsm(soft);
    token.config.module = library("pkcs11/p11-kit-client.so");
    token.config.environment = [("P11_KIT_SERVER_ADDRESS".into(), format!("unix:path={address}"))].into();
    token.servers = vec![server];
    token
}
