//! New one-time password secrets: their parameters, and the `otpauth://` URI that an app reads (RFC 4226 §4, RFC 6238
//! §5.1; the URI is that of the "Key Uri Format" which every authenticator app knows).

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use zeroize::Zeroizing;

use super::totp::{HARDWARE_WINDOW, WINDOW};
use super::{FactorDetail, HotpState, TotpState};
use crate::keys::OtpHash;
use crate::random::Random;
use crate::secret::{SecretBytes, SecretText};

/// A TOTP's parameters that authenticator apps and hardware tokens know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TotpParameters {
    hash: OtpHash,
    digits: u8,
    step_seconds: u32,
}

/// Why a TOTP can't be enrolled, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// A secret that is too short or too long.
    #[error("a secret has {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, not {0}")]
    Secret(usize),
    /// The URI could not be made.
    #[error("the otpauth URI could not be made")]
    Uri,
}

/// What kind of device makes the codes: how far its clock may be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockProfile {
    /// A phone or a computer, which asks the network for the time.
    #[default]
    Synchronised,
    /// A token with a quartz that nobody sets.
    Hardware,
}

impl ClockProfile {
    /// Steps that are accepted on either side.
    pub const fn window(self) -> u8 {
        match self {
            Self::Synchronised => WINDOW,
            Self::Hardware => HARDWARE_WINDOW,
        }
    }
}

impl TotpParameters {
    /// SHA-1, 6 digits, 30 seconds: the ones that every app understands.
    pub const DEFAULT: Self = Self { hash: OtpHash::Sha1, digits: 6, step_seconds: 30 };

    /// Parameters within what is supported.
    pub fn new(hash: OtpHash, digits: u8, step_seconds: u32) -> Result<Self, EnrolmentError> {
        if !matches!(digits, 6 | 8) {
            return Err(EnrolmentError::Digits(digits));
        }
        if !matches!(step_seconds, 30 | 60) {
            return Err(EnrolmentError::Step(step_seconds));
        }
        Ok(Self { hash, digits, step_seconds })
    }

    /// The HMAC's hash.
    pub const fn hash(self) -> OtpHash {
        self.hash
    }

    /// 6 or 8.
    pub const fn digits(self) -> u8 {
        self.digits
    }

    /// A fresh secret, as long as the hash's output (RFC 4226 §4 R6, RFC 6238 §5.1).
    pub fn fresh_secret(self, random: &dyn Random) -> SecretBytes {
        let mut bytes = vec![0; self.secret_bytes()];
        random.fill(&mut bytes);
        SecretBytes::new(bytes)
    }

    /// The state of a factor with these parameters, nothing spent yet.
    pub const fn state(self, profile: ClockProfile) -> TotpState {
        let Self { hash, digits, step_seconds } = self;
        TotpState { hash, digits, step_seconds, drift: 0, window: profile.window(), last_step: -1 }
    }

    const fn secret_bytes(self) -> usize {
        match self.hash {
            OtpHash::Sha1 => 20,
            OtpHash::Sha256 => 32,
            OtpHash::Sha512 => 64,
        }
    }
}

/// The shortest secret that is taken over from elsewhere (RFC 4226 §4 R6: 128 bits). 80 bits, which older tokens have,
/// are taken too: nobody can change what is in a token.
pub const MIN_SECRET_BYTES: usize = 10;
/// The longest: a block of SHA-512.
pub const MAX_SECRET_BYTES: usize = 128;

/// A new secret, shown once: to the HSM, which keeps it, and to the person.
#[derive(Debug)]
pub struct Enrolment {
    /// The secret's bytes, for the HSM.
    pub secret: SecretBytes,
    /// The secret in base32 without padding, for typing.
    pub secret_base32: SecretText,
    /// The secret as an `otpauth://` URI, for a QR code.
    pub otpauth_uri: SecretText,
    /// The factor's parameters and state: nothing spent yet.
    pub detail: FactorDetail,
}

impl Enrolment {
    /// Makes a TOTP secret. `issuer` and `account` are what the authenticator app shows.
    pub fn new(
        issuer: &str,
        account: &str,
        parameters: TotpParameters,
        random: &dyn Random,
    ) -> Result<Self, EnrolmentError> {
        let detail = FactorDetail::Totp(parameters.state(ClockProfile::default()));
        Self::of(issuer, account, detail, parameters.fresh_secret(random))
    }

    /// Makes a HOTP secret, from counter 0 on. The parameters' step does not matter.
    pub fn hotp(
        issuer: &str,
        account: &str,
        parameters: TotpParameters,
        random: &dyn Random,
    ) -> Result<Self, EnrolmentError> {
        let TotpParameters { hash, digits, .. } = parameters;
        let detail = FactorDetail::Hotp(HotpState { hash, digits, next_counter: 0 });
        Self::of(issuer, account, detail, parameters.fresh_secret(random))
    }

    /// Takes over a secret that a token has already.
    pub fn of(issuer: &str, account: &str, detail: FactorDetail, secret: SecretBytes) -> Result<Self, EnrolmentError> {
        for (what, name) in [("issuer name", issuer), ("account name", account)] {
            if name.is_empty() || name.contains(':') {
                return Err(EnrolmentError::Name(what));
            }
        }
        check_secret(&secret)?;
        let otpauth_uri = match &detail {
            FactorDetail::Totp(state) => totp_uri(issuer, account, state, &secret)?,
            FactorDetail::Hotp(state) => hotp_uri(issuer, account, state, &secret),
            _ => return Err(EnrolmentError::Uri),
        };
        let secret_base32 = SecretText::new(BASE32_NOPAD.encode(secret.expose()));
        Ok(Self { secret, secret_base32, otpauth_uri, detail })
    }
}

fn totp_uri(
    issuer: &str,
    account: &str,
    state: &TotpState,
    secret: &SecretBytes,
) -> Result<SecretText, EnrolmentError> {
    // The lengths were judged before: what an older token has is shorter than what the crate calls compliant.
    let totp = totp_rs::Builder::new()
        .with_algorithm(algorithm(state.hash))
        .with_digits(state.digits)
        .with_step_duration(u64::from(state.step_seconds))
        .with_secret(secret.expose())
        .with_issuer(Some(issuer))
        .with_account_name(account)
        .build_noncompliant();
    totp.to_url().map(SecretText::new).map_err(|_| EnrolmentError::Uri)
}

/// `totp-rs` knows no HOTP.
fn hotp_uri(issuer: &str, account: &str, state: &HotpState, secret: &SecretBytes) -> SecretText {
    let (issuer, account) = (percent_encoded(issuer), percent_encoded(account));
    let secret = SecretText::new(BASE32_NOPAD.encode(secret.expose()));
    SecretText::new(format!(
        "otpauth://hotp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm={}&digits={}&counter={}",
        secret.expose(),
        state.hash.name(),
        state.digits,
        state.next_counter,
    ))
}

const fn algorithm(hash: OtpHash) -> totp_rs::Algorithm {
    match hash {
        OtpHash::Sha1 => totp_rs::Algorithm::SHA1,
        OtpHash::Sha256 => totp_rs::Algorithm::SHA256,
        OtpHash::Sha512 => totp_rs::Algorithm::SHA512,
    }
}

/// Judges the length of a secret that was taken over.
pub fn check_secret(secret: &SecretBytes) -> Result<(), EnrolmentError> {
    let length = secret.expose().len();
    if (MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&length) { Ok(()) } else { Err(EnrolmentError::Secret(length)) }
}

/// Base32 as people and apps write it: in any case, with spaces, dashes and padding. `None` where it is none.
pub fn from_base32(text: &str) -> Option<SecretBytes> {
    let mut letters = Zeroizing::new(Vec::with_capacity(text.len().next_multiple_of(8)));
    letters.extend(text.trim_end_matches('=').bytes().filter(|byte| !matches!(byte, b' ' | b'-')));
    let length = letters.len() * 5 / 8;
    // Whole groups, so that bits that the last letter has too many are passed over, as apps do.
    let whole = letters.len().next_multiple_of(8);
    letters.resize(whole, b'A');
    let mut bytes = Zeroizing::new(vec![0; whole / 8 * 5]);
    BASE32_NOPAD_NOCASE.decode_mut(&letters, &mut bytes).ok()?;
    bytes.get(..length).map(|bytes| SecretBytes::new(bytes.to_vec()))
}

/// RFC 3986 §2.1: all but the unreserved characters.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_rfc_4648_section_10() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(BASE32_NOPAD.encode(plain.as_bytes()), encoded);
            assert_eq!(from_base32(encoded).unwrap().expose(), plain.as_bytes());
        }
        assert_eq!(from_base32("mzxw 6ytb-oi======").unwrap().expose(), b"foobar");
        assert_eq!(from_base32("MZXW7").unwrap().expose(), b"foo", "a bit too many is passed over");
        assert!(from_base32("MZXW1").is_none() && from_base32("ä").is_none());
    }

    #[test]
    fn a_uri_is_read_by_another_implementation() {
        let parameters = TotpParameters::new(OtpHash::Sha256, 8, 60).unwrap();
        let enrolment = Enrolment::new("Acme & Söhne", "ann@example", parameters, &crate::random::OsRandom).unwrap();
        let read = totp_rs::Totp::from_url(enrolment.otpauth_uri.expose()).unwrap();
        assert_eq!(read.secret().to_base32(), enrolment.secret_base32.expose());
        let hotp = Enrolment::hotp("Acme", "ann", TotpParameters::DEFAULT, &crate::random::OsRandom).unwrap();
        let uri = hotp.otpauth_uri.expose();
        assert!(
            uri.starts_with("otpauth://hotp/Acme:ann?secret=") && uri.ends_with("&algorithm=SHA1&digits=6&counter=0")
        );
    }
}
