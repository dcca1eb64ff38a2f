//! `[[hsm]]`, continued: what the worker of an HSM token may do.

use super::ConfigError;
use super::section::Section;

/// The keys of an `[[hsm]]` that speak of its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsmWorkerConfig {
    /// `max_signatures_per_second`: more are answered with 503; 0: as many as the HSM can.
    pub max_signatures_per_second: u32,
}

impl HsmWorkerConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, ConfigError> {
        Ok(Self { max_signatures_per_second: section.integer("max_signatures_per_second", 0..=10_000_000, 0)? })
    }
}
