//! Ids that nobody else has.

use std::sync::Arc;

use crate::Ports;
use signet_core::random::{self, Random};
use signet_jose::clock::Clock;

/// Makes ids: UUIDv7 (RFC 9562 §5.7), so that they sort by the time of their making.
pub struct Ids {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Ids {
    pub(crate) fn new(ports: &Ports) -> Self {
        Self { clock: ports.clock.clone(), random: ports.random.clone() }
    }

    /// Returns a new id.
    pub fn next(&self) -> String {
        let millis = u64::try_from(self.clock.now().unix_millis()).unwrap_or(0);
        let random = random::bytes::<10>(self.random.as_ref());
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string()
    }
}
