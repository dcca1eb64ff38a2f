//! `[audit]`: how often the audit chain is sealed, and what `signet audit verify` needs beside it.

use std::path::PathBuf;
use std::time::Duration;

use super::section::Section;
use super::{ConfigError, StoreConfig};

pub(super) const KEYS: &[&str] = &["checkpoint_interval", "anchor", "public_key"];

/// `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// `checkpoint_interval`: how often new records are covered by a checkpoint that an HSM signs.
    pub checkpoint_interval: Duration,
    /// `anchor`: a file beside the store that holds the chain's last place, so that an old copy of the store is noticed.
    pub anchor: PathBuf,
    /// `public_key`: where `signet init` writes the audit keys' public JWKS; beside the store unless said otherwise.
    pub public_key: PathBuf,
}

impl AuditConfig {
    pub(super) fn read(section: Section<'_>, store: &StoreConfig) -> Result<Self, ConfigError> {
        let bounds = Duration::from_millis(100)..=Duration::from_secs(3600);
        let file = |key, default| Ok(section.path(key, "a path")?.unwrap_or_else(|| store.folder().join(default)));
        Ok(Self {
            checkpoint_interval: section.duration("checkpoint_interval", bounds, Duration::from_secs(1))?,
            anchor: file("anchor", "audit.anchor")?,
            public_key: file("public_key", "audit.jwk")?,
        })
    }
}
