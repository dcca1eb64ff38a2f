//! How many tries an account has.
//!
//! A try is counted, durably, before it is judged, so that neither a crash nor a flood of parallel requests gives
//! free ones; a success forgets the count. Unknown names are counted like known ones.
//!
//! Each way of proof has a count of its own ([`OtpText::channel`]): guessing six digits does not lock a person out who
//! holds a YubiKey. Nothing is won by trying passwords on several channels, because a password alone is never answered.

use std::time::Duration;

use super::policy::OtpText;
use crate::keys::TenantId;

/// The rule: after so many tries without a success, a pause.
///
/// Ten tries an hour are 240 a day. Who knows the password and guesses six-digit codes hits one of at most nine
/// acceptable ones (three steps of three factors) with a chance of 0.2 % a day, under the eyes of the audit log; a
/// person who mistypes ten times waits an hour at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lockout {
    /// Tries that are judged before a pause.
    pub tries: u32,
    /// How long no try is judged.
    pub pause: Duration,
}

impl Lockout {
    /// Ten tries, then an hour.
    pub const DEFAULT: Self = Self { tries: 10, pause: Duration::from_secs(3600) };

    /// The pause in whole seconds, as the store takes it.
    pub fn pause_seconds(&self) -> u32 {
        u32::try_from(self.pause.as_secs()).unwrap_or(u32::MAX)
    }
}

impl Default for Lockout {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What the HSM derives the throttle's name from: distinct for each tenant, channel and name, and the same work for
/// known and unknown names. `name` is the name as typed.
pub fn account_message(tenant: &TenantId, shown: &OtpText, name: &str) -> Vec<u8> {
    // The name comes last: it is the one part that may hold any byte.
    format!("{tenant}\0{}\0{name}", shown.channel()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_differ_by_tenant_channel_and_name() {
        let digits = OtpText::classify("123456");
        let key = OtpText::classify("dteffujehknhfjbrjnlnldnhcujvddbikngjrtgh");
        let (one, two) = (TenantId::new("one"), TenantId::new("two"));
        let messages = [
            account_message(&one, &digits, "ann"),
            account_message(&two, &digits, "ann"),
            account_message(&one, &key, "ann"),
            account_message(&one, &OtpText::classify("?"), "ann"),
            account_message(&one, &digits, "bob"),
        ];
        let distinct: std::collections::BTreeSet<_> = messages.iter().collect();
        assert_eq!(distinct.len(), messages.len());
    }

    #[test]
    fn the_default_is_ten_tries_an_hour() {
        assert_eq!((Lockout::default().tries, Lockout::default().pause_seconds()), (10, 3600));
    }
}
