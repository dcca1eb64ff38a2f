//! The JOSE header of a compact JWS (RFC 7515 §4).

use super::{Algorithm, KeyId};

/// The header that Signet writes and accepts: `alg`, `kid`, `typ`, and nothing that names a key by value or address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `alg` (RFC 7515 §4.1.1). Compared with the key's algorithm, never followed.
    pub algorithm: Algorithm,
    /// `kid` (RFC 7515 §4.1.4).
    pub key_id: Option<KeyId>,
    /// `typ` (RFC 7515 §4.1.9), as it stands.
    pub token_type: Option<String>,
}
