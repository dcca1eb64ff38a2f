//! What a person must have proved before a token is issued: for everybody, for a client, for a scope, for a role.
//!
//! What a role or a scope asks for and the sign-in did not prove is left out of the token: a stronger sign-in gives
//! more. What everybody or the client needs refuses the token.

use std::collections::{BTreeMap, BTreeSet};

use super::{FactorDetail, FactorKind, UsedFactor};
use signet_verify::Level;

/// The name that stands for Signet's own pages among the clients: their sign-in asks for what
/// `policy.clients."signet:pages"` says, and where it says nothing, for what everybody must prove.
pub const PAGES: &str = "signet:pages";

const PHISHING_RESISTANT: &str = "phishing-resistant";

/// What was proved at a sign-in.
#[derive(Debug, Clone, Copy)]
pub struct Proved<'a> {
    /// The `acr`.
    pub acr: &'a str,
    /// What was shown.
    pub factors: &'a [UsedFactor],
}

impl Proved<'_> {
    /// Whether it is what a value of `acr_values` asks for: that very value, or a level above it.
    pub fn reaches(&self, value: &str) -> bool {
        let is_high = |wanted| Level::of_acr(self.acr).is_some_and(|level| level >= wanted);
        self.acr == value || Level::of_acr(value).is_some_and(is_high)
    }

    fn kinds(&self) -> impl Iterator<Item = FactorKind> {
        self.factors.iter().filter_map(UsedFactor::factor).map(|factor| factor.kind)
    }

    fn is_phishing_resistant(&self) -> bool {
        self.kinds().any(FactorKind::resists_phishing)
    }
}

/// How strong a proof is: by its level, then by whether it gives nothing to a site that only looks like the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Strength {
    level: Level,
    is_phishing_resistant: bool,
}

impl Strength {
    fn of(proved: Proved<'_>) -> Option<Self> {
        let level = Level::of_acr(proved.acr)?;
        Some(Self { level, is_phishing_resistant: proved.is_phishing_resistant() })
    }

    /// The most that a factor proves, on whatever surface: a card that pages don't take is no weaker for that.
    fn reachable(detail: &FactorDetail) -> Option<Self> {
        Some(Self { level: detail.reachable()?, is_phishing_resistant: detail.kind().resists_phishing() })
    }
}

/// Whether who proved this may change how the person signs in, given the person's usable factors: as strongly as the
/// strongest of them proves (NIST SP 800-63B-4 §4.1.2), so that nobody who has got hold of a weaker one puts a key of
/// their own in the place of a better one. A recovery code stands in for what is lost.
pub fn may_change_factors<'f>(proved: Proved<'_>, usable: impl IntoIterator<Item = &'f FactorDetail>) -> bool {
    let strongest = usable.into_iter().filter_map(Strength::reachable).max();
    proved.kinds().any(|kind| kind == FactorKind::Recovery) || Strength::of(proved) >= strongest
}

/// What must have been proved. The default asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirement {
    level: Option<Level>,
    /// One of these kinds of factor; any where it is empty.
    kinds: BTreeSet<FactorKind>,
    is_phishing_resistant: bool,
}

/// A word that no requirement has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an acr (urn:signet:aal1, urn:signet:aal2 or urn:signet:aal3), phishing-resistant, or kinds of factor ({}) are expected",
    FactorKind::ALL.map(FactorKind::name).join(", ")
)]
pub struct UnknownWord;

impl Requirement {
    /// Reads a requirement: an `acr` that must be reached, `phishing-resistant`, and kinds of factor of which one must
    /// have been shown, in any order.
    /// Errors: [`UnknownWord`]; also for two levels, of which one would be meaningless.
    pub fn read<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Self, UnknownWord> {
        let mut read = Self::default();
        for word in words {
            if let Some(level) = Level::of_acr(word) {
                if read.level.replace(level).is_some() {
                    return Err(UnknownWord);
                }
            } else if word == PHISHING_RESISTANT {
                read.is_phishing_resistant = true;
            } else {
                read.kinds.insert(word.parse().map_err(|_| UnknownWord)?);
            }
        }
        Ok(read)
    }

    /// Whether a sign-in proved it. An `acr` that is not Signet's reaches no level.
    pub fn is_met_by(&self, proved: Proved<'_>) -> bool {
        let is_high = self.level.is_none_or(|least| Level::of_acr(proved.acr).is_some_and(|level| level >= least));
        let is_of_kind = self.kinds.is_empty() || proved.kinds().any(|kind| self.kinds.contains(&kind));
        let resists = !self.is_phishing_resistant || proved.is_phishing_resistant();
        is_high && is_of_kind && resists
    }
}

/// What the tenant asks of everybody, and of whom it asks more. The default asks for nothing beyond the two factors that
/// every sign-in shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AssurancePolicy {
    /// For every person's token.
    pub everybody: Requirement,
    /// By a client's name.
    pub clients: BTreeMap<String, Requirement>,
    /// By scope.
    pub scopes: BTreeMap<String, Requirement>,
    /// By role.
    pub roles: BTreeMap<String, Requirement>,
    /// Whether tokens tell the authenticator: its kind, and its serial number or model where they are known.
    pub tells_authenticator: bool,
}

impl AssurancePolicy {
    /// Whether a client may have a token for this sign-in at all.
    pub fn admits(&self, client: &str, proved: Proved<'_>) -> bool {
        let by_client = self.clients.get(client).is_none_or(|requirement| requirement.is_met_by(proved));
        by_client && self.everybody.is_met_by(proved)
    }

    /// Whether a sign-in on Signet's own pages suffices. What is said of [`PAGES`] stands in the place of what everybody
    /// must prove, not beside it: who must show a security key has to come in without one to enrol it.
    pub fn admits_to_pages(&self, proved: Proved<'_>) -> bool {
        self.clients.get(PAGES).unwrap_or(&self.everybody).is_met_by(proved)
    }

    /// The roles that this sign-in may use.
    pub fn limit_roles(&self, roles: &BTreeSet<String>, proved: Proved<'_>) -> BTreeSet<String> {
        limit(&self.roles, roles, proved)
    }

    /// The scopes that this sign-in may use.
    pub fn limit_scopes(&self, scopes: &BTreeSet<String>, proved: Proved<'_>) -> BTreeSet<String> {
        limit(&self.scopes, scopes, proved)
    }
}

fn limit(asked: &BTreeMap<String, Requirement>, names: &BTreeSet<String>, proved: Proved<'_>) -> BTreeSet<String> {
    let is_met = |name: &&String| asked.get(*name).is_none_or(|requirement| requirement.is_met_by(proved));
    names.iter().filter(is_met).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mfa::{PivState, WebAuthnState};

    fn requirement(words: &str) -> Requirement {
        Requirement::read(words.split_whitespace()).unwrap()
    }

    fn shown(kind: &str) -> [UsedFactor; 2] {
        [UsedFactor::Password, format!("{kind}:id").parse().unwrap()]
    }

    fn is_met(words: &str, acr: &str, factor: &str) -> bool {
        let factors = shown(factor);
        requirement(words).is_met_by(Proved { acr, factors: &factors })
    }

    #[test]
    fn levels_kinds_and_resistance_are_all_asked_for() {
        let cases = [
            ("", "urn:signet:aal1", "totp", true),
            ("urn:signet:aal2", "urn:signet:aal2", "totp", true),
            ("urn:signet:aal2", "urn:signet:aal3", "piv", true),
            ("urn:signet:aal3", "urn:signet:aal2", "webauthn", false),
            ("urn:signet:aal2", "urn:other", "totp", false),
            ("yubico_otp webauthn", "urn:signet:aal2", "totp", false),
            ("yubico_otp webauthn", "urn:signet:aal2", "yubico_otp", true),
            ("phishing-resistant", "urn:signet:aal2", "yubico_otp", false),
            ("phishing-resistant", "urn:signet:aal2", "webauthn", true),
            ("urn:signet:aal3 piv", "urn:signet:aal3", "webauthn", false),
        ];
        for (words, acr, factor, expected) in cases {
            assert_eq!(is_met(words, acr, factor), expected, "{words} for {acr} by {factor}");
        }
    }

    #[test]
    fn the_pages_have_a_requirement_of_their_own_in_the_place_of_everybodys() {
        let everybody = requirement("webauthn");
        let factors = shown("totp");
        let proved = Proved { acr: "urn:signet:aal2", factors: &factors };
        let mut policy = AssurancePolicy { everybody, ..AssurancePolicy::default() };
        assert!(!policy.admits_to_pages(proved));
        policy.clients.insert(PAGES.to_owned(), requirement("urn:signet:aal2"));
        assert!(policy.admits_to_pages(proved) && !policy.admits("app", proved));
    }

    #[test]
    fn factors_are_changed_by_the_strongest_or_by_a_recovery_code() {
        let key = |attested| {
            let (credential_id, credential, aaguid) = ("c".to_owned(), String::new(), None);
            let verifies = true;
            FactorDetail::WebAuthn(WebAuthnState { credential_id, credential, aaguid, attested, verifies, counter: 0 })
        };
        let totp = FactorDetail::Totp(super::super::policy::decoy_totp());
        let by = |acr: &str, factor: &str, usable: &[FactorDetail]| {
            let factors = shown(factor);
            may_change_factors(Proved { acr, factors: &factors }, usable)
        };
        let (some, all) = ([totp.clone(), key(false)], [totp.clone(), key(false), key(true)]);
        assert!(by("urn:signet:aal2", "totp", std::slice::from_ref(&totp)) && by("urn:signet:aal2", "totp", &[]));
        assert!(!by("urn:signet:aal2", "totp", &some) && by("urn:signet:aal2", "webauthn", &some));
        assert!(!by("urn:signet:aal2", "webauthn", &all) && by("urn:signet:aal3", "webauthn", &all));
        assert!(by("urn:signet:aal1", "recovery", &all) && !by("urn:other", "totp", &[totp]));
    }

    /// Pages take no card, and it is no weaker for that: whoever phished a code removes none, and puts nothing beside it.
    #[test]
    fn hazard_110_a_card_counts_among_the_factors_that_a_change_is_as_strong_as() {
        let card = |attested| {
            let (key_thumbprint, public_key) = ("t".to_owned(), "k".to_owned());
            FactorDetail::Piv(PivState { key_thumbprint, public_key, serial: None, attested })
        };
        let totp = FactorDetail::Totp(super::super::policy::decoy_totp());
        let by = |acr: &str, factor: &str, usable: &[FactorDetail]| {
            let factors = shown(factor);
            may_change_factors(Proved { acr, factors: &factors }, usable)
        };
        for attested in [false, true] {
            let usable = [totp.clone(), card(attested)];
            assert!(!by("urn:signet:aal2", "totp", &usable));
            assert!(by("urn:signet:aal3", "webauthn", &usable) && by("urn:signet:aal1", "recovery", &usable));
            assert_eq!(by("urn:signet:aal2", "webauthn", &usable), !attested);
        }
    }

    #[test]
    fn a_higher_level_is_what_a_lower_one_asks_for() {
        let by = |acr| Proved { acr, factors: &[] };
        for (acr, value, reaches) in [
            ("urn:signet:aal2", "urn:signet:aal2", true),
            ("urn:signet:aal3", "urn:signet:aal2", true),
            ("urn:signet:aal1", "urn:signet:aal2", false),
            ("urn:other", "urn:other", true),
            ("urn:other", "urn:signet:aal1", false),
            ("urn:signet:aal3", "urn:other", false),
        ] {
            assert_eq!(by(acr).reaches(value), reaches, "{acr} for {value}");
        }
    }

    #[test]
    fn other_words_are_refused() {
        for words in ["aal3", "password", "urn:signet:aal2 urn:signet:aal3", "TOTP"] {
            assert_eq!(Requirement::read(words.split_whitespace()), Err(UnknownWord), "{words}");
        }
    }

    #[test]
    fn more_is_asked_of_some_than_of_everybody() {
        let by_name = |name: &str, words: &str| BTreeMap::from([(name.to_owned(), requirement(words))]);
        let policy = AssurancePolicy {
            everybody: requirement("urn:signet:aal2"),
            clients: by_name("console", "webauthn"),
            scopes: by_name("pay", "urn:signet:aal3"),
            roles: by_name("admin", "phishing-resistant"),
            tells_authenticator: false,
        };
        let (code, key) = (shown("totp"), shown("webauthn"));
        let by_code = Proved { acr: "urn:signet:aal2", factors: &code };
        let by_key = Proved { acr: "urn:signet:aal3", factors: &key };
        let recovered = Proved { acr: "urn:signet:aal1", factors: &code };
        assert!(policy.admits("app", by_code) && !policy.admits("app", recovered));
        assert!(policy.admits("console", by_key) && !policy.admits("console", by_code));
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(policy.limit_scopes(&names(&["pay", "read"]), by_code), names(&["read"]));
        assert_eq!(policy.limit_scopes(&names(&["pay", "read"]), by_key), names(&["pay", "read"]));
        assert_eq!(policy.limit_roles(&names(&["admin", "user"]), by_code), names(&["user"]));
        assert_eq!(policy.limit_roles(&names(&["admin", "user"]), by_key), names(&["admin", "user"]));
    }
}
