//! HOTP: which counters a code may belong to, and which one it matches (RFC 4226 §5.3, §7.2, §7.4). The HMACs come from
//! the HSM.

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::HotpState;
use super::authentication::{FactorUse, SpendableCounter};
use super::totp::{Code, truncate};
use crate::audit::Reason;

/// Counters that are accepted from the lowest acceptable one on (RFC 4226 §7.2: the look-ahead `s`): presses that nobody
/// typed.
pub const LOOK_AHEAD: i64 = 10;

/// The counters to compute, lowest first.
pub fn candidates(state: &HotpState) -> Vec<i64> {
    (0..LOOK_AHEAD).map(|offset| state.next_counter.saturating_add(offset)).collect()
}

/// The counters in which two codes in a row are looked for, lowest first (RFC 4226 §7.4).
pub fn resync_candidates(state: &HotpState) -> Vec<i64> {
    (0..super::totp::RESYNC_STEPS).map(|offset| state.next_counter.saturating_add(offset)).collect()
}

/// Compares a code with every candidate in constant time; `hmacs` are those of `candidates`, in order. The highest
/// counter that matches wins, so that spending it burns an equal code below it.
/// Errors: [`Reason::WrongCode`]. A list of HMACs that is not one for each candidate matches nothing.
pub fn match_counter(
    code: &Code,
    candidates: &[i64],
    hmacs: &[Vec<u8>],
    state: &HotpState,
) -> Result<SpendableCounter, Reason> {
    let complete = Choice::from(u8::from(candidates.len() == hmacs.len() && code.digits() == state.digits));
    let (mut found, mut counter) = (Choice::from(0), 0_i64);
    for (&candidate, hmac) in candidates.iter().zip(hmacs) {
        // u32::MAX is no code of 6 or 8 digits.
        let equal = complete & truncate(hmac, state.digits).unwrap_or(u32::MAX).ct_eq(&code.value());
        let unspent = Choice::from(u8::from(candidate >= state.next_counter && (0..i64::MAX).contains(&candidate)));
        counter.conditional_assign(&candidate, equal & unspent);
        found |= equal & unspent;
    }
    if bool::from(found) { Ok(spendable(counter)) } else { Err(Reason::WrongCode) }
}

/// Finds two codes in a row; the pair at the highest counter wins.
pub fn match_pair(
    codes: [&Code; 2],
    candidates: &[i64],
    hmacs: &[Vec<u8>],
    state: &HotpState,
) -> Result<SpendableCounter, Reason> {
    let places = super::totp::pair_places(codes, hmacs, state.digits);
    let counter = places.into_iter().filter_map(|place| candidates.get(place + 1)).copied().max();
    let unspent = counter.filter(|&counter| counter > state.next_counter && counter < i64::MAX);
    unspent.map(spendable).ok_or(Reason::WrongCode)
}

fn spendable(counter: i64) -> SpendableCounter {
    SpendableCounter { raised: counter + 1, used: FactorUse::Hotp }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;

    use super::*;
    use crate::keys::OtpHash;
    use crate::mfa::totp::counter_message;

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
        let counters = candidates(state);
        let code = Code::parse(text, 6).unwrap();
        match_counter(&code, &counters, &hmacs(&counters), state).map(|counter| counter.raised())
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
        let counters = resync_candidates(&now);
        let all = hmacs(&counters);
        let pair = match_pair([&codes[0], &codes[1]], &counters, &all, &now).unwrap();
        assert_eq!(pair.raised(), far + 2);
        for wrong in [[&codes[1], &codes[0]], [&codes[0], &codes[2]], [&codes[0], &codes[0]]] {
            assert_eq!(match_pair(wrong, &counters, &all, &now), Err(Reason::WrongCode));
        }
    }

    #[test]
    fn missing_hmacs_match_nothing() {
        let code = Code::parse(TABLE[0], 6).unwrap();
        assert_eq!(match_counter(&code, &[0, 1], &hmacs(&[0]), &state(0)), Err(Reason::WrongCode));
        let last = state(i64::MAX - 2);
        assert_eq!(candidates(&last).len(), 10);
        assert!(match_counter(&code, &candidates(&last), &hmacs(&candidates(&last)), &last).is_err());
    }
}
