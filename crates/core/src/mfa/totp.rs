//! TOTP: which steps a code may belong to, which one it matches, and how far the device's clock is off
//! (RFC 6238, RFC 4226 §5.3). The HMACs come from the HSM; the seed is never here.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::authentication::FactorUse;
pub use super::enrolment::{ClockProfile, Enrolment, EnrolmentError, TotpParameters};
use super::kind::{FactorKind, FactorRules};
use super::policy::{DigitCodes, OtpText};
use super::{Spendable, Spending};
use crate::audit::Reason;
use crate::keys::{OtpHash, OtpSecretKind};
use signet_jose::clock::Timestamp;
use signet_verify::Level;

/// Steps accepted on either side of the expected one (RFC 6238 §5.2), where the clock is a phone's.
pub const WINDOW: u8 = 1;
/// Steps accepted on either side where the clock is a hardware token's, which nobody sets.
pub const HARDWARE_WINDOW: u8 = 2;

/// The furthest drift that single codes lead to, in steps either way (RFC 6238 §6): five minutes of 30-second steps.
/// Without the cap an attacker who holds old codes and a slow clock could walk the window back step by step. Beyond it,
/// two codes in a row ([`DigitCodes::match_pair`]) are needed.
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

/// The places at which the first of two codes matches and the second one matches the next place. Every place is
/// compared.
pub(super) fn pair_places(codes: [&Code; 2], hmacs: &[Vec<u8>], digits: u8) -> Vec<usize> {
    let well_formed = codes.iter().all(|code| code.digits == digits);
    let equal = |hmac: &Vec<u8>, code: &Code| truncate(hmac, digits).unwrap_or(u32::MAX).ct_eq(&code.value);
    let pairs = hmacs.iter().zip(hmacs.iter().skip(1)).enumerate();
    let found = pairs.map(|(place, (one, two))| (place, bool::from(equal(one, codes[0]) & equal(two, codes[1]))));
    found.filter(|(_, found)| well_formed && *found).map(|(place, _)| place).collect()
}

/// A TOTP factor's parameters and how far it is spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotpState {
    /// The HMAC's hash.
    pub hash: OtpHash,
    /// 6 or 8.
    pub digits: u8,
    /// 30 or 60 seconds.
    pub step_seconds: u32,
    /// Steps by which the device's clock runs ahead (positive) or behind.
    pub drift: i32,
    /// Steps that are accepted on either side of the expected one: 1, or 2 for a hardware token's clock.
    pub window: u8,
    /// The last step that was accepted; only later ones count. -1 before the first.
    #[serde(skip)]
    pub last_step: i64,
}

impl TotpState {
    fn current_step(&self, now: Timestamp) -> i64 {
        now.unix_seconds().div_euclid(i64::from(self.step_seconds.max(1)))
    }

    /// How far the device's clock is off at this step.
    fn offset(&self, step: i64, now: Timestamp) -> i32 {
        i32::try_from(step.saturating_sub(self.current_step(now))).unwrap_or(0)
    }
}

fn spendable(step: i64, drift: i32) -> Spendable {
    let used = FactorUse::beside_password(FactorKind::Totp, &["otp", "mfa"], Level::Aal2);
    Spendable { by: Spending::TotpStep { step, drift }, used }
}

impl FactorRules for TotpState {
    fn secret_kind(&self) -> Option<OtpSecretKind> {
        Some(OtpSecretKind::Hmac(self.hash))
    }

    fn counter(&self) -> Option<i64> {
        Some(self.last_step)
    }

    fn set_counter(&mut self, counter: i64) {
        self.last_step = counter;
    }

    fn spend(&mut self, by: &Spending) {
        if let Spending::TotpStep { step, drift } = by {
            (self.last_step, self.drift) = (*step, *drift);
        }
    }

    fn may_have_shown(&self, shown: &OtpText) -> bool {
        matches!(shown, OtpText::Digits(code) if code.digits() == self.digits)
    }

    fn digit_codes(&self) -> Option<&dyn DigitCodes> {
        Some(self)
    }
}

impl DigitCodes for TotpState {
    fn hash(&self) -> OtpHash {
        self.hash
    }

    fn digits(&self) -> u8 {
        self.digits
    }

    /// Always `2 * window + 1` steps, spent ones too, so that the work tells nothing.
    fn candidates(&self, now: Timestamp) -> Vec<i64> {
        let centre = self.current_step(now).saturating_add(i64::from(self.drift));
        let window = i64::from(self.window);
        (-window..=window).map(|offset| centre.saturating_add(offset)).collect()
    }

    /// The highest acceptable step wins, so that spending it burns an equal code below it.
    fn match_code(
        &self,
        code: &Code,
        now: Timestamp,
        candidates: &[i64],
        hmacs: &[Vec<u8>],
    ) -> Result<Spendable, Reason> {
        let complete = Choice::from(u8::from(candidates.len() == hmacs.len() && code.digits == self.digits));
        let (mut found, mut spent, mut step) = (Choice::from(0), Choice::from(0), 0_i64);
        for (&candidate, hmac) in candidates.iter().zip(hmacs) {
            // u32::MAX is no code of 6 or 8 digits.
            let equal = complete & truncate(hmac, self.digits).unwrap_or(u32::MAX).ct_eq(&code.value);
            let unspent = Choice::from(u8::from(candidate > self.last_step && candidate >= 0));
            step.conditional_assign(&candidate, equal & unspent);
            found |= equal & unspent;
            spent |= equal & !unspent;
        }
        if bool::from(found) {
            // What two codes in a row have shown is no further capped, and one code leads no further away from it.
            let (least, most) = (self.drift.min(-DRIFT_CAP), self.drift.max(DRIFT_CAP));
            return Ok(spendable(step, self.offset(step, now).clamp(least, most)));
        }
        Err(if bool::from(spent) { Reason::ReplayedCode } else { Reason::WrongCode })
    }

    /// Either way of now, whatever drift is known.
    fn resync_candidates(&self, now: Timestamp) -> Vec<i64> {
        let first = self.current_step(now).saturating_sub(RESYNC_STEPS / 2);
        (0..RESYNC_STEPS).map(|offset| first.saturating_add(offset)).collect()
    }

    /// The later pair wins. The drift that they show is kept as it is: to have seen both is proof enough of the device.
    fn match_pair(
        &self,
        codes: [&Code; 2],
        now: Timestamp,
        candidates: &[i64],
        hmacs: &[Vec<u8>],
    ) -> Result<Spendable, Reason> {
        if candidates.len() != hmacs.len() {
            return Err(Reason::WrongCode);
        }
        let places = pair_places(codes, hmacs, self.digits);
        let pairs = || places.iter().filter_map(|place| Some((*candidates.get(*place)?, *candidates.get(place + 1)?)));
        let is_unspent = |first: i64| first > self.last_step && first >= 0;
        match pairs().filter(|(first, _)| is_unspent(*first)).map(|(_, second)| second).max() {
            Some(step) => Ok(spendable(step, self.offset(step, now))),
            None => Err(if pairs().next().is_some() { Reason::ReplayedCode } else { Reason::WrongCode }),
        }
    }
}

#[cfg(test)]
#[path = "totp_tests.rs"]
mod tests;
