//! Tokens as an issuer gave them.

use serde::{Deserialize, Serialize};
use signet_jose::clock::Timestamp;

/// Tokens as they are kept. They have no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    pub(crate) scope: String,
    /// Unix seconds.
    pub(crate) expires_at: i64,
}

impl Tokens {
    pub(crate) fn expires_at(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.expires_at)
    }
}
