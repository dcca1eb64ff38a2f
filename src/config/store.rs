//! `[store]`: where what Signet keeps is kept.

use std::path::{Path, PathBuf};

use super::ConfigError;
use super::section::Section;

pub(super) const KEYS: &[&str] = &["url"];

const EXPECTED: &str =
    "the URL of a SQLite file, e.g. \"sqlite://signet.db\" or \"sqlite:///var/lib/signet/signet.db\",";

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// `url = "sqlite://..."`: a file, made where it is missing.
    Sqlite(PathBuf),
}

impl StoreConfig {
    pub(super) fn read(section: Section<'_>) -> Result<Self, ConfigError> {
        let url = section.text("url", EXPECTED)?.unwrap_or_else(|| "sqlite://signet.db".to_owned());
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let problem = "PostgreSQL is not in this version of Signet: use a SQLite file, e.g. \"sqlite://signet.db\"";
            return Err(section.unusable("url", problem));
        }
        match url.strip_prefix("sqlite://") {
            Some(path) if !path.is_empty() && !path.contains(['?', '#']) && path != ":memory:" => {
                Ok(Self::Sqlite(section.resolve(path)))
            }
            _ => Err(section.unusable("url", format!("{EXPECTED} is expected"))),
        }
    }

    /// The state folder: that of the store's file.
    pub fn folder(&self) -> &Path {
        let Self::Sqlite(file) = self;
        file.parent().unwrap_or(Path::new("/"))
    }
}
