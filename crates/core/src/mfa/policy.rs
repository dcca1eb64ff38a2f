//! What a sign-in needs, and which factors a shown code is tried on: always with the same work.
//!
//! A sign-in needs the password and one code of an enrolled factor. A user with no factor gets no token: there is no
//! code that could be right.
//!
//! How long a sign-in takes depends on what was typed alone, never on whom it names. What was typed decides the kind
//! of work ([`OtpText::classify`]); [`rounds`] fills up with decoys what the user has too few of.

use super::lockout::Chance;
use super::piv;
use super::recovery::RecoveryCode;
use super::totp::{self, Code};
use super::webauthn::MAX_KEYS;
use super::yubico_otp::YubicoOtp;
use super::{FactorDetail, FactorKind, Spendable, TotpState, hotp};
use crate::audit::Reason;
use crate::keys::OtpHash;
use signet_jose::clock::Timestamp;

/// The HMACs of each round by digits: those of a HOTP's look-ahead, which are more than any TOTP's.
pub const HMACS: usize = 10;

/// What was typed as a one-time code.
#[derive(Debug, Clone)]
pub enum OtpText {
    /// 6 or 8 digits: of a TOTP or HOTP factor.
    Digits(Code),
    /// What a YubiKey types.
    Yubico(YubicoOtp),
    /// A recovery code.
    Recovery(RecoveryCode),
    /// Not typed: what a PIV card signed.
    Piv(Box<piv::Shown>),
    /// Neither, or nothing: it is right for nobody, and that is known without looking at anyone's factors.
    Neither,
}

impl OtpText {
    /// Reads what was typed, strictly.
    pub fn classify(text: &str) -> Self {
        if let Some(code) = Code::parse(text, 6).or_else(|| Code::parse(text, 8)) {
            return Self::Digits(code);
        }
        let recovery = || RecoveryCode::parse(text).map_or(Self::Neither, Self::Recovery);
        YubicoOtp::parse(text).map_or_else(recovery, Self::Yubico)
    }

    /// Whether it could have been guessed: digits, and whatever is no proof at all. What can't be is never counted as wrong (see
    /// [`lockout`](super::lockout)).
    pub const fn is_guessable(&self) -> bool {
        matches!(self, Self::Digits(_) | Self::Neither)
    }

    /// How likely it was to be right, had it been made up: of so many codes of these factors it could have been one.
    pub fn chance<'f>(&self, factors: impl IntoIterator<Item = &'f FactorDetail>, now: Timestamp) -> Chance {
        let Self::Digits(code) = self else { return Chance::default() };
        let accepted = |detail: &'f FactorDetail| {
            let codes = detail.digit_codes().filter(|_| detail.may_have_shown(self))?;
            Some(codes.candidates(now).len())
        };
        Chance::of(factors.into_iter().filter_map(accepted).sum(), code.digits())
    }
}

/// A factor that shows digits, which are the HMAC of a step or counter under its secret (RFC 4226 §5.3).
pub trait DigitCodes: Send + Sync {
    /// The HMAC's hash.
    fn hash(&self) -> OtpHash;

    /// 6 or 8.
    fn digits(&self) -> u8;

    /// The steps or counters to compute, lowest first.
    fn candidates(&self, now: Timestamp) -> Vec<i64>;

    /// Compares a code with every candidate in constant time; `hmacs` are those of `candidates`, in order, and `now` is
    /// the time that they were made from.
    /// Errors: [`Reason`], which the audit record says and the caller is not told. A list of HMACs that is not one for each
    /// candidate matches nothing.
    fn match_code(
        &self,
        code: &Code,
        now: Timestamp,
        candidates: &[i64],
        hmacs: &[Vec<u8>],
    ) -> Result<Spendable, Reason>;

    /// Those in which two codes in a row are looked for, lowest first: [`RESYNC_STEPS`](totp::RESYNC_STEPS) of them.
    fn resync_candidates(&self, now: Timestamp) -> Vec<i64>;

    /// Finds two codes in a row, both of them unspent.
    /// Errors: as for [`match_code`](Self::match_code).
    fn match_pair(
        &self,
        codes: [&Code; 2],
        now: Timestamp,
        candidates: &[i64],
        hmacs: &[Vec<u8>],
    ) -> Result<Spendable, Reason>;
}

/// The computations of the HSM for a shown code, given the usable factors of the user that was named, or none for an
/// unknown user: each is for the factor at this place, or for a decoy. The number of them depends on what was typed alone:
/// all of them are run, also after one that matched.
pub fn rounds<'f>(shown: &OtpText, factors: impl IntoIterator<Item = &'f FactorDetail>) -> Vec<Option<usize>> {
    let count = match shown {
        OtpText::Digits(_) => Limit::DIGITS.most,
        OtpText::Yubico(_) => 1,
        OtpText::Recovery(_) => Limit::RECOVERY.most,
        // The HSM has no part in what a card signed, and the work is the same for every shown signature.
        OtpText::Piv(_) | OtpText::Neither => 0,
    };
    let of_user = factors.into_iter().enumerate().filter(|(_, detail)| detail.may_have_shown(shown));
    of_user.map(|(place, _)| Some(place)).chain(std::iter::repeat(None)).take(count).collect()
}

/// The messages of a round by digits: those of the candidates, and then as many more as make [`HMACS`] for every factor,
/// which no code is compared with.
pub fn messages(candidates: &[i64]) -> Vec<[u8; 8]> {
    let beyond = candidates.last().copied().unwrap_or(0);
    let more = (1..).map(|offset| beyond.saturating_add(offset));
    candidates.iter().copied().chain(more).take(HMACS.max(candidates.len())).map(totp::counter_message).collect()
}

/// The state of the decoy TOTP: the commonest parameters, with every step spent.
pub const fn decoy_totp() -> TotpState {
    TotpState { hash: OtpHash::Sha1, digits: 6, step_seconds: 30, drift: 0, window: 1, last_step: i64::MAX }
}

/// How many factors of some kinds one user may have together: each sign-in computes for so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub most: usize,
    /// What the factors of these kinds are called.
    pub what: &'static str,
}

impl Limit {
    /// Four TOTP and HOTP factors.
    pub const DIGITS: Self = Self { most: 4, what: "TOTP and HOTP factors" };
    /// A set of recovery codes, and an operator's replacement.
    pub const RECOVERY: Self = Self { most: 2, what: "recovery factors" };
    /// Security keys.
    pub const SECURITY_KEYS: Self = Self { most: MAX_KEYS, what: "security keys" };
}

/// A user has as many factors of a kind as each sign-in computes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user has {} {}, which is the most: remove one first", .0.most, .0.what)]
pub struct TooManyFactors(Limit);

/// Judges whether a user with these factors may enrol one more of this kind.
pub fn may_enrol<'f>(
    new: FactorKind,
    enrolled: impl IntoIterator<Item = &'f FactorDetail>,
) -> Result<(), TooManyFactors> {
    let Some(limit) = new.limit() else { return Ok(()) };
    let there = enrolled.into_iter().filter(|detail| detail.kind().limit() == Some(limit)).count();
    if there >= limit.most { Err(TooManyFactors(limit)) } else { Ok(()) }
}

const _: () = assert!(hotp::LOOK_AHEAD == 10 && HMACS == 10 && 2 * (totp::HARDWARE_WINDOW as usize) < HMACS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mfa::{HotpState, RecoveryState, YubicoState};

    fn totp(digits: u8) -> FactorDetail {
        FactorDetail::Totp(TotpState { digits, last_step: -1, ..decoy_totp() })
    }

    fn yubico(public_id: &str) -> FactorDetail {
        FactorDetail::YubicoOtp(YubicoState { public_id: public_id.into(), private_id: [0; 6], last_counter: -1 })
    }

    fn hotp() -> FactorDetail {
        FactorDetail::Hotp(HotpState { hash: OtpHash::Sha1, digits: 6, next_counter: 0 })
    }

    fn recovery() -> FactorDetail {
        FactorDetail::Recovery(RecoveryState { made: 10 })
    }

    const RECOVERY: &str = "0000-1111-2222-3333";
    const OTP: &str = "dteffujehknhfjbrjnlnldnhcujvddbikngjrtgh";

    #[test]
    fn what_was_typed_decides_the_kind_of_work() {
        let word = |text| match OtpText::classify(text) {
            OtpText::Digits(_) => "digits",
            OtpText::Yubico(_) => "key",
            OtpText::Recovery(_) => "recovery",
            OtpText::Piv(_) | OtpText::Neither => "none",
        };
        let words = ["123456", "12345678", OTP, RECOVERY, "1234567", "", "１２３４５６"].map(word);
        assert_eq!(words, ["digits", "digits", "key", "recovery", "none", "none", "none"]);
        assert!(["123456", ""].iter().all(|text| OtpText::classify(text).is_guessable()));
        assert!([OTP, RECOVERY].iter().all(|text| !OtpText::classify(text).is_guessable()));
    }

    #[test]
    fn the_number_of_rounds_depends_on_what_was_typed_alone() {
        let users = [
            vec![],
            vec![totp(6)],
            vec![totp(6), totp(8), yubico("dteffuje")],
            vec![totp(6), totp(6), hotp(), totp(6), totp(6)],
            vec![recovery(), recovery(), hotp()],
            vec![yubico("cccccccc")],
        ];
        for factors in &users {
            assert_eq!(rounds(&OtpText::classify("123456"), factors).len(), Limit::DIGITS.most);
            assert_eq!(rounds(&OtpText::classify("12345678"), factors).len(), Limit::DIGITS.most);
            assert_eq!(rounds(&OtpText::classify(OTP), factors).len(), 1);
            assert_eq!(rounds(&OtpText::classify(RECOVERY), factors).len(), Limit::RECOVERY.most);
            assert_eq!(rounds(&OtpText::classify("junk"), factors).len(), 0);
        }
    }

    #[test]
    fn a_code_is_tried_on_the_factors_that_could_have_made_it() {
        let factors = [yubico("dteffuje"), totp(8), totp(6)];
        assert_eq!(rounds(&OtpText::classify("123456"), &factors), [Some(2), None, None, None]);
        assert_eq!(rounds(&OtpText::classify(OTP), &factors), [Some(0)]);
        assert_eq!(rounds(&OtpText::classify(OTP), &[yubico("cccccccc")]), [None]);
        assert_eq!(rounds(&OtpText::classify(RECOVERY), &factors), [None, None]);
    }

    #[test]
    fn a_made_up_code_is_as_likely_as_the_codes_that_it_could_be() {
        let (factors, now) =
            ([totp(8), hotp(), yubico("dteffuje"), hotp()], Timestamp::from_unix_seconds(1_800_000_000));
        assert_eq!(OtpText::classify("123456").chance(&factors, now), Chance::of(20, 6));
        assert_eq!(OtpText::classify("12345678").chance(&factors, now), Chance::of(3, 8));
        assert_eq!(OtpText::classify(OTP).chance(&factors, now), Chance::default());
        assert_eq!(OtpText::classify("123456").chance(&[], now), Chance::default());
    }

    #[test]
    fn nobody_enrols_more_than_is_computed_for() {
        let four = [totp(6), totp(8), hotp(), totp(6)];
        assert!(may_enrol(FactorKind::Totp, &four).is_err() && may_enrol(FactorKind::Hotp, &four).is_err());
        assert_eq!(may_enrol(FactorKind::Totp, &four[1..]), Ok(()));
        assert_eq!(may_enrol(FactorKind::YubicoOtp, &four), Ok(()));
        assert_eq!(may_enrol(FactorKind::Recovery, &[recovery()]), Ok(()));
        assert!(may_enrol(FactorKind::Recovery, &[recovery(), recovery()]).is_err());
    }

    #[test]
    fn every_round_by_digits_computes_as_much() {
        for window in 0..=totp::HARDWARE_WINDOW {
            let state = TotpState { window, ..decoy_totp() };
            let steps = state.candidates(Timestamp::from_unix_seconds(0));
            assert_eq!(messages(&steps).len(), HMACS);
            assert_eq!(
                messages(&steps)[..steps.len()],
                steps.iter().copied().map(totp::counter_message).collect::<Vec<_>>()
            );
        }
        let state = HotpState { hash: OtpHash::Sha1, digits: 6, next_counter: 7 };
        let counters = state.candidates(Timestamp::from_unix_seconds(0));
        assert_eq!(messages(&counters).len(), HMACS);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && matches!(text.len(), 6 | 8);
            proptest::prop_assert_eq!(matches!(OtpText::classify(&text), OtpText::Digits(_)), digits);
        }
    }
}
