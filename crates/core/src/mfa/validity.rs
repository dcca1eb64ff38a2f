//! From when to when a token may be used, where its maker says so.

use serde::{Deserialize, Serialize};
use signet_jose::clock::Timestamp;

/// From when to when a token may be used (RFC 6030 §4.1, §5: StartDate and ExpiryDate); always where nothing says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// Not before.
    #[serde(default, rename = "valid_from", skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Not from then on.
    #[serde(default, rename = "valid_until", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Validity {
    /// Why it may not be used at this time.
    pub fn refusal(&self, at: Timestamp) -> Option<String> {
        match (self.from, self.until) {
            (Some(from), _) if at < from => Some(format!("it may be used from {from} on")),
            (_, Some(until)) if until <= at => Some(format!("it expired on {}", until.day())),
            _ => None,
        }
    }
}
