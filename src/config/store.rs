//! `[store]`: where what Signet keeps is kept.

use std::path::{Path, PathBuf};

use super::ConfigError;
use super::section::Section;

pub(super) const KEYS: &[&str] = &["url", "password_file", "ca_file", "state_folder"];

const EXPECTED: &str = "the URL of a SQLite file, e.g. \"sqlite:///var/lib/signet/signet.db\", or of a PostgreSQL database, \
    e.g. \"postgres://signet@db1.example,db2.example/signet\",";

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// `url = "sqlite://..."`: a file, made where it is missing.
    Sqlite(PathBuf),
    /// `url = "postgres://..."`: a database that many nodes share.
    Postgres(PostgresConfig),
}

/// A PostgreSQL database, and what is this node's own beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// `url`: role, hosts and database; never a password.
    pub url: String,
    /// `password_file`: the role's password, in a file that only its owner can read.
    pub password_file: Option<PathBuf>,
    /// `ca_file`: who vouches for the server's certificate (PEM). With it, TLS is demanded and the server's name checked.
    pub ca_file: Option<PathBuf>,
    /// `state_folder`: where this node keeps what is its own: anchor, marks of PIN tries, counts of signatures.
    pub state_folder: PathBuf,
}

impl StoreConfig {
    pub(super) fn read(section: Section<'_>) -> Result<Self, ConfigError> {
        let url = section.text("url", EXPECTED)?.unwrap_or_else(|| "sqlite://signet.db".to_owned());
        if let Some(rest) = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://")) {
            let user = rest.split('/').next().and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
            if user.is_some_and(|user| user.contains(':')) || rest.contains("password=") {
                return Err(section.unusable("url", "a password has no place in it: put it into `store.password_file`"));
            }
            let [password_file, ca_file, state_folder] =
                ["password_file", "ca_file", "state_folder"].map(|key| section.path(key, "a path"));
            let state_folder =
                section.required("state_folder", state_folder?, "the folder of this node's own state")?;
            let (password_file, ca_file) = (password_file?, ca_file?);
            return Ok(Self::Postgres(PostgresConfig { url, password_file, ca_file, state_folder }));
        }
        if let Some(key) = ["password_file", "ca_file", "state_folder"].into_iter().find(|key| section.has(key)) {
            return Err(section.unusable(key, "it goes with a PostgreSQL `store.url` alone"));
        }
        match url.strip_prefix("sqlite://") {
            Some(path) if !path.is_empty() && !path.contains(['?', '#']) && path != ":memory:" => {
                Ok(Self::Sqlite(section.resolve(path)))
            }
            _ => Err(section.unusable("url", format!("{EXPECTED} is expected"))),
        }
    }

    /// The state folder: that of the store's file, or the node's own.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Sqlite(file) => file.parent().unwrap_or(Path::new("/")),
            Self::Postgres(database) => &database.state_folder,
        }
    }
}
