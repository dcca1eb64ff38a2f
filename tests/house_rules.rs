//! House rules that no lint knows: how long a file may get, what may not be left lying about, and that the tables in
//! `docs/` name tests that are there.

use std::collections::BTreeSet;
use std::fs;

use super::source::{self, Kind, SourceFile, Token};

/// A file under 400 lines is the habit; beyond this many, two ideas share a room.
const MOST_LINES: usize = 500;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["utils.rs", "util.rs", "common.rs", "helpers.rs", "helper.rs", "misc.rs"];

/// Every fault of one file, as `path:line: what`.
fn faults(file: &SourceFile) -> Vec<String> {
    let SourceFile { path, text } = file;
    let mut found = Vec::new();
    let lines = text.lines().count();
    if path.starts_with("src/") && lines > MOST_LINES {
        found.push(format!("{path}: {lines} lines, more than {MOST_LINES}: do two ideas share a room?"));
    }
    if path.rsplit('/').next().is_some_and(|name| EMPTY_NAMES.contains(&name)) {
        found.push(format!("{path}: a name that says nothing of what is inside"));
    }
    let tokens = source::tokens(text);
    let unfinished = tokens.windows(2).filter(|pair| is_unfinished(&pair[0]) && pair[1].is_mark("!"));
    found.extend(unfinished.map(|pair| format!("{path}:{}: {}! is left", pair[0].line, pair[0].text)));
    let allowed = attribute_tokens(&tokens);
    let allowed = allowed.windows(2).filter(|pair| pair[0].is_word("allow") && pair[1].is_mark("("));
    found.extend(allowed.map(|pair| format!("{path}:{}: allow: write expect, with the reason", pair[0].line)));
    found
}

fn is_unfinished(token: &Token) -> bool {
    token.kind == Kind::Word && matches!(token.text.as_str(), "todo" | "unimplemented" | "dbg")
}

/// The tokens inside `#[..]` and `#![..]`.
fn attribute_tokens(tokens: &[Token]) -> Vec<&Token> {
    let mut inside = Vec::new();
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        let mut before = tokens[..at].iter().rev().skip_while(|earlier| earlier.is_mark("!"));
        if token.is_mark("[") && (depth > 0 || before.next().is_some_and(|earlier| earlier.is_mark("#"))) {
            depth += 1;
        } else if token.is_mark("]") {
            depth = depth.saturating_sub(1);
        }
        if depth > 0 {
            inside.push(token);
        }
    }
    inside
}

fn all_files() -> Vec<SourceFile> {
    ["src", "tests", "benches", "examples"].into_iter().flat_map(source::rust_files).collect()
}

#[test]
fn the_house_rules_hold() {
    let found: Vec<String> = all_files().iter().flat_map(faults).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// One binary holds all suites, so a file that `tests/main.rs` does not name is never run.
#[test]
fn every_suite_is_run() {
    let main = fs::read_to_string(source::root().join("tests/main.rs")).unwrap();
    let tokens = source::tokens(&main);
    let declared: BTreeSet<&str> = tokens
        .windows(2)
        .filter(|pair| pair[0].is_word("mod") && pair[1].kind == Kind::Word)
        .map(|pair| pair[1].text.as_str())
        .collect();
    for file in source::rust_files("tests") {
        let inside = file.path.trim_start_matches("tests/");
        let module = inside.split(['/', '.']).next().unwrap_or(inside);
        let is_suite = module != "main" && (!inside.contains('/') || inside == format!("{module}/mod.rs"));
        assert!(!is_suite || declared.contains(module), "{} is not named in tests/main.rs", file.path);
    }
}

/// The names in back quotes in the last column of a table's row.
fn tests_named(row: &str) -> Vec<&str> {
    let cells: Vec<&str> = row.trim().trim_matches('|').split(" | ").collect();
    let last = cells.last().copied().unwrap_or_default();
    last.split('`').skip(1).step_by(2).collect()
}

/// Whether a name is a file of the project, or ends in the name of a function that is written somewhere.
fn is_there(name: &str, functions: &BTreeSet<String>) -> bool {
    let function = name.rsplit("::").next().unwrap_or(name);
    functions.contains(function) || (name.contains('/') && source::root().join(name).exists())
}

fn functions(files: &[SourceFile]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files {
        let tokens = source::tokens(&file.text);
        let pairs = tokens.windows(2).filter(|pair| pair[0].is_word("fn"));
        names.extend(pairs.map(|pair| pair[1].text.clone()));
    }
    names
}

#[test]
fn the_tables_name_tests_that_are_there() {
    let functions = functions(&all_files());
    for (table, rows) in [("docs/promises.md", 9), ("docs/hazards.md", 93)] {
        let text = fs::read_to_string(source::root().join(table)).unwrap();
        let numbered =
            |line: &&str| line.starts_with("| ") && line[2..].starts_with(|first: char| first.is_ascii_digit());
        let lines: Vec<&str> = text.lines().filter(numbered).collect();
        assert_eq!(lines.len(), rows, "{table}");
        for (at, line) in lines.iter().enumerate() {
            assert!(line.starts_with(&format!("| {} | ", at + 1)), "{table}: out of order: {line}");
            for name in tests_named(line) {
                assert!(is_there(name, &functions), "{table}: no test `{name}`");
            }
        }
    }
}

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn each_broken_rule_is_found() {
    let broken = [
        (file("src/a.rs", &"\n".repeat(MOST_LINES + 1)), "lines, more than"),
        (file("src/service/utils.rs", ""), "says nothing"),
        (file("src/a.rs", "fn f() { todo!() }"), "todo! is left"),
        (file("src/a.rs", "fn f() { unimplemented!(\"later\") }"), "unimplemented! is left"),
        (file("src/a.rs", "#[allow(dead_code)] fn f() {}"), "write expect"),
        (file("tests/a.rs", "#![allow(dead_code)]"), "write expect"),
        (file("src/a.rs", "#[cfg_attr(test, allow(dead_code))] fn f() {}"), "write expect"),
    ];
    for (file, expected) in broken {
        let found = faults(&file);
        assert!(found.iter().any(|fault| fault.contains(expected)), "{}: {found:?}", file.path);
    }
    let sound = file("src/a.rs", "fn f() { gate.allow(1); let a = [allow(2)]; } // todo!() #[allow(x)]\n");
    assert_eq!(faults(&sound), Vec::<String>::new());
}

#[test]
fn a_test_that_is_not_there_is_found() {
    let functions = functions(&[file("src/a.rs", "fn one() {} async fn two() {}")]);
    assert_eq!(tests_named("| 1 | hazard `x` | IT | `a::one`, `three` |"), ["a::one", "three"]);
    assert_eq!(tests_named("| 1 | hazard | IT | — |"), Vec::<&str>::new());
    assert!(is_there("a::one", &functions) && is_there("two", &functions) && is_there("tests/main.rs", &functions));
    assert!(!is_there("three", &functions) && !is_there("tests/none.sh", &functions));
}
