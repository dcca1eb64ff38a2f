//! What was proved: who, by which factors, at which level, when.
//!
//! An [`Authentication`] is what issuing a user's token takes. Its constructor is private to the proofs, and a proof
//! is made by a check that succeeded: nothing else in Signet can say that a person signed in.

use super::{FactorId, FactorKind, FactorRef, UsedFactor, UserId};
use signet_jose::clock::Timestamp;
use signet_verify::Level;

/// The user's password was shown. Only [`password::verify`](super::password::verify) makes it.
#[derive(Debug)]
#[must_use]
pub struct PasswordProof {
    user: UserId,
}

impl PasswordProof {
    pub(super) fn new(user: UserId) -> Self {
        Self { user }
    }

    /// Whose password it was.
    pub fn user(&self) -> &UserId {
        &self.user
    }
}

/// A one-time code of the user's factor was shown, and this request was the one that spent it.
///
/// Only what is spent makes it: a [`SpendableCounter`], a [`SpendableStep`](super::totp::SpendableStep), a
/// [`SpendableNonce`](super::piv::SpendableNonce) and so on.
#[derive(Debug)]
#[must_use]
pub struct FactorProof {
    user: UserId,
    factor: FactorId,
    used: FactorUse,
}

/// The kinds of factor, with what this use of it showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FactorUse {
    Totp,
    Hotp,
    YubicoOtp,
    YubicoRemote,
    /// `verified`: the authenticator verified the person, by a PIN or a finger. `attested`: its model is known for sure.
    WebAuthn {
        verified: bool,
        attested: bool,
    },
    /// `attested`: the key was made on a device that asks for the PIN. Otherwise an operator says so, and nothing
    /// proves it.
    Piv {
        attested: bool,
    },
    Recovery,
}

impl FactorUse {
    /// Its kind; its methods by RFC 8176 §2, without the password; and the level that it reaches with a password, or, where
    /// it can, by itself (NIST SP 800-63B-4).
    ///
    /// A Yubico OTP's key lives in hardware alone, as does that of a security key, of which no copies are enrolled; a TOTP
    /// seed may live in an app. A recovery code shows no authenticator, and an OTP resists no phishing.
    const fn shows(self) -> (FactorKind, &'static [&'static str], Level) {
        match self {
            Self::Totp => (FactorKind::Totp, &["otp", "mfa"], Level::Aal2),
            Self::Hotp => (FactorKind::Hotp, &["otp", "mfa"], Level::Aal2),
            Self::YubicoOtp => (FactorKind::YubicoOtp, &["otp", "hwk", "mfa"], Level::Aal2),
            Self::YubicoRemote => (FactorKind::YubicoRemote, &["otp", "hwk", "mfa"], Level::Aal2),
            Self::WebAuthn { verified: true, attested } => {
                let level = if attested { Level::Aal3 } else { Level::Aal2 };
                (FactorKind::WebAuthn, &["hwk", "pin", "user", "mfa"], level)
            }
            Self::WebAuthn { verified: false, .. } => (FactorKind::WebAuthn, &["hwk", "user", "mfa"], Level::Aal2),
            Self::Piv { attested: true } => (FactorKind::Piv, &["sc", "hwk", "pin", "mfa"], Level::Aal3),
            Self::Piv { attested: false } => (FactorKind::Piv, &["sc", "mfa"], Level::Aal2),
            Self::Recovery => (FactorKind::Recovery, &["otp", "mfa"], Level::Aal1),
        }
    }
}

impl FactorProof {
    pub(super) fn new(user: UserId, factor: FactorId, used: FactorUse) -> Self {
        Self { user, factor, used }
    }

    /// Whose factor it is.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The factor.
    pub fn factor(&self) -> FactorRef {
        FactorRef { kind: self.used.shows().0, id: self.factor.clone() }
    }
}

/// A counter that a shown code matched, and that was not spent when the factor was read: of a HOTP, or of a Yubico OTP that
/// was judged here or by another server.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a counter that is not spent can be used again"]
pub struct SpendableCounter {
    pub(super) raised: i64,
    pub(super) used: FactorUse,
}

impl SpendableCounter {
    /// What the store raises the factor's counter to: the lowest acceptable one of a HOTP, the last accepted one of a
    /// Yubico OTP (`useCtr << 8 | sessionUse`).
    pub fn raised(&self) -> i64 {
        self.raised
    }

    /// The proof, where the conditional write that raised the factor's counter to this was `won`.
    pub fn spent(self, user: &UserId, factor: &FactorId, won: bool) -> Option<FactorProof> {
        won.then(|| FactorProof::new(user.clone(), factor.clone(), self.used))
    }
}

/// A person signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    user: UserId,
    factors: Vec<UsedFactor>,
    methods: Vec<&'static str>,
    level: Level,
    at: Timestamp,
}

impl Authentication {
    /// What a password and a factor prove together; `None` where they are not the same user's.
    pub fn from_proofs(password: PasswordProof, factor: FactorProof, at: Timestamp) -> Option<Self> {
        let (_, methods, level) = factor.used.shows();
        (password.user == factor.user).then(|| Self {
            factors: vec![UsedFactor::Password, UsedFactor::Factor(factor.factor())],
            methods: ["pwd"].iter().chain(methods).copied().collect(),
            level,
            user: password.user,
            at,
        })
    }

    /// What an authenticator that verified the person itself proves alone; `None` where it did not.
    pub fn from_passwordless(factor: FactorProof, at: Timestamp) -> Option<Self> {
        let (_, methods, level) = factor.used.shows();
        matches!(factor.used, FactorUse::WebAuthn { verified: true, .. }).then(|| Self {
            factors: vec![UsedFactor::Factor(factor.factor())],
            methods: methods.to_vec(),
            level,
            user: factor.user,
            at,
        })
    }

    /// Who signed in.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// What was shown: the password, the factor.
    pub fn factors(&self) -> &[UsedFactor] {
        &self.factors
    }

    /// `amr` (RFC 8176).
    pub fn amr(&self) -> Vec<String> {
        self.methods.iter().map(ToString::to_string).collect()
    }

    /// `acr`: the level that was reached.
    pub fn acr(&self) -> &'static str {
        self.level.acr()
    }

    /// `auth_time`: when it was proved.
    pub fn at(&self) -> Timestamp {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proofs(password_of: &str, factor_of: &str, kind: FactorUse) -> Option<Authentication> {
        let factor = FactorProof::new(UserId::new(factor_of), FactorId::new("f"), kind);
        Authentication::from_proofs(
            PasswordProof::new(UserId::new(password_of)),
            factor,
            Timestamp::from_unix_seconds(7),
        )
    }

    #[test]
    fn names_who_what_how_and_when() {
        let totp = proofs("u", "u", FactorUse::Totp).unwrap();
        assert_eq!((totp.user().as_str(), totp.acr(), totp.at().unix_seconds()), ("u", "urn:signet:aal2", 7));
        assert_eq!(totp.factors(), ["password", "totp:f"].map(|text| text.parse().unwrap()));
        assert_eq!(totp.amr(), ["pwd", "otp", "mfa"]);
        assert_eq!(proofs("u", "u", FactorUse::YubicoOtp).unwrap().amr(), ["pwd", "otp", "hwk", "mfa"]);
    }

    #[test]
    fn a_card_reaches_the_highest_level_where_its_key_is_attested() {
        let attested = proofs("u", "u", FactorUse::Piv { attested: true }).unwrap();
        assert_eq!((attested.acr(), attested.amr().join(" ")), (Level::Aal3.acr(), "pwd sc hwk pin mfa".to_owned()));
        let told = proofs("u", "u", FactorUse::Piv { attested: false }).unwrap();
        assert_eq!((told.acr(), told.amr().join(" ")), (Level::Aal2.acr(), "pwd sc mfa".to_owned()));
    }

    #[test]
    fn a_key_reaches_the_highest_level_attested_and_by_a_person_it_verified() {
        let key = |verified, attested| FactorUse::WebAuthn { verified, attested };
        for (kind, acr, amr) in [
            (key(true, true), Level::Aal3.acr(), "pwd hwk pin user mfa"),
            (key(true, false), Level::Aal2.acr(), "pwd hwk pin user mfa"),
            (key(false, true), Level::Aal2.acr(), "pwd hwk user mfa"),
        ] {
            let proved = proofs("u", "u", kind).unwrap();
            assert_eq!((proved.acr(), proved.amr().join(" ")), (acr, amr.to_owned()));
        }
        let alone = |kind| {
            let proof = FactorProof::new(UserId::new("u"), FactorId::new("f"), kind);
            Authentication::from_passwordless(proof, Timestamp::from_unix_seconds(7))
        };
        assert_eq!(alone(key(true, true)).unwrap().amr(), ["hwk", "pin", "user", "mfa"]);
        assert_eq!(alone(key(true, false)).unwrap().factors(), ["webauthn:f".parse().unwrap()]);
        for weaker in [key(false, true), FactorUse::Totp, FactorUse::Recovery] {
            assert_eq!(alone(weaker), None);
        }
    }

    #[test]
    fn only_the_winner_has_a_proof() {
        let (user, factor) = (UserId::new("u"), FactorId::new("f"));
        for (used, name) in [(FactorUse::Hotp, "hotp:f"), (FactorUse::YubicoOtp, "yubico_otp:f")] {
            let counter = || SpendableCounter { raised: 1, used };
            assert!(counter().spent(&user, &factor, false).is_none());
            assert_eq!(counter().spent(&user, &factor, true).unwrap().factor().to_string(), name);
        }
    }

    #[test]
    fn one_users_password_and_anothers_factor_prove_nobody() {
        assert_eq!(proofs("u", "v", FactorUse::Totp), None);
    }
}
