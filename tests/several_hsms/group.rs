//! A deployment of several soft tokens.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::application::Application;
use crate::support::caller::Caller;
use crate::support::hsm::SoftToken;
use crate::support::process::{PATIENCE, signal, wait_for};
use crate::support::rows::set_signed;
use crate::support::server::Server;

/// A deployment whose first token is `primary`; the others are in folders of their own.
pub(super) struct Group {
    pub(super) deployment: Arc<Application>,
    others: Vec<(String, SoftToken)>,
}

impl Group {
    /// An initialised deployment with these further tokens. `extra` are lines of each `[[hsm]]`.
    pub(super) fn new(others: &[&str], extra: &str) -> Self {
        let deployment = Application::uninitialised_with_hsm(&format!("sessions = 2\n{extra}"), "");
        let mut group = Self { deployment, others: Vec::new() };
        for name in others {
            group.configure(name, extra);
        }
        group.deployment.json(&["init"]);
        group
    }

    /// Makes another soft token and adds its `[[hsm]]` to the configuration, and does nothing else.
    pub(super) fn configure(&mut self, name: &str, extra: &str) {
        let token = SoftToken::new();
        let section = section(name, &token, extra);
        self.add(name, token, &section);
    }

    /// The same with a token whose module is another one, which is told this by its environment.
    pub(super) fn configure_by(&mut self, name: &str, token: SoftToken, module: &str, (variable, value): (&str, &str)) {
        let section = format!(
            "[[hsm]]\nname = \"{name}\"\nmodule = \"{module}\"\ntoken_label = \"signet\"\npin_file = \"{}\"\n\
             sessions = 2\nenvironment = {{ {variable} = \"{value}\" }}\n",
            token.pin_file().display()
        );
        self.add(name, token, &section);
    }

    fn add(&mut self, name: &str, token: SoftToken, section: &str) {
        let text = fs::read_to_string(self.deployment.configuration()).unwrap();
        fs::write(self.deployment.configuration(), format!("{text}\n{section}")).unwrap();
        self.others.push((name.to_owned(), token));
    }

    /// Takes a token's `[[hsm]]` out of the configuration.
    pub(super) fn unconfigure(&mut self, name: &str, extra: &str) {
        let (_, token) = self.others.iter().find(|(other, _)| other == name).unwrap();
        self.deployment.edit(&section(name, token, extra), "");
    }

    /// Throws a token away that is configured no more.
    pub(super) fn forget(&mut self, name: &str) {
        self.others.retain(|(other, _)| other != name);
    }

    /// What the rotation does once the key was published for long enough.
    pub(super) fn promote_signing_key(&self, hsm: &str) {
        let waits = format!("hsm = '{hsm}' AND purpose = 'token_signing' AND state = 'next'");
        // On a thread of its own: whoever asks may be in the middle of something.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(set_signed(&self.deployment, "keys", &waits, "state", "'active'"));
            });
        });
        self.deployment.sql("UPDATE generations SET value = value + 1 WHERE noun = 'keys'");
    }

    fn folder(&self, hsm: &str) -> &Path {
        let other = self.others.iter().find(|(other, _)| other == hsm).map(|(_, token)| token);
        other.unwrap_or(self.deployment.hsm_token()).path()
    }

    /// Takes a token's objects away, as a network HSM that is cut off; its workers end, and don't start.
    pub(super) fn take_away(&self, hsm: &str) {
        self.empty(hsm);
        signal(self.worker(hsm), "KILL");
    }

    /// The same where no server runs.
    pub(super) fn empty(&self, hsm: &str) {
        let tokens = self.folder(hsm).join("tokens");
        fs::rename(&tokens, self.folder(hsm).join("away")).unwrap();
        fs::create_dir(&tokens).unwrap();
    }

    /// Gives it back.
    pub(super) fn bring_back(&self, hsm: &str) {
        let tokens = self.folder(hsm).join("tokens");
        fs::remove_dir_all(&tokens).unwrap();
        fs::rename(self.folder(hsm).join("away"), tokens).unwrap();
    }

    pub(super) fn serve(&self) -> Server {
        self.deployment.serve()
    }

    pub(super) fn log(&self) -> String {
        self.deployment.log()
    }

    /// The worker of this token that came up last, by the server's log.
    pub(super) fn worker(&self, hsm: &str) -> u32 {
        wait_for("a worker", || self.workers(hsm).last().copied())
    }

    /// Every worker of this token that came up.
    pub(super) fn workers(&self, hsm: &str) -> Vec<u32> {
        let log = plain(&self.log());
        let ups =
            log.lines().filter(|line| line.contains("the HSM worker is up") && line.contains(&format!("hsm={hsm} ")));
        let id = |line: &str| line.split("process_id=").nth(1)?.split(' ').next()?.parse().ok();
        ups.filter_map(id).collect()
    }
}

fn section(name: &str, token: &SoftToken, extra: &str) -> String {
    format!(
        "[[hsm]]\nname = \"{name}\"\nmodule = \"{}\"\ntoken_label = \"signet\"\npin_file = \"{}\"\nsessions = 2\n\
         environment = {{ SOFTHSM2_CONF = \"{}\" }}\n{extra}\n",
        token.module().display(),
        token.pin_file().display(),
        token.configuration().display(),
    )
}

/// How a token stands, by `/readyz`.
pub(super) async fn state(caller: &Caller, hsm: &str) -> String {
    caller.get("/readyz").await.unwrap().json()["hsm"][hsm].as_str().unwrap_or_default().to_owned()
}

/// Waits until a token stands like this.
pub(super) async fn until_state(caller: &Caller, hsm: &str, wanted: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = state(caller, hsm).await;
        if found == wanted {
            return;
        }
        assert!(Instant::now() < until, "{hsm} stays {found}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A log without its colours.
fn plain(log: &str) -> String {
    let mut parts = log.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}
