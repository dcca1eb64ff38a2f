//! The kinds of factor, in one table: a new kind has its row here, its state in [`identity`](super::identity), and its own
//! files. A factor that was used is named by its kind and its id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::FactorId;
use crate::words::words;

words! {
    /// A kind of factor, with its name in the store, in audit records and on the command line.
    pub enum FactorKind {
        /// RFC 6238.
        Totp = "totp",
        /// RFC 4226.
        Hotp = "hotp",
        /// A Yubico OTP with the factor's own AES key.
        YubicoOtp = "yubico_otp",
        /// A Yubico OTP whose key another validation server has.
        YubicoRemote = "yubico_remote",
        /// A security key or passkey (W3C WebAuthn Level 3).
        WebAuthn = "webauthn",
        /// A key in a YubiKey's PIV slot 9a (NIST SP 800-73).
        Piv = "piv",
        /// One-time recovery codes.
        Recovery = "recovery",
    }
}

impl FactorKind {
    /// The kind's name for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Totp => "Authenticator app",
            Self::Hotp => "Counter-based token",
            Self::YubicoOtp | Self::YubicoRemote => "YubiKey code",
            Self::WebAuthn => "Security key",
            Self::Piv => "Smart card",
            Self::Recovery => "Recovery codes",
        }
    }

    /// Whether it gives nothing to a site that only looks like the right one.
    pub const fn resists_phishing(self) -> bool {
        match self {
            Self::WebAuthn | Self::Piv => true,
            Self::Totp | Self::Hotp | Self::YubicoOtp | Self::YubicoRemote | Self::Recovery => false,
        }
    }
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
