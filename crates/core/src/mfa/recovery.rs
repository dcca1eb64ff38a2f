//! Recovery codes: what a person without their token shows instead, each once. The same codes, few and for a limited
//! time, are what an operator gives to a person whose token is lost.
//!
//! A code is 80 random bits. What is kept is its HMAC under a secret of the factor's own, computed inside the HSM: who
//! reads the database learns nothing, and who writes to it can't plant a code.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::authentication::FactorUse;
use super::kind::{FactorKind, FactorRules};
use super::policy::OtpText;
use super::{Spendable, Spending};
use crate::audit::Reason;
use crate::keys::{OtpHash, OtpSecretKind};
use crate::random::Random;
use crate::secret::{SecretHash, SecretText};
use signet_verify::Level;

/// How many codes a set has.
pub const CODES: u32 = 10;
/// The hash of the codes' HMAC.
pub const HASH: OtpHash = OtpHash::Sha256;
/// The length of a factor's secret, in bytes.
pub const SECRET_BYTES: usize = 32;

/// Digits and letters but for those that are taken for one another (Crockford's base32).
const SYMBOLS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 16;
const GROUP: usize = 4;

/// A code as shown.
#[derive(Debug, Clone)]
pub struct RecoveryCode(SecretText);

impl RecoveryCode {
    /// A new one.
    pub fn new(random: &dyn Random) -> Self {
        let bytes = crate::random::bytes::<LENGTH>(random);
        let letters = bytes.iter().filter_map(|byte| SYMBOLS.get(usize::from(byte & 31)));
        Self(SecretText::new(letters.map(|&letter| char::from(letter)).collect()))
    }

    /// Reads what was typed: 16 symbols, in any case, with dashes and spaces anywhere, with `o` for 0, and `i` and `l`
    /// for 1. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 2 * LENGTH {
            return None;
        }
        let typed = text.bytes().filter(|byte| !matches!(byte, b'-' | b' '));
        let letters = typed.map(|byte| match byte.to_ascii_lowercase() {
            b'o' => b'0',
            b'i' | b'l' => b'1',
            other => other,
        });
        // Taken at once, so that no half of it is left behind.
        let code: String =
            letters.map(|letter| SYMBOLS.contains(&letter).then_some(char::from(letter))).collect::<Option<_>>()?;
        let code = SecretText::new(code);
        (code.expose().len() == LENGTH).then_some(Self(code))
    }

    /// The code for a person to read and keep: `xxxx-xxxx-xxxx-xxxx`.
    pub fn shown(&self) -> SecretText {
        let groups: Vec<&str> =
            (0..LENGTH).step_by(GROUP).filter_map(|at| self.0.expose().get(at..at + GROUP)).collect();
        SecretText::new(groups.join("-"))
    }

    /// What the HSM computes the HMAC of.
    pub fn message(&self) -> [u8; 8] {
        let digest: [u8; 32] = Sha256::digest(self.0.expose().as_bytes()).into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        [a, b, c, d, e, f, g, h]
    }
}

/// What is kept of a code: the HMAC of its message; `None` where that is not an HMAC-SHA-256.
pub fn kept(hmac: &[u8]) -> Option<SecretHash> {
    hmac.try_into().ok().map(SecretHash::from_stored)
}

/// A set of one-time recovery codes. Their hashes are kept one by one, so that each is spent by one write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryState {
    /// How many codes were made.
    pub made: u32,
}

impl FactorRules for RecoveryState {
    fn secret_kind(&self) -> Option<OtpSecretKind> {
        Some(OtpSecretKind::Hmac(HASH))
    }

    fn reachable(&self) -> Option<Level> {
        None
    }

    fn may_have_shown(&self, shown: &OtpText) -> bool {
        matches!(shown, OtpText::Recovery(_))
    }
}

/// A code that was looked up: it shows no authenticator. `is_unspent` is the store's word.
/// Errors: [`Reason::ReplayedCode`].
pub fn found(kept: SecretHash, is_unspent: bool) -> Result<Spendable, Reason> {
    let used = FactorUse::beside_password(FactorKind::Recovery, &["otp", "mfa"], Level::Aal1);
    if is_unspent { Ok(Spendable { by: Spending::RecoveryCode(kept), used }) } else { Err(Reason::ReplayedCode) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mfa::{FactorId, UserId};
    use crate::random::OsRandom;

    #[test]
    fn a_code_is_read_as_it_is_shown_and_as_people_type_it() {
        let code = RecoveryCode::new(&OsRandom);
        let shown = code.shown();
        assert_eq!(shown.expose().len(), 19);
        for typed in [shown.expose().to_owned(), shown.expose().to_uppercase(), shown.expose().replace('-', " ")] {
            assert_eq!(RecoveryCode::parse(&typed).unwrap().message(), code.message());
        }
        let [zeros, letters] =
            ["0011-0000-0000-0000", "OoiL-OOOO-oooo-OOOO"].map(|text| RecoveryCode::parse(text).unwrap());
        assert_eq!(zeros.message(), letters.message());
        assert_ne!(zeros.message(), code.message());
        assert!(!format!("{code:?}").contains(&shown.expose()[..4]));
    }

    #[test]
    fn other_texts_are_no_codes() {
        for text in
            ["", "0000-0000-0000-000", "0000-0000-0000-00000", "0000-0000-0000-000u", "0000 0000 0000 000ä", "123456"]
        {
            assert!(RecoveryCode::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_the_winner_has_a_proof() {
        let (user, factor) = (UserId::new("u"), FactorId::new("f"));
        let code = || found(SecretHash::of("x"), true).unwrap();
        assert_eq!(found(SecretHash::of("x"), false), Err(Reason::ReplayedCode));
        assert!(code().spent(&user, &factor, false).is_none());
        assert_eq!(code().spent(&user, &factor, true).unwrap().factor().to_string(), "recovery:f");
    }
}
