//! What two texts of a configuration say otherwise.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

/// The keys, such as `server.limits.max_connections`, whose values differ between two texts, outside of one section. What
/// stands there is never told. A text that can't be read has no keys.
pub(crate) fn differing(before: &str, after: &str, but_section: &str) -> Vec<String> {
    let [before, after] = [before, after].map(|text| {
        let mut keys = BTreeMap::new();
        if let Ok(table) = text.parse::<Table>() {
            flatten(table, "", &mut keys);
        }
        keys.retain(|key, _| key.split('.').next() != Some(but_section));
        keys
    });
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    all.into_iter().filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

fn flatten(table: Table, path: &str, keys: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let full = if path.is_empty() { key } else { format!("{path}.{key}") };
        match value {
            Value::Table(table) => flatten(table, &full, keys),
            value => {
                keys.insert(full, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_by_its_key_outside_of_the_section() {
        let before = "[server]\nlisten = \"a\"\n[server.limits]\nmax_connections = 1\n[log]\nlevel = \"info\"\n[[hsm]]\nname = \"a\"";
        let after =
            "[server]\nlisten = \"a\"\n[server.limits]\nmax_connections = 2\n[mfa]\ntries = 3\n[[hsm]]\nname = \"b\"";
        assert_eq!(differing(before, after, "hsm"), ["log.level", "mfa.tries", "server.limits.max_connections"]);
        assert_eq!(differing(before, before, "hsm"), [""; 0]);
    }
}
