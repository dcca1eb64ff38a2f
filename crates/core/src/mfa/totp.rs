//! TOTP: which steps a code may belong to, which one it matches, and how far the device's clock is off
//! (RFC 6238, RFC 4226 §5.3). The HMACs come from the HSM; the seed is never here.

use std::fmt;

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::authentication::{FactorProof, FactorUse};
pub use super::enrolment::{ClockProfile, Enrolment, EnrolmentError, TotpParameters};
use super::{FactorId, TotpState, UserId};
use crate::audit::Reason;
use signet_jose::clock::Timestamp;

/// Steps accepted on either side of the expected one (RFC 6238 §5.2), where the clock is a phone's.
pub const WINDOW: u8 = 1;
/// Steps accepted on either side where the clock is a hardware token's, which nobody sets.
pub const HARDWARE_WINDOW: u8 = 2;

/// The furthest drift that single codes lead to, in steps either way (RFC 6238 §6): five minutes of 30-second steps.
/// Without the cap an attacker who holds old codes and a slow clock could walk the window back step by step. Beyond it,
/// two codes in a row ([`match_pair`]) are needed.
pub const DRIFT_CAP: i32 = 10;

/// Steps, or counters, in which two codes in a row are looked for (RFC 4226 §7.4): either way for a clock, ahead for a
/// counter.
pub const RESYNC_STEPS: i64 = 1000;

/// A one-time code as shown: 6 or 8 digits.
#[derive(Clone, Copy)]
pub struct Code {
    value: u32,
    digits: u8,
}

impl Code {
    /// Exactly `digits` ASCII digits: no spaces, signs or digits of other scripts. `None` too for other than 6 or 8.
    pub fn parse(text: &str, digits: u8) -> Option<Self> {
        let well_formed = matches!(digits, 6 | 8)
            && text.len() == usize::from(digits)
            && text.bytes().all(|byte| byte.is_ascii_digit());
        if !well_formed {
            return None;
        }
        Some(Self { value: text.parse().ok()?, digits })
    }

    /// How many digits were shown.
    pub fn digits(&self) -> u8 {
        self.digits
    }

    pub(super) fn value(&self) -> u32 {
        self.value
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Code(..)")
    }
}

/// The steps to compute, lowest first: always `2 * window + 1` of them, spent ones too, so that the work tells nothing.
pub fn candidates(now: Timestamp, state: &TotpState) -> Vec<i64> {
    let centre = current_step(now, state).saturating_add(i64::from(state.drift));
    let window = i64::from(state.window);
    (-window..=window).map(|offset| centre.saturating_add(offset)).collect()
}

fn current_step(now: Timestamp, state: &TotpState) -> i64 {
    now.unix_seconds().div_euclid(i64::from(state.step_seconds.max(1)))
}

/// The HMAC's message for a step (RFC 4226 §5.2). Steps before the epoch are computed and never accepted.
pub fn counter_message(step: i64) -> [u8; 8] {
    step.to_be_bytes()
}

/// Dynamic truncation of an HMAC (RFC 4226 §5.3); `None` for an HMAC under 20 bytes or other than 6 or 8 digits.
pub fn truncate(hmac: &[u8], digits: u8) -> Option<u32> {
    let modulus = match digits {
        6 => 1_000_000,
        8 => 100_000_000,
        _ => return None,
    };
    if hmac.len() < 20 {
        return None;
    }
    let offset = usize::from(hmac.last()? & 0x0f);
    let word: [u8; 4] = hmac.get(offset..offset + 4)?.try_into().ok()?;
    Some((u32::from_be_bytes(word) & 0x7fff_ffff) % modulus)
}

/// The steps in which two codes in a row are looked for, lowest first: [`RESYNC_STEPS`] of them around now, whatever
/// drift is known.
pub fn resync_candidates(now: Timestamp, state: &TotpState) -> Vec<i64> {
    let first = current_step(now, state).saturating_sub(RESYNC_STEPS / 2);
    (0..RESYNC_STEPS).map(|offset| first.saturating_add(offset)).collect()
}

/// The places at which the first of two codes matches and the second one matches the next place. Every place is
/// compared.
pub(super) fn pair_places(codes: [&Code; 2], hmacs: &[Vec<u8>], digits: u8) -> Vec<usize> {
    let well_formed = codes.iter().all(|code| code.digits == digits);
    let equal = |hmac: &Vec<u8>, code: &Code| truncate(hmac, digits).unwrap_or(u32::MAX).ct_eq(&code.value);
    let pairs = hmacs.iter().zip(hmacs.iter().skip(1)).enumerate();
    let found = pairs.map(|(place, (one, two))| (place, bool::from(equal(one, codes[0]) & equal(two, codes[1]))));
    found.filter(|(_, found)| well_formed && *found).map(|(place, _)| place).collect()
}

/// Finds two codes in a row, both of them unspent; the later pair wins. The drift that they show is kept as it is: to
/// have seen both is proof enough of the device.
/// Errors: [`Reason`], which the audit record says and the caller is not told. A list of HMACs that is not one for each candidate matches nothing.
pub fn match_pair(
    codes: [&Code; 2],
    now: Timestamp,
    candidates: &[i64],
    hmacs: &[Vec<u8>],
    state: &TotpState,
) -> Result<SpendableStep, Reason> {
    if candidates.len() != hmacs.len() {
        return Err(Reason::WrongCode);
    }
    let places = pair_places(codes, hmacs, state.digits);
    let pairs = || places.iter().filter_map(|place| Some((*candidates.get(*place)?, *candidates.get(place + 1)?)));
    let is_unspent = |first: i64| first > state.last_step && first >= 0;
    match pairs().filter(|(first, _)| is_unspent(*first)).map(|(_, second)| second).max() {
        Some(step) => {
            let offset = step.saturating_sub(current_step(now, state));
            Ok(SpendableStep { step, drift: i32::try_from(offset).unwrap_or(0) })
        }
        None => Err(if pairs().next().is_some() { Reason::ReplayedCode } else { Reason::WrongCode }),
    }
}

/// A step that a shown code matched, and that was not spent when the factor was read.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a step that is not spent can be used again"]
pub struct SpendableStep {
    step: i64,
    drift: i32,
}

/// Compares a code with every candidate in constant time; `hmacs` are those of `candidates`, in order, and `now` is the
/// time that they were made from. The highest acceptable step wins, so that spending it burns an equal code below it.
/// Errors: [`Reason`], which the audit record says and the caller is not told. A list of HMACs that is not one for each candidate matches nothing.
pub fn match_step(
    code: &Code,
    now: Timestamp,
    candidates: &[i64],
    hmacs: &[Vec<u8>],
    state: &TotpState,
) -> Result<SpendableStep, Reason> {
    let complete = Choice::from(u8::from(candidates.len() == hmacs.len() && code.digits == state.digits));
    let (mut found, mut spent, mut step) = (Choice::from(0), Choice::from(0), 0_i64);
    for (&candidate, hmac) in candidates.iter().zip(hmacs) {
        // u32::MAX is no code of 6 or 8 digits.
        let equal = complete & truncate(hmac, state.digits).unwrap_or(u32::MAX).ct_eq(&code.value);
        let unspent = Choice::from(u8::from(candidate > state.last_step && candidate >= 0));
        step.conditional_assign(&candidate, equal & unspent);
        found |= equal & unspent;
        spent |= equal & !unspent;
    }
    if bool::from(found) {
        let offset = step.saturating_sub(current_step(now, state));
        // What two codes in a row have shown is no further capped, and one code leads no further away from it.
        let (least, most) = (state.drift.min(-DRIFT_CAP), state.drift.max(DRIFT_CAP));
        let drift = i32::try_from(offset).unwrap_or(0).clamp(least, most);
        return Ok(SpendableStep { step, drift });
    }
    Err(if bool::from(spent) { Reason::ReplayedCode } else { Reason::WrongCode })
}

impl SpendableStep {
    /// The step to spend.
    pub fn step(&self) -> i64 {
        self.step
    }

    /// The device's drift as this code shows it, capped: kept with the step.
    pub fn drift(&self) -> i32 {
        self.drift
    }

    /// The proof, where the conditional write that raised the factor's last step to this one was `won`.
    pub fn spent(self, user: &UserId, factor: &FactorId, won: bool) -> Option<FactorProof> {
        won.then(|| FactorProof::new(user.clone(), factor.clone(), FactorUse::Totp))
    }
}

#[cfg(test)]
#[path = "totp_tests.rs"]
mod tests;
