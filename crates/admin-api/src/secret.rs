//! How a secret travels: as a plain JSON string, and nowhere else in clear.

use serde::de::Deserialize as _;
use serde::{Deserializer, Serializer};
use signet_secret::SecretText;

/// Writes a secret into a request or an answer.
/// Errors: the serializer's.
pub fn serialize<S: Serializer>(secret: &SecretText, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// Reads a secret.
/// Errors: no string stands there.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretText, D::Error> {
    String::deserialize(deserializer).map(SecretText::new)
}

/// The same where there may be none.
pub mod optional {
    use serde::de::Deserialize as _;
    use serde::{Deserializer, Serializer};
    use signet_secret::SecretText;

    /// Writes a secret, or nothing.
    /// Errors: the serializer's.
    pub fn serialize<S: Serializer>(secret: &Option<SecretText>, serializer: S) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => serializer.serialize_some(secret.expose()),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a secret, or `null`.
    /// Errors: something else stands there.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretText>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(SecretText::new))
    }
}
