//! `docs/evidence/use-cases.md` names each use case with its test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below a folder, with the path of its module in it.
fn modules(folder: &str) -> Vec<(String, String)> {
    let top = root().join(folder);
    let (mut waiting, mut modules) = (vec![top.clone()], Vec::new());
    while let Some(folder) = waiting.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                modules.push((module(path.strip_prefix(&top).unwrap()), text));
            }
        }
    }
    modules
}

fn module(path: &Path) -> String {
    let path = path.with_extension("");
    let path = if path.ends_with("mod") { path.parent().unwrap().to_owned() } else { path };
    path.iter().map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join("::")
}

/// The functions of these modules whose line begins so, as paths.
fn functions(modules: &[(String, String)], beginning: &str) -> BTreeSet<String> {
    let of_module = |(module, text): &(String, String)| {
        let names = text.lines().filter_map(|line| line.strip_prefix(beginning)?.split(['(', '<']).next());
        names.map(|name| format!("{module}::{name}")).collect::<Vec<_>>()
    };
    modules.iter().flat_map(of_module).collect()
}

#[test]
fn every_use_case_is_listed_with_a_test_that_is_there() {
    let text = fs::read_to_string(root().join("docs/evidence/use-cases.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<String> = line.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        <[String; 2]>::try_from(cells).unwrap_or_else(|cells| panic!("a use case and a test are expected: {cells:?}"))
    };
    let rows: Vec<[String; 2]> = text.lines().filter(|line| line.starts_with("| `")).map(row).collect();
    let (here, there) = (modules("tests/use_cases"), modules("crates/service/src"));
    let use_cases = functions(&there, "    pub async fn ");
    assert!(use_cases.len() > 90, "only {} use cases were found", use_cases.len());
    let listed: BTreeSet<String> = rows.iter().map(|[use_case, _]| use_case.clone()).collect();
    assert_eq!(listed.len(), rows.len(), "a use case stands there twice");
    assert_eq!(use_cases.difference(&listed).collect::<Vec<_>>(), [""; 0], "not in docs/evidence/use-cases.md");
    assert_eq!(listed.difference(&use_cases).collect::<Vec<_>>(), [""; 0], "no use case any more");
    let tests = functions(&here, "async fn ");
    for [use_case, test] in rows {
        assert!(tests.contains(&test), "{use_case}: there is no test `{test}`");
        let call = format!(".{}(", use_case.rsplit("::").next().unwrap());
        assert!(here.iter().any(|(_, text)| text.contains(&call)), "{use_case}: nothing calls it");
    }
}
