//! Reading one table by the types of its keys. Unknown keys are refused before anything is read, so that a misspelt
//! key is not reported as a missing one.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::hsm::LITERAL_PIN;
use super::tree::Node;
use super::{ConfigError, duration};

/// One table of the configuration.
pub(super) struct Section<'p> {
    path: String,
    entries: BTreeMap<String, Node>,
    folder: &'p Path,
    keys: &'static [&'static str],
}

impl<'p> Section<'p> {
    pub(super) fn root(node: Node, keys: &'static [&'static str], folder: &'p Path) -> Result<Self, ConfigError> {
        Self::open(node, String::new(), keys, folder)
    }

    fn open(node: Node, path: String, keys: &'static [&'static str], folder: &'p Path) -> Result<Self, ConfigError> {
        let section = Self { entries: table(node, &path)?, path, folder, keys };
        match section.entries.iter().find(|(key, _)| !keys.contains(&key.as_str())) {
            None => Ok(section),
            Some((key, node)) => {
                Err(ConfigError::UnknownKey { key: named(&section.full(key), Some(node)), hint: section.hint(key) })
            }
        }
    }

    fn hint(&self, unknown: &str) -> String {
        let known: Vec<&str> = self.keys.iter().copied().filter(|key| *key != LITERAL_PIN).collect();
        let distance = |key: &&str| strsim::damerau_levenshtein(unknown, key);
        match known.iter().min_by_key(|key| distance(key)) {
            Some(nearest) if distance(nearest) <= nearest.len().div_ceil(3) => {
                format!("did you mean `{}`?", self.full(nearest))
            }
            _ => format!("known here: {}", known.join(", ")),
        }
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// An error about a key whose value can't be used; `problem` says what is expected.
    pub(super) fn unusable(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError::Unusable { key: named(&self.full(key), self.entries.get(key)), problem: problem.into() }
    }

    /// The value of a key without which nothing works.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>, expected: &str) -> Result<T, ConfigError> {
        value.ok_or_else(|| ConfigError::Missing { key: self.full(key), expected: expected.to_owned() })
    }

    /// Whether the key is set, to whatever.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    fn entry(&self, key: &str) -> Option<&Node> {
        debug_assert!(self.keys.contains(&key), "{} is read and not among the known keys", self.full(key));
        self.entries.get(key)
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&Node) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(node) = self.entry(key) else { return Ok(None) };
        read(node).map(Some).ok_or_else(|| wrong_type(&self.full(key), node, expected))
    }

    /// A text.
    pub(super) fn text(&self, key: &str, expected: &str) -> Result<Option<String>, ConfigError> {
        let text = self.read(key, expected, |node| node.text().map(str::to_owned))?;
        match text {
            Some(text) if text.is_empty() || text.contains('\0') => {
                Err(self.unusable(key, format!("{expected} is expected, not an empty text or one with a NUL")))
            }
            text => Ok(text),
        }
    }

    /// A text that `read` makes something of.
    pub(super) fn parsed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(key, expected)? else { return Ok(None) };
        read(&text).map(Some).ok_or_else(|| self.unusable(key, format!("{expected} is expected")))
    }

    /// A text that `read` makes something of, without which nothing works.
    pub(super) fn required_text<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        self.required(key, self.parsed(key, expected, read)?, expected)
    }

    /// A list of texts that `read` makes something of; empty where it is absent.
    pub(super) fn texts<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let texts = self.list(key, expected)?.unwrap_or_default();
        let read: Option<Vec<T>> = texts.iter().map(|text| read(text)).collect();
        read.ok_or_else(|| self.unusable(key, format!("{expected} is expected")))
    }

    /// A text that is one of a few words.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)], default: T) -> Result<T, ConfigError> {
        let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let expected = format!("one of {known}");
        let read = |text: &str| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        Ok(self.parsed(key, &expected, read)?.unwrap_or(default))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.read(key, "true or false", |node| node.typed()?.as_bool())
    }

    /// An integer within bounds.
    pub(super) fn integer<T>(&self, key: &str, bounds: RangeInclusive<u32>, default: T) -> Result<T, ConfigError>
    where
        T: TryFrom<u32>,
    {
        let expected = format!("an integer from {} to {}", bounds.start(), bounds.end());
        let Some(number) = self.read(key, &expected, |node| node.typed()?.as_integer())? else { return Ok(default) };
        u32::try_from(number)
            .ok()
            .filter(|number| bounds.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| self.unusable(key, format!("{expected} is expected")))
    }

    /// A duration such as `"5m"` within bounds.
    pub(super) fn duration(
        &self,
        key: &str,
        bounds: RangeInclusive<Duration>,
        default: Duration,
    ) -> Result<Duration, ConfigError> {
        let (least, most) = (duration::text(*bounds.start()), duration::text(*bounds.end()));
        let expected = format!("a duration from \"{least}\" to \"{most}\" (units ms, s, m, h, d)");
        let read = |text: &str| duration::parse(text).filter(|duration| bounds.contains(duration));
        Ok(self.parsed(key, &expected, read)?.unwrap_or(default))
    }

    /// A list of texts.
    pub(super) fn list(&self, key: &str, expected: &str) -> Result<Option<Vec<String>>, ConfigError> {
        self.read(key, expected, |node| {
            node.typed()?.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        })
    }

    /// A path; a relative one starts at the file's folder.
    pub(super) fn path(&self, key: &str, expected: &str) -> Result<Option<PathBuf>, ConfigError> {
        Ok(self.text(key, expected)?.map(|path| self.resolve(&path)))
    }

    /// A relative path from the file's folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// A table below this one; an absent one is empty.
    pub(super) fn section(&mut self, key: &str, keys: &'static [&'static str]) -> Result<Section<'p>, ConfigError> {
        let node = self.entry(key).cloned().unwrap_or(Node::Table(BTreeMap::new()));
        Section::open(node, self.full(key), keys, self.folder)
    }

    /// A list of tables.
    pub(super) fn sections(
        &mut self,
        key: &str,
        keys: &'static [&'static str],
    ) -> Result<Vec<Section<'p>>, ConfigError> {
        let path = self.full(key);
        let items = match self.entry(key).cloned() {
            None => Vec::new(),
            Some(Node::List(items)) => items,
            Some(node) => return Err(wrong_type(&path, &node, &format!("a list of tables, [[{path}]],"))),
        };
        let open = |(index, node)| Section::open(node, format!("{path}[{index}]"), keys, self.folder);
        items.into_iter().enumerate().map(open).collect()
    }

    /// A table whose keys are the operator's own; `None` where it is absent.
    pub(super) fn map(&mut self, key: &str) -> Result<Option<Map>, ConfigError> {
        let path = self.full(key);
        self.entry(key).cloned().map(|node| Ok(Map { entries: table(node, &path)?, path })).transpose()
    }
}

/// A table whose keys are the operator's own.
pub(super) struct Map {
    path: String,
    entries: BTreeMap<String, Node>,
}

impl Map {
    /// The texts by key.
    pub(super) fn texts(self, expected: &str) -> Result<BTreeMap<String, String>, ConfigError> {
        self.read(expected, |node| node.text().map(str::to_owned))
    }

    /// The lists of texts by key.
    pub(super) fn lists(self, expected: &str) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
        self.read(expected, |node| {
            node.typed()?.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        })
    }

    fn read<T>(self, expected: &str, read: impl Fn(&Node) -> Option<T>) -> Result<BTreeMap<String, T>, ConfigError> {
        let path = self.path;
        let value = |(key, node): (String, Node)| {
            let value = read(&node).ok_or_else(|| wrong_type(&format!("{path}.{key}"), &node, expected))?;
            Ok((key, value))
        };
        self.entries.into_iter().map(value).collect()
    }
}

fn table(node: Node, path: &str) -> Result<BTreeMap<String, Node>, ConfigError> {
    match node {
        Node::Table(entries) => Ok(entries),
        other => Err(wrong_type(path, &other, "a table")),
    }
}

fn wrong_type(key: &str, node: &Node, expected: &str) -> ConfigError {
    ConfigError::WrongType { key: named(key, Some(node)), found: node.kind(), expected: expected.to_owned() }
}

/// The key, with the variable that set it.
fn named(key: &str, node: Option<&Node>) -> String {
    match node.and_then(Node::variable) {
        Some(variable) => format!("`{key}` (from {variable})"),
        None => format!("`{key}`"),
    }
}
