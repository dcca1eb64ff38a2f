//! The kinds of factor, in one table: a new kind has its row here, its state in [`identity`](super::identity), and its own
//! files. A factor that was used is named by its kind and its id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::FactorId;

/// A kind of factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FactorKind {
    /// RFC 6238.
    Totp,
    /// RFC 4226.
    Hotp,
    /// A Yubico OTP with the factor's own AES key.
    YubicoOtp,
    /// A Yubico OTP whose key another validation server has.
    YubicoRemote,
    /// A security key or passkey (W3C WebAuthn Level 3).
    WebAuthn,
    /// A key in a YubiKey's PIV slot 9a (NIST SP 800-73).
    Piv,
    /// One-time recovery codes.
    Recovery,
}

/// Each kind with its name in the store, in audit records and on the command line, its name for people, and whether it
/// gives nothing to a site that only looks like the right one.
const TABLE: [(FactorKind, &str, &str, bool); 7] = [
    (FactorKind::Totp, "totp", "Authenticator app", false),
    (FactorKind::Hotp, "hotp", "Counter-based token", false),
    (FactorKind::YubicoOtp, "yubico_otp", "YubiKey code", false),
    (FactorKind::YubicoRemote, "yubico_remote", "YubiKey code", false),
    (FactorKind::WebAuthn, "webauthn", "Security key", true),
    (FactorKind::Piv, "piv", "Smart card", true),
    (FactorKind::Recovery, "recovery", "Recovery codes", false),
];

impl FactorKind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// The kind's name in the store, in audit records and on the command line.
    pub const fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The kind's name for people.
    pub const fn in_words(self) -> &'static str {
        TABLE[self as usize].2
    }

    /// Whether it gives nothing to a site that only looks like the right one.
    pub const fn resists_phishing(self) -> bool {
        TABLE[self as usize].3
    }
}

impl fmt::Display for FactorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for FactorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A text that names no factor, or no kind of factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this names no factor that Signet knows")]
pub struct UnknownFactor;

impl FromStr for FactorKind {
    type Err = UnknownFactor;

    fn from_str(name: &str) -> Result<Self, UnknownFactor> {
        Self::all().find(|kind| kind.name() == name).ok_or(UnknownFactor)
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
    fn the_table_has_each_kind_at_its_place_and_reads_what_it_writes() {
        for (place, kind) in FactorKind::all().enumerate() {
            assert_eq!((kind as usize, kind.name().parse()), (place, Ok(kind)));
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
