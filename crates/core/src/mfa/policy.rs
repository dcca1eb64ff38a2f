//! What a sign-in needs, and which factors a shown code is tried on: always with the same work.
//!
//! A sign-in needs the password and one code of an enrolled factor. A user with no factor gets no token: there is no
//! code that could be right.
//!
//! How long a sign-in takes depends on what was typed alone, never on whom it names. What was typed decides the kind
//! of work ([`OtpText::classify`]); [`rounds`] fills up with decoys what the user has too few of.

use super::lockout::Target;
use super::piv;
use super::recovery::RecoveryCode;
use super::totp::{self, Code};
use super::webauthn::MOST_KEYS;
use super::yubico_otp::YubicoOtp;
use super::{FactorDetail, FactorKind, HotpState, RecoveryState, TotpState, YubicoState, hotp};
use crate::keys::OtpHash;

/// The TOTP and HOTP factors that one user may have together: each sign-in by digits computes for so many.
pub const MOST_DIGIT_FACTORS: usize = 4;
/// The HMACs of each of them: those of a HOTP's look-ahead, which are more than any TOTP's.
pub const HMACS: usize = 10;
/// The recovery factors that one user may have: a set of codes, and an operator's replacement.
pub const MOST_RECOVERY_FACTORS: usize = 2;

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

    /// What it guesses at: tries are counted for each (see [`lockout`](super::lockout)).
    pub fn target(&self) -> Target<'_> {
        match self {
            Self::Digits(_) => Target::Digits,
            Self::Yubico(otp) => Target::Key(otp.public_id()),
            Self::Recovery(_) => Target::Recovery,
            Self::Piv(shown) => Target::Key(shown.key_id().as_str()),
            Self::Neither => Target::Nothing,
        }
    }
}

/// One computation of the HSM for a sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Round<'f> {
    /// The HMACs of this factor's candidates, and as many more as make [`HMACS`]. The number is the factor's place in the
    /// list that [`rounds`] was given.
    Totp(usize, &'f TotpState),
    /// The HMACs of a HOTP factor's candidates, as many as for a TOTP.
    Hotp(usize, &'f HotpState),
    /// As many HMACs under the decoy secret, for nothing: with [`decoy_totp`] as its state.
    DecoyDigits,
    /// This factor's block, decrypted.
    Yubico(usize, &'f YubicoState),
    /// A block decrypted with the decoy key, for nothing.
    DecoyYubico,
    /// The HMAC of the code under this factor's secret.
    Recovery(usize, &'f RecoveryState),
    /// An HMAC of the code under a decoy secret, for nothing.
    DecoyRecovery,
}

/// The computations for a shown code, given the usable factors of the user that was named, or none for an unknown user.
/// The number of rounds depends on what was typed alone: all of them are run, also after one that matched.
pub fn rounds<'f>(shown: &OtpText, factors: impl IntoIterator<Item = &'f FactorDetail>) -> Vec<Round<'f>> {
    let of_user = factors.into_iter().enumerate().filter_map(|(place, detail)| match (shown, detail) {
        (OtpText::Digits(code), FactorDetail::Totp(state)) if state.digits == code.digits() => {
            Some(Round::Totp(place, state))
        }
        (OtpText::Digits(code), FactorDetail::Hotp(state)) if state.digits == code.digits() => {
            Some(Round::Hotp(place, state))
        }
        (OtpText::Yubico(otp), FactorDetail::YubicoOtp(state)) if state.public_id == otp.public_id() => {
            Some(Round::Yubico(place, state))
        }
        (OtpText::Recovery(_), FactorDetail::Recovery(state)) => Some(Round::Recovery(place, state)),
        _ => None,
    });
    let (decoy, count) = match shown {
        OtpText::Digits(_) => (Round::DecoyDigits, MOST_DIGIT_FACTORS),
        OtpText::Yubico(_) => (Round::DecoyYubico, 1),
        OtpText::Recovery(_) => (Round::DecoyRecovery, MOST_RECOVERY_FACTORS),
        // The HSM has no part in what a card signed, and the work is the same for every shown signature.
        OtpText::Piv(_) | OtpText::Neither => return Vec::new(),
    };
    of_user.chain(std::iter::repeat(decoy)).take(count).collect()
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

/// A user has as many factors of a kind as each sign-in computes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user has {most} {what}, which is the most: remove one first")]
pub struct TooManyFactors {
    most: usize,
    what: &'static str,
}

/// Judges whether a user with these factors may enrol one more of this kind.
pub fn may_enrol<'f>(
    new: FactorKind,
    enrolled: impl IntoIterator<Item = &'f FactorDetail>,
) -> Result<(), TooManyFactors> {
    let (most, what, kinds): (_, _, &[FactorKind]) = match new {
        FactorKind::Totp | FactorKind::Hotp => {
            (MOST_DIGIT_FACTORS, "TOTP and HOTP factors", &[FactorKind::Totp, FactorKind::Hotp])
        }
        FactorKind::Recovery => (MOST_RECOVERY_FACTORS, "recovery factors", &[FactorKind::Recovery]),
        FactorKind::WebAuthn => (MOST_KEYS, "security keys", &[FactorKind::WebAuthn]),
        FactorKind::YubicoOtp | FactorKind::YubicoRemote | FactorKind::Piv => return Ok(()),
    };
    let there = enrolled.into_iter().filter(|detail| kinds.contains(&detail.kind())).count();
    if there >= most { Err(TooManyFactors { most, what }) } else { Ok(()) }
}

const _: () = assert!(hotp::LOOK_AHEAD == 10 && HMACS == 10 && 2 * (totp::HARDWARE_WINDOW as usize) < HMACS);

#[cfg(test)]
mod tests {
    use super::*;

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
        let words = ["123456", "12345678", OTP, RECOVERY, "1234567", "", "１２３４５６"]
            .map(|text| OtpText::classify(text).target().word());
        assert_eq!(words, ["digits", "digits", "key", "recovery", "none", "none", "none"]);
        assert_eq!(OtpText::classify(OTP).target(), Target::Key("dteffuje"));
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
            assert_eq!(rounds(&OtpText::classify("123456"), factors).len(), MOST_DIGIT_FACTORS);
            assert_eq!(rounds(&OtpText::classify("12345678"), factors).len(), MOST_DIGIT_FACTORS);
            assert_eq!(rounds(&OtpText::classify(OTP), factors).len(), 1);
            assert_eq!(rounds(&OtpText::classify(RECOVERY), factors).len(), MOST_RECOVERY_FACTORS);
            assert_eq!(rounds(&OtpText::classify("junk"), factors).len(), 0);
        }
    }

    #[test]
    fn a_code_is_tried_on_the_factors_that_could_have_made_it() {
        let factors = [yubico("dteffuje"), totp(8), totp(6)];
        let FactorDetail::Totp(six) = &factors[2] else { unreachable!() };
        assert_eq!(
            rounds(&OtpText::classify("123456"), &factors),
            [Round::Totp(2, six), Round::DecoyDigits, Round::DecoyDigits, Round::DecoyDigits]
        );
        let FactorDetail::YubicoOtp(key) = &factors[0] else { unreachable!() };
        assert_eq!(rounds(&OtpText::classify(OTP), &factors), [Round::Yubico(0, key)]);
        assert_eq!(rounds(&OtpText::classify(OTP), &[yubico("cccccccc")]), [Round::DecoyYubico]);
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
            let steps = totp::candidates(signet_jose::clock::Timestamp::from_unix_seconds(0), &state);
            assert_eq!(messages(&steps).len(), HMACS);
            assert_eq!(
                messages(&steps)[..steps.len()],
                steps.iter().copied().map(totp::counter_message).collect::<Vec<_>>()
            );
        }
        let counters = hotp::candidates(&HotpState { hash: OtpHash::Sha1, digits: 6, next_counter: 7 });
        assert_eq!(messages(&counters).len(), HMACS);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && matches!(text.len(), 6 | 8);
            proptest::prop_assert_eq!(OtpText::classify(&text).target() == Target::Digits, digits);
        }
    }
}
