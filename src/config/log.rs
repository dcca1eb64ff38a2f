//! `[log]`: what is written to standard error. The audit log is not this: see `[audit]`.

use super::ConfigError;
use super::section::Section;

pub(super) const KEYS: &[&str] = &["level", "format"];

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// `level`: the least severe that is written.
    pub level: LogLevel,
    /// `format`: for people or for machines.
    pub format: LogFormat,
}

/// `level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `error`: something did not work.
    Error,
    /// `warn`: something needs a look.
    Warn,
    /// `info`: what the server does.
    Info,
    /// `debug`: how it does it.
    Debug,
    /// `trace`: everything.
    Trace,
}

/// `format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `text`: a line for people.
    Text,
    /// `json`: an object a line.
    Json,
}

impl LogLevel {
    const WORDS: [(&str, Self); 5] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl LogConfig {
    pub(super) fn read(section: Section<'_>) -> Result<Self, ConfigError> {
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        Ok(Self {
            level: section.word("level", &LogLevel::WORDS, LogLevel::Info)?,
            format: section.word("format", &formats, LogFormat::Text)?,
        })
    }
}
