//! The kinds of factor, in one table. A kind has its row here and a file of its own, which holds its state and says by
//! [`FactorRules`] what the rest of the house asks of it. A factor that was used is named by its kind and its id.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::hotp::HotpState;
use super::piv::PivState;
use super::policy::{DigitCodes, Limit, OtpText};
use super::recovery::RecoveryState;
use super::totp::TotpState;
use super::webauthn::WebAuthnState;
use super::yubico_otp::YubicoState;
use super::yubico_remote::YubicoRemoteState;
use super::{FactorId, Spendable, Spending};
use crate::audit::Reason;
use crate::keys::OtpSecretKind;
use crate::words::words;
use signet_verify::Level;

/// Makes [`FactorKind`] and [`FactorDetail`] of the table.
macro_rules! factor_kinds {
    ($($(#[$meta:meta])* $kind:ident($state:ty), $name:literal, $in_words:literal, $resists:literal, $limit:expr;)+) => {
        words! {
            /// A kind of factor, with its name in the store, in audit records and on the command line.
            pub enum FactorKind { $($(#[$meta])* $kind = $name,)+ }
        }

        impl FactorKind {
            /// The kind's name for people.
            pub const fn in_words(self) -> &'static str {
                match self { $(Self::$kind => $in_words,)+ }
            }

            /// Whether it gives nothing to a site that only looks like the right one.
            pub const fn resists_phishing(self) -> bool {
                match self { $(Self::$kind => $resists,)+ }
            }

            /// How many of them one user may have; `None` where nothing is computed for each.
            pub const fn limit(self) -> Option<Limit> {
                match self { $(Self::$kind => $limit,)+ }
            }
        }

        /// What a factor's kind needs for its check.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum FactorDetail { $($(#[$meta])* $kind($state),)+ }

        impl FactorDetail {
            /// The kind.
            pub const fn kind(&self) -> FactorKind {
                match self { $(Self::$kind(_) => FactorKind::$kind,)+ }
            }

            /// What is kept of it in JSON: everything but the counter that rises.
            /// Errors: serde's, which does not happen.
            pub fn kept(&self) -> serde_json::Result<String> {
                match self { $(Self::$kind(state) => serde_json::to_string(state),)+ }
            }

            /// Reads what [`kept`](Self::kept) wrote, and the counter beside it.
            /// Errors: serde's; [`MissingCounter`] where the kind has a counter and there is none.
            pub fn from_kept(kind: FactorKind, kept: &str, counter: Option<i64>) -> serde_json::Result<Self> {
                let mut detail = match kind { $(FactorKind::$kind => Self::$kind(serde_json::from_str(kept)?),)+ };
                if detail.counter().is_some() {
                    detail.set_counter(counter.ok_or_else(|| de::Error::custom(MissingCounter))?);
                }
                Ok(detail)
            }
        }

        impl Deref for FactorDetail {
            type Target = dyn FactorRules;

            fn deref(&self) -> &Self::Target {
                match self { $(Self::$kind(state) => state,)+ }
            }
        }

        impl DerefMut for FactorDetail {
            fn deref_mut(&mut self) -> &mut Self::Target {
                match self { $(Self::$kind(state) => state,)+ }
            }
        }
    };
}

factor_kinds! {
    // The kind with its state; its name, and its name for people; whether it resists phishing; how many one user may have.
    /// RFC 6238.
    Totp(TotpState), "totp", "Authenticator app", false, Some(Limit::DIGITS);
    /// RFC 4226.
    Hotp(HotpState), "hotp", "Counter-based token", false, Some(Limit::DIGITS);
    /// A Yubico OTP with the factor's own AES key.
    YubicoOtp(YubicoState), "yubico_otp", "YubiKey code", false, None;
    /// A Yubico OTP whose key another validation server has.
    YubicoRemote(YubicoRemoteState), "yubico_remote", "YubiKey code", false, None;
    /// A security key or passkey (W3C WebAuthn Level 3).
    WebAuthn(WebAuthnState), "webauthn", "Security key", true, Some(Limit::SECURITY_KEYS);
    /// A key in a YubiKey's PIV slot 9a (NIST SP 800-73).
    Piv(PivState), "piv", "Smart card", true, None;
    /// One-time recovery codes, kept as hashes beside the factor.
    Recovery(RecoveryState), "recovery", "Recovery codes", false, Some(Limit::RECOVERY);
}

/// A counter that should be kept beside a factor's state is not there.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the factor's counter is missing")]
pub struct MissingCounter;

/// What the house asks of a factor, whatever its kind. What a kind leaves out holds of it as it stands here.
pub trait FactorRules: Send + Sync {
    /// What the HSM keeps for the factor; `None` for a kind without a secret.
    fn secret_kind(&self) -> Option<OtpSecretKind> {
        None
    }

    /// What names the factor from outside and is unique in the tenant for its kind: a Yubico public id, a credential
    /// id, a key's thumbprint.
    fn handle(&self) -> Option<&str> {
        None
    }

    /// What is shown of the factor to an operator.
    fn facts(&self) -> Facts<'_> {
        Facts::default()
    }

    /// The level of the most that it proves, on whatever surface; `None` for what stands in for a factor.
    fn reachable(&self) -> Option<Level> {
        Some(Level::Aal2)
    }

    /// The counter that rises with each use, where there is one.
    fn counter(&self) -> Option<i64> {
        None
    }

    /// Sets the counter, where there is one.
    fn set_counter(&mut self, _counter: i64) {}

    /// The write that raises the counter without a code; `None` where there is no counter, or time moves it on.
    fn raising(&self, _counter: i64) -> Option<Spending> {
        None
    }

    /// Whether nothing lies between this counter and the one that the factor stands at, where codes are counted.
    fn is_next(&self, _counter: i64) -> bool {
        false
    }

    /// Keeps what a code spent: what the store's conditional write does to the row.
    fn spend(&mut self, by: &Spending) {
        if let Some(counter) = by.counter() {
            self.set_counter(counter);
        }
    }

    /// Whether what was typed may be of this factor, so that the HSM is asked.
    fn may_have_shown(&self, _shown: &OtpText) -> bool {
        false
    }

    /// How it is matched, where it shows digits.
    fn digit_codes(&self) -> Option<&dyn DigitCodes> {
        None
    }

    /// Judges the decrypted block of an OTP, where it shows one.
    /// Errors: [`Reason`], for the audit record.
    fn match_block(&self, _block: &[u8; 16]) -> Result<Spendable, Reason> {
        Err(Reason::UnknownKey)
    }
}

/// What is shown of a factor beside its label and serial number: nothing secret.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'f> {
    /// A YubiKey's public id.
    pub public_id: Option<&'f str>,
    /// The RFC 7638 thumbprint of a card's key.
    pub key_thumbprint: Option<&'f str>,
    /// Whether the maker's attestation proved where the key is.
    pub attested: Option<bool>,
    /// A security key's AAGUID.
    pub model: Option<&'f str>,
}

/// A text that names no factor, or no kind of factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this names no factor that Signet knows")]
pub struct UnknownFactor;

impl FromStr for FactorKind {
    type Err = UnknownFactor;

    fn from_str(name: &str) -> Result<Self, UnknownFactor> {
        Self::named(name).ok_or(UnknownFactor)
    }
}

/// A factor, with its kind beside its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FactorRef {
    /// Its kind.
    pub kind: FactorKind,
    /// Its id.
    pub id: FactorId,
}

impl fmt::Display for FactorRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.kind, self.id)
    }
}

/// What was shown. In the store and in audit records it is a text: `password`, `kind:id`, or `otp_key:public id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UsedFactor {
    /// The password.
    Password,
    /// A factor.
    Factor(FactorRef),
    /// A Yubico OTP key that is no user's factor, by its public id: the validation server's own.
    ValidationKey(String),
}

/// How a validation server's own key is named.
const VALIDATION_KEY: &str = "otp_key";

impl UsedFactor {
    /// The factor, where it is a person's.
    pub const fn factor(&self) -> Option<&FactorRef> {
        match self {
            Self::Factor(factor) => Some(factor),
            Self::Password | Self::ValidationKey(_) => None,
        }
    }

    /// Whether a factor of this kind was shown.
    pub fn is(&self, kind: FactorKind) -> bool {
        self.factor().is_some_and(|factor| factor.kind == kind)
    }
}

impl fmt::Display for UsedFactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password => formatter.write_str("password"),
            Self::Factor(factor) => factor.fmt(formatter),
            Self::ValidationKey(public_id) => write!(formatter, "{VALIDATION_KEY}:{public_id}"),
        }
    }
}

impl FromStr for UsedFactor {
    type Err = UnknownFactor;

    fn from_str(text: &str) -> Result<Self, UnknownFactor> {
        match text.split_once(':') {
            None if text == "password" => Ok(Self::Password),
            None => Err(UnknownFactor),
            Some((VALIDATION_KEY, public_id)) => Ok(Self::ValidationKey(public_id.to_owned())),
            Some((kind, id)) => Ok(Self::Factor(FactorRef { kind: kind.parse()?, id: FactorId::new(id) })),
        }
    }
}

impl Serialize for UsedFactor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UsedFactor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for kind in FactorKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            let used = UsedFactor::Factor(FactorRef { kind, id: FactorId::new("0198-ab") });
            assert_eq!(used.to_string().parse(), Ok(used));
        }
        assert_eq!("password".parse(), Ok(UsedFactor::Password));
        assert_eq!("otp_key:cccc".parse(), Ok(UsedFactor::ValidationKey("cccc".to_owned())));
        for other in ["", "pwd", "sms:1", "totp"] {
            assert_eq!(other.parse::<UsedFactor>(), Err(UnknownFactor), "{other}");
        }
    }
}
