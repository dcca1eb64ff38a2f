//! What two documents of settings say otherwise, a setting each: for whoever is asked whether it should be so, and for the record.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::SettingsDocument;

/// A value that is longer than this is told by its hash.
const LONGEST_VALUE: usize = 200;

/// A setting, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingChange {
    /// Which, such as `tokens.access_lifetime`.
    pub setting: String,
    /// What was there; absent where nothing was. A long text is told by its SHA-256.
    pub before: Option<String>,
    /// What is there from now on; absent where nothing is.
    pub after: Option<String>,
}

impl std::fmt::Display for SettingChange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { setting, before, after } = self;
        let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(formatter, "{setting}: {} \u{2192} {}", word(before), word(after))
    }
}

/// What is otherwise in `after` than in `before`, by setting and in order.
pub fn differences(before: &SettingsDocument, after: &SettingsDocument) -> Vec<SettingChange> {
    let [before, after] = [before, after].map(|document| {
        let mut told = BTreeMap::new();
        // Texts, numbers and lists are JSON.
        flatten(&serde_json::to_value(document).unwrap_or_default(), String::new(), &mut told);
        told
    });
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = all.into_iter().filter(|setting| before.get(*setting) != after.get(*setting));
    let of = |setting: &String| {
        let of = |told: &BTreeMap<String, String>| told.get(setting).cloned();
        SettingChange { setting: setting.clone(), before: of(&before), after: of(&after) }
    };
    changed.map(of).collect()
}

fn flatten(value: &Value, path: String, told: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(value, path, told);
            }
        }
        Value::String(text) => {
            told.insert(path, shortened(text.clone()));
        }
        Value::Array(values) => {
            let text =
                |value: &Value| value.as_str().map_or_else(|| value.to_string(), |text| shortened(text.to_owned()));
            let list = values.iter().map(text).collect::<Vec<_>>().join(" ");
            told.insert(path, shortened(format!("[{list}]")));
        }
        value => {
            told.insert(path, value.to_string());
        }
    }
}

fn shortened(text: String) -> String {
    if text.len() <= LONGEST_VALUE && !text.contains('\n') {
        return text;
    }
    let hash = HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
    format!("sha256:{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ClaimsOnly, RoleWords, TokenWords};

    fn document(lifetime: &str, roles: Option<&[(&str, &[&str])]>) -> SettingsDocument {
        let lists = |roles: &[(&str, &[&str])]| {
            let list = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
            roles.iter().map(|(role, scopes)| ((*role).to_owned(), list(scopes))).collect()
        };
        SettingsDocument {
            tokens: Some(TokenWords { access_lifetime: Some(lifetime.to_owned()), ..TokenWords::default() }),
            roles: Some(
                roles.map_or(RoleWords::Claims(ClaimsOnly::ClaimsOnly), |roles| RoleWords::Granting(lists(roles))),
            ),
            ..SettingsDocument::default()
        }
    }

    #[test]
    fn each_setting_is_told_with_what_was_and_what_is() {
        let before = document("5m", None);
        let after = document("10m", Some(&[("clerk", &["read", "write"])]));
        let told: Vec<String> = differences(&before, &after).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "roles: claims_only \u{2192} nothing",
                "roles.clerk: nothing \u{2192} [read write]",
                "tokens.access_lifetime: 5m \u{2192} 10m"
            ]
        );
        assert_eq!(differences(&after, &after), []);
    }

    #[test]
    fn what_is_long_is_told_by_its_hash() {
        let (long, other) = ("x".repeat(LONGEST_VALUE + 1), "line\nline".to_owned());
        let told = differences(&document(&long, None), &document(&other, None));
        for value in [&told[0].before, &told[0].after] {
            let value = value.as_deref().unwrap();
            assert!(value.starts_with("sha256:") && value.len() == 71, "{value}");
        }
    }
}
