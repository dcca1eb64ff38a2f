//! Why a configuration is refused: which key, from where, and what is expected instead.

use std::path::PathBuf;

/// A configuration that can't be used. Its texts name keys and expectations, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration {}: {problem}. Name another with --config or SIGNET_CONFIG", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        problem: String,
    },
    /// The file is no TOML.
    #[error("the configuration is not TOML: line {line}, column {column}: {problem}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What the parser says.
        problem: String,
    },
    /// A section of what lies in the store.
    #[error(
        "`{section}` is kept in the deployment's store, where every node and `signet apply` find it: run \
         `signet apply --from-configuration` once, which takes over what the file says, then remove the section from it"
    )]
    Moved {
        /// The section.
        section: &'static str,
    },
    /// A key that Signet does not know.
    #[error("unknown key {key}; {hint}")]
    UnknownKey {
        /// The key in full, with the variable that set it.
        key: String,
        /// The nearest known key, or all of them.
        hint: String,
    },
    /// A value of another type.
    #[error("{key} is {found}, where {expected} is expected")]
    WrongType {
        /// The key in full, with the variable that set it.
        key: String,
        /// The value's type.
        found: &'static str,
        /// What is expected.
        expected: String,
    },
    /// A value that can't be used.
    #[error("{key}: {problem}")]
    Unusable {
        /// The key in full, with the variable that set it.
        key: String,
        /// What is expected.
        problem: String,
    },
    /// A key without which nothing works.
    #[error("`{key}` is missing: {expected} is expected")]
    Missing {
        /// The key in full.
        key: String,
        /// What is expected.
        expected: String,
    },
    /// A variable that has the form of an override and names no key.
    #[error("the environment variable {variable} overrides nothing: {problem}")]
    Override {
        /// The variable.
        variable: String,
        /// Why it can't be laid over the file.
        problem: &'static str,
    },
}
