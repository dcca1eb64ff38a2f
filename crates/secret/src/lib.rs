//! How secrets are held in memory: they are wiped when dropped, and `Debug` shows that something is there, never what.
//!
//! It decides nothing about what a secret is for, and never reads or writes one anywhere.

#![forbid(unsafe_code)]

use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Secret bytes, wiped when dropped.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes that hex digits of either case stand for; `None` for an odd number of them, or anything else.
    pub fn from_hex(digits: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new(vec![0; HEXLOWER_PERMISSIVE.decode_len(digits.len()).ok()?]);
        HEXLOWER_PERMISSIVE.decode_mut(digits.as_bytes(), &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The bytes, for the moment in which they are needed.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretBytes(..)")
    }
}

/// Equality in constant time for secrets of equal length.
impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for SecretBytes {}

/// Secret text, wiped when dropped: a password, a client secret, a refresh token as issued.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the moment in which it is needed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretText(..)")
    }
}

/// What is stored of a secret of at least 128 random bits that need only be compared: its SHA-256.
///
/// Not for passwords, which people choose and machines guess.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of a secret as issued.
    pub fn of(secret: &str) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(secret.as_bytes()).into())
    }

    /// The hash as it was stored.
    pub const fn from_stored(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", SecretText::new("hunter2".into())), "SecretText(..)");
        assert_eq!(format!("{:?}", SecretBytes::new(vec![1, 2])), "SecretBytes(..)");
        assert_eq!(format!("{:?}", SecretHash::of("hunter2")), "SecretHash(..)");
    }

    #[test]
    fn hex_is_exact() {
        assert_eq!(SecretBytes::from_hex("01fF").unwrap().expose(), [1, 255]);
        assert_eq!(SecretBytes::from_hex("").unwrap().expose(), [0; 0]);
        for text in ["01f", "01ff0", "01fg", "+1ff", "é1f", " 01f", "01\n"] {
            assert!(SecretBytes::from_hex(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_hash_equals_the_hash_of_the_same_secret_only() {
        assert_eq!(SecretHash::of("a"), SecretHash::of("a"));
        assert_ne!(SecretHash::of("a"), SecretHash::of("b"));
    }
}
