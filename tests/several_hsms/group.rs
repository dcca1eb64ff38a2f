//! A deployment of several soft tokens.

use std::fs;

use crate::faults::deployment::{Deployment, Server, wait_for};
use crate::support::hsm::SoftToken;

/// A deployment whose first token is `primary`; the others are in folders of their own.
pub(super) struct Group {
    pub(super) deployment: Deployment,
    others: Vec<(String, SoftToken)>,
}

impl Group {
    /// An initialised deployment with these further tokens. `extra` are lines of each `[[hsm]]`.
    pub(super) fn new(others: &[&str], extra: &str) -> Self {
        let deployment = Deployment::uninitialised(extra);
        let mut group = Self { deployment, others: Vec::new() };
        for name in others {
            group.configure(name, extra);
        }
        let ran = group.deployment.run(&["init"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        group
    }

    /// Makes another soft token and adds its `[[hsm]]` to the configuration, and does nothing else.
    pub(super) fn configure(&mut self, name: &str, extra: &str) {
        let token = SoftToken::new();
        let section = section(name, &token, extra);
        let text = fs::read_to_string(self.deployment.config()).unwrap();
        fs::write(self.deployment.config(), format!("{text}\n{section}")).unwrap();
        self.others.push((name.to_owned(), token));
    }

    /// Takes a token's `[[hsm]]` out of the configuration.
    pub(super) fn unconfigure(&mut self, name: &str, extra: &str) {
        let (_, token) = self.others.iter().find(|(other, _)| other == name).unwrap();
        self.deployment.reconfigure(&section(name, token, extra), "");
    }

    pub(super) fn serve(&self) -> Server {
        self.deployment.serve()
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.deployment.file("server.log")).unwrap()
    }

    /// The worker of this token that came up last, by the server's log.
    pub(super) fn worker(&self, hsm: &str) -> i32 {
        wait_for("a worker", || self.workers(hsm).last().copied())
    }

    /// Every worker of this token that came up.
    pub(super) fn workers(&self, hsm: &str) -> Vec<i32> {
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

/// A log without its colours.
fn plain(log: &str) -> String {
    let mut parts = log.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}
