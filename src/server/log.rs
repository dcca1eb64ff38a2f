//! What the process says on standard error: in text for people, or in JSON for machines, whole from the first line to the last.

use std::io::IsTerminal as _;
use std::path::Path;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat, LogLevel};

/// Starts the log on standard error.
pub(crate) fn start_log(config: LogConfig) {
    // A log that can't be written, on a full disk, must not end the request that writes it: its own complaint would go
    // to standard error as well, and panic.
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(LevelFilter::TRACE)
        .log_internal_errors(false);
    // A log that was started already stays.
    match config.format {
        LogFormat::Text => {
            let log = log.with_ansi(std::io::stderr().is_terminal()).finish();
            let _ = log.with(shown(config.level)).try_init();
        }
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_current_span(false).with_span_list(false).finish();
            if log.with(shown(config.level)).try_init().is_ok() {
                std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
            }
        }
    }
}

/// What is written at a level. Statements of the store are for whoever asks for everything.
fn shown(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let shown = Targets::new().with_default(level);
    if level == LevelFilter::TRACE { shown } else { shown.with_target("sqlx", level.min(LevelFilter::WARN)) }
}

/// Whether the log is in JSON by a configuration that can't be used, as far as that can be told of it.
pub(crate) fn is_json(file: &Path) -> bool {
    let said = std::env::var("SIGNET_LOG__FORMAT").ok().or_else(|| {
        let table: toml::Table = std::fs::read_to_string(file).ok()?.parse().ok()?;
        Some(table.get("log")?.get("format")?.as_str()?.to_owned())
    });
    said.as_deref() == Some("json")
}
