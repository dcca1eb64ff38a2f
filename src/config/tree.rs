//! The file's tree with the environment's overrides laid over it. What an override's text means is decided where its
//! key is read, because only the key knows its type.

use std::collections::BTreeMap;

use super::ConfigError;
use signet_core::settings::SettingsDocument;

/// One value of the tree.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Table(BTreeMap<String, Node>),
    /// An array of tables, e.g. `[[hsm]]`.
    List(Vec<Node>),
    Value(toml::Value),
    Variable {
        name: String,
        text: String,
    },
}

const PREFIX: &str = "SIGNET_";
const SEPARATOR: &str = "__";
const WITHOUT_SEPARATOR: &str =
    "the parts of its name are joined by two underscores, as in SIGNET_SERVER__LISTEN for `server.listen`";

/// Whether a platform sets the variable of its own accord: Kubernetes (and Docker's links) for each service whose name begins with
/// `signet-`, such as `SIGNET_SERVER_SERVICE_HOST` and `SIGNET_STORE_PORT_5432_TCP_ADDR`. `path` is what follows `SIGNET_`.
pub(crate) fn is_platforms(path: &str, text: &str) -> bool {
    const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
    let ends_in = |words: &[&str]| words.iter().any(|word| path == *word || path.ends_with(&format!("_{word}")));
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let names_port = |words: &[&str]| match words {
        ["PORT", port, protocol] | ["PORT", port, protocol, "ADDR" | "PORT" | "PROTO"] => {
            is_number(port) && PROTOCOLS.contains(protocol)
        }
        _ => false,
    };
    let words: Vec<&str> = path.split('_').collect();
    let last = |count: usize| words.len().checked_sub(count).and_then(|from| words.get(from..)).unwrap_or_default();
    // Of a service's port there is a URL: who writes a number means `server.listen`.
    let is_url = PROTOCOLS.iter().any(|protocol| text.starts_with(&format!("{}://", protocol.to_ascii_lowercase())));
    ends_in(&["SERVICE_HOST", "SERVICE_PORT"])
        || path.contains("SERVICE_PORT_")
        || names_port(last(3))
        || names_port(last(4))
        || (ends_in(&["PORT"]) && is_url)
}

/// Whether the first word is a section's: `SIGNET_SERVER_LISTEN` would be believed and do nothing. Other variables are
/// somebody else's.
fn is_meant_as_override(path: &str) -> bool {
    path.split_once('_').is_some_and(|(first, _)| {
        super::KEYS.iter().chain(&SettingsDocument::SECTIONS).any(|section| first.eq_ignore_ascii_case(section))
    })
}

impl Node {
    /// Reads the file's text.
    pub(super) fn read(text: &str) -> Result<Self, ConfigError> {
        match text.parse::<toml::Table>() {
            Ok(table) => Ok(Self::from(toml::Value::Table(table))),
            Err(error) => {
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                Err(ConfigError::Syntax {
                    line: before.matches('\n').count() + 1,
                    column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
                    problem: error.message().to_owned(),
                })
            }
        }
    }

    /// Whether there is something of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        matches!(self, Self::Table(entries) if entries.contains_key(name))
    }

    /// Leaves out what is of this name.
    pub(super) fn remove(&mut self, name: &str) {
        if let Self::Table(entries) = self {
            entries.remove(name);
        }
    }

    /// Whether a key of a section is `true`.
    pub(super) fn is_true(&self, section: &str, key: &str) -> bool {
        let inside = |node: &Self, key: &str| match node {
            Self::Table(entries) => entries.get(key).cloned(),
            _ => None,
        };
        let value = inside(self, section).and_then(|section| inside(&section, key));
        matches!(value, Some(Self::Value(toml::Value::Boolean(true))))
    }

    /// Lays the variables that are overrides over the tree.
    pub(super) fn overlay_all(&mut self, variables: impl Iterator<Item = (String, String)>) -> Result<(), ConfigError> {
        let mut variables: Vec<_> = variables.filter(|(name, _)| name.starts_with(PREFIX)).collect();
        // A list grows by one place at a time, so the places come in the order of their numbers.
        variables.sort_by_cached_key(|(name, _)| {
            name.split(SEPARATOR).map(|part| (part.parse::<usize>().unwrap_or(0), part.to_owned())).collect::<Vec<_>>()
        });
        variables.into_iter().try_for_each(|(name, text)| self.overlay(&name, text))
    }

    fn overlay(&mut self, variable: &str, text: String) -> Result<(), ConfigError> {
        let Some(path) = variable.strip_prefix(PREFIX) else { return Ok(()) };
        if is_platforms(path, &text) {
            return Ok(());
        }
        let refuse = |problem| ConfigError::Override { variable: variable.to_owned(), problem };
        if !path.contains(SEPARATOR) {
            return if is_meant_as_override(path) { Err(refuse(WITHOUT_SEPARATOR)) } else { Ok(()) };
        }
        let segments: Vec<&str> = path.split(SEPARATOR).collect();
        if segments.iter().any(|segment| segment.is_empty()) {
            return Err(refuse("a part of its name between `__` is empty"));
        }
        let mut place = self;
        for (depth, segment) in segments.iter().enumerate() {
            // A worker's environment is the one table whose keys are not lower case.
            let exact = matches!(segments[..depth], ["HSM", _, "ENVIRONMENT"]);
            let next_is_index = segments.get(depth + 1).is_some_and(|next| next.parse::<usize>().is_ok());
            let empty = if next_is_index { Self::List(Vec::new()) } else { Self::Table(BTreeMap::new()) };
            place = match place {
                Self::Table(entries) => {
                    let key = if exact { (*segment).to_owned() } else { segment.to_ascii_lowercase() };
                    entries.entry(key).or_insert(empty)
                }
                Self::List(items) => {
                    let index = segment.parse::<usize>().map_err(|_| refuse("an index such as 0 is expected in it"))?;
                    if index == items.len() {
                        items.push(empty);
                    }
                    items.get_mut(index).ok_or_else(|| refuse("its index leaves a gap in the list"))?
                }
                Self::Value(_) | Self::Variable { .. } => return Err(refuse("it goes on below a plain value")),
            };
        }
        *place = Self::Variable { name: variable.to_owned(), text };
        Ok(())
    }

    /// The first variable that set something in here.
    pub(super) fn variable(&self) -> Option<&str> {
        match self {
            Self::Variable { name, .. } => Some(name),
            Self::Table(entries) => entries.values().find_map(Self::variable),
            Self::List(items) => items.iter().find_map(Self::variable),
            Self::Value(_) => None,
        }
    }

    /// The type in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::List(_) => "a list of tables",
            Self::Variable { .. } => "a text",
            Self::Value(value) => match value {
                toml::Value::String(_) => "a text",
                toml::Value::Integer(_) => "an integer",
                toml::Value::Float(_) => "a float",
                toml::Value::Boolean(_) => "a boolean",
                toml::Value::Datetime(_) => "a date",
                toml::Value::Array(_) => "an array",
                toml::Value::Table(_) => "a table",
            },
        }
    }

    /// The value in TOML's own type, for keys that are not texts. `None` for a table, or a variable that is no TOML.
    pub(super) fn typed(&self) -> Option<toml::Value> {
        match self {
            Self::Value(value) => Some(value.clone()),
            Self::Variable { text, .. } => {
                let mut table = format!("value = {text}").parse::<toml::Table>().ok()?;
                let value = table.remove("value")?;
                table.is_empty().then_some(value)
            }
            Self::Table(_) | Self::List(_) => None,
        }
    }

    /// The value as a text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Value(value) => value.as_str(),
            Self::Variable { text, .. } => Some(text),
            Self::Table(_) | Self::List(_) => None,
        }
    }
}

impl From<toml::Value> for Node {
    fn from(value: toml::Value) -> Self {
        match value {
            toml::Value::Table(table) => {
                Self::Table(table.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
            toml::Value::Array(items) if !items.is_empty() && items.iter().all(toml::Value::is_table) => {
                Self::List(items.into_iter().map(Self::from).collect())
            }
            other => Self::Value(other),
        }
    }
}
