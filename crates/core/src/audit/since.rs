//! What an audit log says was ended, or spent: for a store that is older than the log, in which all of that is to be ended again.
//!
//! Only what took authority away counts. What was given since (a user, a role, a factor) is not in such a store, and is not
//! given by this.

use std::collections::{BTreeMap, BTreeSet};

use super::{AuditEvent, Change, Event, Facts, Outcome};
use crate::mfa::UsedFactor;
use crate::words::words;
use signet_jose::clock::Timestamp;

words! {
    /// What something is.
    pub enum Noun {
        /// A person.
        User = "user",
        /// A factor.
        Factor = "factor",
        /// A client.
        Client = "client",
        /// A client of the Yubico validation protocol.
        OtpClient = "otp_client",
        /// A Yubico OTP key, by its public id: nobody's factor, or a factor that is named so.
        OtpKey = "otp_key",
    }
}

/// One thing of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    /// What it is.
    pub noun: Noun,
    /// Whose it is.
    pub tenant: String,
    /// Its id.
    pub id: String,
}

/// What became of a thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fate {
    /// It is gone.
    pub is_removed: bool,
    /// Whether it was switched off or on, the last time that it was.
    pub is_enabled: Option<bool>,
    /// What it was known by (a password, a secret), or what it may do, was replaced: the older one must not count again.
    pub is_superseded: bool,
    /// The roles that it had at the end.
    pub roles: Option<BTreeSet<String>>,
    /// The furthest that its counter stood.
    pub counter: Option<i64>,
}

impl Fate {
    /// Takes over what a change of several things left.
    fn follows(&mut self, after: &Facts) {
        self.is_enabled = after.enabled.or(self.is_enabled);
        self.roles = after.roles.clone().or_else(|| self.roles.take());
        self.is_superseded |= after.grants.is_some() || after.scope.is_some() || after.audiences.is_some();
    }

    /// Whether it must not count as it stands in the older store.
    pub fn is_ended(&self) -> bool {
        self.is_enabled == Some(false) || self.is_superseded
    }
}

/// An access token that was revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedToken {
    /// Whose it is.
    pub tenant: String,
    /// Its `jti`.
    pub jti: String,
    /// When it was revoked.
    pub at: Timestamp,
}

/// What was ended or spent, in the records that were taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Since {
    /// How many records were taken.
    pub records: u64,
    /// What became of things.
    pub fates: BTreeMap<Thing, Fate>,
    /// Keys that somebody revoked, by their kid.
    pub revoked_keys: BTreeSet<String>,
    /// Access tokens that somebody revoked.
    pub revoked_tokens: Vec<RevokedToken>,
    /// What else was ended, in words: nothing of it is ended by a program.
    pub others: Vec<String>,
}

impl Since {
    /// Takes the next record, which was made at that time.
    pub fn take(&mut self, record: &AuditEvent, at: Timestamp) {
        self.records = self.records.saturating_add(1);
        if record.outcome != Outcome::Done {
            return;
        }
        match record.event {
            Event::UserChanged => self.changed(Noun::User, record, record.user.clone()),
            Event::ClientChanged => self.changed(Noun::Client, record, record.client.clone()),
            Event::OtpClientChanged => self.changed(Noun::OtpClient, record, record.client.clone()),
            Event::FactorChanged | Event::OtpKeyChanged => {
                for (noun, id) in things_of(record) {
                    self.changed(noun, record, Some(id));
                }
            }
            Event::KeyRevoked => self.revoked_keys.extend(record.key.clone()),
            Event::TokenRevoked => {
                let (tenant, jti) = (record.tenant.clone(), record.jti.clone());
                self.revoked_tokens.extend(jti.map(|jti| RevokedToken { tenant, jti, at }));
            }
            Event::NodeRetired | Event::HsmRetired | Event::RuleDecided | Event::SettingsStated => self.other(record),
            Event::StockChanged if record.change == Some(Change::Removed) => self.other(record),
            _ => {}
        }
        if let Some(counter) = record.counter {
            // What was shown beside it has no counter; a recovery record repeats what the sign-in's says.
            if let Some((noun, id)) = things_of(record).pop() {
                let fate = self.fate(noun, record, id);
                fate.counter = Some(fate.counter.map_or(counter, |known| known.max(counter)));
            }
        }
    }

    fn other(&mut self, record: &AuditEvent) {
        self.others.push(format!("{} {}", record.event, record.detail.as_deref().unwrap_or_default()));
    }

    fn fate(&mut self, noun: Noun, record: &AuditEvent, id: String) -> &mut Fate {
        self.fates.entry(Thing { noun, tenant: record.tenant.clone(), id }).or_default()
    }

    fn changed(&mut self, noun: Noun, record: &AuditEvent, id: Option<String>) {
        let (Some(change), Some(id)) = (record.change, id) else { return };
        let fate = self.fate(noun, record, id);
        match change {
            Change::Removed => fate.is_removed = true,
            Change::Disabled => fate.is_enabled = Some(false),
            Change::Enabled => fate.is_enabled = Some(true),
            Change::PasswordReplaced | Change::SecretReplaced | Change::RightsReplaced => fate.is_superseded = true,
            Change::RolesReplaced => fate.roles.clone_from(&record.roles),
            Change::Changed => fate.follows(record.after.as_deref().unwrap_or(&Facts::default())),
            // Of a user they are roles that were given later than the last ones.
            Change::Approved => fate.roles = record.roles.clone().or_else(|| fate.roles.take()),
            Change::Added
            | Change::Renamed
            | Change::TriesForgotten
            | Change::TriesAnswered
            | Change::Resynchronised
            | Change::CounterRaised => {}
        }
    }
}

/// The factors and keys that a record names, the one that it is about last.
fn things_of(record: &AuditEvent) -> Vec<(Noun, String)> {
    let thing = |used: &UsedFactor| match used {
        UsedFactor::Password => None,
        UsedFactor::Factor(factor) => Some((Noun::Factor, factor.id.to_string())),
        UsedFactor::ValidationKey(public_id) => Some((Noun::OtpKey, public_id.clone())),
    };
    record.factors.iter().filter_map(thing).collect()
}

#[cfg(test)]
mod tests {
    use super::super::RequestContext;
    use super::*;
    use crate::mfa::{FactorKind, FactorRef};

    fn record(event: Event) -> AuditEvent {
        AuditEvent::new(event, Outcome::Done, "default", &RequestContext::default())
    }

    fn factor(id: &str) -> UsedFactor {
        UsedFactor::Factor(FactorRef { kind: FactorKind::Hotp, id: crate::mfa::FactorId::new(id) })
    }

    fn since(records: &[AuditEvent]) -> Since {
        let mut since = Since::default();
        records.iter().for_each(|record| since.take(record, Timestamp::from_unix_millis(5)));
        since
    }

    fn fate(since: &Since, noun: Noun, id: &str) -> Fate {
        let thing = Thing { noun, tenant: "default".to_owned(), id: id.to_owned() };
        since.fates.get(&thing).cloned().unwrap_or_default()
    }

    #[test]
    fn the_last_word_on_a_thing_counts_and_a_replaced_secret_always() {
        let user = |change| record(Event::UserChanged).user("u").change(change);
        let told = since(&[user(Change::Disabled), user(Change::Enabled)]);
        assert!(!fate(&told, Noun::User, "u").is_ended());
        let told = since(&[user(Change::Enabled), user(Change::Disabled)]);
        assert!(fate(&told, Noun::User, "u").is_ended());
        let told = since(&[user(Change::PasswordReplaced), user(Change::Enabled)]);
        assert!(fate(&told, Noun::User, "u").is_ended(), "the older password must not count again");
        let client = |change| record(Event::ClientChanged).client("c").change(change);
        let told = since(&[client(Change::SecretReplaced), client(Change::Removed)]);
        assert!(fate(&told, Noun::Client, "c").is_removed);
    }

    #[test]
    fn what_was_refused_or_given_ends_nothing() {
        let mut refused = record(Event::UserChanged).user("u").change(Change::Disabled);
        refused.outcome = Outcome::Refused;
        let told = since(&[refused, record(Event::UserChanged).user("u").change(Change::Added)]);
        assert_eq!(fate(&told, Noun::User, "u"), Fate::default());
        assert_eq!(told.records, 2);
    }

    #[test]
    fn roles_are_those_of_the_last_record() {
        let roles = |roles: &[&str]| AuditEvent {
            roles: Some(roles.iter().map(|&role| role.to_owned()).collect()),
            ..record(Event::UserChanged).user("u").change(Change::RolesReplaced)
        };
        let told = since(&[roles(&["b"]), AuditEvent { change: Some(Change::Approved), ..roles(&["a", "b"]) }]);
        assert_eq!(fate(&told, Noun::User, "u").roles.map(|roles| roles.len()), Some(2), "what was approved counts");
        let told = since(&[roles(&["a", "b"]), roles(&["b"])]);
        assert_eq!(fate(&told, Noun::User, "u").roles, Some(BTreeSet::from(["b".to_owned()])));
    }

    #[test]
    fn of_several_things_that_were_changed_at_once_each_counts() {
        let roles = BTreeSet::from(["b".to_owned()]);
        let after = Facts { enabled: Some(false), roles: Some(roles.clone()), ..Facts::default() };
        let user = record(Event::UserChanged).user("u").change(Change::Changed).from_to(Facts::enabled(true), after);
        let rights = Facts { enabled: Some(true), scope: Some("read".to_owned()), ..Facts::default() };
        let client = record(Event::ClientChanged).client("c").change(Change::Changed);
        let told = since(&[user, client.from_to(Facts::default(), rights)]);
        let (user, client) = (fate(&told, Noun::User, "u"), fate(&told, Noun::Client, "c"));
        assert_eq!((user.is_ended(), user.roles), (true, Some(roles)));
        assert_eq!((client.is_ended(), client.is_enabled), (true, Some(true)), "the older rights must not count again");
    }

    #[test]
    fn a_counter_is_that_of_the_factor_that_was_shown_last_and_never_goes_back() {
        let shown = |counter| {
            let mut draft = record(Event::SignIn).user("u").counter(counter);
            draft.factors = vec![UsedFactor::Password, factor("one")];
            draft
        };
        let told = since(&[shown(7), shown(5)]);
        assert_eq!(fate(&told, Noun::Factor, "one").counter, Some(7));
        let mut validated = record(Event::OtpValidated).counter(3);
        validated.factors = vec![UsedFactor::ValidationKey("cccc".to_owned())];
        assert_eq!(fate(&since(&[validated]), Noun::OtpKey, "cccc").counter, Some(3));
    }

    #[test]
    fn revoked_keys_and_tokens_and_what_only_a_person_ends_are_told() {
        let mut key = record(Event::KeyRevoked);
        key.key = Some("kid".to_owned());
        let mut token = record(Event::TokenRevoked);
        token.jti = Some("jti".to_owned());
        let family = record(Event::TokenRevoked);
        let stock = |change, what: &str| record(Event::StockChanged).change(change).detail(what);
        let (gone, come) = (stock(Change::Removed, "removed 7"), stock(Change::Added, "imported up to 9 tokens"));
        let rule = record(Event::RuleDecided).detail("four_eyes: holds from now on");
        let told = since(&[key, token, family, record(Event::NodeRetired).detail("db1"), gone, come, rule]);
        assert_eq!(told.revoked_keys, BTreeSet::from(["kid".to_owned()]));
        let revoked =
            RevokedToken { tenant: "default".to_owned(), jti: "jti".to_owned(), at: Timestamp::from_unix_millis(5) };
        assert_eq!(told.revoked_tokens, [revoked]);
        assert_eq!(
            told.others,
            ["node.retired db1", "stock.changed removed 7", "rule.decided four_eyes: holds from now on"]
        );
    }
}
