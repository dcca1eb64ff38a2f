//! The disk takes no more while the server runs: 503, no token, no record lost, and all is well when there is room.

use std::io::Write as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::application::{ALL_GRANTS, Application, TestClient};
use crate::support::caller::Caller;
use crate::support::codes::Totp;
use crate::support::commands::exported;
use crate::support::hsm::PROGRAM;
use crate::support::process::{PATIENCE, wait_for};
use crate::support::server::Server;
use crate::support::skipped::skipped;

use crate::support::application::PASSWORD;
/// A deployment with a person and a client.
struct Inhabited {
    deployment: Arc<Application>,
    credentials: TestClient,
    totp: Totp,
}

impl Inhabited {
    fn new() -> Self {
        let deployment = Application::new("");
        let ann = deployment.add_user("ann", "reader");
        let totp = deployment.add_totp(&ann, &[]);
        let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
        Self { deployment, credentials, totp }
    }

    /// Uses a server before its disk is full, while it is, and when there is room again.
    async fn go_through(&self, server: &Server, mut fill: impl FnMut(), mut free: impl FnMut()) {
        let caller = Caller::new(server, &self.credentials);
        let [first, second] = self.totp.two_codes();
        let before = caller.client_credentials().await.unwrap().text("access_token");
        let session = caller.sign_in("ann", PASSWORD, &first).await.unwrap().text("refresh_token");
        fill();
        for _ in 0..20 {
            let answer = caller.client_credentials().await.unwrap();
            assert!(answer.is_try_again() && answer.has_no_token(), "{answer:?}");
        }
        for answer in [
            caller.refresh(&session).await.unwrap(),
            caller.sign_in("ann", PASSWORD, &second).await.unwrap(),
            caller.revoke(&before).await.unwrap(),
            caller.get("/readyz").await.unwrap(),
        ] {
            assert!(answer.status == 503 && answer.has_no_token(), "{answer:?}");
        }
        assert_eq!(caller.introspect(&before).await.unwrap().json()["active"], true, "who verifies notices nothing");
        assert_eq!(caller.get("/oauth2/jwks").await.unwrap().status, 200);
        free();
        let until = Instant::now() + PATIENCE;
        while caller.client_credentials().await.unwrap().status != 200 {
            assert!(Instant::now() < until, "no tokens although there is room again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(caller.refresh(&session).await.unwrap().status, 200, "the family is there");
        let again = caller.sign_in("ann", PASSWORD, &second).await.unwrap();
        assert_eq!(again.status, 200, "a code that was never accepted is not spent: {again:?}");
        assert_eq!(caller.revoke(&before).await.unwrap().status, 200);
        assert_eq!(caller.introspect(&before).await.unwrap().json()["active"], false);
    }

    /// The database is whole, and its audit log tells of each token that left.
    fn is_whole(&self) {
        self.deployment.json(&["audit", "verify"]);
        assert_eq!(self.deployment.sql("PRAGMA integrity_check"), "ok");
        let records = exported(&self.deployment.run(&["audit", "export"]).stdout);
        let issued = records.iter().filter(|record| record["event"] == "token.issued").count();
        assert_eq!(issued, 4, "one for each token that left: {records:#?}");
    }
}

/// A limit on the size of files makes each write beyond it fail, also the log's, and is lifted from outside. The
/// signal that comes with it is ignored.
#[tokio::test(flavor = "multi_thread")]
async fn hazard_73_and_79_a_disk_that_takes_no_more_issues_nothing_and_loses_nothing() {
    let inhabited = Inhabited::new();
    let deployment = &inhabited.deployment;
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#, PROGRAM, "--config"])
        .arg(deployment.configuration())
        .arg("serve");
    command.current_dir(deployment.folder()).stdin(Stdio::null()).stdout(Stdio::null());
    let server = deployment.serve_by(command);
    let limit = |bytes: &str| {
        let fsize = format!("--fsize={bytes}:unlimited");
        let output = Command::new("prlimit").args(["--pid", &server.id().to_string(), &fsize]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    inhabited.go_through(&server, || limit("4096"), || limit("unlimited")).await;
    server.stop();
    inhabited.is_whole();
}

/// Mounts a small disk where nobody else sees it, moves the store there, obeys the commands on its standard input in
/// the background, and becomes the server.
const ON_A_SMALL_DISK: &str = r#"
set -eu
mount -t tmpfs -o size=2m tmpfs small
mv signet.db audit.anchor small/
exec 3<&0
while read -r line; do sh -c "$line" && : > obeyed; done <&3 >/dev/null 2>&1 &
exec "$0" --config signet.toml serve 3<&- </dev/null
"#;

/// Has the shell beside the server do something, and waits until it is done.
fn order(shell: &mut ChildStdin, folder: &Path, line: &str) {
    writeln!(shell, "{line}").unwrap();
    wait_for(line, || std::fs::remove_file(folder.join("obeyed")).ok());
}

/// ENOSPC itself, where the kernel lets a user mount a disk of the user's own; containers may not.
#[tokio::test(flavor = "multi_thread")]
async fn hazard_73_and_79_a_full_disk_issues_nothing_and_loses_nothing() {
    let unshare = ["--map-root-user", "--mount"];
    if !Command::new("unshare").args(unshare).arg("true").status().is_ok_and(|status| status.success()) {
        return skipped("nobody but the system's root can mount a disk here");
    }
    let inhabited = Inhabited::new();
    let folder = inhabited.deployment.folder();
    std::fs::create_dir(folder.join("small")).unwrap();
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", ON_A_SMALL_DISK, PROGRAM]).current_dir(folder);
    command.env("SIGNET_STORE__URL", "sqlite://small/signet.db").env("SIGNET_AUDIT__ANCHOR", "small/audit.anchor");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut server = inhabited.deployment.serve_by(command);
    let mut shell = server.input().unwrap();
    let lines = std::cell::RefCell::new(&mut shell);
    let fill = || order(&mut lines.borrow_mut(), folder, "cat /dev/zero > small/ballast || true");
    let free = || order(&mut lines.borrow_mut(), folder, "rm small/ballast");
    inhabited.go_through(&server, fill, free).await;
    server.stop();
    order(&mut shell, folder, "mv small/signet.db small/audit.anchor .");
    inhabited.is_whole();
}
