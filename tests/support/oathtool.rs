//! A hardware token: its codes come from oathtool, which knows nothing of Signet.

use std::process::Command;

use signet_jose::clock::{Clock as _, SystemClock};

/// A clock-based token.
pub(crate) struct ClockToken {
    pub(crate) secret_base32: String,
    pub(crate) hash: &'static str,
    pub(crate) digits: u8,
    pub(crate) step: u32,
}

impl ClockToken {
    /// The code that it shows, so many steps from now.
    pub(crate) fn at(&self, steps: i64) -> String {
        let now = SystemClock.now().unix_seconds() + steps * i64::from(self.step);
        let (mode, digits) = (format!("--totp={}", self.hash.to_lowercase()), self.digits.to_string());
        let (step, now) = (format!("{}s", self.step), format!("@{now}"));
        run(&[&mode, "-d", &digits, "-s", &step, "-N", &now, "-b", &self.secret_base32])
    }
}

/// A counter-based token's code at a counter.
pub(crate) fn counter_code(secret_base32: &str, digits: u8, counter: u64) -> String {
    run(&["--hotp", "-d", &digits.to_string(), "-c", &counter.to_string(), "-b", secret_base32])
}

fn run(arguments: &[&str]) -> String {
    let output =
        Command::new("oathtool").args(arguments).output().expect("oathtool is needed: `make test` installs it");
    assert!(output.status.success(), "oathtool {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
