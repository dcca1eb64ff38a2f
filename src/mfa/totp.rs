//! TOTP: which steps a code may belong to, which one it matches, and how far the device's clock is off
//! (RFC 6238, RFC 4226 §5.3). The HMACs come from the HSM; the seed is never here after [`Enrolment`].

use std::fmt;

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::authentication::{FactorKind, FactorProof};
use super::{FactorId, TotpState, UserId};
use crate::clock::Timestamp;
use crate::keys::OtpHash;
use crate::random::Random;
use crate::secret::{SecretBytes, SecretText};

/// Steps accepted on either side of the expected one (RFC 6238 §5.2), where the clock is a phone's.
pub const WINDOW: u8 = 1;
/// The same for a hardware token's clock, which nobody sets.
pub const HARDWARE_WINDOW: u8 = 2;

/// The furthest drift that is kept, in steps either way (RFC 6238 §6): five minutes of 30-second steps. Without the cap
/// an attacker who holds old codes and a slow clock could walk the window back step by step.
pub const DRIFT_CAP: i32 = 10;

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

/// A step that a shown code matched, and that was not spent when the factor was read.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a step that is not spent can be used again"]
pub struct SpendableStep {
    step: i64,
    drift: i32,
}

/// Why a code is refused. The audit record says which; the caller is told neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TotpFault {
    /// No candidate has this code.
    #[error("the code is of none of the acceptable steps")]
    WrongCode,
    /// The code's step, or a later one, was already accepted.
    #[error("the code's step was already spent")]
    Replayed,
}

impl TotpFault {
    /// The fixed word of an audit record's reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::WrongCode => "wrong_code",
            Self::Replayed => "replayed_code",
        }
    }
}

/// Compares a code with every candidate in constant time; `hmacs` are those of `candidates`, in order, and `now` is the
/// time that they were made from. The highest acceptable step wins, so that spending it burns an equal code below it.
///
/// # Errors
///
/// [`TotpFault`]. A list of HMACs that is not one for each candidate matches nothing.
pub fn match_step(
    code: &Code,
    now: Timestamp,
    candidates: &[i64],
    hmacs: &[Vec<u8>],
    state: &TotpState,
) -> Result<SpendableStep, TotpFault> {
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
        let drift = i32::try_from(offset).unwrap_or(0).clamp(-DRIFT_CAP, DRIFT_CAP);
        return Ok(SpendableStep { step, drift });
    }
    Err(if bool::from(spent) { TotpFault::Replayed } else { TotpFault::WrongCode })
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
        won.then(|| FactorProof::new(user.clone(), factor.clone(), FactorKind::Totp))
    }
}

/// A TOTP's parameters that authenticator apps and hardware tokens know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TotpParameters {
    hash: OtpHash,
    digits: u8,
    step_seconds: u32,
}

/// Why a TOTP can't be enrolled, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolmentError {
    /// Other than 6 or 8 digits.
    #[error("a code has 6 or 8 digits, not {0}")]
    Digits(u8),
    /// Other than 30 or 60 seconds.
    #[error("a code lasts 30 or 60 seconds, not {0}")]
    Step(u32),
    /// A name that the otpauth URI can't carry.
    #[error("the {0} must not be empty or hold a colon, which an otpauth URI can't carry")]
    Name(&'static str),
    /// The URI could not be made.
    #[error("the otpauth URI could not be made")]
    Uri,
}

impl TotpParameters {
    /// SHA-1, 6 digits, 30 seconds: the ones that every app understands.
    pub const DEFAULT: Self = Self { hash: OtpHash::Sha1, digits: 6, step_seconds: 30 };

    /// Parameters within what is supported.
    ///
    /// # Errors
    ///
    /// [`EnrolmentError::Digits`], [`EnrolmentError::Step`].
    pub fn new(hash: OtpHash, digits: u8, step_seconds: u32) -> Result<Self, EnrolmentError> {
        if !matches!(digits, 6 | 8) {
            return Err(EnrolmentError::Digits(digits));
        }
        if !matches!(step_seconds, 30 | 60) {
            return Err(EnrolmentError::Step(step_seconds));
        }
        Ok(Self { hash, digits, step_seconds })
    }

    /// As long as the hash's output (RFC 4226 §4 R6, RFC 6238 §5.1).
    const fn secret_bytes(self) -> usize {
        match self.hash {
            OtpHash::Sha1 => 20,
            OtpHash::Sha256 => 32,
            OtpHash::Sha512 => 64,
        }
    }

    const fn algorithm(self) -> totp_rs::Algorithm {
        match self.hash {
            OtpHash::Sha1 => totp_rs::Algorithm::SHA1,
            OtpHash::Sha256 => totp_rs::Algorithm::SHA256,
            OtpHash::Sha512 => totp_rs::Algorithm::SHA512,
        }
    }
}

impl Default for TotpParameters {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A new TOTP secret, shown once: to the HSM, which keeps it, and to the person.
#[derive(Debug)]
pub struct Enrolment {
    secret: SecretBytes,
    secret_base32: SecretText,
    otpauth_uri: SecretText,
    state: TotpState,
}

impl Enrolment {
    /// Makes a secret. `issuer` and `account` are what the authenticator app shows.
    ///
    /// # Errors
    ///
    /// [`EnrolmentError::Name`], [`EnrolmentError::Uri`].
    pub fn new(
        issuer: &str,
        account: &str,
        parameters: TotpParameters,
        random: &dyn Random,
    ) -> Result<Self, EnrolmentError> {
        let mut bytes = vec![0; parameters.secret_bytes()];
        random.fill(&mut bytes);
        Self::of_secret(issuer, account, parameters, SecretBytes::new(bytes))
    }

    /// The same with a secret that [`new`](Self::new) made, to be shown again.
    ///
    /// # Errors
    ///
    /// [`EnrolmentError::Name`], [`EnrolmentError::Uri`].
    pub fn of_secret(
        issuer: &str,
        account: &str,
        parameters: TotpParameters,
        secret: SecretBytes,
    ) -> Result<Self, EnrolmentError> {
        for (what, name) in [("issuer name", issuer), ("account name", account)] {
            if name.is_empty() || name.contains(':') {
                return Err(EnrolmentError::Name(what));
            }
        }
        let totp = totp_rs::Builder::new()
            .with_algorithm(parameters.algorithm())
            .with_digits(parameters.digits)
            .with_step_duration(u64::from(parameters.step_seconds))
            .with_secret(secret.expose())
            .with_issuer(Some(issuer))
            .with_account_name(account)
            .build()
            .map_err(|_| EnrolmentError::Uri)?;
        Ok(Self {
            secret_base32: SecretText::new(totp.secret().to_base32()),
            otpauth_uri: SecretText::new(totp.to_url().map_err(|_| EnrolmentError::Uri)?),
            secret,
            state: TotpState {
                hash: parameters.hash,
                digits: parameters.digits,
                step_seconds: parameters.step_seconds,
                drift: 0,
                window: WINDOW,
                last_step: -1,
            },
        })
    }

    /// The secret's bytes, for the HSM.
    pub fn secret(&self) -> &SecretBytes {
        &self.secret
    }

    /// The secret in base32 without padding, for typing.
    pub fn secret_base32(&self) -> &SecretText {
        &self.secret_base32
    }

    /// The secret as an `otpauth://` URI, for a QR code.
    pub fn otpauth_uri(&self) -> &SecretText {
        &self.otpauth_uri
    }

    /// The factor's state: nothing spent yet.
    pub fn state(&self) -> &TotpState {
        &self.state
    }
}

#[cfg(test)]
#[path = "totp_tests.rs"]
mod tests;
