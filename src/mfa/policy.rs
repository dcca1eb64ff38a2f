//! What a sign-in needs, and which factors a shown code is tried on: always with the same work.
//!
//! A sign-in needs the password and one code of an enrolled factor. A user with no factor gets no token: there is no
//! code that could be right.
//!
//! How long a sign-in takes depends on what was typed alone, never on whom it names. What was typed decides the kind
//! of work ([`OtpText::classify`]); [`rounds`] fills up with decoys what the user has too few of.

use super::piv;
use super::totp::Code;
use super::yubico_otp::YubicoOtp;
use super::{FactorDetail, TotpState, YubicoState};
use crate::keys::OtpHash;

/// The TOTP factors that one user may have: each sign-in by digits computes for so many.
pub const MOST_TOTP_FACTORS: usize = 3;

/// What was typed as a one-time code.
#[derive(Debug, Clone)]
pub enum OtpText {
    /// 6 or 8 digits: of a TOTP factor.
    Digits(Code),
    /// What a YubiKey types.
    Yubico(YubicoOtp),
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
        YubicoOtp::parse(text).map_or(Self::Neither, Self::Yubico)
    }

    /// The name under which tries are counted (see [`lockout`](super::lockout)).
    pub const fn channel(&self) -> &'static str {
        match self {
            Self::Digits(_) => "digits",
            Self::Yubico(_) => "yubico_otp",
            Self::Piv(_) => "piv",
            Self::Neither => "none",
        }
    }
}

/// One computation of the HSM for a sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Round<'f> {
    /// The HMACs of this factor's candidates. The number is the factor's place in the list that [`rounds`] was given.
    Totp(usize, &'f TotpState),
    /// The same work on the decoy secret, for nothing: with [`decoy_totp`] as its state.
    DecoyTotp,
    /// This factor's block, decrypted.
    Yubico(usize, &'f YubicoState),
    /// A block decrypted with the decoy key, for nothing.
    DecoyYubico,
}

/// The computations for a shown code, given the factors of the user that was named, or none for an unknown user.
/// The number of rounds depends on what was typed alone: all of them are run, also after one that matched.
pub fn rounds<'f>(shown: &OtpText, factors: impl IntoIterator<Item = &'f FactorDetail>) -> Vec<Round<'f>> {
    let factors = factors.into_iter().enumerate();
    match shown {
        OtpText::Digits(code) => {
            let of_user = factors.filter_map(|(place, detail)| match detail {
                FactorDetail::Totp(state) if state.digits == code.digits() => Some(Round::Totp(place, state)),
                _ => None,
            });
            of_user.chain(std::iter::repeat(Round::DecoyTotp)).take(MOST_TOTP_FACTORS).collect()
        }
        OtpText::Yubico(otp) => {
            let of_user = factors.filter_map(|(place, detail)| match detail {
                FactorDetail::YubicoOtp(state) if state.public_id == otp.public_id() => {
                    Some(Round::Yubico(place, state))
                }
                _ => None,
            });
            of_user.chain(std::iter::once(Round::DecoyYubico)).take(1).collect()
        }
        // The HSM has no part in it, and the work is the same for every shown signature.
        OtpText::Piv(_) | OtpText::Neither => Vec::new(),
    }
}

/// The state of the decoy TOTP: the commonest parameters, with every step spent.
pub const fn decoy_totp() -> TotpState {
    TotpState { hash: OtpHash::Sha1, digits: 6, step_seconds: 30, drift: 0, window: 1, last_step: i64::MAX }
}

/// A user has as many TOTP factors as each sign-in computes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user has {MOST_TOTP_FACTORS} TOTP factors, which is the most: remove one first")]
pub struct TooManyFactors;

/// Judges whether a user with these factors may enrol one more of `new`'s kind.
///
/// # Errors
///
/// [`TooManyFactors`].
pub fn may_enrol<'f>(
    new: &FactorDetail,
    enrolled: impl IntoIterator<Item = &'f FactorDetail>,
) -> Result<(), TooManyFactors> {
    let same_kind = enrolled.into_iter().filter(|detail| matches!(detail, FactorDetail::Totp(_))).count();
    match new {
        FactorDetail::Totp(_) if same_kind >= MOST_TOTP_FACTORS => Err(TooManyFactors),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totp(digits: u8) -> FactorDetail {
        FactorDetail::Totp(TotpState { digits, last_step: -1, ..decoy_totp() })
    }

    fn yubico(public_id: &str) -> FactorDetail {
        FactorDetail::YubicoOtp(YubicoState { public_id: public_id.into(), private_id: [0; 6], last_counter: -1 })
    }

    const OTP: &str = "dteffujehknhfjbrjnlnldnhcujvddbikngjrtgh";

    #[test]
    fn what_was_typed_decides_the_kind_of_work() {
        let channels =
            ["123456", "12345678", OTP, "1234567", "", "１２３４５６"].map(|text| OtpText::classify(text).channel());
        assert_eq!(channels, ["digits", "digits", "yubico_otp", "none", "none", "none"]);
    }

    #[test]
    fn the_number_of_rounds_depends_on_what_was_typed_alone() {
        let users = [
            vec![],
            vec![totp(6)],
            vec![totp(6), totp(8), yubico("dteffuje")],
            vec![totp(6), totp(6), totp(6), totp(6)],
            vec![yubico("cccccccc")],
        ];
        for factors in &users {
            assert_eq!(rounds(&OtpText::classify("123456"), factors).len(), MOST_TOTP_FACTORS);
            assert_eq!(rounds(&OtpText::classify("12345678"), factors).len(), MOST_TOTP_FACTORS);
            assert_eq!(rounds(&OtpText::classify(OTP), factors).len(), 1);
            assert_eq!(rounds(&OtpText::classify("junk"), factors).len(), 0);
        }
    }

    #[test]
    fn a_code_is_tried_on_the_factors_that_could_have_made_it() {
        let factors = [yubico("dteffuje"), totp(8), totp(6)];
        let FactorDetail::Totp(six) = &factors[2] else { unreachable!() };
        assert_eq!(
            rounds(&OtpText::classify("123456"), &factors),
            [Round::Totp(2, six), Round::DecoyTotp, Round::DecoyTotp]
        );
        let FactorDetail::YubicoOtp(key) = &factors[0] else { unreachable!() };
        assert_eq!(rounds(&OtpText::classify(OTP), &factors), [Round::Yubico(0, key)]);
        assert_eq!(rounds(&OtpText::classify(OTP), &[yubico("cccccccc")]), [Round::DecoyYubico]);
    }

    #[test]
    fn nobody_enrols_more_than_is_computed_for() {
        let three = [totp(6), totp(8), totp(6)];
        assert_eq!(may_enrol(&totp(6), &three), Err(TooManyFactors));
        assert_eq!(may_enrol(&totp(6), &three[1..]), Ok(()));
        assert_eq!(may_enrol(&yubico("cc"), &three), Ok(()));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && matches!(text.len(), 6 | 8);
            proptest::prop_assert_eq!(OtpText::classify(&text).channel() == "digits", digits);
        }
    }
}
