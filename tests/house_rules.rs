//! House rules that neither the compiler nor a lint knows: how long a file may get, the order of the root's modules, and
//! that what the documents name is there: tests in the tables, files behind links and paths.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file under 400 lines is the habit; beyond this many, two ideas share a file.
const MAX_LINES: usize = 500;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["utils.rs", "util.rs", "common.rs", "helpers.rs", "helper.rs", "misc.rs"];

/// What each module of the root package may name of the others and of the adapters. What the crates may name, their
/// `Cargo.toml` says. No module names one that stands above it.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("cli", &["server", "config", "second_opinion", "causes"]),
    ("server", &["http", "config", "causes", "signet_hsm", "signet_store_postgres", "signet_store_sqlite"]),
    ("http", &["ui"]),
    ("ui", &[]),
    ("config", &["signet_hsm"]),
    ("second_opinion", &[]),
    ("causes", &[]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below these folders, as its path from the project's root and its text.
fn rust_files(folders: &[&str]) -> Vec<(String, String)> {
    files(folders, "rs")
}

/// Every file of this kind below these folders, as its path from the project's root and its text.
fn files(folders: &[&str], kind: &str) -> Vec<(String, String)> {
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = waiting.pop() {
        for path in fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() && !path.ends_with("target") {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == kind) {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), text));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn files_are_short_and_their_names_say_something() {
    let files = rust_files(&["src", "crates", "tests", "benches"]);
    assert!(files.len() > 400, "only {} files were found", files.len());
    for (path, text) in files {
        let is_product = !path.starts_with("tests/") && !path.starts_with("benches/");
        assert!(!is_product || text.lines().count() <= MAX_LINES, "{path}: more than {MAX_LINES} lines");
        let name = Path::new(&path).file_name().unwrap().to_str().unwrap();
        assert!(!EMPTY_NAMES.contains(&name), "{path}: a name that says nothing of what is inside");
    }
}

/// The modules of the root, and the adapters, that a line names outside of comments.
fn modules_named(line: &str) -> Vec<&str> {
    let code = line.split("//").next().unwrap_or_default();
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let modules = code.split("crate::").skip(1);
    let modules = modules.map(|rest| &rest[..rest.find(|letter| !is_name(letter)).unwrap_or(rest.len())]);
    let adapters = ["signet_hsm", "signet_store_postgres", "signet_store_sqlite"];
    let adapters = adapters.into_iter().filter(|adapter| code.contains(adapter));
    modules.chain(adapters).filter(|named| !named.is_empty()).collect()
}

#[test]
fn the_roots_modules_name_what_lies_below_them_alone() {
    assert_eq!(modules_named("use crate::cli::{self}; f(crate::ui::X) // crate::http"), ["cli", "ui"]);
    assert_eq!(modules_named("use signet_hsm::HsmGroup;"), ["signet_hsm"]);
    for (at, (module, named)) in MAY_NAME.iter().enumerate() {
        let is_above = |name: &&&str| MAY_NAME[..=at].iter().any(|(above, _)| above == *name);
        assert_eq!(named.iter().find(is_above), None, "`{module}` may not name what stands above it");
    }
    for (path, text) in rust_files(&["src"]) {
        let module = path["src/".len()..].split(['/', '.']).next().unwrap();
        if ["main", "lib"].contains(&module) {
            continue;
        }
        let place = MAY_NAME.iter().find(|(known, _)| *known == module);
        let (_, may_name) = place.unwrap_or_else(|| panic!("{path}: `{module}` has no place in the order"));
        for (line, text) in text.lines().enumerate() {
            for named in modules_named(text).into_iter().filter(|named| *named != module) {
                assert!(may_name.contains(&named), "{path}:{}: `{module}` may not name `{named}`", line + 1);
            }
        }
    }
}

/// Where tests are of rules: of time and order they learn from a clock that the test holds in its hand.
const OF_RULES: &[&str] = &["crates/jose", "crates/core", "crates/store", "crates/service", "tests/use_cases"];

/// A file's tests: all of a file of tests, and what stands below a module of tests in any other.
fn tests_of<'t>(path: &str, text: &'t str) -> &'t str {
    let is_file_of_tests = path.ends_with("tests.rs") || path.contains("/tests/") || path.starts_with("tests/");
    let begin = if is_file_of_tests { Some(0) } else { text.find("#[cfg(test)]") };
    begin.map_or("", |begin| &text[begin..])
}

#[test]
fn no_test_of_a_rule_waits_in_real_time() {
    let sleeping = "fn product() { sleep(PAUSE) }\n#[cfg(test)]\nmod tests { fn test() { sleep(PAUSE) } }";
    assert!(tests_of("crates/core/src/x.rs", sleeping).matches("sleep(").count() == 1);
    assert!(tests_of("crates/core/src/x_tests.rs", sleeping).matches("sleep(").count() == 2);
    assert!(tests_of("tests/use_cases/x.rs", sleeping).matches("sleep(").count() == 2);
    for (path, text) in rust_files(OF_RULES) {
        assert!(!tests_of(&path, &text).contains("sleep("), "{path}: a test that sleeps: set its clock instead");
    }
}

/// One binary holds all suites, so a file that `tests/main.rs` does not name is never run.
#[test]
fn every_suite_is_run() {
    let main = fs::read_to_string(root().join("tests/main.rs")).unwrap();
    for (path, _) in rust_files(&["tests"]) {
        let inside = &path["tests/".len()..];
        let module = inside.split(['/', '.']).next().unwrap();
        let is_suite = module != "main" && (!inside.contains('/') || inside == format!("{module}/mod.rs"));
        assert!(!is_suite || main.contains(&format!("mod {module};")), "{path} is not named in tests/main.rs");
    }
}

/// The names in back quotes in the last column of a table's row.
fn tests_named(row: &str) -> Vec<&str> {
    let cells: Vec<&str> = row.trim().trim_matches('|').split(" | ").collect();
    let last = cells.last().copied().unwrap_or_default();
    last.split('`').skip(1).step_by(2).collect()
}

/// Whether a name is a file of the project, or ends in the name of a function that is written somewhere.
fn is_there(name: &str, functions: &BTreeSet<&str>) -> bool {
    let function = name.rsplit("::").next().unwrap_or(name);
    functions.contains(function) || (name.contains('/') && root().join(name).exists())
}

fn functions(text: &str) -> impl Iterator<Item = &str> {
    let named = |line: &'_ str| line.trim_start().starts_with("//").then_some(()).is_none();
    text.lines().filter(move |line| named(line)).filter_map(|line| {
        let rest = line.split_once("fn ")?.1;
        Some(&rest[..rest.find(['(', '<'])?])
    })
}

#[test]
fn the_tables_name_tests_that_are_there() {
    let files = rust_files(&["src", "crates", "tests"]);
    let functions: BTreeSet<&str> = files.iter().flat_map(|(_, text)| functions(text)).collect();
    for (table, rows) in [("docs/evidence/promises.md", 10), ("docs/evidence/hazards.md", 93)] {
        let text = fs::read_to_string(root().join(table)).unwrap();
        let numbered =
            |line: &&str| line.starts_with("| ") && line[2..].starts_with(|first: char| first.is_ascii_digit());
        let lines: Vec<&str> = text.lines().filter(numbered).collect();
        let mut last = 0;
        for line in &lines {
            let number: usize = line[2..].split(' ').next().unwrap().parse().unwrap();
            // Those that were there first are all there.
            assert!(number == last + 1 || (number > last && last >= rows), "{table}: out of order: {line}");
            last = number;
            for name in tests_named(line) {
                assert!(is_there(name, &functions), "{table}: no test `{name}`");
            }
        }
        assert!(last >= rows, "{table}: {last} rows");
    }
}

#[test]
fn a_test_that_is_not_there_is_found() {
    let functions: BTreeSet<&str> = functions("fn one() {}\n    pub async fn two<T>() {}\n// fn three()").collect();
    assert_eq!(tests_named("| 1 | hazard `x` | IT | `a::one`, `three` |"), ["a::one", "three"]);
    assert_eq!(tests_named("| 1 | hazard | IT | — |"), Vec::<&str>::new());
    assert!(is_there("a::one", &functions) && is_there("two", &functions) && is_there("tests/main.rs", &functions));
    assert!(!is_there("three", &functions) && !is_there("tests/none.sh", &functions));
}

/// What stands between each of the openings and the end that follows it.
fn between<'t>(line: &'t str, opening: &str, end: char) -> impl Iterator<Item = &'t str> {
    line.split(opening).skip(1).filter_map(move |rest| Some(&rest[..rest.find(end)?]))
}

/// The files that a line of a document names: behind relative links, from the document's folder; and as paths in back
/// quotes, from the root of the project or of the package.
fn paths_named<'l>(line: &'l str, folder: &Path) -> Vec<(&'l str, Vec<PathBuf>)> {
    let file = |link: &'l str| link.split('#').next().unwrap_or_default();
    let is_relative = |link: &&str| !link.is_empty() && !link.contains(':');
    let links = between(line, "](", ')').map(file).filter(is_relative).map(|link| (link, vec![folder.join(link)]));
    let is_path = |text: &&str| ["src/", "crates/", "tests/", "docs/"].iter().any(|start| text.starts_with(start));
    let quoted = line.split('`').skip(1).step_by(2).filter(is_path);
    links.chain(quoted.map(|path| (path, vec![root().join(path), folder.join(path)]))).collect()
}

#[test]
fn documents_link_to_files_that_are_there() {
    let named = paths_named("[a](x.md#b), [c](https://d), [e](#f): `tests/main.rs`, `tests`", Path::new("/docs"));
    assert_eq!(named.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["x.md", "tests/main.rs"]);
    let documents = files(&["docs", "crates", "tests", "softhsm"], "md");
    let pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];
    let pages = pages.map(|page| (page.to_owned(), fs::read_to_string(root().join(page)).unwrap()));
    let mut links = 0;
    for (document, text) in documents.into_iter().chain(pages) {
        let folder = root().join(&document).parent().unwrap().to_path_buf();
        for (name, places) in text.lines().flat_map(|line| paths_named(line, &folder)) {
            links += 1;
            assert!(places.iter().any(|place| place.exists()), "{document} names `{name}`, which is not there");
        }
    }
    assert!(links > 150, "only {links} links and paths were found");
}

#[test]
fn the_code_names_documents_that_are_there() {
    for (path, text) in rust_files(&["src", "crates", "tests", "benches"]) {
        for page in text.lines().flat_map(|line| between(line, "docs/", '.')).filter(|page| !page.contains('{')) {
            let is_page = page.chars().all(|letter| letter.is_ascii_alphanumeric() || "/-".contains(letter));
            assert!(!is_page || root().join(format!("docs/{page}.md")).exists(), "{path}: no page docs/{page}.md");
        }
    }
}
