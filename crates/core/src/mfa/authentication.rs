//! What was proved: who, by which factors, at which level, when.
//!
//! An [`Authentication`] is what issuing a user's token takes. Its constructor is private to the proofs, and a proof
//! is made by a check that succeeded: nothing else in Signet can say that a person signed in.

use super::{FactorId, FactorKind, FactorRef, UsedFactor, UserId};
use crate::secret::SecretHash;
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
/// Only a [`Spendable`] that was spent makes it.
#[derive(Debug)]
#[must_use]
pub struct FactorProof {
    user: UserId,
    factor: FactorId,
    used: FactorUse,
}

/// What the use of a factor showed: each kind says it in its own file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FactorUse {
    kind: FactorKind,
    methods: &'static [&'static str],
    level: Level,
    stands_alone: bool,
}

impl FactorUse {
    /// A use of this kind; its methods by RFC 8176 §2, without the password; and the level that it reaches with a password
    /// (NIST SP 800-63B-4).
    pub(super) const fn beside_password(kind: FactorKind, methods: &'static [&'static str], level: Level) -> Self {
        Self { kind, methods, level, stands_alone: false }
    }

    /// A use that reaches its level without a password, too: the authenticator verified the person itself.
    pub(super) const fn alone(kind: FactorKind, methods: &'static [&'static str], level: Level) -> Self {
        Self { kind, methods, level, stands_alone: true }
    }
}

impl FactorProof {
    /// Whose factor it is.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The factor.
    pub fn factor(&self) -> FactorRef {
        FactorRef { kind: self.used.kind, id: self.factor.clone() }
    }
}

/// What makes a shown code good for one use: the conditional write that spends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spending {
    /// The factor's last step is raised to this one.
    TotpStep {
        /// The step.
        step: i64,
        /// The device's drift as the code shows it, capped: kept with the step.
        drift: i32,
    },
    /// A Yubico OTP's last counter is raised to this one (`useCtr << 8 | sessionUse`).
    YubicoCounter(i64),
    /// The counter of any other kind is raised to this one: the lowest acceptable one of a HOTP, the last accepted one of
    /// what another server judged.
    Counter(i64),
    /// A nonce that a card signed is used up; this is its name in the store.
    PivNonce([u8; 32]),
    /// One of the factor's recovery codes is used up; this is what is kept of it.
    RecoveryCode(SecretHash),
    /// A challenge is used up, and the key's counter raised.
    Assertion {
        /// The challenge's name in the store.
        challenge: SecretHash,
        /// When the challenge is refused for its age.
        until: Timestamp,
        /// The key's counter; 0 for ever where it has none.
        counter: i64,
    },
}

impl Spending {
    /// What the counter is raised to, where one is.
    pub const fn counter(&self) -> Option<i64> {
        match self {
            Self::TotpStep { step: counter, .. }
            | Self::YubicoCounter(counter)
            | Self::Counter(counter)
            | Self::Assertion { counter, .. } => Some(*counter),
            Self::PivNonce(_) | Self::RecoveryCode(_) => None,
        }
    }
}

/// A code that matched, and that was not spent when the factor was read.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a code that is not spent can be used again"]
pub struct Spendable {
    pub(super) by: Spending,
    pub(super) used: FactorUse,
}

impl Spendable {
    /// The write that spends it.
    pub fn by(&self) -> &Spending {
        &self.by
    }

    /// The proof, where that write was `won` for this factor.
    pub fn spent(self, user: &UserId, factor: &FactorId, won: bool) -> Option<FactorProof> {
        won.then(|| FactorProof { user: user.clone(), factor: factor.clone(), used: self.used })
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
        let FactorUse { methods, level, .. } = factor.used;
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
        let FactorUse { methods, level, .. } = factor.used;
        factor.used.stands_alone.then(|| Self {
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
    use crate::mfa::{PivState, WebAuthnState, yubico_otp};

    const TOTP: FactorUse = FactorUse::beside_password(FactorKind::Totp, &["otp", "mfa"], Level::Aal2);

    fn proofs(password_of: &str, factor_of: &str, used: FactorUse) -> Option<Authentication> {
        let factor = FactorProof { user: UserId::new(factor_of), factor: FactorId::new("f"), used };
        Authentication::from_proofs(
            PasswordProof::new(UserId::new(password_of)),
            factor,
            Timestamp::from_unix_seconds(7),
        )
    }

    #[test]
    fn names_who_what_how_and_when() {
        let totp = proofs("u", "u", TOTP).unwrap();
        assert_eq!((totp.user().as_str(), totp.acr(), totp.at().unix_seconds()), ("u", "urn:signet:aal2", 7));
        assert_eq!(totp.factors(), ["password", "totp:f"].map(|text| text.parse().unwrap()));
        assert_eq!(totp.amr(), ["pwd", "otp", "mfa"]);
        assert_eq!(
            proofs("u", "u", yubico_otp::used(FactorKind::YubicoOtp)).unwrap().amr(),
            ["pwd", "otp", "hwk", "mfa"]
        );
    }

    #[test]
    fn a_card_reaches_the_highest_level_where_its_key_is_attested() {
        let (key_thumbprint, public_key) = ("k".to_owned(), String::new());
        let card = |attested| PivState {
            key_thumbprint: key_thumbprint.clone(),
            public_key: public_key.clone(),
            serial: None,
            attested,
        };
        let attested = proofs("u", "u", card(true).used()).unwrap();
        assert_eq!((attested.acr(), attested.amr().join(" ")), (Level::Aal3.acr(), "pwd sc hwk pin mfa".to_owned()));
        let told = proofs("u", "u", card(false).used()).unwrap();
        assert_eq!((told.acr(), told.amr().join(" ")), (Level::Aal2.acr(), "pwd sc mfa".to_owned()));
    }

    #[test]
    fn a_key_reaches_the_highest_level_attested_and_by_a_person_it_verified() {
        let key = |verified, attested| {
            let (credential_id, credential) = ("c".to_owned(), String::new());
            let state =
                WebAuthnState { credential_id, credential, aaguid: None, attested, verifies: verified, counter: 0 };
            state.used(verified)
        };
        for (kind, acr, amr) in [
            (key(true, true), Level::Aal3.acr(), "pwd hwk pin user mfa"),
            (key(true, false), Level::Aal2.acr(), "pwd hwk pin user mfa"),
            (key(false, true), Level::Aal2.acr(), "pwd hwk user mfa"),
        ] {
            let proved = proofs("u", "u", kind).unwrap();
            assert_eq!((proved.acr(), proved.amr().join(" ")), (acr, amr.to_owned()));
        }
        let alone = |used| {
            let proof = FactorProof { user: UserId::new("u"), factor: FactorId::new("f"), used };
            Authentication::from_passwordless(proof, Timestamp::from_unix_seconds(7))
        };
        assert_eq!(alone(key(true, true)).unwrap().amr(), ["hwk", "pin", "user", "mfa"]);
        assert_eq!(alone(key(true, false)).unwrap().factors(), ["webauthn:f".parse().unwrap()]);
        for weaker in [key(false, true), TOTP] {
            assert_eq!(alone(weaker), None);
        }
    }

    #[test]
    fn only_the_winner_has_a_proof() {
        let (user, factor) = (UserId::new("u"), FactorId::new("f"));
        let code = || Spendable { by: Spending::Counter(1), used: TOTP };
        assert!(code().spent(&user, &factor, false).is_none());
        let proof = code().spent(&user, &factor, true).unwrap();
        assert_eq!((proof.user(), proof.factor().to_string().as_str()), (&user, "totp:f"));
    }

    #[test]
    fn one_users_password_and_anothers_factor_prove_nobody() {
        assert_eq!(proofs("u", "v", TOTP), None);
    }
}
