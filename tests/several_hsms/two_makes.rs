//! Two modules of different makes at once: SoftHSM, and p11-kit's client, whose token is in another process.

use crate::support::application::ALL_GRANTS;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::group::{Group, until_state};
use super::load::Load;
use crate::support::caller::Caller;
use crate::support::hsm::SoftToken;
use crate::support::process::{signal, wait_for};

/// Debian's folder of libraries is the machine's, as `libc`'s is.
fn client_module() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    let found = folders.map(|folder| folder.join("pkcs11/p11-kit-client.so")).find(|module| module.exists());
    found.expect("p11-kit-client.so: install p11-kit-modules")
}

/// `p11-kit server` over a soft token; it is killed on drop.
struct Remote(Child);

impl Remote {
    fn start(folder: &Path, module: &Path, socket: &Path) -> Self {
        // A server that was killed leaves its socket.
        let _ = std::fs::remove_file(socket);
        let mut command = Command::new("p11-kit");
        command.args(["server", "--foreground", "--name"]).arg(socket).arg("--provider").arg(module);
        command.arg("pkcs11:token=signet").env("SOFTHSM2_CONF", folder.join("softhsm2.conf"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("p11-kit's server", || UnixStream::connect(socket).ok());
        Self(child)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_token_of_another_make_is_lost_and_found_without_a_lost_request() {
    let token = SoftToken::new();
    let (folder, module) = (token.path().to_owned(), token.module().to_owned());
    let socket = folder.join("p11.sock");
    let remote = Remote::start(&folder, &module, &socket);
    let mut group = Group::new(&[], "");
    let address = format!("unix:path={}", socket.display());
    group.configure_by("remote", token, client_module().to_str().unwrap(), ("P11_KIT_SERVER_ADDRESS", &address));
    // It only signs, and lacks nothing for that.
    let added = group.deployment.json(&["hsm", "add", "remote"]);
    assert_eq!((&added["keeps_secrets"], &added["resealed"]), (&false.into(), &0.into()), "{added}");
    let listed = group.deployment.run(&["hsm", "list"]).stdout;
    assert!(listed.contains("none: it only signs") && !listed.contains("lacks"), "{listed}");
    let doctor = group.deployment.run(&["doctor", "--quick"]);
    assert!(doctor.code == Some(0) && doctor.stdout.contains("HSM remote: only signs"), "{doctor:?}");
    group.promote_signing_key("remote");
    let credentials = group.deployment.add_client("app", ALL_GRANTS, "read write");
    let server = group.serve();
    let caller = Caller::new(&server, &credentials);
    until_state(&caller, "remote", "ok").await;
    let load = Load::start(&caller);
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(remote);
    // The connection that is there has a process of its own, and goes on; another one can't be made.
    signal(group.worker("remote"), "KILL");
    until_state(&caller, "remote", "not available").await;
    let _remote = tokio::task::block_in_place(|| Remote::start(&folder, &module, &socket));
    until_state(&caller, "remote", "ok").await;
    load.stop().await.lost_none();
    server.stop();
}
