//! The test application's command line: whom and what it adds, and what its store says.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{Executor as _, PgConnection, SqliteConnection};

use super::application::{AUDIENCE, Application, PASSWORD, TestClient, TestUser};
use super::codes::{Totp, YubiKey};
use super::hsm::PROGRAM;
use super::process::{Ran, feed};

impl Application {
    /// `signet` with these arguments, not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(self.configuration()).args(arguments).current_dir(self.folder());
        command
    }

    /// Runs a command.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    /// Runs a command by the account `nobody` on this machine, which the configuration lets in by its group (`admin.group`).
    /// `None` where only root could do that and this is not root: the test says that it is skipped.
    pub(crate) fn run_as_nobody(&self, arguments: &[&str]) -> Option<Ran> {
        use std::os::unix::fs::PermissionsExt as _;
        if !rustix::process::getuid().is_root() {
            return None;
        }
        // Everything else that a command reads can be read by all.
        for path in [self.folder(), &self.configuration()] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let plain = self.command(arguments);
        let mut command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(plain.get_program());
        command.args(plain.get_args()).current_dir("/");
        Some(feed(command, ""))
    }

    /// Runs commands at once: what each of them waits for passes for all of them.
    pub(crate) fn run_at_once<const N: usize>(&self, commands: [&[&str]; N]) -> [Ran; N] {
        std::thread::scope(|scope| {
            let running = commands.map(|arguments| scope.spawn(move || self.run(arguments)));
            running.map(|running| running.join().unwrap())
        })
    }

    /// Runs a command with text on its standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        feed(self.command(arguments), input)
    }

    /// Runs a command that must succeed, with `--json`; gives what it printed.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.json_with(arguments, "")
    }

    /// Runs a command that must succeed, with `--json` and text on its standard input; gives what it printed.
    #[track_caller]
    pub(crate) fn json_with(&self, arguments: &[&str], input: &str) -> Value {
        self.run_with(&[&["--json"], arguments].concat(), input).json()
    }

    /// Adds a user whose password is [`PASSWORD`].
    #[track_caller]
    pub(crate) fn add_user(&self, name: &str, roles: &str) -> TestUser {
        self.add_user_with(name, roles, PASSWORD)
    }

    #[track_caller]
    pub(crate) fn add_user_with(&self, name: &str, roles: &str, password: &str) -> TestUser {
        let added = self.json_with(&["user", "add", name, "--roles", roles, "--password-stdin"], password);
        TestUser { name: name.to_owned(), id: text(&added, "id") }
    }

    /// Enrols a TOTP factor; `options` are those of `signet factor add totp`.
    #[track_caller]
    pub(crate) fn add_totp(&self, user: &TestUser, options: &[&str]) -> Totp {
        let added = self.json(&[&["factor", "add", "totp", "--user", &user.name], options].concat());
        Totp::of_factor(text(&added, "id"), &text(&added, "otpauth_uri"))
    }

    /// Enrols a YubiKey of this public id, with a fresh AES key.
    #[track_caller]
    pub(crate) fn add_yubico(&self, user: &TestUser, public_id: &str) -> YubiKey {
        let key = YubiKey::new(public_id);
        let private_id = key.private_id_hex();
        let add = ["factor", "add", "yubico-otp", "--user", &user.name, "--public-id", public_id];
        self.json_with(&[&add[..], &["--private-id", &private_id, "--secret-key-stdin"]].concat(), &key.secret_hex());
        key
    }

    /// Adds a client of [`AUDIENCE`].
    #[track_caller]
    pub(crate) fn add_client(&self, name: &str, grants: &str, scopes: &str) -> TestClient {
        self.add_client_for(name, grants, scopes, &[AUDIENCE])
    }

    #[track_caller]
    pub(crate) fn add_client_for(&self, name: &str, grants: &str, scopes: &str, audiences: &[&str]) -> TestClient {
        let mut arguments = vec!["client", "add", name, "--grant", grants, "--scope", scopes];
        arguments.extend(audiences.iter().flat_map(|audience| ["--audience", audience]));
        let added = self.json(&arguments);
        TestClient { name: name.to_owned(), id: text(&added, "client_id"), secret: text(&added, "client_secret") }
    }

    /// The audit records, oldest first.
    pub(crate) async fn audit(&self) -> Vec<Value> {
        // No record has a line break in it.
        let texts = self.sql("SELECT text FROM audit_records ORDER BY sequence");
        texts.lines().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    /// The reasons of this user's refused sign-ins that were written by now.
    pub(crate) async fn refusals(&self, user: &TestUser) -> BTreeSet<String> {
        let records = self.audit().await;
        let refused = records.iter().filter(|record| record["event"] == "sign_in" && record["outcome"] == "refused");
        let of_user = refused.filter(|record| record["user"] == user.id.as_str());
        of_user.map(|record| record["reason"].as_str().unwrap().to_owned()).collect()
    }

    /// Sees that this user's sign-ins were refused for these reasons and no others: they are written soon after.
    #[track_caller]
    pub(crate) fn refused_as<'a>(&'a self, user: &'a TestUser, expected: &'a [&str]) -> impl Future<Output = ()> + 'a {
        let place = std::panic::Location::caller();
        let expected: BTreeSet<String> = expected.iter().map(|reason| (*reason).to_owned()).collect();
        async move {
            let until = Instant::now() + Duration::from_secs(30);
            loop {
                let told = self.refusals(user).await;
                if told == expected {
                    return;
                }
                assert!(Instant::now() < until, "{place}: {told:?}, not {expected:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// How many rows a table has.
    pub(crate) async fn rows(&self, table: &str) -> i64 {
        self.sql(&format!("SELECT count(*) FROM {table}")).parse().unwrap()
    }

    /// What the database answers, by a program that is not ours.
    #[track_caller]
    pub(crate) fn sql(&self, sql: &str) -> String {
        if let Some(database) = self.postgres() {
            return database.sql(sql);
        }
        let mut command = Command::new("sqlite3");
        command.args(["-cmd", ".timeout 5000"]).arg(self.database()).arg(sql);
        feed(command, "").ok().stdout.trim().to_owned()
    }

    /// Has somebody else hold what every write needs, until it is dropped.
    pub(crate) async fn writes_held(&self) -> HeldWrites {
        match self.postgres() {
            Some(database) => {
                let mut connection = database.raw().await;
                connection.execute("BEGIN").await.unwrap();
                connection.execute("SELECT * FROM nodes FOR UPDATE").await.unwrap();
                HeldWrites::Postgres(connection)
            }
            None => {
                let mut connection = super::store::raw(&self.database()).await;
                connection.execute("BEGIN IMMEDIATE").await.unwrap();
                HeldWrites::Sqlite(connection)
            }
        }
    }
}

/// A transaction of somebody else's that lets nobody write.
pub(crate) enum HeldWrites {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl HeldWrites {
    pub(crate) async fn end(self) {
        match self {
            Self::Sqlite(mut connection) => connection.execute("ROLLBACK").await.map(drop).unwrap(),
            Self::Postgres(mut connection) => connection.execute("ROLLBACK").await.map(drop).unwrap(),
        }
    }
}

/// The records of an audit export, in order.
pub(crate) fn exported(text: &str) -> Vec<Value> {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line.get("event").is_some()).collect()
}

/// A member that is a text.
#[track_caller]
pub(crate) fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}")).to_owned()
}
