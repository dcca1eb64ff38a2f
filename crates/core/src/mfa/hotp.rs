//! HOTP: which counters a code may belong to, and which one it matches (RFC 4226 §5.3, §7.2, §7.4). The HMACs come from
//! the HSM.

use serde::{Deserialize, Serialize};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::authentication::FactorUse;
use super::kind::{FactorKind, FactorRules};
use super::policy::{DigitCodes, OtpText};
use super::totp::{Code, truncate};
use super::{Spendable, Spending};
use crate::audit::Reason;
use crate::keys::{OtpHash, OtpSecretKind};
use signet_jose::clock::Timestamp;
use signet_verify::Level;

/// Counters that are accepted from the lowest acceptable one on (RFC 4226 §7.2: the look-ahead `s`): presses that nobody
/// typed.
pub const LOOK_AHEAD: i64 = 10;

/// A HOTP factor's parameters and how far it is spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotpState {
    /// The HMAC's hash.
    pub hash: OtpHash,
    /// 6 or 8.
    pub digits: u8,
    /// The lowest counter that is still acceptable: 0 for a new token. Kept beside the rest, in a column of its own.
    #[serde(skip)]
    pub next_counter: i64,
}

impl FactorRules for HotpState {
    fn secret_kind(&self) -> Option<OtpSecretKind> {
        Some(OtpSecretKind::Hmac(self.hash))
    }

    fn counter(&self) -> Option<i64> {
        Some(self.next_counter)
    }

    fn set_counter(&mut self, counter: i64) {
        self.next_counter = counter;
    }

    fn raising(&self, counter: i64) -> Option<Spending> {
        Some(Spending::Counter(counter))
    }

    /// The next press.
    fn is_next(&self, counter: i64) -> bool {
        Some(counter) == self.next_counter.checked_add(1)
    }

    fn may_have_shown(&self, shown: &OtpText) -> bool {
        matches!(shown, OtpText::Digits(code) if code.digits() == self.digits)
    }

    fn digit_codes(&self) -> Option<&dyn DigitCodes> {
        Some(self)
    }
}

impl DigitCodes for HotpState {
    fn hash(&self) -> OtpHash {
        self.hash
    }

    fn digits(&self) -> u8 {
        self.digits
    }

    fn candidates(&self, _now: Timestamp) -> Vec<i64> {
        (0..LOOK_AHEAD).map(|offset| self.next_counter.saturating_add(offset)).collect()
    }

    /// The highest counter that matches wins, so that spending it burns an equal code below it.
    fn match_code(
        &self,
        code: &Code,
        _now: Timestamp,
        candidates: &[i64],
        hmacs: &[Vec<u8>],
    ) -> Result<Spendable, Reason> {
        let complete = Choice::from(u8::from(candidates.len() == hmacs.len() && code.digits() == self.digits));
        let (mut found, mut counter) = (Choice::from(0), 0_i64);
        for (&candidate, hmac) in candidates.iter().zip(hmacs) {
            // u32::MAX is no code of 6 or 8 digits.
            let equal = complete & truncate(hmac, self.digits).unwrap_or(u32::MAX).ct_eq(&code.value());
            let unspent = Choice::from(u8::from(candidate >= self.next_counter && (0..i64::MAX).contains(&candidate)));
            counter.conditional_assign(&candidate, equal & unspent);
            found |= equal & unspent;
        }
        if bool::from(found) { Ok(spendable(counter)) } else { Err(Reason::WrongCode) }
    }

    /// Ahead of the next counter (RFC 4226 §7.4).
    fn resync_candidates(&self, _now: Timestamp) -> Vec<i64> {
        (0..super::totp::RESYNC_STEPS).map(|offset| self.next_counter.saturating_add(offset)).collect()
    }

    /// The pair at the highest counter wins.
    fn match_pair(
        &self,
        codes: [&Code; 2],
        _now: Timestamp,
        candidates: &[i64],
        hmacs: &[Vec<u8>],
    ) -> Result<Spendable, Reason> {
        let places = super::totp::pair_places(codes, hmacs, self.digits);
        let counter = places.into_iter().filter_map(|place| candidates.get(place + 1)).copied().max();
        let unspent = counter.filter(|&counter| counter > self.next_counter && counter < i64::MAX);
        unspent.map(spendable).ok_or(Reason::WrongCode)
    }
}

fn spendable(counter: i64) -> Spendable {
    let used = FactorUse::beside_password(FactorKind::Hotp, &["otp", "mfa"], Level::Aal2);
    Spendable { by: Spending::Counter(counter + 1), used }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;

    use super::*;
    use crate::mfa::totp::counter_message;

    /// What no counter depends on.
    const NOW: Timestamp = Timestamp::from_unix_seconds(0);
    const SECRET: &[u8] = b"12345678901234567890";
    /// RFC 4226 appendix D.
    const TABLE: [&str; 10] =
        ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];

    fn state(next_counter: i64) -> HotpState {
        HotpState { hash: OtpHash::Sha1, digits: 6, next_counter }
    }

    /// What the HSM does.
    fn hmacs(counters: &[i64]) -> Vec<Vec<u8>> {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET);
        counters.iter().map(|&counter| hmac::sign(&key, &counter_message(counter)).as_ref().to_vec()).collect()
    }

    fn show(text: &str, state: &HotpState) -> Result<i64, Reason> {
        let counters = state.candidates(NOW);
        let code = Code::parse(text, 6).unwrap();
        state.match_code(&code, NOW, &counters, &hmacs(&counters)).map(|shown| shown.by().counter().unwrap())
    }

    #[test]
    fn counter_zero_is_valid_and_each_code_of_the_table_matches() {
        for (counter, code) in (0..).zip(TABLE) {
            assert_eq!(show(code, &state(0)), Ok(counter + 1), "{code}");
        }
    }

    #[test]
    fn spent_counters_and_those_beyond_the_look_ahead_match_nothing() {
        assert_eq!(show(TABLE[0], &state(1)), Err(Reason::WrongCode));
        assert_eq!(show(TABLE[9], &state(9)), Ok(10));
        let eleventh = truncate(&hmacs(&[10])[0], 6).unwrap();
        assert_eq!(show(&format!("{eleventh:06}"), &state(0)), Err(Reason::WrongCode));
        assert_eq!(show(&format!("{eleventh:06}"), &state(1)), Ok(11));
    }

    #[test]
    fn two_codes_in_a_row_are_found_far_ahead_and_one_is_not() {
        let (now, far) = (state(3), 900);
        let codes = [far, far + 1, far + 3]
            .map(|counter| format!("{:06}", truncate(&hmacs(&[counter])[0], 6).unwrap()))
            .map(|text| Code::parse(&text, 6).unwrap());
        let counters = now.resync_candidates(NOW);
        let all = hmacs(&counters);
        let pair = now.match_pair([&codes[0], &codes[1]], NOW, &counters, &all).unwrap();
        assert_eq!(pair.by(), &Spending::Counter(far + 2));
        for wrong in [[&codes[1], &codes[0]], [&codes[0], &codes[2]], [&codes[0], &codes[0]]] {
            assert_eq!(now.match_pair(wrong, NOW, &counters, &all), Err(Reason::WrongCode));
        }
    }

    #[test]
    fn missing_hmacs_match_nothing() {
        let code = Code::parse(TABLE[0], 6).unwrap();
        assert_eq!(state(0).match_code(&code, NOW, &[0, 1], &hmacs(&[0])), Err(Reason::WrongCode));
        let last = state(i64::MAX - 2);
        let counters = last.candidates(NOW);
        assert_eq!(counters.len(), 10);
        assert!(last.match_code(&code, NOW, &counters, &hmacs(&counters)).is_err());
    }
}
